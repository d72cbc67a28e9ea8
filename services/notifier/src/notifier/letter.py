"""From a template and its parameters to the bytes of a mail; pure.

What all recipients of a message share is written once, as a :class:`Form`; addressing it to one of
them is then cheap.  Nothing that was handed in can add a header: control characters, characters
that turn the direction of writing, and encoded-words are refused (CPython's ``email`` decodes the
latter into real line breaks, CVE-2024-6923), and what was serialised is parsed again and compared
with what was meant.
"""

import base64
import re
from binascii import b2a_qp
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from markupsafe import Markup

from notifier.template import Templates, Version
from shared.addresses import on_the_wire
from shared.errors import Rejected

LARGEST: Final = 1_000_000  # octets of a mail
_TURNS: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNPRINTABLE: Final = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ue000{_TURNS}]")
_UNSAFE: Final = re.compile(
    rf"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029\ud800-\udfff\ue000{_TURNS}]|=\?[^?]*\?[bqBQ]\?"
)
_LONGEST_SUBJECT: Final = 400
_LONGEST_ADDRESS: Final = 254  # octets (RFC 5321 4.5.3.1.3)
_UNSUBSCRIBE: Final = "\ue000"  # stands in a letter where each recipient's own link comes
_ADDRESS: Final = re.compile(r"[^\s<>,;:\\\"()\[\]\x00-\x20\x7f-\x9f@]+@[A-Za-z0-9.-]+")
_LINK: Final = re.compile(r"https?://[A-Za-z0-9.:/_-]+")
_QP_LINE: Final = 70  # of the 76 characters that a quoted-printable line may have (RFC 2045 6.7)


