"""How fast the master log takes events, beside a raw COPY of the same rows in the same run.

python -m bench.audit_log [--events N]
"""

import argparse
import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from bench.rig import Log, audit_log, events, held, new_log, publish, rig

from audit_log.store import PAYLOAD

BATCH = 2000


async def taken(log: Log, count: int) -> tuple[float, float]:
    """Wait until *count* events are in the log; return the rate between the tenth and the rest."""
    connection = await asyncpg.connect(log.owner)
    marks: list[tuple[float, int]] = []
    try:
        while not marks or marks[-1][1] < count:
            size = await connection.fetchval("SELECT size FROM tree")
            marks.append((time.perf_counter(), size))
            await asyncio.sleep(0.02)
    finally:
        await connection.close()
    low = next(mark for mark in marks if mark[1] >= count // 10)
    high = next(mark for mark in marks if mark[1] >= count * 95 // 100)
    return (high[1] - low[1]) / (high[0] - low[0]), marks[-1][0] - marks[0][0]


async def raw_copy(full: Log, bare: Log) -> float:
    """Return the rows/s at which the rows of *full* are copied into the same tables of *bare*."""
    source = await asyncpg.connect(full.owner)
    rows = await source.fetch(f"SELECT {', '.join(PAYLOAD)} FROM payload ORDER BY index")
    seen = await source.fetch("SELECT index, event FROM seen ORDER BY index")
    months = await source.fetch("SELECT DISTINCT date_trunc('month', at)::date AS m FROM payload")
    await source.close()
    rows, seen = [tuple(row) for row in rows], [tuple(row) for row in seen]
    target = await asyncpg.connect(bare.owner)
    for month in months:
        await target.execute("SELECT open_month($1)", month["m"])
    began = time.perf_counter()
    for start in range(0, len(rows), BATCH):
        async with target.transaction():
            await target.copy_records_to_table(
                "seen", columns=["index", "event"], records=seen[start : start + BATCH]
            )
            await target.copy_records_to_table(
                "payload", columns=list(PAYLOAD), records=rows[start : start + BATCH]
            )
    took = time.perf_counter() - began
    await target.close()
    return len(rows) / took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000)
    count = parser.parse_args().events
    with TemporaryDirectory(prefix="gallra-bench-") as folder, rig(Path(folder)) as infra:
        logs = {}
        made = list(events(count))
        for processes in (1, 2):
            log = asyncio.run(new_log(infra))
            with audit_log(log, processes) as running:
                with held(running):
                    publish(log, made)
                rate, _ = asyncio.run(taken(log, count))
            logs[processes] = rate, log
            print(processes, "process(es):", round(rate), "events/s", flush=True)
        raw = asyncio.run(raw_copy(logs[1][1], asyncio.run(new_log(infra))))
        print("raw COPY:", round(raw), {p: round(r / raw, 2) for p, (r, _) in logs.items()})


if __name__ == "__main__":
    main()
