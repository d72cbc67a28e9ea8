"""Finding an address again without keeping it in the clear; pure."""

import hmac

from email_validator import EmailNotValidError, validate_email

from shared.errors import Rejected


def normal(email: str) -> str:
    """Return *email* as one spelling of it: the domain in lower case, all in NFC.

    >>> normal("Ops@Customer.EXAMPLE")
    'Ops@customer.example'

    Raises:
        Rejected: it is not an address.
    """
    try:
        parsed = validate_email(
            email, check_deliverability=False, globally_deliverable=False, strict=True
        )
    except EmailNotValidError:
        raise Rejected("not an e-mail address", code="invalid-address") from None
    return parsed.normalized


def lookup(key: bytes, email: str) -> bytes:
    """Return the keyed hash by which an address is found; without *key* it says nothing."""
    return hmac.digest(key, normal(email).encode(), "sha256")
