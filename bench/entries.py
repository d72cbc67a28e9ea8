"""A master log full of entries, appended by the log's own code without a bus in between."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, cast

import asyncpg
from bench.growth import LARGEST
from bench.rig import ACTIONS, Made, Place, events

from audit_log.appender import SOURCE, Appender
from audit_log.handlers import Handlers
from shared.clock import SystemClock
from shared.cloudevents import Event, decode
from shared.outbox import Outbox
from shared.postgres import open_pool, transaction

BATCH: Final = 5000
PROCESSES: Final = 3


@dataclass(frozen=True, slots=True)
class _Record:
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes
    topic: str = ACTIONS


def fill(log: Place, entries: int) -> None:
    """Append events until there are *entries*: checked, sealed and counted as those of the topic.

    They are appended in turns, by several processes, so that they stand nearly in the order in
    which they happened.
    """
    there: int = asyncio.run(log.ask("SELECT size FROM tree"))
    if there >= entries:
        return
    work = partial(_append, log.service, there, entries)
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(work, range(PROCESSES)))
    asyncio.run(_analyse(log))


def _append(address: str, first: int, end: int, turn: int) -> None:
    asyncio.run(_append_batches(address, first, end, turn))


async def _append_batches(address: str, first: int, end: int, turn: int) -> None:
    appender = Appender(Outbox(SOURCE), SystemClock(), "ab")
    handlers = Handlers(appender, cast("Any", None), keep_network=True)
    async with open_pool(address, "bench") as pool:
        for start in range(first + turn * BATCH, end, PROCESSES * BATCH):
            made = events(min(BATCH, end - start), first=start, of=end, largest=LARGEST)
            taken = list(_taken(handlers, made))
            async with transaction(pool) as tx:
                await handlers.handle(tx, taken)
            if turn == 0 and start // BATCH % 30 == 0:
                print(f"  {start:,} appended", flush=True)


def _taken(handlers: Handlers, made: Iterator[Made]) -> Iterator[Event]:
    latest = datetime.now(UTC)
    for key, headers, body in made:
        event = decode(_Record(key, headers, body), latest=latest)
        event.prepared = handlers.prepare(event)
        yield event


async def _analyse(log: Place) -> None:
    connection = await asyncpg.connect(log.owner)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
