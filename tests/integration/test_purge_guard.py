"""The mass-purge guard in the loop: what is unusual in size waits for two people."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import MIDNIGHT, Retention, answer, invoice, named
from typer.testing import CliRunner

from gallra.main import app
from retention import guard_store
from retention.calendar import start_of
from retention.guard import Guard
from retention.limits import Limits
from retention.override import Scope
from shared.errors import Rejected
from shared.events.platform import FiscalYearClosed, RecordRegistered
from shared.outbox import Outbox
from shared.postgres import open_pool

LIMITS = Limits(factor=1.5, floor=3, share=0.5)
CATEGORY = "billing.invoice"


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool, LIMITS)


def guard(retention: Retention) -> Guard:
    return Guard(Outbox("//test/retention"), retention.clock, LIMITS)


async def to(retention: Retention, instant: datetime) -> None:
    retention.clock.advance(instant - retention.clock.now())


async def filled(retention: Retention, due: int, others: int) -> None:
    """Register invoices due at MIDNIGHT, and others due a year later, two days before that."""
    await to(retention, MIDNIGHT - timedelta(days=2) + timedelta(minutes=1))
    await retention.invoices(*(f"i-{n}" for n in range(due)))
    later = FiscalYearClosed(entity="ab", start=date(2025, 1, 1), end=date(2025, 12, 31))
    await retention.take(later, *(in_2025(f"o-{n}") for n in range(others)))


def in_2025(number: str) -> RecordRegistered:
    [anchor] = invoice(number).anchors
    anchors = (anchor.model_copy(update={"date": date(2025, 3, 15)}),)
    return invoice(number).model_copy(update={"anchors": anchors})


async def ordered(retention: Retention) -> int:
    return sum(job.records for job in named(await retention.sweep(), "PurgeJobOpened"))


async def test_what_was_forecast_goes(retention: Retention) -> None:
    await filled(retention, due=10, others=30)
    assert await ordered(retention) == 0
    await to(retention, MIDNIGHT - timedelta(hours=23))
    assert await ordered(retention) == 0
    rows = await retention.pool.fetch("SELECT * FROM forecast WHERE records <> 0")
    assert [tuple(row) for row in rows] == [(date(2032, 1, 1), CATEGORY, 10)]
    await to(retention, MIDNIGHT)
    assert await ordered(retention) == 10


async def test_dates_that_moved_since_wait_for_two_people(retention: Retention) -> None:
    await filled(retention, due=4, others=36)
    for hours in (47, 23):
        await to(retention, MIDNIGHT - timedelta(hours=hours))
        await retention.sweep()
    moved = [in_2025(f"o-{n}") for n in range(10)]
    for record in moved:  # a producer that errs says they are a year older
        [anchor] = record.anchors
        older = anchor.model_copy(update={"date": date(2024, 3, 15)})
        await retention.take(record.model_copy(update={"anchors": (older,)}))
    await to(retention, MIDNIGHT)
    announced = await retention.sweep()
    assert named(announced, "PurgePrepare") == []
    [frozen] = named(announced, "PurgeJobFrozen")
    assert (frozen.category, frozen.day, frozen.records) == (CATEGORY, date(2032, 1, 1), 14)
    assert frozen.why == "14 would be purged in a day for which 4 were forecast"
    [alert] = named(announced, "AlertRaised")
    assert (alert.fingerprint, alert.severity) == (f"purge-frozen/{CATEGORY}", "critical")
    assert await retention.sweep() == [], "said once"

    assert not await guard(retention).approve(retention.pool, CATEGORY, by="u-1")
    with pytest.raises(Rejected, match="another person"):
        await guard(retention).approve(retention.pool, CATEGORY, by="u-1")
    [first] = named(await retention.announced(), "PurgeJobApproved")
    assert (first.by, first.records, first.complete) == ("u-1", 14, False)
    assert await ordered(retention) == 0
    assert await guard(retention).approve(retention.pool, CATEGORY, by="u-2")
    announced = await retention.sweep()
    [second] = named(announced, "PurgeJobApproved")
    assert (second.by, second.complete) == ("u-2", True)
    assert sum(len(p.refs) for p in named(announced, "PurgePrepare")) == 14
    assert len(named(announced, "AlertResolved")) == 1
    with pytest.raises(Rejected, match="no purge of that category"):
        await guard(retention).approve(retention.pool, CATEGORY, by="u-3")


async def test_what_is_frozen_does_not_look_expected_tomorrow(retention: Retention) -> None:
    await filled(retention, due=30, others=10)
    await to(retention, MIDNIGHT)
    assert await ordered(retention) == 0, "no forecast, and a large share"
    for _ in range(3):
        retention.clock.advance(timedelta(days=1))
        assert await ordered(retention) == 0
    count = "SELECT count(*) FROM forecast WHERE records <> 0 AND day > '2032-01-01'"
    assert await retention.pool.fetchval(count) == 0


async def test_a_freeze_ends_when_nothing_unusual_is_due_any_more(retention: Retention) -> None:
    await filled(retention, due=30, others=10)
    await to(retention, MIDNIGHT)
    assert await ordered(retention) == 0
    await retention.hold(Scope(category=CATEGORY))
    announced = await retention.sweep()
    assert named(announced, "PurgeJobOpened") == []
    assert len(named(announced, "AlertResolved")) == 1
    with pytest.raises(Rejected, match="no purge of that category"):
        await guard(retention).approve(retention.pool, CATEGORY, by="u-1")


async def test_many_more_than_were_approved_wait_again(retention: Retention) -> None:
    await filled(retention, due=30, others=10)
    await to(retention, MIDNIGHT)
    await retention.sweep()
    assert not await guard(retention).approve(retention.pool, CATEGORY, by="u-1")
    late = [invoice(f"late-{n}") for n in range(10)]
    await retention.take(*late)
    [frozen] = named(await retention.sweep(), "PurgeJobFrozen")
    assert frozen.records == 40
    assert not await guard(retention).approve(retention.pool, CATEGORY, by="u-2")
    assert await guard(retention).approve(retention.pool, CATEGORY, by="u-1")
    assert await ordered(retention) == 40


async def test_an_archive_that_is_taken_over_goes_on_the_first_day(retention: Retention) -> None:
    await to(retention, MIDNIGHT + timedelta(hours=5))
    await retention.invoices(*(f"i-{n}" for n in range(30)))
    assert await ordered(retention) == 30
    retention.clock.advance(timedelta(minutes=1))
    await retention.invoices(*(f"j-{n}" for n in range(30)))
    assert await ordered(retention) == 30
    await retention.sweep()
    retention.clock.advance(timedelta(days=1))
    await retention.invoices(*(f"k-{n}" for n in range(30)))
    assert await ordered(retention) == 0, "there was a forecast for today"


async def test_a_clock_that_jumps_ahead_purges_nothing(retention: Retention) -> None:
    await filled(retention, due=30, others=10)
    await retention.sweep()
    await to(retention, datetime(2050, 1, 1, tzinfo=UTC))
    assert await ordered(retention) == 0


async def test_what_is_cancelled_and_ordered_again_counts_once(retention: Retention) -> None:
    await filled(retention, due=10, others=30)
    for hours in (47, 23, 0):
        await to(retention, MIDNIGHT - timedelta(hours=hours))
        announced = await retention.sweep()
    [prepare] = named(announced, "PurgePrepare")
    await retention.hold(Scope(customer_id="somebody else"))
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    await retention.take(answer(cancel, retention.clock.now()))
    assert await ordered(retention) == 10


async def test_a_hold_whose_grace_ends_is_forecast(retention: Retention) -> None:
    await filled(retention, due=10, others=30)
    hold = await retention.hold(Scope(customer_id="c-1"))
    for person in ("u-1", "u-2"):
        await retention.holds.release(retention.pool, hold, by=person)
    until = start_of(date(2032, 1, 14))
    await to(retention, until - timedelta(hours=20))
    assert await ordered(retention) == 0
    await to(retention, until)
    assert await ordered(retention) == 10


async def test_from_the_command_line(
    retention: Retention, retention_db: Database, tmp_path: Path
) -> None:
    await filled(retention, due=30, others=10)
    await to(retention, MIDNIGHT)
    await retention.sweep()
    stack: dict[str, Any] = {"databases": {"retention": retention_db.owner}}
    stack |= dict.fromkeys(("kafka", "smtp", "mail_api", "urls", "pids"))
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    told: list[tuple[int, str]] = []
    for person in ("u-1", "u-1", "u-2", "u-3"):
        command = ["purge", "approve", CATEGORY, "--by", person, "--data", str(tmp_path)]
        run = await asyncio.to_thread(CliRunner().invoke, app, command)
        told.append((run.exit_code, run.output))
    assert [code for code, _ in told] == [0, 1, 0, 1]
    assert "when another person says the same" in told[0][1]
    assert "another person must agree" in told[1][1]
    assert "it goes on" in told[2][1]
    assert "no purge of that category is frozen" in told[3][1]


async def test_the_database_itself_forbids_one_person_to_approve(retention: Retention) -> None:
    await filled(retention, due=30, others=10)
    await to(retention, MIDNIGHT)
    await retention.sweep()
    async with retention.pool.acquire() as tx:
        [frozen] = (await guard_store.frozen(tx)).values()
        with pytest.raises(asyncpg.CheckViolationError):
            await guard_store.approve_second(tx, frozen.id, "u-1", MIDNIGHT)
        await guard_store.approve_first(tx, frozen.id, "u-1", MIDNIGHT)
        with pytest.raises(asyncpg.CheckViolationError):
            await guard_store.approve_second(tx, frozen.id, "u-1", MIDNIGHT)
