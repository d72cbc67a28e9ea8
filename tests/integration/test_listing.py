"""Lists and figures over many records are those of queries that look at every record."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, product
from typing import Any, Final

import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import Retention
from tests.integration.test_report import made

from retention import reading_store
from retention.override import Scope
from retention.purge_store import CANARY, HELD, sum_up
from retention.reading_store import STATUSES, Position, Wanted
from shared.events.platform import (
    Anchor,
    FiscalYearClosed,
    RecordRegistered,
    ServiceStarted,
    Subject,
)
from shared.postgres import open_pool, transaction

RECORDS: Final = 400
PAGE: Final = 7
KINDS: Final = (
    ("billing.invoice", "billing", "booked"),
    ("lead.form", "crm", "submitted"),
    ("contact.delivery", "notifier", "sent"),
    ("account.master", "portal", "ended"),
)
NEVER: Final = datetime.max.replace(tzinfo=UTC)

# As one would write it if there were a hundred records: each is looked at.
EACH: Final = f"""
    SELECT record.id, record.key, record.category, holder, customer_id, status, purge_from,
           must_purge_by, keep_through, provisional, why, anchor_day, registered_at, statutory,
           deadline_key.entity, {HELD} AS held
      FROM record
      JOIN deadline_key ON deadline_key.id = record.key
     WHERE NOT {CANARY}
  ORDER BY coalesce(purge_from, 'infinity'), deadline_key.id, record.id
