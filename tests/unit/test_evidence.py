"""Proofs and evidence packages: what was given out passes, and nothing else does."""

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_log import evidence, merkle
from audit_log.checkpoint import Signer
from audit_log.leaf import SALT, commitment, part_digest
from audit_log.proof import Proof
from shared.errors import Rejected


def seed() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


SIGNER = Signer("log.example/test", seed())
SIZE = 37
PARTS = [
    {
        name: bytes([n]) * SALT + json.dumps({"n": n}, separators=(",", ":")).encode()
        for name in ("who", "what", "network")
    }
    for n in range(SIZE)
]
LEAVES = [
    bytes(32) + commitment({name: part_digest(name, part) for name, part in parts.items()})
    for parts in PARTS
]
TILES = merkle.grow(0, {}, [merkle.leaf_hash(leaf) for leaf in LEAVES])
NOTE = SIGNER.sign(SIZE, merkle.root(SIZE, TILES))
POLICY = f"log {SIGNER.verifier.vkey}\nquorum none\n"


def proof(index: int) -> Proof:
    hashes = merkle.inclusion_proof(lambda level, n: TILES[level, n], index, SIZE)
    return Proof(LEAVES[index], index, hashes, NOTE)


def entry(index: int) -> evidence.Entry:
    return evidence.Entry(proof(index), PARTS[index], {})


def package(*indexes: int) -> bytes:
    return evidence.build([entry(i) for i in indexes], NOTE, POLICY, SIGNER)


def changed(content: bytes) -> Iterator[bytes]:
    """Yield *content* with each of its bytes changed, in three ways."""
    for place in range(len(content)):
        for flip in (0x01, 0x20, 0x80):
            yield content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :]


@given(st.integers(0, SIZE - 1))
def test_a_proof_is_read_as_it_was_written_and_holds(index: int) -> None:
    again = Proof.parse(str(proof(index)))
    assert again == proof(index)
    assert again.check(SIGNER.verifier).size == SIZE


def accepted(text: bytes) -> bool:
    try:
        Proof.parse(text.decode()).check(SIGNER.verifier)
    except (Rejected, UnicodeDecodeError):
        return False
    return True


def test_every_single_byte_of_a_proof_counts() -> None:
    whole = str(proof(20)).encode()
    assert accepted(whole)
    assert not any(accepted(text) for text in changed(whole))
    assert not any(accepted(whole[:n]) for n in range(len(whole)))


def test_a_proof_of_another_entry_is_refused() -> None:
    assert not accepted(str(replace(proof(3), leaf=LEAVES[4])).encode())
    assert not accepted(str(replace(proof(3), index=4)).encode())


def test_a_package_holds() -> None:
    checked = evidence.check(package(3, 20), SIGNER.verifier)
    assert checked.checkpoint.size == SIZE
    assert [line["index"] for line in checked.lines] == [3, 20]


def test_a_package_holds_for_what_was_purged_in_part() -> None:
    parts = dict(PARTS[5])
    gone = {"who": part_digest("who", parts.pop("who"))}
    built = evidence.build([evidence.Entry(proof(5), parts, gone)], NOTE, POLICY, SIGNER)
    [line] = evidence.check(built, SIGNER.verifier).lines
    assert set(line["parts"]) == {"what", "network"}


def test_every_single_byte_of_a_package_counts() -> None:
    whole = package(3)
    for content in changed(whole):
        with pytest.raises(Rejected):
            evidence.check(content, SIGNER.verifier)
    for end in range(0, len(whole), 7):
        with pytest.raises(Rejected):
            evidence.check(whole[:end], SIGNER.verifier)
    with pytest.raises(Rejected):
        evidence.check(whole + b"\x00", SIGNER.verifier)


def test_a_package_by_another_log_is_refused() -> None:
    stranger = Signer("log.example/test", seed())
    with pytest.raises(Rejected, match="not signed by the log"):
        evidence.check(evidence.build([entry(3)], NOTE, POLICY, stranger), SIGNER.verifier)


def test_while_a_key_is_retired_either_checks_a_package_and_every_byte_counts() -> None:
    old, fresh = seed(), seed()
    both = Signer("log.example/test", fresh, old)
    note = both.sign(SIZE, merkle.root(SIZE, TILES))
    policy = "".join(f"log {key.vkey}\n" for key in both.verifiers) + "quorum none\n"
    shown = evidence.Entry(replace(proof(3), note=note), PARTS[3], {})
    whole = evidence.build([shown], note, policy, both)
    for verifier in both.verifiers:
        assert evidence.check(whole, verifier).checkpoint.size == SIZE
        for content in changed(whole):
            with pytest.raises(Rejected):
                evidence.check(content, verifier)


def test_a_package_whose_content_was_changed_by_who_holds_the_key_is_refused() -> None:
    forged = {**PARTS[3], "what": PARTS[4]["what"]}
    built = evidence.build([evidence.Entry(proof(3), forged, {})], NOTE, POLICY, SIGNER)
    with pytest.raises(Rejected, match="does not match its leaf"):
        evidence.check(built, SIGNER.verifier)