@dataclass(frozen=True, slots=True)
class Footing:
    """On what footing a message is sent; its mails say so.

    Attributes:
        legal_basis: Empty for what we write to ourselves.
        refusable: The recipient may decline such mail, and each carries a link for that.
    """

    legal_basis: str
    refusable: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said, before it is known to whom."""

    subject: str
    text: str
    html: str
    label: str
    locale: str


def write(
    templates: Templates,
    version: Version,
    locale: str,
    params: Mapping[str, Any],
    footing: Footing,
) -> Letter:
    """Return the letter that a template makes of *params* in a language.

    Raises:
        Rejected: a parameter is missing, unknown or unfit, or could change the headers.
    """
    version.check(params)
    subject, text, html = (
        version.render(block, locale, params) for block in ("subject", "text", "html")
    )
    _check_subject(subject)
    if _UNPRINTABLE.search(text):
        text = "a parameter holds a control character or turns the direction of writing"
        raise Rejected(text, code="unfit-parameter")
    around: dict[str, Any] = {
        "subject": subject,
        "mandatory": bool(footing.legal_basis) and not footing.refusable,
        "legal_basis": footing.legal_basis,
        "unsubscribe": _UNSUBSCRIBE if footing.refusable else "",
        "template": version.label,
    }
    layout = templates.layout(version)
    return Letter(
        subject,
        layout.render("text", locale, {**around, "body": text}) + "\n",
        layout.render("html", locale, {**around, "body": Markup(html)}) + "\n",  # noqa: S704 - escaped
        version.label,
        locale,
    )


def _check_subject(subject: str) -> None:
    if _UNSAFE.search(subject) or len(subject) > _LONGEST_SUBJECT:
        raise Rejected("a parameter would break the subject line", code="header-injection")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Whom a mail is for, and under which id.

    Attributes:
        unsubscribe: The recipient's own link, if the mail may be declined.
    """

    delivery: UUID
    recipient: str
    unsubscribe: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A letter that only wants an address.

    Attributes:
        head: The headers that all its mails share.
        pieces: The body, cut where the recipient's own link comes.
        domain: Of the ids and return paths of its mails.
    """

    head: bytes
    pieces: tuple[bytes, ...]
    domain: str


def message_id(delivery: UUID, domain: str) -> str:
    """Return the Message-ID: the same on every attempt, so that a repeat shows itself as one."""
    return f"<{delivery}@{domain}>"


def return_path(delivery: UUID, domain: str) -> str:
    """Return the variable envelope return path (VERP), by which a bounce names its delivery."""
    return f"b+{delivery}@{domain}"


def prepare(
    letter: Letter,
    *,
    sender: str,
    name: str,
    thread: str | None = None,
    calendar: bytes | None = None,
) -> Form:
    """Return *letter* with everything that does not depend on who gets it.

    Args:
        letter: What is said.
        sender: The address in ``From``; its domain is that of ids and return paths.
        name: Of the message, among all.
        thread: What mails that belong together have in common.
        calendar: An iCalendar object that goes with it (RFC 5545), which states its method.

    Raises:
        Rejected: it is too large.
    """
    _check_subject(letter.subject)
    domain = sender.rpartition("@")[2]
    mark = sha256(name.encode()).hexdigest()[:24]
    alternatives = _multipart("alternative", f"a-{mark}", [
        _text("plain", letter.text), _text("html", letter.html),
    ])  # fmt: skip
    parts = [alternatives] if calendar is None else [
        _multipart("mixed", f"m-{mark}", [alternatives, _attached(calendar)])
    ]  # fmt: skip
    about, body = parts[0].split(b"\r\n\r\n", 1)
    headers = {
        "From": sender,
        "Subject": _header("Subject", letter.subject),
        "Auto-Submitted": "auto-generated",  # RFC 3834: nobody's machine need answer
        "Content-Language": letter.locale,
        "Gallra-Template": letter.label,
        "MIME-Version": "1.0",
    }
    if thread is not None:
        root = sha256(thread.encode()).hexdigest()[:32]
        headers["References"] = f"<{root}@thread.{domain}>"
    if _SLOT in body:
        headers["List-Id"] = f"<{letter.label.partition('/')[0]}.{domain}>"
    if len(body) > LARGEST:
        raise Rejected("the mail is too large", code="too-large")
    return Form(_headers(headers) + about + b"\r\n", tuple(body.split(_SLOT)), domain)


def _header(name: str, text: str) -> str:
    charset = "us-ascii" if text.isascii() else "utf-8"
    return Header(text, charset, 76, name).encode(linesep="\r\n")


_SLOT: Final = b"\x00"  # no encoding that we use brings it forth


def _multipart(kind: str, boundary: str, parts: list[bytes]) -> bytes:
    opening = f"--{boundary}\r\n".encode()
    inner = b"\r\n".join(opening + part for part in parts)
    about = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    return about + inner + f"\r\n--{boundary}--\r\n".encode()


def _text(kind: str, text: str) -> bytes:
    about = (
        f"Content-Type: text/{kind}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return about.encode() + _SLOT.join(_quoted(piece) for piece in text.split(_UNSUBSCRIBE))


def _quoted(text: str) -> bytes:
    """Return *text* as quoted-printable whose last line has room for a soft line break."""
    lines = b2a_qp(text.encode(), istext=True).replace(b"\n", b"\r\n")
    *_, last = lines.rsplit(b"\n", 1)
    if len(last) <= _QP_LINE:
        return lines
    place = len(lines) - len(last) + _QP_LINE
    cut = lines.rfind(b"=", place - 2, place)  # not inside of an escaped octet
    place = cut if cut >= 0 else place
    return lines[:place] + b"=\r\n" + lines[place:]


def _attached(calendar: bytes) -> bytes:
    method = re.search(rb"METHOD:([A-Z]+)", calendar)
    about = (
        f"Content-Type: text/calendar; charset=utf-8; method={method[1].decode() if method else ''}"
        '\r\nContent-Disposition: attachment; filename="calendar.ics"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return about.encode() + base64.encodebytes(calendar).replace(b"\n", b"\r\n")


def seal(form: Form, envelope: Envelope, now: datetime) -> bytes:
    """Return the mail as it goes over the wire (RFC 5322), its lines ended by CR LF.

    Raises:
        Rejected: the recipient is not one address, or the mail would have other headers than it
            was meant to have.
    """
    recipient = on_the_wire(envelope.recipient)
    fits = len(recipient.encode(errors="replace")) <= _LONGEST_ADDRESS
    if not fits or not _ADDRESS.fullmatch(recipient) or _UNSAFE.search(recipient):
        raise Rejected("the address would break the headers", code="header-injection")
    own = {
        "To": recipient,
        "Date": _date(now),
        "Message-ID": message_id(envelope.delivery, form.domain),
    }
    slot = b""
    link = envelope.unsubscribe
    if link is not None:
        if not _LINK.fullmatch(link):
            raise Rejected("the link would break the headers", code="header-injection")
        own["List-Unsubscribe"] = f"<{link}>"
        own["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
        slot = _soft(link.encode())
    return b"%b%b\r\n%b" % (_headers(own), form.head, slot.join(form.pieces))


@lru_cache(maxsize=1)
def _date(now: datetime) -> str:
    """Return *now* as headers have it; it is the same for all mails of a batch."""
    return format_datetime(now)


def _soft(link: bytes) -> bytes:
    """Return *link* on lines of its own that a reader of quoted-printable joins again."""
    chunks = [link[at : at + _QP_LINE] for at in range(0, len(link), _QP_LINE)]
    return b"=\r\n" + b"=\r\n".join(chunks) + b"=\r\n"


_FIELD: Final = re.compile(rb"([!-9;-~]+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")  # RFC 5322 2.2


def _headers(meant: Mapping[str, str]) -> bytes:
    """Return the headers *meant*; read again, they are these, each of them once."""
    head = "".join(f"{name}: {value}\r\n" for name, value in meant.items()).encode()
    names: list[bytes] = []
    end = 0
    while field := _FIELD.match(head, end):
        names.append(field[1])
        end = field.end()
    if end < len(head) or names != [name.encode() for name in meant]:
        raise Rejected("the mail would have other headers than meant", code="header-injection")
    return head
