"""Deletion certificates: what holders attested, and that the master log holds it; pure.

A certificate is one line of canonical JSON (RFC 8785), so that every byte of it is determined by
what it says.  Its statement is committed to by the entry that closed the purge job, which the proof
leads to a signed checkpoint.  ``gallra certificate verify`` checks one offline.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.canonical import canonical, digest

TITLE: Final = "gallra deletion certificate v1"
SAYS: Final = (
    "The holders named here attested that they destroyed the data of these records, and the master"
    " log held this attestation no later than the checkpoint. It does not prove that a holder told"
    " the truth, nor that no copy exists which no holder knows of; until residual_until backups may"
    " still hold the data."
)
"""What a certificate proves and what it does not: part of each."""


def statement(
    job: Mapping[str, Any], attestations: Sequence[Mapping[str, Any]], rule: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what became of a purge job, without any reference to a record.

    Args:
        job: Id, category, reason, policy version, records, and its dates.
        attestations: What each holder answered last for each chunk.
        rule: Of the policy version that the job went by.
    """
    ordered = sorted(attestations, key=lambda told: (told["holder"], str(told["chunk_id"])))
    return {**job, "rule": dict(rule), "attestations": [dict(told) for told in ordered]}


def fingerprint(stated: bytes) -> str:
    """Return the SHA-256, in hexadecimal, by which the log commits to a canonical statement."""
    return digest(stated).hex()


def build(stated: Mapping[str, Any], entry: Mapping[str, Any], proof: str) -> bytes:
    """Return the certificate.

    Args:
        stated: The statement.
        entry: Salt and value of the entry that closed the job.
        proof: Its ``.tlog-proof``.
    """
    content = {
        "title": TITLE,
        "says": SAYS,
        "statement": stated,
        "entry": {"salt": entry["salt"], "value": entry["value"]},
        "proof": proof,
    }
    return canonical(content) + b"\n"
