"""The signed state of the log: C2SP signed-note and tlog-checkpoint, Ed25519; pure."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import Rejected

_SIGNATURE: Final = b"\x01"
_COSIGNATURE: Final = b"\x04"
_KEY: Final = 32  # bytes, of a seed as well as of a public key
_TIME: Final = 8
_DASH: Final = "\u2014"


def _from_base64(text: str) -> bytes:
    """Return what *text* encodes, if it is the one way to write it; else raise ValueError."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical")
    return raw


KEYS_CHANGED: Final = "audit.key.rotated.v1"
"""The type of the entry in which a log says that it signs with other keys from now on."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """The name and public key that the signatures of a log or of a witness are checked with.

    Attributes:
        algorithm: 1 for a log's Ed25519 signature, 4 for a witness's cosignature with its time.
    """

    name: str
    public_key: bytes
    algorithm: bytes = _SIGNATURE

    @property
    def key_id(self) -> bytes:
        """The four bytes that a signature line begins with."""
        named = self.name.encode() + b"\n" + self.algorithm + self.public_key
        return hashlib.sha256(named).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as C2SP signed-note writes it."""
        key = base64.b64encode(self.algorithm + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Return the verifier that *vkey* stands for.

        Raises:
            Rejected: it is malformed, or its key id is not its own.
        """
        try:
            name, key_id, encoded = vkey.strip().split("+", 2)
            key = _from_base64(encoded)
        except ValueError:
            raise Rejected("not a verifier key", code="bad-key") from None
        verifier = cls(name, key[1:], key[:1])
        fits = key[:1] in (_SIGNATURE, _COSIGNATURE) and len(key) == 1 + _KEY
        if not fits or verifier.key_id.hex() != key_id:
            raise Rejected("not an Ed25519 verifier key", code="bad-key")
        return verifier

    def made(self, line: str, text: str) -> bool:
        """Return True if the signature *line* is this key's, and right, for a note's *text*."""
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        try:
            blob = _from_base64(encoded)
        except ValueError:
            return False
        if (dash, name, blob[:4]) != (_DASH, self.name, self.key_id):
            return False
        signed, signature = text.encode(), blob[4:]
        if self.algorithm == _COSIGNATURE:
            seconds = int.from_bytes(signature[:_TIME], "big")
            signed = f"cosignature/v1\ntime {seconds}\n".encode() + signed
            signature = signature[_TIME:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, signed)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How many entries a log had, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class Signer:
    """Signs checkpoints of one log, with its key and with those that are being retired."""

    def __init__(self, origin: str, *seeds: str) -> None:
        """Take Ed25519 seeds, 32 bytes in base64 each, the present key's first."""
        self._keys = [Ed25519PrivateKey.from_private_bytes(_seed(seed)) for seed in seeds]
        self.verifiers = [Verifier(origin, k.public_key().public_bytes_raw()) for k in self._keys]

    @property
    def verifier(self) -> Verifier:
        """The present key's."""
        return self.verifiers[0]

    def sign(self, size: int, root: bytes) -> str:
        """Return the signed note for a log of *size* entries with *root*."""
        return self.sign_text(Checkpoint(self.verifier.name, size, root).text)

    def sign_text(self, text: str) -> str:
        """Return a signed note with *text*, which ends in a newline."""
        lines = [
            f"{_DASH} {verifier.name} "
            f"{base64.b64encode(verifier.key_id + key.sign(text.encode())).decode()}\n"
            for key, verifier in zip(self._keys, self.verifiers, strict=True)
        ]
        return f"{text}\n{''.join(lines)}"


def _seed(encoded: str) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _KEY:
        raise Rejected("the log key is not 32 bytes in base64", code="bad-key")
    return raw


def split_note(note: str) -> tuple[str, list[str]]:
    """Return the text of a signed note and its signature lines, unchecked."""
    text, _, signatures = note.rpartition("\n\n")
    return f"{text}\n", signatures.splitlines()


def open_checkpoint(note: str, *verifiers: Verifier) -> Checkpoint:
    """Return the checkpoint in *note*, having checked a signature of one of *verifiers* on it.

    Raises:
        Rejected: it is malformed, of another log, or not signed by any of the keys.
    """
    checkpoint = _said(note)
    text, lines = split_note(note)
    own = [v for v in verifiers if v.name == checkpoint.origin]  # no witness is the log
    if checkpoint.text != text or not own:
        raise Rejected("not a checkpoint of this log", code="bad-checkpoint")
    if not any(verifier.made(line, text) for verifier in own for line in lines):
        raise Rejected("the log's signature is missing or wrong", code="bad-signature")
    return checkpoint


def _said(note: str) -> Checkpoint:
    """Return the checkpoint that *note* tells of, unchecked."""
    text, _ = split_note(note)
    try:
        origin, size, root, _ = text.split("\n")
        return Checkpoint(origin, int(size), _from_base64(root))
    except ValueError:
        raise Rejected("not a checkpoint", code="bad-checkpoint") from None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one log through time.

    Attributes:
        present: They may have signed any state of it.
        retired: Others, each with the index of the entry that gave it up: no state in which
            that entry lies bears the key's signature alone.
    """

    present: Sequence[Verifier]
    retired: dict[Verifier, int] = field(default_factory=dict[Verifier, int])

    def open(self, note: str) -> Checkpoint:
        """Return the checkpoint in *note*, signed with a key that the log had at its size.

        Raises:
            Rejected: as :func:`open_checkpoint`.
        """
        size = _said(note).size
        earlier = [key for key, given_up in self.retired.items() if size <= given_up]
        return open_checkpoint(note, *self.present, *earlier)


def open_strictly(note: str, *verifiers: Verifier) -> Checkpoint:
    """Like :func:`open_checkpoint`, but every line must be a right signature of a known key.

    Raises:
        Rejected: something in it is not vouched for.
    """
    checkpoint = open_checkpoint(note, *verifiers)
    text, lines = split_note(note)
    if note != "\n".join([text, *lines, ""]):
        raise Rejected("the note is not written as it was signed", code="bad-checkpoint")
    for line in lines:
        if not any(verifier.made(line, text) for verifier in verifiers):
            raise Rejected("a signature is wrong or by an unknown key", code="bad-checkpoint")
    return checkpoint
