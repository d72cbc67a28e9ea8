"""What a mail says that came back: a bounce, a complaint, an automatic reply, or nothing known.

Pure.  Bounces follow RFC 3464, or RFC 6533 beyond ASCII; complaints RFC 5965; automatic replies
RFC 3834.  Which delivery it is about says the return path that it came to, else the envelope id
that the bounce repeats (RFC 3461), else the Message-ID of the mail that it returns.  All three hold
an id that only mail servers on the way and whoever got the mail have seen: nobody else can make one
up.

Servers that follow no standard are heard where it cannot be anything else: the mail has no sender
and came to a return path.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from typing import ClassVar, Final, Literal
from uuid import UUID

from notifier import mime
from notifier.delivery import Reply
from notifier.mime import Fields, Part, first
from shared.errors import Rejected

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

BOUNCES: Final = "bounces"
COMPLAINTS: Final = "complaints"
_ID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RETURN_PATH: Final = re.compile(rf"b\+({_ID})", re.IGNORECASE)
_TEXT: Final = 65_536  # characters of a text that are looked at
_OPENING: Final = 4_096
_DIAGNOSTIC: Final = 1_000


@dataclass(frozen=True, slots=True)
class Box:
    """An address of ours that mail comes back to.

    Attributes:
        domain: Of the ids and return paths of our mails.
        name: ``bounces`` or ``complaints`` where it is not the return path of one mail.
        delivery: Whose return path it is.
    """

    domain: str
    name: str
    delivery: UUID | None = None


def box(address: str, domain: str) -> Box:
    """Return which of our addresses *address* is.

    Raises:
        Rejected: none of them.
    """
    local, _, place = address.rpartition("@")
    if place.lower() == domain.lower():
        path = _RETURN_PATH.fullmatch(local)
        if path is not None:
            return Box(domain, "return-path", UUID(path[1]))
        if local.lower() in (BOUNCES, COMPLAINTS):
            return Box(domain, local.lower())
    raise Rejected("mail for this address is not taken here", code="unknown-recipient")


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a mail server says became of a mail.

    Attributes:
        delivery: Of which it says so; None if that cannot be told.
        status: Enhanced status (RFC 3463), the most precise that is told.
        diagnostic: The server's words; they may hold addresses.
        recipient: Whom it could not deliver to: not whom we wrote to if that was passed on.
    """

    delivery: UUID | None
    action: Action
    status: str | None = None
    diagnostic: str = field(default="", repr=False)
    recipient: str | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """A word for it in metrics."""
        return self.action

    @property
    def bad_address(self) -> bool:
        """True if it says for good that there is no such mailbox."""
        return self.action == "failed" and Reply(550, self.status).bad_address


@dataclass(frozen=True, slots=True)
class Complaint:
    """Somebody reported a mail as unwanted.

    Attributes:
        delivery: Which mail; None if that cannot be told.
        feedback: Its type (RFC 5965 7.3).
    """

    delivery: UUID | None
    feedback: str = "abuse"
    kind: ClassVar[str] = "complaint"


@dataclass(frozen=True, slots=True)
class AutoReply:
    """A machine answered: somebody is away, asks to be asked again, or has seen the mail."""

    delivery: UUID | None
    kind: ClassVar[str] = "auto-reply"


@dataclass(frozen=True, slots=True)
class Unclear:
    """It is nothing that concerns a delivery, as far as anybody here understands it.

    Attributes:
        written: A person may have written it.
    """

    written: bool = True
    kind: ClassVar[str] = "unclear"


Returned = Bounce | Complaint | AutoReply | Unclear


def read(content: bytes, to: Box, *, null_sender: bool) -> Returned:
    """Return what a mail says that came to *to*; whatever it is made of, this raises nothing."""
    mail = mime.parse(content)
    parts = list(mime.walk(mail))
    returned = [part.enclosed for part in parts if part.kind in _RETURNED]
    for part in parts:
        if part.kind in _STATUS_REPORTS and (report := _report(mime.groups(part.text))):
            envelope, told = report
            return _bounce(
                told, to.delivery or _named(_places(envelope, returned, mail), to.domain)
            )
        if part.kind == "message/feedback-report":
            return _feedback(mime.groups(part.text), returned, to)
    if to.name == COMPLAINTS and (about := _named(_originals(returned), to.domain)):
        return Complaint(about, "unstated")  # feedback loops that only pass the mail on
    if to.delivery is not None and null_sender and (told := _in_words(mail, parts)):
        return _bounce(told, to.delivery)
    if any(part.kind == "message/disposition-notification" for part in parts) or _automatic(mail):
        return AutoReply(to.delivery or _named(_places("", returned, mail), to.domain))
    return Unclear()


