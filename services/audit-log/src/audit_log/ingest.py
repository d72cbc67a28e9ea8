"""Takes actions over HTTP from callers without Kafka, and answers with a proof."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from audit_log import merkle, store
from audit_log.appender import HOLDER
from audit_log.handlers import Handlers
from audit_log.proof import Proof
from shared.bus import CLOCK_SKEW, conflict_alert
from shared.clock import Clock
from shared.cloudevents import Headers, decode
from shared.errors import Rejected
from shared.events.catalogue import ACTIONS
from shared.inbox import Sight
from shared.postgres import Connection, Pool, transaction

PATIENCE: Final = timedelta(seconds=10)
"""How long a caller is kept waiting for the next checkpoint."""

_PAUSE: Final = 0.05  # seconds between two looks


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


async def prove(tx: Connection, index: int) -> Proof | None:
    """Return the proof of an entry against the newest checkpoint; None if that is older."""
    latest = await store.latest_checkpoint(tx)
    if latest is None or index >= latest[0]:
        return None
    size = latest[0]

    def path(read: merkle.ReadTile) -> list[bytes]:
        return merkle.inclusion_proof(read, index, size)

    tiles = await store.read_tiles(tx, merkle.tiles_needed(path))
    [leaf] = await store.leaves(tx, index, index + 1)
    hashes = path(lambda level, number: tiles[level, number])
    return Proof(leaf, index, hashes, await store.cosigned(tx, size))


async def receipt(pool: Pool, index: int) -> Proof | None:
    """Return the proof of an entry as soon as a checkpoint covers it; None if that takes long."""
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while True:
                async with pool.acquire() as tx:
                    if proof := await prove(tx, index):
                        return proof
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        return None
