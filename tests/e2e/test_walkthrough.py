"""The walk in docs/walkthrough.md, taken again: what it shows is what really comes out."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from confluent_kafka import Consumer, Producer
from tests.conftest import new_folder, running
from tests.live import eventually
from uuid_utils import uuid7

from gallra.stackfile import Stack, read
from retention.calendar import add_months, civil_day

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "walkthrough.md"
WRITE: Final = "GALLRA_WRITE_DOCS"  # set: write the page instead of comparing with it
VARIES: Final = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "HASH"),
    (r"gallra\.local/master\+[0-9a-f]{8}\+\S+", "VKEY"),
    (r"\d{4}-\d\d-\d\d(T[\d:.]+(Z|\+00:00)?)?", "DATE"),
    (r"\bentry \d+|index \d+|size \d+|\b\d+ entries", "PLACE"),
    (r" +", " "),
)


@dataclass
class Walk:
    """One way through the command line, and what was said on it."""

    folder: Path
    stack: Stack
    page: list[str] = field(default_factory=list[str])

    def say(self, text: str) -> None:
        self.page += [text, ""]

    def gallra(self, *arguments: str, code: int = 0) -> str:
        """Run a command and note what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "gallra", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        said = (done.stdout + done.stderr).rstrip()
        shown = " ".join(f'"{a}"' if " " in a else a for a in arguments)
        self.page += ["```", f"$ gallra {shown}", said, "```", ""]
        return said


