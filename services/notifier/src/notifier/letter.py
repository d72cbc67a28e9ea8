"""From a template and its parameters to the bytes of a mail; pure.

Nothing that was handed in can add a header: control characters and encoded-words are refused
(CPython's ``email`` decodes the latter into real line breaks, CVE-2024-6923), and what was
serialised is parsed again and compared with what was meant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from shared.addresses import normal
from shared.errors import Rejected

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]|=\?[^?]*\?[bqBQ]\?")
_LONGEST_SUBJECT: Final = 400
_PLAIN: Final = re.compile(r"(?:[\t\x20-\x7e]{0,998}\n)*")  # fit for 7bit (RFC 5322 2.1.1)
_TEMPLATES: Final = {path.name: path for path in files("notifier").joinpath("templates").iterdir()}
_environment: Final = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said, before it is known to whom."""

    subject: str
    body: str


def write(template: str, locale: str, params: Mapping[str, Any]) -> Letter:
    """Return the letter that *template* makes of *params* in a language.

    Raises:
        Rejected: the template is unknown, lacks a parameter, or one could change the headers.
    """
    path = _TEMPLATES.get(f"{template}.{locale}.txt")
    if path is None:
        raise Rejected("the template is not known", code="unknown-template")
    # Apart, so that a line break in a parameter stays in the subject, where it is found out.
    parts = path.read_text(encoding="utf-8").split("\n\n", 1)
    try:
        subject, body = (_environment.from_string(part).render(params) for part in parts)
    except UndefinedError as error:
        raise Rejected(f"a parameter of {template} is missing", code="missing-parameter") from error
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise Rejected(f"a parameter of {template} is unfit", code="unfit-parameter") from error
    if _UNSAFE.search(subject) or len(subject) > _LONGEST_SUBJECT:
        raise Rejected("a parameter would break the subject line", code="header-injection")
    return Letter(subject, f"{body}\n")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a mail is from and to, and under which id."""

    delivery: UUID
    sender: str
    domain: str
    recipient: str
    locale: str

    @property
    def message_id(self) -> str:
        """The same on every attempt, so that a repeat can be told from a second mail."""
        return f"<{self.delivery}@{self.domain}>"

    @property
    def return_path(self) -> str:
        """The variable envelope return path (VERP), by which a bounce names its delivery."""
        return f"b+{self.delivery}@{self.domain}"


def seal(letter: Letter, envelope: Envelope, now: datetime) -> bytes:
    """Return the mail as it goes over the wire (RFC 5322).

    Raises:
        Rejected: the recipient is not one address, or the mail would have other headers than it
            was meant to have.
    """
    headers = {
        "From": envelope.sender,
        "To": normal(envelope.recipient),
        "Subject": letter.subject,
        "Date": format_datetime(now),
        "Message-ID": envelope.message_id,
        "Auto-Submitted": "auto-generated",
        "Content-Language": envelope.locale,
    }
    policy = SMTP if envelope.recipient.isascii() else SMTPUTF8
    mail = EmailMessage(policy=policy.clone(max_line_length=998))
    try:
        # First the content, for setting it clears the headers about it.
        mail.set_content(letter.body, cte="7bit" if _PLAIN.fullmatch(letter.body) else "base64")
        for name, value in headers.items():
            if _UNSAFE.search(value):
                raise Rejected(f"{name} would break the headers", code="header-injection")
            mail[name] = value
        raw = mail.as_bytes()
    except (ValueError, IndexError, UnicodeError) as error:
        raise Rejected("the mail cannot be written", code="unfit-mail") from error
    found = BytesHeaderParser(policy=SMTP).parsebytes(raw).keys()
    meant = [*headers, "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    if sorted(found) != sorted(meant):
        raise Rejected("the mail would have other headers than meant", code="header-injection")
    return raw
