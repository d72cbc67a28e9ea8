"""A retention registry full of records, and the parts of the service to ask it with."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
from bench.rig import Place

from retention import policy, store
from retention.activation import Activation
from retention.in_force import InForce
from retention.policy import Policies
from retention.purge import PurgeLoop
from retention.registry import Registry
from shared.clock import VirtualClock
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool, transaction

POLICIES: Final = Path(__file__).parents[1] / "policies"
CATEGORIES: Final = (
    ("billing.invoice", "billing", "booked"),
    ("lead.form", "crm", "submitted"),
    ("contact.delivery", "notifier", "sent"),
    ("logs.action", "audit-log", "occurred"),
    ("prospect.linkedin", "crm", "assessed"),
    ("event.registration", "crm", "event_end"),
)
PEOPLE: Final = 2_000_000
CUSTOMERS: Final = 50_000
STEP: Final = 500_000  # records laid out in one transaction
DISORDER: Final = 30  # days that a record may be told of before or after its neighbours
SPAN: Final = 4100  # days that time runs from: with six categories, 24,600 deadline keys


@dataclass(frozen=True, slots=True)
class Parts:
    """The service's parts in this process, on a clock that is set by hand."""

    pool: Pool
    clock: VirtualClock
    outbox: Outbox
    policies: Policies
    in_force: InForce
    registry: Registry
    loop: PurgeLoop


@asynccontextmanager
async def parts(place: Place, now: datetime) -> AsyncIterator[Parts]:
    """Lend the parts of a started service."""
    clock = VirtualClock(now)
    outbox = Outbox("//gallra/retention")
    policies = policy.load(POLICIES)
    in_force = InForce(policies.holders)
    registry = Registry(in_force)
    day = timedelta(days=1)
    loop = PurgeLoop(outbox, clock, in_force, day, day, 50_000)
    async with open_pool(place.service, "bench") as pool:
        await Activation(registry, policies, outbox, clock).run(pool)
        yield Parts(pool, clock, outbox, policies, in_force, registry, loop)


async def fill(place: Place, found: Parts, records: int, first_day: date) -> None:
    """Lay out records, each with an occurrence on one of SPAN days and of one person.

    They come as a platform tells of them: in the order of their days, within a month.
    """
    await _keys(found, first_day)
    connection = await asyncpg.connect(place.owner)
    await connection.execute(
        "CREATE TEMP TABLE named AS SELECT * FROM unnest($1::int[], $2::text[], $3::text[],"
        " $4::text[]) AS named (place, category, holder, kind)",
        list(range(len(CATEGORIES))),
        *([row[column] for row in CATEGORIES] for column in range(3)),
    )
    began = time.perf_counter()
    for first in range(0, records, STEP):
        last = min(first + STEP, records) - 1
        await _lay_out(connection, first, last, records, first_day)
        done = min(first + STEP, records)
        print(f"\r{done:,} of {records:,} records", end="", flush=True)
    print(f" laid out in {time.perf_counter() - began:.0f} s")
    await connection.execute("VACUUM (ANALYZE)")
    await connection.close()


async def _keys(found: Parts, first_day: date) -> None:
    days = [first_day + timedelta(days=n) for n in range(SPAN)]
    identities: list[store.Identity] = [
        ("ab", category, "", "known", day, "") for category, _, _ in CATEGORIES for day in days
    ]
    async with transaction(found.pool) as tx:
        for year in range(first_day.year - 1, days[-1].year + 1):
            row = ("ab", date(year, 1, 1), date(year, 12, 31), True, "")
            await store.put_fiscal_year(tx, row)
        await store.put_keys(tx, await found.registry.compute(tx, identities))


async def _lay_out(
    connection: "asyncpg.Connection[asyncpg.Record]",
    first: int,
    last: int,
    of: int,
    first_day: date,
) -> None:
    async with connection.transaction():
        await connection.execute(
            f"""
            INSERT INTO record (holder, category, record_id, entity, customer_id, scheme,
                                registered_at, key)
                 SELECT holder, named.category, 'R-' || lpad(n::text, 10, '0'), 'ab',
                        'c-' || n % {CUSTOMERS}, '',
                        least(now(), $3::date + (n * {SPAN} / $4::bigint)::int + {DISORDER}),
                        deadline_key.id
                   FROM generate_series($1::bigint, $2::bigint) AS n
                   JOIN named ON place = n % {len(CATEGORIES)}
                   JOIN deadline_key
                     ON deadline_key.category = named.category
                    AND anchor_day = $3::date + least(
                            {SPAN} - 1,
                            n * {SPAN} / $4::bigint + (hashint8(n) & 2147483647) % {DISORDER})::int
            """,
            first,
            last,
            first_day,
            of,
        )
        await connection.execute(
            f"""
            WITH added AS (
                SELECT record.*, anchor_day
                  FROM record
                  JOIN deadline_key ON deadline_key.id = key
                 WHERE record.id > (SELECT coalesce(max(record), 0) FROM record_subject)
            ), told AS (
                INSERT INTO anchor (holder, category, record_id, anchor_id, kind, day, event)
                     SELECT holder, category, record_id, 'a', kind, anchor_day, '//bench ' || id
                       FROM added
                       JOIN named USING (category, holder)
            )
            INSERT INTO record_subject (record, token, role)
                 SELECT id, 's-' || id % {PEOPLE}, 'contact' FROM added
            """
        )
