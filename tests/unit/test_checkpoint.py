"""Signed checkpoints against C2SP signed-note and tlog-checkpoint, worked out by hand."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from audit_log.checkpoint import Checkpoint, Signer, Verifier, open_checkpoint
from shared.errors import Rejected

ORIGIN = "log.gallra.example/main"
SEED = bytes(range(32))
ROOT = hashlib.sha256(b"root").digest()
SIGNER = Signer(ORIGIN, base64.b64encode(SEED).decode())
VERIFIER = SIGNER.verifier
NOTE = SIGNER.sign(1017, ROOT)
BODY = f"{ORIGIN}\n1017\n{base64.b64encode(ROOT).decode()}\n"

# The example of golang.org/x/mod/sumdb/note: a key and a note that another program signed.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)


def test_the_note_is_what_the_specification_says():
    text, _, signatures = NOTE.partition("\n\n")
    assert f"{text}\n" == BODY
    dash, name, encoded = signatures.removesuffix("\n").split(" ")
    assert (dash, name) == ("\u2014", ORIGIN)
    signature = base64.b64decode(encoded, validate=True)
    key = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    public = key.public_bytes_raw()
    assert signature[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    assert len(signature) == 4 + 64
    key.verify(signature[4:], BODY.encode())


def test_a_note_of_another_program_verifies_with_its_key():
    verifier = Verifier.parse(GO_VKEY)
    signature = base64.b64decode(GO_SIGNATURE)
    assert signature[:4] == verifier.key_id
    key = Ed25519PublicKey.from_public_bytes(verifier.public_key)
    key.verify(signature[4:], GO_TEXT.encode())
    assert verifier.vkey == GO_VKEY


@given(st.integers(0, 2**63), st.binary(min_size=32, max_size=32))
def test_what_was_signed_opens(size: int, root: bytes):
    assert open_checkpoint(SIGNER.sign(size, root), VERIFIER) == Checkpoint(ORIGIN, size, root)


@given(st.binary(min_size=32, max_size=32))
def test_a_verifier_key_is_read_back(seed: bytes):
    verifier = Signer(ORIGIN, base64.b64encode(seed).decode()).verifier
    assert Verifier.parse(verifier.vkey) == Verifier.parse(f"{verifier.vkey}\n") == verifier


def test_any_changed_byte_is_refused_or_leaves_the_signed_text_as_it_was():
    note = NOTE.encode()
    refused = 0
    for place in range(len(note)):
        for change in (1, 2, 32, 64, 128, 255):
            changed = bytearray(note)
            changed[place] ^= change
            # As the bytes of a stranger come in: anything is some text in Latin-1.
            for encoding in ("utf-8", "latin-1"):
                text = changed.decode(encoding, "replace")
                try:
                    opened = open_checkpoint(text, VERIFIER)
                except Rejected:
                    refused += 1
                else:
                    assert opened.text == BODY
                    assert text.startswith(BODY)
    assert refused > len(BODY) * 6


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        BODY,
        NOTE.replace("1017", "1018"),
        NOTE.replace("1017", "+1017"),
        NOTE.replace("1017", "01017"),
        NOTE.replace("1017", "1_017"),
        NOTE.replace("1017", "9" * 5000),
        NOTE.replace("\n\n", "\nextension\n\n"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace(f"\u2014 {ORIGIN}", "\u2014 other.example/log"),
        NOTE.partition("\n\n")[0] + "\n\n",
        NOTE.partition("\n\n")[0] + f"\n\n\u2014 {ORIGIN} \n",
        NOTE.partition("\n\n")[0] + f"\n\n\u2014 {ORIGIN} AAAA\n",
        NOTE.partition("\n\n")[0]
        + f"\n\n\u2014 {ORIGIN} {base64.b64encode(VERIFIER.key_id).decode()}\n",
        NOTE.partition("\n\n")[0] + f"\n\n\u2014 {ORIGIN} å\n",
        Signer("other.example/log", base64.b64encode(SEED).decode()).sign(1017, ROOT),
        Signer(ORIGIN, base64.b64encode(bytes(32)).decode()).sign(1017, ROOT),
    ],
)
def test_what_this_log_did_not_sign_is_refused(note: str):
    with pytest.raises(Rejected):
        open_checkpoint(note, VERIFIER)


def test_a_checkpoint_of_another_log_is_refused_although_our_key_signed_it():
    body = BODY.replace(ORIGIN, "other.example/log")
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(body.encode())
    encoded = base64.b64encode(VERIFIER.key_id + signature).decode()
    with pytest.raises(Rejected, match="not a checkpoint of this log"):
        open_checkpoint(f"{body}\n\u2014 {ORIGIN} {encoded}\n", VERIFIER)


def test_cosignatures_of_others_do_not_disturb():
    before, after = NOTE.split("\n\n")
    witness = "\u2014 witness.example/w1 " + base64.b64encode(bytes(76)).decode()
    other_key = "\u2014 " + ORIGIN + " " + base64.b64encode(b"\x00" * 68).decode()
    for note in (
        f"{before}\n\n{witness}\n{after}",
        f"{NOTE}{witness}\n",
        f"{before}\n\n{other_key}\n\u2014 {ORIGIN} ö\n{after}",
    ):
        assert open_checkpoint(note, VERIFIER).size == 1017


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        ORIGIN,
        "a+b",
        VERIFIER.vkey.replace("+", "-", 1),
        VERIFIER.vkey[:-4],
        VERIFIER.vkey + "AAAA",
        VERIFIER.vkey.replace(VERIFIER.key_id.hex(), "00000000"),
        VERIFIER.vkey.replace(ORIGIN, "other.example/log"),
        f"{ORIGIN}+{VERIFIER.key_id.hex()}+ö",
        Verifier(ORIGIN, VERIFIER.public_key[:31]).vkey,
        Verifier(ORIGIN, b"").vkey,
    ],
)
def test_a_malformed_verifier_key_is_refused(vkey: str):
    with pytest.raises(Rejected) as refusal:
        Verifier.parse(vkey)
    assert refusal.value.code == "bad-key"


@pytest.mark.parametrize(
    "seed", ["", "not base64!", "åäö", base64.b64encode(bytes(31)).decode(), SEED.hex()]
)
def test_a_seed_that_is_none_is_refused_without_repeating_it(seed: str):
    with pytest.raises(Rejected) as refusal:
        Signer(ORIGIN, seed)
    assert not seed or seed not in str(refusal.value)
