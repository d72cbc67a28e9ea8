"""Two ways to give entries their places in the tree, with nothing else to do.

In turns: an appender locks the tree's row, copies its entries at the indexes that follow, commits.
Staged: appenders copy side by side into a table without indexes; one sequencer, fenced by the epoch
in the tree's row, moves the entries from there to their places.
"""

import asyncio
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import asyncpg
from bench.append import burst
from bench.results import Section
from bench.rig import audit_log, new_place, rig

from audit_log.store import PAYLOAD

EVENTS = 200_000
BATCH = 2000
MOVED = 8000  # rows that the sequencer moves at a time: few larger steps are its best case
COLUMNS = PAYLOAD[1:]  # all but the index

_spawn = get_context("spawn")

Row = tuple[Any, ...]


async def turns(dsn: str, rows: Sequence[Row], events: Sequence[bytes]) -> None:
    """Append *rows*, batch by batch, whenever it is our turn."""
    connection = await asyncpg.connect(dsn)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        async with connection.transaction():
            size = await connection.fetchval("SELECT size FROM tree FOR UPDATE")
            await connection.copy_records_to_table(
                "seen",
                columns=["index", "event"],
                records=list(enumerate(events[start : start + BATCH], size)),
            )
            await connection.copy_records_to_table(
                "payload",
                columns=list(PAYLOAD),
                records=[(size + n, *row) for n, row in enumerate(batch)],
            )
            await connection.execute("UPDATE tree SET size = $1", size + len(batch))
    await connection.close()


async def stage(dsn: str, rows: Sequence[Row], events: Sequence[bytes]) -> None:
    """Copy *rows* to where the sequencer takes them from."""
    connection = await asyncpg.connect(dsn)
    for start in range(0, len(rows), BATCH):
        end = start + BATCH
        batch = [(e, *row) for e, row in zip(events[start:end], rows[start:end], strict=True)]
        await connection.copy_records_to_table("staged", columns=["event", *COLUMNS], records=batch)
    await connection.close()


async def sequence(dsn: str, count: int) -> None:
    """Move entries to their places until *count* are there."""
    connection = await asyncpg.connect(dsn)
    columns = ", ".join(COLUMNS)
    size: int = 0
    while size < count:
        async with connection.transaction():
            size = await connection.fetchval(
                "SELECT size FROM tree WHERE epoch = 1 FOR UPDATE"  # none if another leads now
            )
            moved = await connection.fetch(
                f"""
                WITH next AS (SELECT id FROM staged ORDER BY id LIMIT {MOVED}),
                     taken AS (DELETE FROM staged USING next WHERE staged.id = next.id
                               RETURNING staged.*),
                     placed AS (SELECT *, $1 + row_number() OVER (ORDER BY id) - 1 AS index
                                  FROM taken),
                     kept AS (INSERT INTO seen (index, event) SELECT index, event FROM placed),
                     filed AS (INSERT INTO payload (index, {columns})
                               SELECT index, {columns} FROM placed)
                SELECT event FROM placed ORDER BY index
                """,
                size,
            )
            size += len(moved)
            await connection.execute("UPDATE tree SET size = $1", size)
    await connection.close()


def _turns(*given: Any) -> None:
    asyncio.run(turns(*given))


def _stage(*given: Any) -> None:
    asyncio.run(stage(*given))


def _sequence(*given: Any) -> None:
    asyncio.run(sequence(*given))


async def read(dsn: str) -> tuple[list[Row], list[bytes], list[Any]]:
    """Return what a log holds: rows without index, identities, months."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        f"SELECT {', '.join(f'payload.{c}' for c in COLUMNS)}, seen.event AS event "
        "FROM payload JOIN seen USING (index) ORDER BY index"
    )
    months = await connection.fetch("SELECT DISTINCT date_trunc('month', at)::date FROM payload")
    await connection.close()
    return [tuple(r)[:-1] for r in rows], [r["event"] for r in rows], [r[0] for r in months]


async def prepare(dsn: str, months: Sequence[Any]) -> None:
    """Make an empty log ready for both ways."""
    connection = await asyncpg.connect(dsn)
    for month in months:
        await connection.execute("SELECT open_month($1)", month)
    await connection.execute("ALTER TABLE tree ADD COLUMN epoch bigint NOT NULL DEFAULT 1")
    await connection.execute(
        f"CREATE TABLE staged AS SELECT seen.event, {', '.join(f'payload.{c}' for c in COLUMNS)} "
        "FROM payload JOIN seen USING (index)"
    )
    await connection.execute("ALTER TABLE staged ADD COLUMN id bigserial PRIMARY KEY")
    await connection.close()


def measure(folder: Path) -> Section:
    """Append the same rows in both ways, with one appender and with two."""
    rows: list[list[str]] = []
    with rig(folder) as infra:
        full = asyncio.run(new_place(infra))
        with audit_log(full) as running:
            burst(full, running, 0, EVENTS)
        contents, events, months = asyncio.run(read(full.owner))
        count = len(contents)
        for appenders in (1, 2):
            rates: dict[str, float] = {}
            for name, work in (("in turns", _turns), ("staged", _stage)):
                log = asyncio.run(new_place(infra))
                asyncio.run(prepare(log.owner, months))
                workers = [
                    _spawn.Process(
                        target=work,
                        args=(log.owner, contents[n::appenders], events[n::appenders]),
                    )
                    for n in range(appenders)
                ]
                if name == "staged":
                    workers.append(_spawn.Process(target=_sequence, args=(log.owner, count)))
                began = time.perf_counter()
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                rates[name] = count / (time.perf_counter() - began)
                if (size := asyncio.run(log.ask("SELECT count(*) FROM payload"))) != count:
                    raise RuntimeError(f"{size} of {count} entries are there")
            rows.append(
                [
                    str(appenders),
                    f"{rates['in turns']:,.0f}/s",
                    f"{rates['staged']:,.0f}/s",
                    f"{rates['staged'] / rates['in turns']:.2f}",
                ]
            )
    text = (
        f"{count:,} finished rows of a real log, {BATCH:,} a batch, each appender a process. In "
        "turns, an appender holds the tree's row while it copies its batch. Staged, appenders copy "
        f"side by side and one more process moves up to {MOVED:,} rows at a time to their places. "
        "Neither hashes anything; the start of the processes is in both figures."
    )
    return Section(
        "Appenders: in turns, or staged for a sequencer",
        "python -m bench.audit_log sequencing",
        text,
        ("appenders", "in turns", "staged", "staged to in turns"),
        rows,
    )
