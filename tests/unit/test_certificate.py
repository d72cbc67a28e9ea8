"""A deletion certificate holds as it was issued, and in no other way."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit_log import merkle
from audit_log.checkpoint import Signer
from audit_log.leaf import Kind, Leaf, commitment, day_of, part_digest
from audit_log.proof import Proof
from gallra.certificates import check, in_words
from retention.certificate import build, fingerprint, statement
from shared.canonical import canonical
from shared.errors import Rejected

NOW = datetime(2032, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB: dict[str, Any] = {
    "job_id": "01a20aae-0446-76ff-bbb1-1669ec58adb2",
    "category": "billing.invoice",
    "reason": "deadline",
    "policy_version": 1,
    "records": 3,
    "opened_at": NOW - timedelta(hours=3),
    "must_purge_by": NOW + timedelta(days=6),
}
ANSWER: dict[str, Any] = {
    "chunk_id": "01a20aae-0446-76ff-bbb1-1669ec58adb3",
    "holder": "billing",
    "command_hash": "0" * 64,
    "records": 3,
    "erased": 3,
    "anonymised": 0,
    "not_found": 0,
    "refused": 0,
    "failed": 0,
    "method": "clear",
    "answered_at": NOW,
    "residual_until": NOW + timedelta(days=30),
}
RULE = {"rule": "bfl_7_2"}
SIGNER = Signer("log.test/master", base64.b64encode(b"k" * 32).decode())
SALT = b"s" * 16


def issued(**changed: Any) -> bytes:
    """Return a certificate whose entry is number 2 of a log of five."""
    stated = statement(JOB, [ANSWER, ANSWER | {"holder": "archive"}], RULE)
    value = {
        "data": {"job_id": JOB["job_id"], "statement": fingerprint(canonical(stated))},
        "id": "e-1",
        "source": "//gallra/retention",
        "type": "retention.purge-job.closed.v1",
        "time": NOW.isoformat(),
    } | changed
    part = SALT + canonical(value)
    committed = commitment({"what": part_digest("what", part)})
    leaf = Leaf(Kind.EVENT, 0, day_of(NOW), bytes(20), committed).encode()
    leaves = [b"0" * 64, b"1" * 64, leaf, b"3" * 64, b"4" * 64]
    tiles = merkle.grow(0, {}, [merkle.leaf_hash(entry) for entry in leaves])
    path = merkle.inclusion_proof(lambda *tile: tiles[tile], 2, len(leaves))
    note = SIGNER.sign(len(leaves), merkle.root(len(leaves), tiles))
    entry = {"salt": SALT.hex(), "value": json.loads(canonical(value))}
    return build(json.loads(canonical(stated)), entry, str(Proof(leaf, 2, path, note)))


CERTIFICATE = issued()


def test_it_says_what_is_gone_and_what_it_does_not_prove() -> None:
    told, checkpoint = check(CERTIFICATE, SIGNER.verifier)
    assert [chunk["holder"] for chunk in told["attestations"]] == ["archive", "billing"]
    words = in_words(told, checkpoint)
    assert "3 records of billing.invoice" in words
    assert "does not prove" in words
    assert "INV-" not in CERTIFICATE.decode(), "no reference to a record"


@pytest.mark.parametrize("bit", [1, 32])
def test_no_byte_of_it_can_be_changed(bit: int) -> None:
    survived: list[int] = []
    for place in range(len(CERTIFICATE)):
        changed = bytearray(CERTIFICATE)
        changed[place] ^= bit
        try:
            check(bytes(changed), SIGNER.verifier)
        except Rejected:
            continue
        survived.append(place)
    assert survived == []


@pytest.mark.parametrize(
    "changed",
    [
        b"",
        CERTIFICATE[:-1],
        CERTIFICATE + b"\n",
        b" " + CERTIFICATE,
        CERTIFICATE.replace(b'"records":3', b'"records":4'),
        json.dumps(json.loads(CERTIFICATE)).encode(),
        canonical(json.loads(CERTIFICATE) | {"more": 1}) + b"\n",
    ],
)
def test_nothing_can_be_added_or_left_out(changed: bytes) -> None:
    with pytest.raises(Rejected, match="not a valid certificate"):
        check(changed, SIGNER.verifier)


def test_another_log_or_another_entry_does_not_vouch_for_it() -> None:
    other = Signer("log.test/master", base64.b64encode(b"o" * 32).decode())
    with pytest.raises(Rejected):
        check(CERTIFICATE, other.verifier)
    with pytest.raises(Rejected, match="does not commit"):
        check(issued(type="retention.purge-job.opened.v1"), SIGNER.verifier)
    with pytest.raises(Rejected, match="does not commit"):
        check(issued(data={"statement": "0" * 64}), SIGNER.verifier)
