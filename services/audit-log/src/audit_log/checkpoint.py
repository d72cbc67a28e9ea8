"""The signed state of the log: C2SP signed-note and tlog-checkpoint, Ed25519; pure."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import Rejected

_ED25519: Final = b"\x01"
_KEY: Final = 32  # bytes, of a seed as well as of a public key


@dataclass(frozen=True, slots=True)
class Verifier:
    """The name and public key that checkpoints of a log are checked with."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that a signature line begins with."""
        named = self.name.encode() + b"\n" + _ED25519 + self.public_key
        return hashlib.sha256(named).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as C2SP signed-note writes it."""
        key = base64.b64encode(_ED25519 + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Return the verifier that *vkey* stands for.

        Raises:
            Rejected: it is malformed, or its key id is not its own.
        """
        try:
            name, key_id, encoded = vkey.strip().split("+", 2)
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise Rejected("not a verifier key", code="bad-key") from None
        verifier = cls(name, key[1:])
        fits = key[:1] == _ED25519 and len(key) == 1 + _KEY
        if not fits or verifier.key_id.hex() != key_id:
            raise Rejected("not an Ed25519 verifier key", code="bad-key")
        return verifier


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
    """Signs checkpoints of one log."""

    def __init__(self, origin: str, seed: str) -> None:
        """Take the Ed25519 *seed*, 32 bytes in base64."""
        try:
            raw = base64.b64decode(seed, validate=True)
        except ValueError:
            raw = b""
        if len(raw) != _KEY:
            raise Rejected("the log key is not 32 bytes in base64", code="bad-key")
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.verifier = Verifier(origin, self._key.public_key().public_bytes_raw())

    def sign(self, size: int, root: bytes) -> str:
        """Return the signed note for a log of *size* entries with *root*."""
        checkpoint = Checkpoint(self.verifier.name, size, root)
        signature = self.verifier.key_id + self._key.sign(checkpoint.text.encode())
        line = f"\u2014 {self.verifier.name} {base64.b64encode(signature).decode()}\n"
        return f"{checkpoint.text}\n{line}"


def open_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint in *note*, having checked the log's signature on it.

    Raises:
        Rejected: it is malformed, of another log, or not signed by this key.
    """
    text, _, signatures = note.rpartition("\n\n")
    try:
        origin, size, root = text.split("\n")
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except ValueError:
        raise Rejected("not a checkpoint", code="bad-checkpoint") from None
    if checkpoint.text != f"{text}\n" or origin != verifier.name:
        raise Rejected("not a checkpoint of this log", code="bad-checkpoint")
    key = Ed25519PublicKey.from_public_bytes(verifier.public_key)
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "\u2014" or name != verifier.name:
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
            if signature[:4] == verifier.key_id:
                key.verify(signature[4:], checkpoint.text.encode())
                return checkpoint
        except (ValueError, InvalidSignature):
            continue
    raise Rejected("the log's signature is missing or wrong", code="bad-checkpoint")
