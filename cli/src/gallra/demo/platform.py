"""The simulated platform at work: it stores, tells, and purges when told to."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from gallra.demo.holders import HOLDERS, TABLES, TableHolder
from gallra.demo.story import Row, Story, broken
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.cloudevents import Event
from shared.events import Data
from shared.events.catalogue import COMMANDS, EVENT_TYPES, RIGHTS_COMMANDS
from shared.events.platform import (
    ContactAdded,
    ContactVerified,
    FiscalYearEvent,
    ServiceEvent,
)
from shared.exports import Exports
from shared.holder import PurgeDesk
from shared.migrate import migrate
from shared.outbox import Message, Outbox, enqueue
from shared.postgres import Connection, Pool, open_pool, transaction
from shared.service import taking_part

DATABASE: Final = "demo_platform"
GROUP: Final = "demo-platform"
BATCH: Final = 250
_FACTS: Final = (FiscalYearEvent, ServiceEvent, ContactAdded, ContactVerified)


@dataclass(frozen=True, slots=True)
class Platform:
    """The platform of one demo, connected to the bus."""

    pool: Pool
    outbox: Outbox
    story: Story

    async def tell_facts(self) -> None:
        """Publish what the rest builds on: financial years, history of services, contacts.

        Topics know no order among each other, so these must be taken before the rest is told.
        """
        await self._publish([e for e in self.story.events if isinstance(e[1], _FACTS)])

    async def tell_rest(self) -> None:
        """Store the records and publish everything else, some of it twice, some of it broken."""
        for start in range(0, len(self.story.rows), BATCH):
            async with transaction(self.pool) as tx:
                rows = self.story.rows[start : start + BATCH]
                await _store(tx, rows)
                await self.outbox.announce(tx, datetime.now(UTC), [row.event for row in rows])
        await self._publish([e for e in self.story.events if not isinstance(e[1], _FACTS)])
        async with transaction(self.pool) as tx:
            await enqueue(tx, [_raw(*sent) for sent in broken(self.story)])

    async def _publish(self, events: Sequence[tuple[datetime, Data]]) -> None:
        for start in range(0, len(events), BATCH):
            async with transaction(self.pool) as tx:
                for at, data in events[start : start + BATCH]:
                    await self.outbox.announce(tx, at, [data])
                if start == 0:
                    # What was just queued goes out twice, as after a lost acknowledgement.
                    await tx.execute(_AGAIN)

    async def left(self) -> dict[str, set[str]]:
        """Return the record ids of this demo that the platform still holds, by category."""
        found: dict[str, set[str]] = {}
        for category, table in TABLES.items():
            rows = await self.pool.fetch(
                f"SELECT record_id FROM {table} WHERE record_id LIKE $1",  # noqa: S608 - ours
                f"{self.story.run}-%",
            )
            found[category] = {row["record_id"] for row in rows}
        return found

    async def told(self) -> bool:
        """Return True once everything that was queued has been published."""
        return not await self.pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")


_AGAIN: Final = """
INSERT INTO outbox (topic, key, header_names, header_values, value)
     SELECT topic, key, header_names, header_values, value FROM outbox ORDER BY position
"""


@asynccontextmanager
async def platform(
    story: Story, dsn: str, kafka: str, exports: Exports
) -> AsyncGenerator[Platform]:
    """Run the platform until the block ends; *dsn* may create databases."""
    own = await _database(dsn)
    await migrate(own, "gallra.demo")
    clock = SystemClock()
    outbox = Outbox(f"//demo/{story.run}")
    desks = [PurgeDesk(name, TableHolder(), outbox, clock, exports=exports) for name in HOLDERS]

    def wants(event: Event) -> bool:
        return any(desk.wants(event) for desk in desks)

    async def handle(tx: Connection, events: Sequence[Event]) -> None:
        for event in events:
            for desk in desks:
                if desk.wants(event):
                    await desk.take(tx, event)

    types = [t for t in EVENT_TYPES if t.topic in {COMMANDS, RIGHTS_COMMANDS}]
    consumer = Consumer(GROUP, types, handle, outbox, clock, wants=wants)
    async with open_pool(own, GROUP) as pool, taking_part(pool, consumer, kafka):
        yield Platform(pool, outbox, story)


async def _database(dsn: str) -> str:
    """Return the address of the platform's own database, made if it is not there."""
    parts = urlsplit(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    except asyncpg.DuplicateDatabaseError:
        pass
    finally:
        await connection.close()
    return urlunsplit(parts._replace(path=f"/{DATABASE}"))


async def _store(tx: Connection, rows: Sequence[Row]) -> None:
    for row in rows:
        places = ", ".join(f"${n}" for n in range(1, len(row.values) + 1))
        await tx.execute(f"INSERT INTO {row.table} VALUES ({places})", *row.values)  # noqa: S608


def _raw(topic: str, body: bytes, headers: dict[str, str]) -> Message:
    return Message(topic, b"broken", [(n, v.encode()) for n, v in headers.items()], body)