"""


SEEDS: Final = 3


@pytest.fixture(params=range(SEEDS))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - data, and no secret


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)


async def fill(retention: Retention, chance: random.Random) -> None:
    """Register records over ten days, of every standing, some on hold, some of nobody."""
    years = [
        FiscalYearClosed(entity="ab", start=date(year, 1, 1), end=date(year, 12, 31))
        for year in range(2018, 2030)
    ]
    used = [
        ServiceStarted(customer_id=f"c-{n}", service_id="s", date=date(2018, 1, 1)) for n in (1, 4)
    ]
    await retention.take(*years, *used)
    for first in range(0, RECORDS, 40):
        await retention.take(*(registered(n, chance) for n in range(first, first + 40)))
        retention.clock.advance(timedelta(days=1))
    for scope in (
        Scope(customer_id="c-1"),
        Scope(customer_id="c-2", category="lead.form", first_day=date(2029, 1, 1)),
        Scope(subject="s-3"),
        Scope(subject="s-3", last_day=date(2028, 6, 30)),
        Scope(category="billing.invoice", last_day=date(2022, 12, 31)),
        Scope(category="contact.delivery", first_day=date(2030, 1, 1), last_day=date(2030, 12, 31)),
        Scope(category="lead.form", holder="crm", record_id="r-001"),
    ):
        await retention.hold(scope)
    await retention.take(*(canary(*kind) for kind in KINDS))
    await retention.pool.execute(
        """
        INSERT INTO canary (holder, category, record_id, state, planted_at, asked_at, late_at,
                            due_at)
             SELECT holder, category, record_id, 'due', now(), now(), now(), now()
               FROM record
              WHERE entity = 'canary'
        """
    )


def canary(category: str, holder: str, kind: str) -> RecordRegistered:
    """Return a record of nobody; a holder has no more than one in a category at a time."""
    return RecordRegistered(
        holder=holder,
        category=category,
        record_id=f"canary-{holder}",
        entity="canary",
        customer_id=f"canary-{holder}" if kind == "ended" else None,
        anchors=(Anchor(anchor_id=f"{holder}-a", kind=kind, date=date(2019, 3, 3)),),
    )


def registered(number: int, chance: random.Random) -> RecordRegistered:
    category, holder, kind = KINDS[number % len(KINDS)]
    day = date(2018, 1, 1) + timedelta(days=7 * chance.randrange(700))
    known = chance.random() < 0.9
    return RecordRegistered(
        holder=holder,
        category=category,
        record_id=f"r-{number:03}",
        entity=chance.choice(("ab", "ab", "ab", "unheard-of")),
        customer_id=chance.choice((None, *(f"c-{n}" for n in range(6)))),
        subjects=(Subject(token=f"s-{chance.randrange(12)}", role="contact"),),
        anchors=(Anchor(anchor_id=f"{number}-a", kind=kind, date=day),) if known else (),
    )


def matches(row: dict[str, Any], wanted: Wanted, now: datetime) -> bool:
    asked = (
        ("category", wanted.category), ("holder", wanted.holder), ("customer_id", wanted.customer),
    )  # fmt: skip
    goes = row["purge_from"] or NEVER
    return (
        all(value in {None, row[name]} for name, value in asked)
        and (wanted.start is None or wanted.start <= goes < NEVER)
        and (wanted.end is None or goes < wanted.end)
        and (wanted.status is None or stands(row, wanted.status, now))
    )


def stands(row: dict[str, Any], status: str, now: datetime) -> bool:
    up = row["purge_from"] is not None and row["purge_from"] <= now
    match status:
        case "due":
            return up and not row["held"]
        case "overdue":
            return up and not row["held"] and row["must_purge_by"] <= now
        case "held-back":
            return up and row["held"]
        case "on-hold":
            return row["held"]
        case _:
            return row["status"] == status and not up


async def walked(retention: Retention, wanted: Wanted, now: datetime) -> list[int]:
    """Return the ids on all pages, one after the other."""
    seen: list[int] = []
    after: Position | None = None
    async with retention.pool.acquire() as tx:
        while True:
            page = await reading_store.records(tx, wanted, now, after, PAGE)
            seen += [row["id"] for row in page]
            if len(page) < PAGE:
                return seen
            last = page[-1]
            after = Position.parse(str(Position(last["purge_from"], last["key"], last["id"])))


async def test_pages_are_those_of_looking_at_every_record(
    retention: Retention, chance: random.Random, seed: int
) -> None:
    """Each seed asks in a part of all ways, and in the simplest of them."""
    await fill(retention, chance)
    now = retention.clock.now()
    each = [dict(row) for row in await retention.pool.fetch(EACH, now)]
    spans = ((None, None), (now - timedelta(days=400), now + timedelta(days=400)), (None, now))
    found = set[str | None]()
    customers = (None, "c-1", "c-3", "canary-portal")
    ways = product(
        (None, *STATUSES), (None, "lead.form"), (None, "crm", "portal"), customers, spans
    )
    asked = [
        *product((None, *STATUSES), *[(None,)] * 3, spans[:1]),
        *islice(ways, seed, None, SEEDS),
    ]
    for status, category, holder, customer, (start, end) in asked:
        wanted = Wanted(category, holder, customer, status, start, end)
        expected = [row["id"] for row in each if matches(row, wanted, now)]
        assert await walked(retention, wanted, now) == expected, wanted
        if expected:
            found.add(status)
    assert found == {None, *STATUSES}, "each standing is there to be found"


async def test_figures_are_those_of_looking_at_every_record(
    retention: Retention, chance: random.Random
) -> None:
    await fill(retention, chance)
    for back in (0, 1, 4, 9, 400, -500):
        day = retention.clock.now().date() - timedelta(days=back)
        report = await made(retention, day, day.replace(month=1, day=1))
        at = report.period.at
        rows = [dict(r) for r in await retention.pool.fetch(EACH, at) if r["registered_at"] <= at]
        for line in report.lines:
            own = [row for row in rows if row["category"] == line.policy.category]
            due = [row for row in own if row["purge_from"] is not None and row["purge_from"] <= at]
            over = [row for row in due if row["must_purge_by"] <= at]
            later = [row for row in own if row["purge_from"] is not None and row not in due]
            assert line.counts == {
                "held": len(own),
                "open": sum(row["status"] == "open" for row in own),
                "indeterminate": sum(row["status"] == "indeterminate" for row in own),
                "scheduled": len(later),
                "due": sum(not row["held"] for row in due),
                "overdue": sum(not row["held"] for row in over),
                "held_back": sum(row["held"] for row in due),
                "provisional": sum(row["provisional"] for row in own),
            }
            assert line.missing_facts == sorted({row["why"] for row in own if row["why"]})
            kept = [row["keep_through"] for row in own if row["keep_through"] is not None]
            assert line.kept_until == max(kept, default=None)
            days = [row["keep_through"] for row in later]
            assert line.next_purge_on == (min(days) + timedelta(days=1) if days else None)
        assert sum(f["records"] for f in report.falls_due) == sum(
            row["purge_from"] is not None and row["purge_from"] <= at for row in rows
        )


async def test_what_is_registered_is_counted_on_its_day_whatever_becomes_of_it(
    retention: Retention, chance: random.Random
) -> None:
    async def agrees() -> int:
        summed = await retention.pool.fetch(
            """
            SELECT key, registered_on, sum(records)::bigint AS records
              FROM registered_tally GROUP BY 1, 2 HAVING sum(records) <> 0 ORDER BY 1, 2
            """
        )
        assert summed == await retention.pool.fetch(
            """
            SELECT key, (registered_at AT TIME ZONE 'Europe/Stockholm')::date AS registered_on,
                   count(*) AS records
              FROM record WHERE key IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
            """
        )
        return len(summed)

    await fill(retention, chance)
    many = await agrees()
    await retention.pool.execute(
        "UPDATE record SET key = (SELECT min(id) FROM deadline_key) WHERE id % 3 = 0"
    )
    await retention.pool.execute("DELETE FROM record WHERE id % 5 = 0")
    assert await agrees() < many
    async with transaction(retention.pool) as tx:
        await sum_up(tx)
    rows = await retention.pool.fetchval("SELECT count(*) FROM registered_tally")
    assert rows == await agrees()
