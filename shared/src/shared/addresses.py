"""What counts as an e-mail address, and the one way to spell it; pure."""

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from shared.errors import Rejected


def normal(email: str) -> str:
    """Return *email* as one spelling of it: the domain in lower case, all in NFC.

    Whether mail can be delivered there is for the mail server to find out (RFC 5321, RFC 6531).

    >>> normal("Ops@Customer.EXAMPLE")
    'Ops@customer.example'

    Raises:
        Rejected: it is not an address; the text does not repeat it.
    """
    return _parsed(email).normalized


def on_the_wire(email: str) -> str:
    """Return a normal address as mail servers take it: its domain in ASCII (RFC 5891).

    >>> on_the_wire("åsa@företag.se")
    'åsa@xn--fretag-wxa.se'

    Raises:
        Rejected: it is not an address; the text does not repeat it.
    """
    local, _, domain = email.rpartition("@")
    return email if domain.isascii() else f"{local}@{_parsed(email).ascii_domain}"


def _parsed(email: str) -> ValidatedEmail:
    try:
        return validate_email(
            email,
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
            strict=True,
        )
    except EmailNotValidError:
        raise Rejected("not an e-mail address", code="invalid-address") from None
