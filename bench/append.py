"""How fast the master log takes events, beside a raw COPY of its rows, and beside peers."""

import asyncio
import os
import time
from pathlib import Path

import asyncpg
from bench.peers import peers
from bench.peers.peers import Figure
from bench.results import Section
from bench.rig import Place, Running, audit_log, events, new_place, publish, rig

from audit_log.store import PAYLOAD

COPIED = 2000  # rows a transaction, of the raw COPY
WANTED = {1: 0.30, 2: 0.45}
OURS = (
    "from the topic, CloudEvents checked, each deduplicated, three parts with own salts, in the "
    "tree, offset committed after; fsync and synchronous_commit on"
)


async def taken(log: Place, count: int, since: int = 0) -> float:
    """Return the events/s taken, once *count* more than *since* are in the log.

    The first tenth and the last twentieth do not count: processes start, and run dry, one by one.
    """
    connection = await asyncpg.connect(log.owner)
    marks: list[tuple[float, int]] = []
    try:
        while not marks or marks[-1][1] < count:
            size = await connection.fetchval("SELECT size FROM tree") - since
            marks.append((time.perf_counter(), size))
            await asyncio.sleep(0.02)
    finally:
        await connection.close()
    low = next(mark for mark in marks if mark[1] >= count // 10)
    high = next(mark for mark in marks if mark[1] >= count * 95 // 100)
    return (high[1] - low[1]) / (high[0] - low[0])


def burst(log: Place, running: Running, first: int, count: int, of: int | None = None) -> float:
    """Return the events/s at which *count* events, of *of*, that wait on the topic are taken."""
    made = list(events(count, first=first, of=of))
    size = asyncio.run(log.ask("SELECT size FROM tree"))
    with running.held():
        publish(log, made)
    return asyncio.run(taken(log, count, size))


async def raw_copy(full: Place, bare: Place) -> Figure:
    """Copy the rows of *full* into the same tables of *bare*, with nothing else to do."""
    source = await asyncpg.connect(full.owner)
    rows = [tuple(r) for r in await source.fetch(f"SELECT {', '.join(PAYLOAD)} FROM payload")]
    seen = [tuple(r) for r in await source.fetch("SELECT index, event FROM seen ORDER BY index")]
    months = await source.fetch("SELECT DISTINCT date_trunc('month', at)::date FROM payload")
    await source.close()
    rows.sort()
    target = await asyncpg.connect(bare.owner)
    for [month] in months:
        await target.execute("SELECT open_month($1)", month)
    took: list[float] = []
    began = time.perf_counter()
    for start in range(0, len(rows), COPIED):
        end = start + COPIED
        batch = time.perf_counter()
        async with target.transaction():
            await target.copy_records_to_table(
                "seen", columns=["index", "event"], records=seen[start:end]
            )
            await target.copy_records_to_table(
                "payload", columns=list(PAYLOAD), records=rows[start:end]
            )
        took.append(time.perf_counter() - batch)
    rate = len(rows) / (time.perf_counter() - began)
    await target.close()
    settings = (
        f"the log's own rows into the log's own tables, indexes and all; binary COPY, {COPIED:,} "
        "rows a transaction, one connection; fsync and synchronous_commit on; times per batch"
    )
    return peers.figure("raw COPY", rate, took, settings)


def measure(folder: Path, count: int) -> Section:
    """Measure our log with one process and with two, raw COPY, and the peers."""
    with rig(folder) as infra:
        ours: dict[int, float] = {}
        for processes in (1, 2):
            log = asyncio.run(new_place(infra))
            with audit_log(log, processes) as running:
                ours[processes] = burst(log, running, 0, count)
            print(f"{processes} process(es): {ours[processes]:,.0f}/s", flush=True)
        raw = asyncio.run(raw_copy(log, asyncio.run(new_place(infra))))
        print(f"raw COPY: {raw.per_second:,.0f}/s", flush=True)
        few = count // 20  # of what goes one by one
        scratch = asyncio.run(new_place(infra)).owner
        figures = [
            raw,
            peers.hash_chain(scratch, count, COPIED),
            peers.hash_chain(scratch, few, 1),
            peers.naive(infra.kafka, scratch, few),
            peers.naive(infra.kafka, scratch, few, ack_first=True),
        ]
    built = (
        peers.immudb(folder, count, 1000, 1),
        peers.immudb(folder, count, 1000, 30),
        peers.tessera(folder, count, 256),
        peers.tessera(folder, count, 2048),
    )
    figures += [figure for figure in built if figure is not None]
    rows = [
        [
            f"**Gallra, {processes} process{'es' * (processes > 1)}**",
            f"{rate:,.0f}",
            f"{rate / raw.per_second:.2f} (wanted: {WANTED[processes]:.2f})",
            "",
            OURS,
        ]
        for processes, rate in ours.items()
    ]
    rows += [
        [
            figure.name,
            f"{figure.per_second:,.0f}",
            f"{figure.per_second / raw.per_second:.2f}",
            f"{figure.p50_ms:.2f} / {figure.p99_ms:.2f}",
            figure.settings,
        ]
        for figure in figures
    ]
    text = (
        f"{count:,} events of about 500 bytes each, {few:,} where they go one by one. Ours wait "
        f"on 12 partitions when the clock starts. All run one after the other on {os.cpu_count()} "
        "cores. immudb, Tessera and the chain are handed finished events in memory; they neither "
        "read a topic nor check, deduplicate or salt anything, and none of them forgets."
    )
    return Section(
        "Append, beside raw COPY and peers",
        f"python -m bench.audit_log append --events {count}",
        text,
        ("", "events/s", "of raw COPY", "p50 / p99, ms", "what it does, and how durably"),
        rows,
    )
