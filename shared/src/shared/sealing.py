"""Copies of personal data that only the holder of a key can read (RFC 9180, base mode)."""

import base64
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from shared.errors import Rejected

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_CONTEXT: Final = b"gallra rights copy\x00"


def new_key() -> tuple[bytes, str]:
    """Return a new private key, and the public one as it stands in an order."""
    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), base64.b64encode(key.public_key().public_bytes_raw()).decode()


def seal(body: bytes, seal_to: str, name: str) -> bytes:
    """Return *body* sealed to a public key, as the object of that *name* and no other."""
    key = X25519PublicKey.from_public_bytes(base64.b64decode(seal_to))
    return _SUITE.encrypt(body, key, _CONTEXT + name.encode())


def unseal(sealed: bytes, private_key: bytes, name: str) -> bytes:
    """Return what was sealed as the object of that *name*.

    Raises:
        Rejected: it was sealed to another key or under another name, or it was changed.
    """
    key = X25519PrivateKey.from_private_bytes(private_key)
    try:
        return _SUITE.decrypt(sealed, key, _CONTEXT + name.encode())
    except (InvalidTag, ValueError):
        raise Rejected("the sealed copy is not what was asked for", code="unsealable") from None
