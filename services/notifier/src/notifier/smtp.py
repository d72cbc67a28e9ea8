"""The dialogue with the mail relay: many mails over one connection, pipelined (RFC 5321, RFC 2920).

No client library pipelines, and a mail then costs four turns to the relay and back (ADR 13).  Here
a mail's content and the next one's envelope travel together.  Where the relay does not offer that,
the same dialogue is held step by step, with the same outcome.
"""

import asyncio
import base64
import re
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from types import TracebackType
from typing import Final, Literal, Self, cast

from notifier.delivery import Reply

Verdict = Literal["accepted", "deferred", "bounced", "unknown", "not-sent"]

_LINE: Final = re.compile(rb"(\d{3})(?:([ -])(.*))?", re.DOTALL)
_DOT: Final = re.compile(rb"\r\n\.")  # where there is none, as mostly, known sooner than by replace
_STATUS: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?!\S)")
_ADDRESS: Final = re.compile(r"\S*@\S*")
_LONGEST_REPLY: Final = 65_536  # octets; what is longer is no reply
_KEPT: Final = 200  # characters of a reply's text
_SERVICE_CLOSES: Final = 421
_DONE: Final = 200
_GO_ON: Final = 354
_REFUSED: Final = 400
_NO_SMTPUTF8: Final = Reply(553, "5.6.7", "the relay takes no addresses beyond ASCII")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How many seconds to wait for an answer (RFC 5321 4.5.3.2).

    A shorter wait after the final dot would make doubts: the relay may be taking the mail.
    """

    greeting: float = 300.0
    command: float = 300.0
    data: float = 120.0
    taken: float = 600.0


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail is handed over, and with what credentials.

    Attributes:
        tls: What its certificate is checked against; None for a connection in the clear.  With it
            nothing is said before the connection is secret.
        name: By which this client introduces itself.
    """

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    name: str = "localhost"
    timeouts: Timeouts = Timeouts()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One mail for one recipient, as the relay gets it.

    Attributes:
        return_path: Where it goes back to if it cannot be delivered.
        envelope_id: By which a bounce names it, if the relay keeps such ids (RFC 3461).
        content: The mail, its lines ended by CR LF.
    """

    return_path: str
    recipient: str
    envelope_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a mail at the relay; ``not-sent``: its turn did not come."""

    verdict: Verdict
    reply: Reply | None = None


class RelayAwayError(Exception):
    """No mail can be handed over now; the text says at which step, and nothing of any mail."""


class _BrokenError(Exception):
    """The connection ended, stood still, or brought what is no reply."""


class _Wire(asyncio.Protocol):
    """A connection: lines out, replies in."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._lines: list[bytes] = []
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was
        self._break()

    def eof_received(self) -> bool:
        self._break()
        return False

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self.broken:  # after what is no reply nothing is one
                self._take(line.rstrip(b"\r"))
        if len(self._rest) + sum(map(len, self._lines)) > _LONGEST_REPLY:
            self._break()
        self._wake()

    def _take(self, line: bytes) -> None:
        parsed = _parsed(line)
        if parsed is None:
            self._break()
            return
        code, more, text = parsed
        self._lines.append(text)
        if not more:
            self._replies.append(_reply(code, tuple(self._lines)))
            self._lines.clear()

    def _break(self) -> None:
        self.broken = True
        if self._transport is not None:
            self._transport.abort()
        self._room.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def silent(self) -> bool:
        """True if nothing has come that was not asked for."""
        return not (self._replies or self._lines or self._rest)

    async def write(self, *parts: bytes) -> None:
        if self.broken or self._transport is None:
            raise _BrokenError
        self._transport.writelines(parts)
        await self._room.wait()

    async def reply(self, within: float) -> Reply:
        """Return the next reply.

        Raises:
            _BrokenError: there is none *within* so many seconds.
        """
        if not self._replies:
            await self._wait(within)
        return self._replies.popleft()

    async def _wait(self, within: float) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(within, self._break)
        try:
            while not self._replies:
                if self.broken:
                    raise _BrokenError
                self._waiter = loop.create_future()
                await self._waiter
        finally:
            timer.cancel()

    async def secure(self, tls: ssl.SSLContext, host: str, within: float) -> None:
        """Go on in secret; what was sent before the hand-shake is not believed (CVE-2011-0411)."""
        if not self.silent or self._transport is None:
            raise _BrokenError
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport, self, tls, server_hostname=host, ssl_handshake_timeout=within
            )
        except (OSError, ssl.SSLError) as error:
            raise _BrokenError from error
        if transport is None:
            raise _BrokenError
        self._transport = transport

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@lru_cache(maxsize=64)  # most a server says over and over
def _parsed(line: bytes) -> tuple[int, bool, bytes] | None:
    """Return a line's code, whether more lines follow, and its text; None if it is no reply's."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    code, more, text = match.groups()
    return int(code), more == b"-", text or b""


