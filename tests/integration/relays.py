"""A mail relay that behaves as badly as it is told to."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from notifier.smtp import Relay, Timeouts

STALL: Final = object()
CLOSE: Final = object()
Behaviour = bytes | object
QUICK: Final = Timeouts(greeting=0.3, command=0.3, data=0.3, taken=0.3)


@dataclass
class Received:
    """A mail as the relay took it."""

    sender: str
    recipient: str
    content: bytes


@dataclass
class BadRelay:
    """Answers each verb as *says* has it: with these octets, never, or by hanging up.

    Attributes:
        offers: What follows EHLO.
        says: By verb, or ``greeting``, ``taken`` (after the final dot), or the recipient of RCPT.
        delay: Seconds that it takes to take a mail.
        mood: Asked first, with verb and recipient; None to go by *says*.
        together: The most commands that came in one piece.
    """

    offers: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME", "DSN", "SMTPUTF8")
    says: dict[str, Behaviour] = field(default_factory=dict[str, Behaviour])
    delay: float = 0.0
    mood: Callable[[str, str], Behaviour | None] = lambda _verb, _recipient: None
    tls: ssl.SSLContext | None = None
    taken: list[Received] = field(default_factory=list[Received])
    commands: list[str] = field(default_factory=list[str])
    connections: int = 0
    together: int = 0
    port: int = 0

    @property
    def relay(self) -> Relay:
        return Relay("127.0.0.1", self.port, timeouts=QUICK)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["BadRelay"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        session = _Session(self, reader, writer)
        try:
            await session.run()
        except (asyncio.IncompleteReadError, ConnectionError, _HangUpError):
            pass
        finally:
            writer.close()


class _HangUpError(Exception):
    pass


class _Session:
    def __init__(
        self, relay: BadRelay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.relay = relay
        self.reader = reader
        self.writer = writer
        self.sender = ""
        self.recipient = ""

    def behaviour(self, verb: str, recipient: str, default: bytes) -> Behaviour:
        mood = self.relay.mood(verb, recipient)
        for key in (recipient if verb == "RCPT" else f"{verb} {recipient}", verb):
            if mood is None and key in self.relay.says:
                mood = self.relay.says[key]
        return default if mood is None else mood

    async def say(self, verb: str, default: bytes, recipient: str = "") -> bytes:
        return await self.act(self.behaviour(verb, recipient, default))

    async def act(self, behaviour: Behaviour) -> bytes:
        if behaviour is STALL:
            await asyncio.sleep(3600)
        if behaviour is CLOSE:
            raise _HangUpError
        assert isinstance(behaviour, bytes)
        self.writer.write(behaviour)
        return behaviour

    async def run(self) -> None:
        await self.say("greeting", b"220 relay\r\n")
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode().rstrip("\r\n")
            waiting: bytes = getattr(self.reader, "_buffer", b"")
            self.relay.together = max(self.relay.together, 1 + waiting.count(b"\r\n"))
            self.relay.commands.append(line)
            await self._answer(line)

    async def _answer(self, line: str) -> None:
        verb = line.split(" ", maxsplit=1)[0].split(":", maxsplit=1)[0].upper()
        steps: dict[str, Callable[[str], object]] = {"MAIL": self._mail, "RCPT": self._rcpt}
        match verb:
            case "EHLO":
                lines = ["relay", *self.relay.offers]
                offered = "".join(f"250-{said}\r\n" for said in lines[:-1]) + f"250 {lines[-1]}\r\n"
                await self.say("EHLO", offered.encode())
            case "DATA":
                await self._data()
            case "STARTTLS":
                await self.say("STARTTLS", b"220 go\r\n")
                if self.relay.tls is not None:
                    await self.writer.start_tls(self.relay.tls)
            case "MAIL" | "RCPT":
                steps[verb](line)
                said = await self.say(verb, b"250 2.1.0 ok\r\n", self.recipient)
                if not said.startswith(b"2"):
                    self.recipient = ""
            case "RSET":
                self.sender = self.recipient = ""
                await self.say(verb, b"250 ok\r\n")
            case _:
                await self.say(verb, b"235 ok\r\n" if verb == "AUTH" else b"250 ok\r\n")

    def _mail(self, line: str) -> None:
        assert not self.sender, "a transaction is open"
        self.sender = line.partition("<")[2].partition(">")[0]

    def _rcpt(self, line: str) -> None:
        self.recipient = line.partition("<")[2].partition(">")[0]

    async def _data(self) -> None:
        default = b"354 go on\r\n" if self.recipient else b"554 no valid recipients\r\n"
        said = await self.say("DATA", default)
        if not said.startswith(b"354"):
            if said.startswith(b"5") and self.recipient:
                self.sender = self.recipient = ""
            return
        content = await self._content()
        sender, recipient, self.sender, self.recipient = self.sender, self.recipient, "", ""
        default = b"250 2.0.0 queued as 4711\r\n" if recipient else b"554 nobody\r\n"
        behaviour = self.behaviour("taken", recipient, default)
        if recipient and (not isinstance(behaviour, bytes) or behaviour.startswith(b"2")):
            self.relay.taken.append(Received(sender, recipient, content))
        if self.relay.delay:
            await asyncio.sleep(self.relay.delay)
        await self.act(behaviour)

    async def _content(self) -> bytes:
        lines: list[bytes] = []
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)
