"""Deletion certificates: fetched from the running service, checked with the log's key alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit_log.checkpoint import Checkpoint, Verifier
from audit_log.leaf import commitment, part_digest
from audit_log.proof import Proof
from gallra.ask import answered
from gallra.stackfile import read
from retention.certificate import SAYS, TITLE, fingerprint
from shared.canonical import canonical
from shared.errors import Rejected

_CLOSED = "retention.purge-job.closed.v1"


async def fetch(data: Path, job: str) -> bytes:
    """Return the certificate of a closed purge job."""
    url = f"{read(data).urls['retention']}/api/v1/purges/{job}/certificate"
    return (await answered(url)).content


async def jobs(data: Path) -> list[dict[str, Any]]:
    """Return the newest purge jobs."""
    found: list[dict[str, Any]] = (
        await answered(f"{read(data).urls['retention']}/api/v1/purges")
    ).json()["purges"]
    return found


async def show(data: Path, job: str) -> dict[str, Any]:
    """Return a purge job with its chunks."""
    found: dict[str, Any] = (
        await answered(f"{read(data).urls['retention']}/api/v1/purges/{job}")
    ).json()
    return found


def check(file: bytes, *keys: Verifier) -> tuple[dict[str, Any], Checkpoint]:
    """Return the statement of a certificate and the checkpoint that it is proven under.

    Args:
        file: The certificate; every byte of it counts.
        keys: Of the log, and of the witnesses that may have signed with it.

    Raises:
        Rejected: it is not as it was issued, or the log does not vouch for it.
    """
    try:
        return _checked(file, json.loads(file), *keys)
    except Rejected as error:
        raise Rejected(f"not a valid certificate: {error}", code="bad-certificate") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Rejected("not a valid certificate", code="bad-certificate") from None


def _checked(
    file: bytes, content: dict[str, Any], *keys: Verifier
) -> tuple[dict[str, Any], Checkpoint]:
    entry, statement = content["entry"], content["statement"]
    if canonical(content) + b"\n" != file:
        raise _refused("it is not written as it was issued")
    if (content["title"], content["says"]) != (TITLE, SAYS) or len(content) != len(_FIELDS):
        raise _refused("it does not say what certificates say")
    checkpoint = opened(entry, Proof.parse(content["proof"]), *keys)
    value = entry["value"]
    closed = value["data"]
    if (value["type"], closed["statement"]) != (_CLOSED, fingerprint(canonical(statement))):
        raise _refused("the log does not commit to this statement")
    return statement, checkpoint


def opened(entry: Mapping[str, Any], proof: Proof, *keys: Verifier) -> Checkpoint:
    """Return the checkpoint under which the log is proven to say what is in *entry*.

    Raises:
        Rejected: the keys do not vouch for the proof, or it is of something else.
        KeyError, ValueError: it is no entry.
    """
    if set(entry) != {"salt", "value"}:
        raise _refused("the entry has more to it than the log commits to")
    checkpoint = proof.check(*keys)
    part = bytes.fromhex(entry["salt"]) + canonical(entry["value"])
    if commitment({"what": part_digest("what", part)}) != proof.leaf[32:]:
        raise _refused("the entry does not open to the leaf that is proven")
    return checkpoint


_FIELDS = ("title", "says", "statement", "entry", "proof")


def _refused(why: str) -> Rejected:
    return Rejected(why, code="bad-certificate")


def in_words(statement: dict[str, Any], checkpoint: Checkpoint) -> str:
    """Return what a certificate that was checked says, for people."""
    told = statement["attestations"]
    gone = sum(chunk["erased"] + chunk["anonymised"] for chunk in told)
    residual = max((chunk["residual_until"] or chunk["answered_at"] for chunk in told), default="")
    return "\n".join(
        [
            f"valid: {gone} of {statement['records']} records of {statement['category']} are gone",
            f"  purge job   {statement['job_id']}, policy version {statement['policy_version']}",
            f"  holders     {', '.join(sorted({chunk['holder'] for chunk in told}))}",
            f"  backups     may hold it until {residual}",
            f"  in the log  {checkpoint.origin}, under the checkpoint of {checkpoint.size} entries",
            "",
            SAYS,
        ]
    )