@lru_cache(maxsize=64)
def _reply(code: int, lines: tuple[bytes, ...]) -> Reply:
    text = "\n".join(line.decode("utf-8", "replace").strip() for line in lines)
    status = _STATUS.match(text)
    return Reply(code, status[1] if status else None, text)


def masked(text: str, recipient: str) -> str:
    """Return a server's words without the address that it may quote, cut to a sentence or two.

    >>> masked("5.1.1 <ann@x.example>: user ann unknown", "ann@x.example")
    '5.1.1 (address) user (address) unknown'
    """
    local = recipient.rpartition("@")[0]
    if "@" in text or local.lower() in text.lower():  # few do, and the rest takes its time
        text = _ADDRESS.sub("(address)", text)
        name = re.escape(local)
        text = re.sub(rf"(?<!\w){name}(?!\w)", "(address)", text, flags=re.IGNORECASE)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text[:_KEPT]


class Connection:
    """A connection to the relay, used for one batch of mails after the other."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._wire: _Wire | None = None
        self._offers: frozenset[str] = frozenset()
        self._unclean = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; the relay ends what was not finished (RFC 5321 3.8)."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    @property
    def stands(self) -> bool:
        """Whether mails can be handed over."""
        return self._wire is not None and not self._wire.broken

    async def open(self) -> None:
        """Connect.

        Raises:
            RelayAwayError: the relay cannot be reached, refuses us, or is not as secret as asked.
        """
        relay, step = self._relay, "connecting"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(relay.timeouts.greeting):
                _, wire = await loop.create_connection(_Wire, relay.host, relay.port)
        except (OSError, TimeoutError) as error:
            raise RelayAwayError(f"{step}: {type(error).__name__}") from None
        self._wire = wire
        try:
            step = "greeting"
            _expect(await wire.reply(relay.timeouts.greeting))
            step = "EHLO"
            await self._introduce(wire)
            if relay.tls is not None:
                step = "STARTTLS"
                await self._secure(wire, relay.tls)
            if relay.user is not None:
                step = "AUTH"
                secret = f"\0{relay.user}\0{relay.password or ''}".encode()
                await self._ask(wire, b"AUTH PLAIN " + base64.b64encode(secret))
        except _BrokenError as error:
            self.close()
            raise RelayAwayError(f"{step}: {error or 'the connection broke'}") from None
        self._unclean = False

    async def _introduce(self, wire: _Wire) -> None:
        reply = await self._ask(wire, b"EHLO " + self._relay.name.encode())
        lines = reply.text.splitlines()[1:]  # after the relay's name
        self._offers = frozenset(line.split()[0].upper() for line in lines if line)

    async def _secure(self, wire: _Wire, tls: ssl.SSLContext) -> None:
        if "STARTTLS" not in self._offers:
            raise _BrokenError("the relay does not offer it, and it is required")
        await self._ask(wire, b"STARTTLS")
        await wire.secure(tls, self._relay.host, self._relay.timeouts.command)
        await self._introduce(wire)  # what was offered in the clear counts for nothing

    async def _ask(self, wire: _Wire, line: bytes) -> Reply:
        await wire.write(line + b"\r\n")
        reply = await wire.reply(self._relay.timeouts.command)
        _expect(reply)
        return reply

    async def hand_over(self, mails: Sequence[Outgoing]) -> list[Answer]:
        """Hand over *mails* in turn over an open connection; return an answer for each.

        A connection that breaks before a mail's content was sent leaves it ``deferred`` if it was
        the first, else ``not-sent`` as those after it.  One that breaks after leaves it
        ``unknown``: the relay may have taken it (RFC 1047).
        """
        wire = self._wire
        if wire is None:
            return [Answer("not-sent")] * len(mails)
        answers = iter(await self._dialogue(wire, [m for m in mails if self._takes(m)]))
        return [
            next(answers) if self._takes(mail) else Answer("bounced", _NO_SMTPUTF8)
            for mail in mails
        ]

    def _takes(self, mail: Outgoing) -> bool:
        return mail.recipient.isascii() or "SMTPUTF8" in self._offers

    async def _dialogue(self, wire: _Wire, mails: Sequence[Outgoing]) -> list[Answer]:
        answers: list[Answer] = []
        begun = handed = False  # the next mail's envelope; this mail's content, still unanswered
        commands: list[bytes] = []
        try:
            for mail, following in zip_longest(mails, mails[1:]):
                if not begun:
                    commands = self._commands(mail)
                    await wire.write(*(commands if self._pipelines else commands[:1]))
                refusal = await self._envelope(wire, commands)
                begun = False
                if refusal is None:
                    begun, handed = following is not None and self._pipelines, True
                    commands = self._commands(following) if following and begun else []
                    await wire.write(_stuffed(mail.content), *commands)
                    answers.append(await self._taken(wire, mail))
                    handed = False
                else:
                    self._unclean = True  # a transaction stands open: RSET comes first
                    answers.append(_refused(refusal, mail))
                if answers[-1].reply and answers[-1].reply.code == _SERVICE_CLOSES:
                    self.close()
                    break
        except _BrokenError:
            self.close()
            if handed or not answers:
                answers.append(Answer("unknown" if handed else "deferred"))
        return answers + [Answer("not-sent")] * (len(mails) - len(answers))

    async def _taken(self, wire: _Wire, mail: Outgoing) -> Answer:
        reply = await wire.reply(self._relay.timeouts.taken)
        if reply.code >= _REFUSED:
            return _refused(reply, mail)
        if not _DONE <= reply.code < _DONE + 100:
            raise _BrokenError  # neither yes nor no
        return Answer("accepted", _told(reply, mail))

    @property
    def _pipelines(self) -> bool:
        return "PIPELINING" in self._offers

    def _commands(self, mail: Outgoing) -> list[bytes]:
        sender, recipient = f"MAIL FROM:<{mail.return_path}>", f"RCPT TO:<{mail.recipient}>"
        if "SIZE" in self._offers:
            sender += f" SIZE={len(mail.content)}"
        if not mail.recipient.isascii():
            sender += " SMTPUTF8"
        if "DSN" in self._offers:
            sender += f" RET=HDRS ENVID={mail.envelope_id}"
            recipient += " NOTIFY=FAILURE,DELAY"
        reset = ["RSET"] if self._unclean else []
        return [f"{line}\r\n".encode() for line in (*reset, sender, recipient, "DATA")]

    async def _envelope(self, wire: _Wire, commands: Sequence[bytes]) -> Reply | None:
        """Hold the dialogue up to the content; return the refusal if it is not wanted."""
        timeouts = self._relay.timeouts
        names = ["RSET"] * self._unclean + ["MAIL", "RCPT", "DATA"]
        self._unclean = False
        refusal: Reply | None = None
        for place, name in enumerate(names):
            if place and not self._pipelines:
                await wire.write(commands[place])
            reply = await wire.reply(timeouts.data if name == "DATA" else timeouts.command)
            if name == "DATA" and reply.code == _GO_ON:
                return await self._none_after_all(wire, refusal)
            if reply.code >= _REFUSED and refusal is None:
                refusal = reply
                if not self._pipelines:
                    break
        if refusal is None:
            raise _BrokenError  # DATA was answered by what is neither a refusal nor leave to go on
        return refusal

    async def _none_after_all(self, wire: _Wire, refusal: Reply | None) -> Reply | None:
        """End a content that the relay waits for although it refused the envelope."""
        if refusal is not None:
            await wire.write(b".\r\n")
            await wire.reply(self._relay.timeouts.taken)
        return refusal


def _expect(reply: Reply) -> None:
    if reply.code >= _REFUSED:
        raise _BrokenError(f"the relay answered {reply.code}")


def _refused(reply: Reply, mail: Outgoing) -> Answer:
    return Answer("bounced" if reply.permanent else "deferred", _told(reply, mail))


def _told(reply: Reply, mail: Outgoing) -> Reply:
    return Reply(reply.code, reply.status, masked(reply.text, mail.recipient))


def _stuffed(content: bytes) -> bytes:
    """Return *content* as it follows DATA: dots doubled, and the final one (RFC 5321 4.5.2)."""
    if content.startswith(b"."):
        content = b"." + content
    return _DOT.sub(b"\r\n..", content) + b".\r\n"
