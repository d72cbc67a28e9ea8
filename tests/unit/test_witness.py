"""Witness policies, and cosignatures as C2SP tlog-cosignature has them."""

import base64
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit_log.checkpoint import Signer, Verifier, open_checkpoint, open_strictly
from audit_log.witness import Policy, request
from shared.errors import Rejected

LOG = Signer("log.example/test", base64.b64encode(bytes(32)).decode())
NOTE = LOG.sign(7, bytes(range(32)))
KEYS = {n: Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i, n in enumerate("abc", 1)}
WITNESSES = {
    name: Verifier(f"witness.example/{name}", key.public_key().public_bytes_raw(), b"\x04")
    for name, key in KEYS.items()
}


def cosign(name: str, note: str = NOTE, at: int = 1_795_000_000) -> str:
    text = note.rpartition("\n\n")[0] + "\n"
    signature = KEYS[name].sign(f"cosignature/v1\ntime {at}\n{text}".encode())
    blob = WITNESSES[name].key_id + at.to_bytes(8, "big") + signature
    return f"\u2014 {WITNESSES[name].name} {base64.b64encode(blob).decode()}\n"


def policy(*rules: str) -> Policy:
    lines = [f"log {LOG.verifier.vkey}", *(f"witness {n} {v.vkey}" for n, v in WITNESSES.items())]
    return Policy.parse("\n".join([*lines, *rules]))


def test_a_witness_key_is_written_and_read() -> None:
    for verifier in WITNESSES.values():
        assert Verifier.parse(verifier.vkey) == verifier


@given(st.sets(st.sampled_from("abc")), st.integers(1, 3))
def test_k_of_n(signed: set[str], needed: int) -> None:
    rule = policy(f"group g {needed} a b c", "quorum g")
    agreed = rule.agreed(NOTE + "".join(map(cosign, sorted(signed))))
    assert agreed == signed
    assert rule.satisfied(agreed) == (len(signed) >= needed)


def test_groups_of_groups() -> None:
    rule = policy("group ab any a b", "group all all ab c", "quorum all")
    assert rule.satisfied({"b", "c"})
    assert not rule.satisfied({"a", "b"})
    assert policy("quorum none").satisfied(set())
    assert not policy("quorum a").satisfied({"b"})


@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["quorum x"],
        ["quorum a", "quorum b"],
        ["group g 4 a b c", "quorum g"],
        ["group g 0 a", "quorum g"],
        ["group g two a b", "quorum g"],
        ["group g 1 a z", "quorum g"],
        ["witness d nonsense", "quorum a"],
        ["hello", "quorum a"],
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(rules: Sequence[str]) -> None:
    with pytest.raises(Rejected):
        policy(*rules)


def test_a_cosignature_of_another_checkpoint_is_none() -> None:
    other = LOG.sign(8, bytes(32))
    assert policy("quorum a").agreed(NOTE + cosign("a", other)) == set()


def test_only_a_strict_reader_minds_strangers() -> None:
    cosigned = NOTE + cosign("a")
    assert open_checkpoint(cosigned, LOG.verifier).size == 7
    assert open_strictly(cosigned, LOG.verifier, WITNESSES["a"]).size == 7
    with pytest.raises(Rejected):
        open_strictly(cosigned, LOG.verifier)


def test_a_checkpoint_by_an_old_and_a_new_key_is_good_for_both() -> None:
    seeds = [base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
    both = Signer("log.example/test", *seeds)
    note = both.sign(7, bytes(32))
    for seed in seeds:
        assert open_checkpoint(note, Signer("log.example/test", seed).verifier).size == 7
    assert open_strictly(note, *both.verifiers).size == 7


def test_what_a_witness_is_asked() -> None:
    asked = request(3, [bytes(32)], NOTE)
    zeros = base64.b64encode(bytes(32)).decode()
    assert asked == f"old 3\n{zeros}\n\n{NOTE}"
    assert request(0, [], NOTE) == f"old 0\n\n{NOTE}"