class Holder:
    """A holder that answers as it is told to, in nothing but JSON on Kafka."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.name = name
        self._producer = Producer({"bootstrap.servers": stack.kafka})
        self._consumer = Consumer(
            {
                "bootstrap.servers": stack.kafka,
                "group.id": f"walk-{name}",
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.subscribe(["retention.purge-commands.v1"])

    def close(self) -> None:
        self._consumer.close()

    def command(self, phase: str) -> dict[str, Any]:
        """Return the next order of a kind to this holder."""

        def next_one() -> dict[str, Any] | None:
            record = self._consumer.poll(0.2)
            if record is None or record.error():
                return None
            headers = dict(record.headers() or [])
            told: dict[str, Any] = json.loads(record.value() or b"{}")
            mine = headers["ce_type"].decode() == f"retention.purge.{phase}.v1"
            return told if mine and told["holder"] == self.name else None

        return eventually(next_one)

    def answer(
        self, command: dict[str, Any], phase: str, exceptions: Sequence[dict[str, Any]] = ()
    ) -> None:
        gone = len(command["refs"]) - len(exceptions) if phase == "commit" else 0
        now = datetime.now(UTC).isoformat()
        body = {
            **{n: command[n] for n in ("chunk_id", "holder", "command_hash", "hold_epoch")},
            "phase": phase,
            "counts": {"erased": gone, "refused": len(exceptions)},
            "exceptions": list(exceptions),
            "method": "clear",
            "completed_at": now,
            "residual_until": now,
        }
        send(self._producer, "holders.purge-results.v1", command["chunk_id"], body, self.name)


def send(producer: Producer, topic: str, key: str, body: dict[str, Any], source: str) -> None:
    kind = {
        "holders.purge-results.v1": "holders.purge.result.v1",
        "platform.records.v1": "platform.record.registered.v1",
    }[topic]
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid7()),
        "ce_source": f"//{source}",
        "ce_type": kind,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    producer.produce(
        topic, json.dumps(body), key, headers=[(n, v.encode()) for n, v in headers.items()]
    )
    assert not producer.flush(30)


@pytest.fixture
def walk() -> Iterator[Walk]:
    with new_folder() as folder:
        for data in running(folder / ".data"):
            yield Walk(folder, read(data))


def leads(walk: Walk, today: date) -> None:
    """Tell of five forms at crm and one at the website from long ago, and of two new ones."""
    producer = Producer({"bootstrap.servers": walk.stack.kafka})
    old, new = add_months(today, -8), add_months(today, -1)
    for holder, number, day in (
        *(("crm", n, old) for n in range(1, 6)),
        ("website", 6, old),
        ("crm", 7, new),
        ("crm", 8, new),
    ):
        body = {
            "holder": holder,
            "category": "lead.form",
            "record_id": f"lead-{number}",
            "entity": "provider-ab",
            "customer_id": f"c-{number}",
            "anchors": [{"anchor_id": "a", "kind": "submitted", "date": day.isoformat()}],
        }
        send(producer, "platform.records.v1", f"{holder}/lead.form/lead-{number}", body, holder)


def shorten(walk: Walk, today: date) -> None:
    """Write policies in which forms are kept for six months, those there are as well."""
    folder = walk.folder / "policies"
    folder.mkdir()
    for path in (ROOT / "policies").glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    path = folder / "lead.form.yaml"
    policy = yaml.safe_load(path.read_text())
    policy |= {"version": 2, "effective_from": today, "existing": "apply"}
    policy["rule"] = {"rule": "period", "months": 6}
    path.write_text(yaml.safe_dump(policy, allow_unicode=True, sort_keys=False))


def known(walk: Walk, count: int) -> None:
    def forms() -> bool:
        url = f"{walk.stack.urls['retention']}/api/v1/report"
        lines = httpx.get(url).json()["categories"]
        return next(c["held"] for c in lines if c["category"] == "lead.form") == count

    eventually(forms)


def job(walk: Walk) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "gallra", "purge", "list", "--json"],
        cwd=walk.folder, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return next(j["job_id"] for j in json.loads(told.stdout) if j["records"] == 5)


def without_what_varies(text: str) -> str:
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text)
    return text


def test_the_walk(walk: Walk) -> None:
    today = civil_day(datetime.now(UTC))
    walk.say("# A walk: a hold, a change of policy, a purge, a certificate")
    walk.say(
        "Every line below was said by the command above it; `tests/e2e/test_walkthrough.py` takes"
        " the walk anew and compares. Two systems hold contact forms (`lead.form`), which are kept"
        " for twelve months: `crm` has seven, `website` one. Six of them came in eight months ago,"
        " two last month."
    )
    leads(walk, today)
    known(walk, 8)
    hold(walk, today)
    change(walk, today)
    number = purge(walk, today)
    certificate(walk, number)
    page = "\n".join(walk.page).rstrip() + "\n"
    if os.environ.get(WRITE):
        PAGE.write_text(page)
    assert without_what_varies(page) == without_what_varies(PAGE.read_text())


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("  months: 12\n", "", "lead.form.yaml:37: rule: a period is either so many months"),
        ("holders: [crm, website]", "holders: [crm, nobody]", "holders: nobody is not in holders"),
        ("version: 1", "version: 7", "lead.form.yaml: version: 1 is in force: the change is"),
        ("category: lead.form", "category: [", "lead.form.yaml:"),
    ],
)
def test_a_file_with_a_hole_changes_nothing(
    stack_folder: Path, tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    for path in (ROOT / "policies").glob("*.yaml"):
        text = path.read_text()
        broken = path.name == "lead.form.yaml"
        assert not broken or right in text
        (tmp_path / path.name).write_text(text.replace(right, wrong, 1) if broken else text)
    command = [sys.executable, "-m", "gallra", "policy", "plan", str(tmp_path)]
    done = subprocess.run(
        [*command, "--data", str(stack_folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [*command[:-1], str(ROOT / "policies"), "--data", str(stack_folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "all of these policies are in force as they are" in done.stderr


def hold(walk: Walk, today: date) -> None:
    walk.say("## A hold")
    walk.say("A customer disputes something. Whatever is kept about it must stay, due or not.")
    review = (today + timedelta(days=90)).isoformat()
    walk.gallra(
        "hold", "place", "--customer", "c-1", "--reason", "dispute 2026-14", "--by", "anna",
        "--review", review,
    )  # fmt: skip
    walk.gallra("hold", "list")


def change(walk: Walk, today: date) -> None:
    walk.say("## A change of policy")
    walk.say(
        "Forms are to be kept for six months from today, those that are there as well: version 2 of"
        " `lead.form.yaml` says `months: 6` and `existing: apply`. A plan changes nothing yet."
    )
    shorten(walk, today)
    said = walk.gallra("policy", "plan", "policies")
    plan = re.search(r"plan ([0-9a-f]{64})", said)
    assert plan is not None
    short = plan[1][:12]
    walk.say("Two people approve it, and one is not two.")
    walk.gallra("policy", "apply", short, "--by", "anna")
    walk.gallra("policy", "apply", short, "--by", "anna", code=1)
    walk.gallra("policy", "apply", short, "--by", "bo")
    walk.say("Of what is moved now, and why:")
    walk.gallra("deadline", "explain", "crm/lead.form/lead-2")
    walk.say("What is held stays all the same:")
    walk.gallra("deadline", "explain", "crm/lead.form/lead-1")


def purge(walk: Walk, today: date) -> str:
    """Take the walk through the purge; return the id of its job."""
    walk.say("## A purge, with a holder that refuses and one that is silent")
    walk.say(
        "What was planned is what is ordered: the forms from eight months ago, but for the one that"
        " is held, in one job with a chunk for each holder. `crm` is asked to get ready and refuses"
        " one, for there is an order on it until next month. `website` says nothing."
    )
    crm, website = Holder(walk.stack, "crm"), Holder(walk.stack, "website")
    first = crm.command("prepare")
    assert sorted(first["refs"]) == [f"lead-{n}" for n in (2, 3, 4, 5)]
    kept = {"ref": "lead-2", "code": "open-order", "until": add_months(today, 1).isoformat()}
    crm.answer(first, "prepare", [kept])
    crm.answer(crm.command("commit"), "commit", [kept])
    known(walk, 5)
    number = job(walk)
    walk.gallra("purge", "list")
    walk.gallra("purge", "show", number)
    walk.say(
        "The job stays open, and there is no certificate while a holder has not answered. `website`"
        " is asked again after two minutes, then after ever longer pauses; after fifteen minutes"
        " on-call has a mail ([purge-unconfirmed](runbooks/purge-unconfirmed.md)), and when the"
        " grace is over the report calls it overdue."
    )
    walk.gallra("purge", "certificate", number, "--out", "certificate.json", code=1)
    walk.say("`website` is repaired and answers.")
    website.answer(website.command("prepare"), "prepare")
    website.answer(website.command("commit"), "commit")
    known(walk, 4)
    eventually(lambda: _closed(walk, number))
    walk.gallra("purge", "show", number)
    crm.close()
    website.close()
    return number


def certificate(walk: Walk, number: str) -> None:
    walk.say("## The certificate")
    walk.say(
        "What the holders attested, committed to by the master log. Anyone who has the log's key"
        " can check it, with no connection to anything."
    )
    eventually(lambda: _certificate(walk, number))
    walk.gallra("purge", "certificate", number, "--out", "certificate.json")
    vkey = httpx.get(f"{walk.stack.urls['audit_log']}/log/vkey").text.strip()
    walk.gallra("certificate", "verify", "certificate.json", "--vkey", vkey)
    walk.say("One number in it is changed:")
    file = walk.folder / "certificate.json"
    file.write_text(re.sub(r'"erased": ?3', '"erased":4', file.read_text(), count=1))
    walk.gallra("certificate", "verify", "certificate.json", "--vkey", vkey, code=1)


def _closed(walk: Walk, number: str) -> bool:
    url = f"{walk.stack.urls['retention']}/api/v1/purges/{number}"
    return httpx.get(url).json()["closed_at"] is not None


def _certificate(walk: Walk, number: str) -> bool:
    url = f"{walk.stack.urls['retention']}/api/v1/purges/{number}/certificate"
    return httpx.get(url).is_success
