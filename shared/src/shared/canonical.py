"""One byte string for each JSON value, so that it can be hashed (RFC 8785)."""

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of *value*.

    Equal to RFC 8785 for what our closed schemas allow: objects whose names are ASCII, strings,
    booleans, nulls and integers below 2^53.  Floats are outside; no contract of ours holds one.
    """
    return _encoder.encode(value)


def digest(*parts: bytes) -> bytes:
    """Return the SHA-256 of *parts* joined by a zero byte."""
    return hashlib.sha256(b"\x00".join(parts)).digest()
