"""From a purge run to a certificate that anyone can check, by the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.test_demo import finish, start
from tests.live import eventually

from gallra.stackfile import Stack


def gallra(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "gallra", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def job(stack_folder: Path) -> dict[str, Any]:
    """Run the demo; return a purge job of it that more than one record went in."""
    finish(start(stack_folder, "certified"))

    def closed() -> dict[str, Any] | None:
        told = json.loads(gallra("purge", "list", "--data", str(stack_folder), "--json"))
        return next(
            (j for j in told if j["closed_at"] and j["category"] == "billing.invoice"), None
        )

    return eventually(closed)


def test_a_certificate_is_checked_offline(
    stack: Stack, stack_folder: Path, job: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "certificate.json"
    gallra("purge", "certificate", job["job_id"], "--out", str(file), "--data", str(stack_folder))
    vkey = httpx.get(f"{stack.urls['audit_log']}/log/vkey").text.strip()
    said = gallra("certificate", "verify", str(file), "--vkey", vkey)
    assert f"of {job['records']} records of billing.invoice are gone" in said
    assert job["job_id"] in said
    told = json.loads(gallra("certificate", "verify", str(file), "--vkey", vkey, "--json"))
    chunks = told["statement"]["attestations"]
    assert sum(chunk["records"] for chunk in chunks) == job["records"]
    shown = json.loads(
        gallra("purge", "show", job["job_id"], "--data", str(stack_folder), "--json")
    )
    assert shown["statement"] == told["statement"]
    refs = {chunk["holder"] for chunk in chunks}
    assert refs == {chunk["holder"] for chunk in shown["chunks"]}

    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)
    assert "not a valid certificate" in gallra(
        "certificate", "verify", str(file), "--vkey", vkey, code=1
    )


@pytest.mark.parametrize("job_id", ["01a20aae-0446-76ff-bbb1-1669ec58adb2", "x"])
def test_there_is_none_for_what_was_not_purged(
    stack_folder: Path, tmp_path: Path, job_id: str
) -> None:
    out = tmp_path / "none.json"
    data = ["--data", str(stack_folder)]
    said = gallra("purge", "certificate", job_id, "--out", str(out), *data, code=1)
    assert said.startswith("gallra: ")
    assert not out.exists()
