"""Retention reports: fetched from the running service, and checked against the master log."""

import asyncio
import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from pypdf import PdfReader
from pypdf.errors import PyPdfError

from audit_log.checkpoint import Verifier
from audit_log.proof import Proof
from gallra.ask import answered, credentials
from gallra.certificates import opened
from gallra.stackfile import read
from retention.master_log import SOURCE
from shared.canonical import digest
from shared.errors import Rejected

_ISSUED: Final = "retention.report.issued.v1"
_CLOSED: Final = "retention.purge-job.closed.v1"
_ATTACHED: Final = ("report.json", "checkpoint.txt", "proofs.jsonl")
_WITHIN: Final = 300  # seconds; the report counts all records
_PATIENCE: Final = 5.0  # seconds from when a report is issued to when the log has it, signed


async def fetch(
    data: Path, url: str | None, days: Mapping[str, str], form: str, lang: str
) -> bytes:
    """Return a report as the service issues it."""
    base = url or read(data).urls["retention"]
    params = {**days, "format": form, "lang": lang}
    async with httpx.AsyncClient(timeout=_WITHIN, headers=credentials()) as http:
        return (await http.get(f"{base}/api/v1/report", params=params)).raise_for_status().content


async def verify(data: Path, url: str | None, file: bytes, vkey: str | None) -> dict[str, Any]:
    """Return what the master log says of a report.

    Raises:
        Rejected: it knows no such file, or does not vouch for what it says, or for what is
            attached.
    """
    base = url or read(data).urls["audit_log"]
    sha256 = hashlib.sha256(file).hexdigest()
    found = await _entry_of(base, sha256)
    given = vkey or (await answered(f"{base}/log/vkey")).text
    keys = [Verifier.parse(line) for line in given.splitlines()]
    return check(file, found, *keys)


async def _entry_of(base: str, sha256: str) -> dict[str, Any]:
    """Return what the log says of a file, waiting a moment for one that was issued just now."""
    asked = {"source": SOURCE, "event_ids": [sha256]}
    deadline = time.monotonic() + _PATIENCE
    async with httpx.AsyncClient(timeout=_WITHIN, headers=credentials()) as http:
        while True:
            answer = (await http.post(f"{base}/api/v1/proofs", json=asked)).raise_for_status()
            found: dict[str, Any] | None = answer.json()["proofs"].get(sha256)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise Rejected(
                    "the master log has no such report: the file is not as it was issued",
                    code="unknown-report",
                )
            await asyncio.sleep(0.2)


def check(file: bytes, found: Mapping[str, Any], *keys: Verifier) -> dict[str, Any]:
    """Return what is proven of a report.

    Args:
        file: The report.
        found: What the log says of it: index, entry and proof.
        keys: Of the log.

    Raises:
        Rejected: the log does not vouch for it.
    """
    try:
        return _checked(file, found, keys)
    except Rejected as error:
        raise _refused(f"not a valid report: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _refused("not a valid report") from None


def _checked(file: bytes, found: Mapping[str, Any], keys: Sequence[Verifier]) -> dict[str, Any]:
    sha256 = hashlib.sha256(file).hexdigest()
    checkpoint = opened(found["entry"], Proof.parse(found["proof"]), *keys)
    value = found["entry"]["value"]
    issued = value["data"]
    if (value["type"], value["source"], issued["sha256"]) != (_ISSUED, SOURCE, sha256):
        raise _refused("the log does not commit to this file")
    evidence = None if (own := issued.get("evidence")) is None else _evidence(file, own, keys)
    return {
        "valid": True,
        "sha256": sha256,
        "issued_at": value["time"],
        "entry": found["index"],
        "from": issued["period_from"],
        "to": issued["period_to"],
        "as_of": issued["as_of"],
        "log": checkpoint.origin,
        "checkpoint_size": checkpoint.size,
        "evidence": evidence,
    }


def _evidence(file: bytes, committed: str, keys: Sequence[Verifier]) -> dict[str, Any]:
    """Return what is attached to a PDF, each proof of it checked."""
    rows, checkpoint, proofs = _attached(file)
    if digest(rows, checkpoint, proofs).hex() != committed:
        raise _refused("what is attached is not what the log commits to")
    closed = {
        purge["master_log_event"]: purge["master_log_entry"]
        for category in json.loads(rows)["categories"]
        for purge in category["purges"]
        if purge["master_log_entry"] is not None
    }
    proven: dict[str, int] = {}
    for line in proofs.splitlines():
        told = json.loads(line)
        proof = Proof.parse(told["proof"])
        opened(told["entry"], proof, *keys)
        value = told["entry"]["value"]
        if (value["type"], value["source"], value["id"]) != (_CLOSED, SOURCE, told["event_id"]):
            raise _refused("a proof is not of the end of a purge job")
        if proof.note.encode() != checkpoint:
            raise _refused("a proof leads to another checkpoint")
        proven[told["event_id"]] = proof.index
    if proven != closed:
        raise _refused("the proofs are not those of the purges in it")
    return {"sha256": committed, "purge_jobs_proven": len(proven)}


def _attached(file: bytes) -> list[bytes]:
    try:
        found = PdfReader(io.BytesIO(file)).attachments
    except PyPdfError:
        raise _refused("it is not a PDF that can be read") from None
    return [b"".join(found.get(name, [])) for name in _ATTACHED]


def _refused(why: str) -> Rejected:
    return Rejected(why, code="bad-report")


def in_words(found: Mapping[str, Any]) -> str:
    """Return what was proven of a report, for people."""
    size = found["checkpoint_size"]
    lines = [
        f"valid: issued at {found['issued_at']}",
        f"  speaks of   {found['from']} through {found['to']}, as of {found['as_of']}",
        f"  in the log  {found['log']}, entry {found['entry']} of the {size} that are signed",
    ]
    if evidence := found["evidence"]:
        proven = evidence["purge_jobs_proven"]
        lines.append(f"  attached    its rows, and the proofs of {proven} purge jobs: all hold")
    return "\n".join(lines)
