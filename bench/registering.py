"""How fast records are registered from the topic, with their deadlines, beside a raw COPY."""

import asyncio
import json
import random
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
from apscheduler.schedulers.background import BackgroundScheduler
from bench.registry import CATEGORIES, CUSTOMERS, POLICIES, SPAN, parts
from bench.results import Section
from bench.rig import Made, Place, Running, new_place, publish, rig, serving
from uuid_utils import uuid7

from retention import store
from shared.events.catalogue import RECORDS
from shared.postgres import transaction

FIRST_DAY = date(2018, 1, 1)
COPIED = 2000
PEER = 3000
JOBS = 50_000
CORES = 2
SETTINGS = {"GALLRA_POLICIES": str(POLICIES), "GALLRA_SWEEP_EVERY": "3600"}


def measure(folder: Path, count: int) -> Section:
    """Register records with one process and with two."""
    rows: list[list[str]] = []

    def row(what: str, rate: float, wanted: str = "", ratio: str = "") -> None:
        rows.append([what, f"{rate:,.0f}", wanted, ratio])
        print(f"{what}: {rate:,.0f}/s {ratio}", flush=True)

    with rig(folder) as infra:
        places = {}
        rates = {}
        for processes in (1, CORES):
            place = places[processes] = asyncio.run(new_place(infra, "retention"))
            asyncio.run(_years(place))
            with serving(place, processes, **SETTINGS) as running:
                burst(place, running, 0, count // 5)  # until the deadline keys are there
                rates[processes] = burst(place, running, count // 5, count)
        raw = asyncio.run(_copy(places[1], asyncio.run(new_place(infra, "retention"))))
        naive = asyncio.run(_naive(asyncio.run(new_place(infra, "retention"))))
        for processes, rate in rates.items():
            wanted = "≥ 15,000" if processes == CORES else ""
            named = f"registered, {processes} process" + ("es" if processes > 1 else "")
            row(named, rate, wanted, f"{rate / raw:.2f} of raw")
    row("raw limit: COPY of the same rows into the same tables", raw)
    row("naive peer: three INSERTs and a commit for each record", naive)
    jobs, bytes_each = _jobs()
    row(
        f"naive peer: an APScheduler job in memory for each record, of {JOBS:,}",
        jobs,
        "",
        f"{bytes_each:,.0f} bytes each: {bytes_each / 100:,.1f} GB for {10_000_000:,}",
    )
    return Section(
        title="Retention: records registered",
        command=f"python -m bench.retention registering --records {count}",
        text=(
            f"{count:,} `platform.record.registered.v1` events, each with an occurrence and "
            f"a person, wait on the topic; of six categories and {SPAN:,} days. Registered "
            "means: checked, deduplicated, with its deadline found and stored, offset "
            "committed after. The first tenth and the last twentieth do not count."
        ),
        columns=("what", "records/s", "wanted", "ratio"),
        rows=rows,
    )


def events(first: int, count: int) -> Iterator[Made]:
    """Yield registrations, as a platform publishes them."""
    chance = random.Random(first)
    for number in range(first, first + count):
        category, holder, kind = CATEGORIES[number % len(CATEGORIES)]
        day = FIRST_DAY + timedelta(days=chance.randrange(SPAN))
        ref = f"R-{number:010}"
        body = {
            "holder": holder,
            "category": category,
            "record_id": ref,
            "entity": "ab",
            "customer_id": f"c-{number % CUSTOMERS}",
            "subjects": [{"token": f"s-{number % 400_000}", "role": "contact"}],
            "anchors": [{"anchor_id": "a", "kind": kind, "date": day.isoformat()}],
        }
        headers = {
            "ce_specversion": "1.0",
            "ce_id": str(uuid7()),
            "ce_source": f"//{holder}",
            "ce_type": "platform.record.registered.v1",
            "ce_time": datetime.now(UTC).isoformat(),
            "content-type": "application/json",
        }
        yield (
            f"{holder}/{category}/{ref}".encode(),
            [(name, value.encode()) for name, value in headers.items()],
            json.dumps(body).encode(),
        )


async def _years(place: Place) -> None:
    async with parts(place, datetime.now(UTC)) as found, transaction(found.pool) as tx:
        for year in range(2017, 2032):
            row = ("ab", date(year, 1, 1), date(year, 12, 31), True, "")
            await store.put_fiscal_year(tx, row)


def burst(place: Place, running: Running, first: int, count: int) -> float:
    """Return the records/s at which *count* registrations that wait on the topic are taken."""
    made = list(events(first, count))
    with running.held():
        publish(place, made, RECORDS.name)
    return asyncio.run(_taken(place, first, first + count))


async def _taken(place: Place, since: int, until: int) -> float:
    connection = await asyncpg.connect(place.owner)
    marks: list[tuple[float, int]] = []
    while not marks or marks[-1][1] < until:
        known = await connection.fetchval("SELECT coalesce(sum(records), 0) FROM key_tally")
        marks.append((time.perf_counter(), known))
        await asyncio.sleep(0.25)  # counting costs what is measured
    await connection.close()
    count = until - since
    low = next(mark for mark in marks if mark[1] >= since + count // 10)
    high = next(mark for mark in marks if mark[1] >= since + count * 95 // 100)
    return float(high[1] - low[1]) / (high[0] - low[0])


async def _copy(full: Place, bare: Place) -> float:
    """Return the rate at which the rows of *full* are copied, with nothing else to do."""
    source = await asyncpg.connect(full.owner)
    rows = {}
    for table in ("inbox", "record", "anchor", "record_subject"):
        rows[table] = [tuple(row) for row in await source.fetch(f"SELECT * FROM {table}")]
    keys = [tuple(row) for row in await source.fetch("SELECT * FROM deadline_key")]
    await source.close()
    target = await asyncpg.connect(bare.owner)
    await target.copy_records_to_table("deadline_key", records=keys)
    count = len(rows["record"])
    began = time.perf_counter()
    for start in range(0, count, COPIED):
        async with target.transaction():
            for table, of in rows.items():
                await target.copy_records_to_table(table, records=of[start : start + COPIED])
    rate = count / (time.perf_counter() - began)
    await target.close()
    return rate


async def _naive(place: Place) -> float:
    connection = await asyncpg.connect(place.service)
    began = time.perf_counter()
    for number in range(PEER):
        ref = ("crm", "lead.form", f"N-{number}")
        async with connection.transaction():
            record = await connection.fetchval(
                "INSERT INTO record (holder, category, record_id, entity, registered_at)"
                " VALUES ($1, $2, $3, 'ab', now()) RETURNING id",
                *ref,
            )
            await connection.execute(
                "INSERT INTO anchor (holder, category, record_id, anchor_id, kind, day)"
                " VALUES ($1, $2, $3, 'a', 'submitted', '2026-01-01')",
                *ref,
            )
            await connection.execute(
                "INSERT INTO record_subject VALUES ($1, $2, 'contact')", record, f"s-{number}"
            )
    rate = PEER / (time.perf_counter() - began)
    await connection.close()
    return rate


def _jobs() -> tuple[float, float]:
    """Return how many jobs a scheduler takes in a second, and the bytes that each one needs."""
    scheduler = BackgroundScheduler()
    scheduler.start(paused=True)
    due = datetime(2034, 1, 1, tzinfo=UTC)
    tracemalloc.start()
    began = time.perf_counter()
    for number in range(JOBS):
        scheduler.add_job(print, "date", run_date=due, args=[f"R-{number}"])
    rate = JOBS / (time.perf_counter() - began)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scheduler.shutdown(wait=False)
    return rate, used / JOBS
