"""Takes actions over HTTP from callers without Kafka."""

from collections.abc import Iterable
from dataclasses import dataclass

from audit_log import store
from audit_log.appender import HOLDER
from audit_log.handlers import Handlers
from shared.bus import CLOCK_SKEW, conflict_alert
from shared.clock import Clock
from shared.cloudevents import Headers, decode
from shared.errors import Rejected
from shared.events.catalogue import ACTIONS
from shared.inbox import Sight
from shared.postgres import Pool, transaction


@dataclass(frozen=True, slots=True)
class _Record:
    """An HTTP request in the clothes of a record."""

    headers: Headers
    value: bytes
    topic: str = ACTIONS.name
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ingest:
    """The HTTP side door to the master log."""

    handlers: Handlers
    clock: Clock

    async def take(self, pool: Pool, headers: Iterable[tuple[str, str]], body: bytes) -> int:
        """Log the event of a request; return its index, also if it had come before.

        Raises:
            Rejected: it cannot be read, is no action, or came before with other content.
        """
        named = [(name.replace("ce-", "ce_", 1), value.encode()) for name, value in headers]
        event = decode(_Record(named, body), latest=self.clock.now() + CLOCK_SKEW)
        event.prepared = self.handlers.prepare(event)
        async with transaction(pool) as tx:
            [sight] = await self.handlers.sight(tx, [event], careful=True)
            if sight is Sight.FIRST:
                await self.handlers.handle(tx, [event])
            if sight is not Sight.CONFLICT:
                [index] = (await store.indexes_of(tx, [event.prepared.identity])).values()
                return index
            # The caller still has what it sent, and learns why: that needs no dead letter.
            appender = self.handlers.appender
            alert = conflict_alert(1, ACTIONS.name, HOLDER)
            await appender.outbox.announce(tx, self.clock.now(), [alert])
        raise Rejected("this id came before with other content", code="conflict")
