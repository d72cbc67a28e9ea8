"""What the deadline keys make of ten million records: a change of policy, plans, forecasts."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from bench.registry import PEOPLE, Parts, fill, parts
from bench.results import Section
from bench.rig import Place, new_place, rig

from retention import guard_store, purge_store, report_store, store
from retention.calendar import start_of
from retention.holds import Holds
from retention.override import Scope
from retention.planner import Planner
from retention.policy import Policies, Policy
from shared.postgres import transaction

TODAY = date(2026, 11, 24)
FIRST_DAY = date(2018, 1, 1)
FULLEST = date(2034, 1, 1)  # on which the accounting of a whole financial year may go
ASKED = 2000
PEER = 1_000_000
RUNS = 5


async def median(work: Callable[[], Awaitable[object]], runs: int = RUNS) -> float:
    """Return the median of the seconds that *work* takes."""
    took: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
    return sorted(took)[runs // 2]


def measure(folder: Path, records: int) -> Section:
    """Fill a registry and ask it."""
    with rig(folder) as infra:
        place = asyncio.run(new_place(infra, "retention"))
        rows = asyncio.run(_measure(place, records))
    return Section(
        title="Retention: what is decided on deadline keys",
        command=f"python -m bench.retention keys --records {records}",
        text=(
            f"{records:,} records of six categories and {PEOPLE:,} people, two legal holds "
            f"in force; medians of {RUNS} runs. A deadline is stored once for all records "
            "that share entity, category, VAT scheme and day, and each key knows how many "
            "records it has. The raw limit is the least that PostgreSQL does for the same; "
            f"the naive peer stores a date in every record, and is measured with {PEER:,} of"
            " them."
        ),
        columns=("what", "seconds", "wanted", "raw limit, s", "naive peer, s"),
        rows=rows,
    )


async def _measure(place: Place, records: int) -> list[list[str]]:
    async with parts(place, start_of(TODAY) + timedelta(hours=12)) as found:
        await fill(place, found, records, FIRST_DAY)
        keys: int = await place.ask("SELECT count(*) FROM deadline_key")
        holds = Holds(found.outbox, found.clock)
        review = TODAY + timedelta(days=90)
        for scope in (Scope(customer_id="c-7"), Scope(subject="s-4711")):
            await holds.place(found.pool, scope, reason="bench", review_on=review, by="bench")
        peer = await asyncpg.connect(place.owner)
        await _peer(peer)
        rows = [
            *await _recompute(found, peer, keys),
            await _plan(found, peer),
            await _forecast(found, peer),
            *await _due(found, peer),
            await _basis(found),
        ]
        await peer.close()
    return rows


async def _peer(peer: Any) -> None:
    await peer.execute(
        f"""
        CREATE TABLE peer AS
            SELECT record.id, record.category, keep_through, purge_from
              FROM record
              JOIN deadline_key ON deadline_key.id = key
             LIMIT {PEER}
        """
    )
    await peer.execute("CREATE INDEX ON peer (purge_from)")
    await peer.execute("VACUUM ANALYZE peer")


def _row(
    what: str, seconds: float, wanted: str, raw: float | None, naive: float | None
) -> list[str]:
    return [
        what,
        f"{seconds:.3f}",
        wanted,
        "" if raw is None else f"{raw:.3f}",
        "" if naive is None else f"{naive:.2f}",
    ]


async def _recompute(found: Parts, peer: Any, keys: int) -> list[list[str]]:
    async def changed(which: str) -> float:
        # As if another version had decided about these: they are all written.
        await peer.execute(f"UPDATE deadline_key SET policy_version = 0 WHERE {which}")
        began = time.perf_counter()
        async with transaction(found.pool) as tx:
            history = await found.in_force.read(tx)
            await found.registry.refresh_keys(tx, categories=history.stored)
        return time.perf_counter() - began

    one = sorted([await changed("category = 'lead.form'") for _ in range(RUNS)])[RUNS // 2]
    each = sorted([await changed("true") for _ in range(RUNS)])[RUNS // 2]
    touch = "UPDATE deadline_key SET purge_from = purge_from + interval '0 s'"
    raw_one = await median(lambda: peer.execute(f"{touch} WHERE category = 'lead.form'"))
    raw_each = await median(lambda: peer.execute(touch))
    naive = await median(lambda: peer.execute("UPDATE peer SET purge_from = purge_from"), 1)
    what = f"recompute all {keys:,} keys after a change of policy that moves a sixth of them"
    return [
        _row(what, one, "≤ 0.5", raw_one, None),
        _row("the same where each of them is moved", each, "", raw_each, naive),
    ]


async def _plan(found: Parts, peer: Any) -> list[str]:
    old = found.policies.by_category["lead.form"]
    said = {"version": 2, "effective_from": "2027-01-01", "existing": "apply"}
    new = Policy.model_validate(
        old.model_dump(mode="json") | said | {"rule": {"rule": "period", "months": 6}}
    )
    wanted = Policies({**found.policies.by_category, "lead.form": new}, found.policies.holders)
    planner = Planner(found.in_force, found.outbox, found.clock)
    made = await planner.plan(found.pool, wanted)
    [effect] = made.effects
    took = await median(lambda: planner.plan(found.pool, wanted))
    raw = await median(
        lambda: peer.fetch(
            "SELECT purge_from, sum(records) FROM deadline_key JOIN key_records ON key = id"
            " WHERE category = 'lead.form' GROUP BY 1"
        )
    )
    naive = await median(
        lambda: peer.fetch(
            "SELECT (purge_from - interval '6 months')::date, count(*) FROM peer"
            " WHERE category = 'lead.form' GROUP BY 1"
        )
    )
    what = (
        f"plan to shorten a period: moves {effect.moved:,} of {effect.records:,} deadlines,"
        f" {effect.held} under hold"
    )
    return _row(what, took, "≤ 1", raw, naive)


async def _forecast(found: Parts, peer: Any) -> list[str]:
    start, end = start_of(TODAY), start_of(date(2041, 1, 1))

    async def ours() -> None:
        async with found.pool.acquire() as tx:
            await report_store.forecast(tx, start, end)

    raw = await median(lambda: peer.fetch("SELECT key, sum(records) FROM key_tally GROUP BY key"))
    naive = await median(
        lambda: peer.fetch(
            "SELECT category, date_trunc('month', purge_from), count(*) FROM peer GROUP BY 1, 2"
        )
    )
    return _row("forecast by category and month to 2040", await median(ours), "≤ 0.5", raw, naive)


async def _due(found: Parts, peer: Any) -> list[list[str]]:
    at = start_of(FULLEST)
    categories = ["billing.invoice"]

    async def count() -> dict[str, int]:
        async with found.pool.acquire() as tx:
            return await guard_store.waiting(tx, at, categories)

    async def take() -> None:
        async with transaction(found.pool) as tx:
            keys = [key for key, _ in await purge_store.due_keys(tx, at)]
            await purge_store.due(tx, at, categories, keys, 50_000)

    due = (await count())["billing.invoice"]
    naive = await median(
        lambda: peer.fetch(
            "SELECT count(*) FROM peer WHERE category = 'billing.invoice' AND purge_from <= $1", at
        )
    )
    counted = _row(
        f"how many are due at the turn of {FULLEST.year - 1}: {due:,}",
        await median(count),
        "≤ 1",
        None,
        naive,
    )
    first = _row("the first 50,000 of them, to be ordered", await median(take), "≤ 1", None, None)
    return [counted, first]


async def _basis(found: Parts) -> list[str]:
    chance = random.Random(4711)
    now = datetime.now(UTC)
    took: list[float] = []
    for _ in range(ASKED):
        token = f"s-{chance.randrange(PEOPLE)}"
        began = time.perf_counter()
        async with found.pool.acquire() as tx, tx.transaction(readonly=True):
            await store.policies_stay(tx)
            await report_store.held_about(tx, token, now)
        took.append(time.perf_counter() - began)
    took.sort()
    p99 = took[ASKED * 99 // 100]
    what = f"one person's decision basis, p99 of {ASKED:,} (p50 {took[ASKED // 2] * 1000:.1f} ms)"
    return _row(what, p99, "≤ 0.020", None, None)