_RETURNED: Final = frozenset(
    {"message/rfc822", "message/global", "message/global-headers", "text/rfc822-headers"}
)
_STATUS_REPORTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})


# --- which delivery ------------------------------------------------------------------------------


def _named(places: Iterator[str], domain: str) -> UUID | None:
    """Return the delivery that the first of *places* names, as an envelope id or at *domain*."""
    ours = re.compile(
        rf"(?<![0-9a-f-])({_ID})(?:@{re.escape(domain)}(?![\w.-])|\s*$)", re.IGNORECASE
    )
    found = next(filter(None, map(ours.search, places)), None)
    return UUID(found[1]) if found else None


def _places(envelope_id: str, returned: Sequence[Part], mail: Part) -> Iterator[str]:
    yield envelope_id
    yield from _originals(returned)
    yield mail.get("in-reply-to")
    yield mail.get("references")


def _originals(returned: Sequence[Part]) -> Iterator[str]:
    for original in returned:
        yield original.get("message-id")
        yield original.get("return-path")


# --- bounces -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Told:
    action: Action
    status: str | None
    diagnostic: str
    recipient: str | None


def _bounce(told: _Told, delivery: UUID | None) -> Bounce:
    return Bounce(delivery, told.action, told.status, told.diagnostic, told.recipient)


_STATUS: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_CODE: Final = re.compile(r"(?<![\d.])([45]\d\d)[ -]")
_ACTION: Final = re.compile(r"\s*([a-z]+)", re.IGNORECASE)
_BY_CLASS: Final[dict[str, Action]] = {"5": "failed", "4": "delayed", "2": "delivered"}
# If a bounce tells of several recipients, what was passed on came to grief somewhere.
_GRAVEST: Final[tuple[Action, ...]] = ("failed", "delayed", "expanded", "relayed", "delivered")


def _report(groups: Sequence[Fields]) -> tuple[str, _Told] | None:
    """Return the envelope id and the gravest of what a status report tells."""
    envelope = next(filter(None, (first(g, "original-envelope-id") for g in groups)), "")
    told = [found for group in groups if (found := _one(group))]
    if not told:
        return None
    return envelope, min(told, key=lambda one: _GRAVEST.index(one.action))


def _one(group: Fields) -> _Told | None:
    """Return what a group of fields tells of a recipient."""
    diagnostic = first(group, "diagnostic-code").partition(";")[2].strip()
    diagnostic = diagnostic or first(group, "diagnostic-code")
    status = _status(first(group, "status"), diagnostic)
    word = _ACTION.match(first(group, "action"))
    action: Action | None = next((a for a in _GRAVEST if word and word[1].lower() == a), None)
    if action is None and status is not None:
        action = _BY_CLASS[status[0]]
    if action is None:
        return None
    return _Told(action, status, diagnostic[:_DIAGNOSTIC], _recipient(group))


def _status(field_: str, diagnostic: str) -> str | None:
    """Return the most precise status: servers that relay a refusal often keep 5.0.0 for theirs."""
    own = _STATUS.search(field_)
    remote = _STATUS.search(diagnostic)
    if own is None:
        return remote[0] if remote else None
    vague = own[2] == own[3] == "0"
    return remote[0] if remote and vague and remote[1] == own[1] else own[0]


def _recipient(group: Fields) -> str | None:
    kind, _, address = first(group, "final-recipient").partition(";")
    address = address.strip().strip("<>")
    if kind.strip().lower() == "utf-8":  # RFC 6533 3: \x{C5} stands for a character
        address = re.sub(r"\\x\{([0-9A-Fa-f]{2,6})\}", _character, address)
    return address or None


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= _LAST_CHARACTER else match[0]


_LAST_CHARACTER: Final = 0x10FFFF

