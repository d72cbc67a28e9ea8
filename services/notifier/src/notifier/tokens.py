"""Links in mails that say who follows them, and that nobody else can make; pure."""

import base64
import binascii
import hmac
from typing import Final, Literal

from shared.errors import Rejected

Purpose = Literal["verify", "unsubscribe", "acknowledge"]
_MAC: Final = 16  # octets of HMAC-SHA-256 that are kept (RFC 2104 section 5)


def sign(key: bytes, purpose: Purpose, payload: bytes) -> str:
    """Return a token of characters that a link may hold; it says *payload* to who can verify it."""
    made = base64.urlsafe_b64encode(payload + _mac(key, purpose, payload))
    return made.decode().rstrip("=")


def verify(key: bytes, purpose: Purpose, token: str) -> bytes:
    """Return what a token says.

    Raises:
        Rejected: we did not make it, or not for this purpose.
    """
    try:
        made = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        made = b""
    payload, mac = made[:-_MAC], made[-_MAC:]
    # Of the ways to write the same octets in base64 only one is ours.
    if not hmac.compare_digest(mac, _mac(key, purpose, payload)) or (
        sign(key, purpose, payload) != token
    ):
        raise Rejected("the link is not one of ours; copy all of it", code="invalid-token")
    return payload


def _mac(key: bytes, purpose: Purpose, payload: bytes) -> bytes:
    return hmac.digest(key, f"link/{purpose}\0".encode() + payload, "sha256")[:_MAC]
