"""Takes in what comes back by mail, over LMTP (RFC 2033) or SMTP.

Nothing is answered for before its effect is committed: whoever brings a mail keeps it until then,
and brings it again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from notifier import returns
from notifier.feedback import Effect, Feedback, TooEarlyError
from notifier.returns import Box, Returned, Unclear
from shared import logs, telemetry
from shared.errors import Rejected
from shared.postgres import Pool, transaction

LARGEST: Final = 10 * 1024 * 1024  # octets of a mail
_CONNECTIONS: Final = 50
_RECIPIENTS: Final = 100
_IDLE: Final = 120  # seconds that a client may be silent
_PATIENCE: Final = 30  # seconds that a transaction may take
_TAKEN: Final = "250 2.0.0 taken"
_LATER: Final = "451 4.3.0 try again later"
_NOT_OURS: Final = "550 5.1.1 mail for this address is not taken here"
_TOO_MANY: Final = "452 4.5.3 too many recipients"
_UNREAD: Final = "550 5.7.1 nobody reads what is written to this address"
_log = logs.get(__name__)


class _Wire(SMTP):
    """A connection.  Of a client that says LHLO each recipient is answered for by itself."""

    line_length_limit = 65_536  # servers pass on lines that are longer than they should be

    def __init__(self, desk: "_Desk", name: str) -> None:
        super().__init__(
            desk,
            data_size_limit=LARGEST,
            enable_SMTPUTF8=True,
            hostname=name,
            ident="Gallra",
            timeout=_IDLE,
        )
        self.lmtp = False
        self._desk = desk
        self._heard = 0

    async def smtp_LHLO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Begin LMTP, which is SMTP under another name but for its answers."""
        self.lmtp = True
        await self.smtp_EHLO(arg)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._desk.connections.add(self)
        if len(self._desk.connections) > _CONNECTIONS:
            transport.close()

    def data_received(self, data: bytes) -> None:
        # The library keeps a line that does not end, however long it gets.
        self._heard += len(data)
        if self._heard <= 2 * LARGEST:
            super().data_received(data)
        else:
            self.cut_off()

    def cut_off(self) -> None:
        """End the connection, whatever is still to be said on it."""
        if self.transport is not None:  # uvloop's is no asyncio.Transport, but does what one does
            cast("asyncio.Transport", self.transport).abort()

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()
        self._heard = 0

    def connection_lost(self, error: Exception | None) -> None:
        self._desk.connections.discard(self)
        super().connection_lost(error)


@dataclass(frozen=True, slots=True)
class _Desk:
    """Answers for what comes in."""

    pool: Pool
    feedback: Feedback
    domain: str
    connections: set[_Wire] = field(default_factory=set[_Wire])

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: Sequence[str],
    ) -> str:
        """Take a recipient that is an address of ours."""
        try:
            returns.box(address, self.domain)
        except Rejected:
            return _NOT_OURS
        if len(envelope.rcpt_tos) >= _RECIPIENTS:
            return _TOO_MANY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 go on"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: _Wire, _session: Session, envelope: Envelope
    ) -> str:
        """Apply a mail; answer once it is committed."""
        content = envelope.original_content or b""
        boxes = [returns.box(address, self.domain) for address in envelope.rcpt_tos]
        together = [[box] for box in boxes] if server.lmtp else [boxes]
        null = envelope.mail_from in (None, "", "<>")  # the library's word for nobody
        return "\r\n".join([await self._answer(content, b, null_sender=null) for b in together])

    async def _answer(self, content: bytes, boxes: Sequence[Box], *, null_sender: bool) -> str:
        try:
            came = [
                await asyncio.to_thread(returns.read, content, box, null_sender=null_sender)
                for box in boxes
            ]
            async with asyncio.timeout(_PATIENCE):
                effects = await self._apply(came)
        except TooEarlyError:
            return _LATER
        except Exception:  # noqa: BLE001 - the database is away, or a bug: the mail comes again
            _log.exception("what came back could not be taken")
            return _LATER
        for returned, effect in zip(came, effects, strict=True):
            telemetry.RETURNS.labels(returned.kind, effect).inc()
        written = all(isinstance(returned, Unclear) and returned.written for returned in came)
        return _UNREAD if written and not null_sender else _TAKEN

    async def _apply(self, came: Sequence[Returned]) -> list[Effect]:
        async with transaction(self.pool) as tx:
            return [await self.feedback.take(tx, returned) for returned in came]

    async def handle_exception(self, error: Exception) -> str:
        """Answer a dialogue that the library could not follow."""
        _log.warning("a client said what cannot be followed", **logs.describe(error))
        return _LATER


@dataclass(frozen=True, slots=True)
class Inbound:
    """Where mail comes back to.

    Attributes:
        domain: Of the ids and return paths of our mails.
        port: 0 for any that is free.
    """

    feedback: Feedback
    domain: str
    host: str
    port: int

    @asynccontextmanager
    async def listening(self, pool: Pool) -> AsyncGenerator[int]:
        """Take mail in until the block ends; lend the port.

        What is in hand then is not answered for: it comes again.
        """
        # What the library logs holds addresses.
        logging.getLogger("mail").setLevel(logging.CRITICAL + 1)
        desk = _Desk(pool, self.feedback, self.domain)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Wire(desk, self.domain), self.host, self.port)
        try:
            port: Any = server.sockets[0].getsockname()[1]
            yield port
        finally:
            server.close()
            for wire in list(desk.connections):
                wire.cut_off()
            await server.wait_closed()