_FAILED: Final = re.compile(
    r"undeliver|returned mail|returned to sender|failure notice|non-?delivery"
    r"|delivery (?:has )?fail|delivery (?:status notification|problem|report)"
    r"|mail delivery (?:failed|system)"
    r"|could ?n[o']t (?:be )?deliver|unable to deliver|unzustellbar|kunde inte levereras"
    r"|gick inte att leverera|the qmail-send program"
    r"|created automatically by mail delivery software",
    re.IGNORECASE,
)
_DELAYED: Final = re.compile(
    r"delay|not (?:yet )?been delivered|will (?:be retried|keep trying|continue)|warning: |försena"
    r"|you do not need to (?:do anything|resend)",
    re.IGNORECASE,
)
_GIVEN_UP: Final = re.compile(
    r"giv(?:e|en|ing) up|permanent|retry time|will not be retried|no further|failed after",
    re.IGNORECASE,
)
_COPY: Final = re.compile(
    r"^(?:-{3}.*(?:copy of|original|below this line).*|.*copy of (?:the|your) message.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_NO_MAILBOX: Final = re.compile(
    r"user (?:is )?unknown|unknown (?:user|recipient|local part)|no such (?:user|mailbox|recipient)"
    r"|no mailbox here by that name|mailbox (?:not found|does not exist)"
    r"|(?:user|account|address|recipient)(?: that you tried to reach)? (?:does not|doesn't) exist",
    re.IGNORECASE,
)
_FULL: Final = re.compile(
    r"mailbox (?:is )?(?:full|over)|over ?quota|quota exceeded", re.IGNORECASE
)


def _in_words(mail: Part, parts: Sequence[Part]) -> _Told | None:
    """Return what a server tells that follows no standard; None if it may be anything else."""
    text = next((part.text[:_TEXT] for part in parts if part.kind.startswith("text/")), "")
    if cut := _COPY.search(text):
        text = text[: cut.start()]
    subject, opening = _words(mail.get("subject")), text[:_OPENING]
    failed = mail.get("x-failed-recipients")
    if not (failed or _FAILED.search(subject) or _FAILED.search(opening)):
        return None
    waits = _DELAYED.search(subject) or _DELAYED.search(opening)
    line = next((line for line in text.split("\n") if _STATUS.search(line)), None)
    line = line or next((line for line in text.split("\n") if _CODE.search(line)), "")
    action: Action = "delayed" if waits and not _GIVEN_UP.search(text) else "failed"
    recipient = failed.partition(",")[0].strip() or None
    return _Told(action, _guessed(line, text), line.strip()[:_DIAGNOSTIC], recipient)


def _guessed(line: str, text: str) -> str | None:
    """Return the status that stands in *line*, or the one that the words mean."""
    if told := _STATUS.search(line):
        return told[0]
    if _NO_MAILBOX.search(text):
        return "5.1.1"
    return "5.2.2" if _FULL.search(text) else None


# --- complaints ----------------------------------------------------------------------------------

# Not among them: not-spam, which takes a complaint back, and auth-failure, by which a server tells
# of a signature (RFC 6591).
_COMPLAINTS: Final = frozenset(
    {"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list", "miscategorized"}
)


def _feedback(groups: Sequence[Fields], returned: Sequence[Part], to: Box) -> Returned:
    report: Fields = tuple(pair for group in groups for pair in group)
    feedback = first(report, "feedback-type").strip().lower()
    if feedback not in _COMPLAINTS:
        return Unclear(written=False)

    def places() -> Iterator[str]:
        yield from _originals(returned)
        yield first(report, "original-envelope-id")
        yield first(report, "original-mail-from")

    return Complaint(to.delivery or _named(places(), to.domain), feedback)


# --- automatic replies ---------------------------------------------------------------------------

_REPLIES: Final = re.compile(
    r"(?:re: )?(?:out of (?:the )?office|auto(?:matic)?[- ]?(?:reply|response|svar)"
    r"|automatiskt svar|frånvar|abwesenheit|vacation|away from|challenge:|please confirm)",
    re.IGNORECASE,
)
_MARKS: Final = (
    "x-autoreply", "x-autorespond", "x-autoresponder", "x-autogenerated", "x-auto-reply-from",
    "x-mail-autoreply", "x-vacation", "x-tmda-fingerprint", "x-boxbe-challenge",
)  # fmt: skip
_PRECEDENCES: Final = frozenset({"auto_reply", "auto-reply", "junk"})


def _automatic(mail: Part) -> bool:
    submitted = mail.get("auto-submitted").partition(";")[0].strip().lower()
    return (
        submitted.startswith("auto-")
        or mail.get("precedence").strip().lower() in _PRECEDENCES
        or any(mail.get(mark) for mark in _MARKS)
        or _REPLIES.match(_words(mail.get("subject"))) is not None
    )


def _words(header: str) -> str:
    """Return a header's text, its encoded-words decoded (RFC 2047)."""
    try:
        pieces = decode_header(header[:_OPENING])
    except (HeaderParseError, ValueError, IndexError):
        return header
    return "".join(
        piece if isinstance(piece, str) else piece.decode("utf-8", "replace") for piece, _ in pieces
    )
