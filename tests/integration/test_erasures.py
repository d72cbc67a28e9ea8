"""Requests to erase that were accepted: carried out at once, or when law and holds allow it."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import (
    MIDNIGHT,
    Retention,
    answer,
    invoice,
    named,
)

from retention.calendar import civil_day, start_of
from retention.override import Scope
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import PurgeCommand
from shared.events.platform import (
    Anchor,
    FiscalYearClosed,
    RecordRegistered,
    ServiceStarted,
    Subject,
)
from shared.postgres import open_pool

TODAY = date(2026, 11, 24)


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        made = await Retention.on(pool)
        made.clock.advance(start_of(TODAY) + timedelta(hours=9) - made.clock.now())
        yield made


def lead(number: str, person: str = "s-1") -> RecordRegistered:
    return RecordRegistered(
        holder="crm",
        category="lead.form",
        record_id=number,
        entity="ab",
        customer_id="c-1",
        subjects=(Subject(token=person, role="lead"),),
        anchors=(Anchor(anchor_id="a", kind="submitted", date=date(2026, 11, 1)),),
    )


async def through(retention: Retention, announced: Sequence[Data]) -> list[PurgeCommand]:
    """Answer every order until all is done; return the orders to erase."""
    commits: list[PurgeCommand] = []
    waiting = [data for data in announced if isinstance(data, PurgeCommand)]
    while waiting:
        commits += named(waiting, "PurgeCommit")
        await retention.take(*(answer(c, retention.clock.now()) for c in waiting))
        waiting = [d for d in await retention.announced() if isinstance(d, PurgeCommand)]
    return commits


async def test_a_request_makes_a_record_due_today(retention: Retention) -> None:
    await retention.take(lead("l-1"), lead("l-2", "s-2"))
    [accepted] = await retention.erasures.accept_all_of(retention.pool, "s-1", by="dpo")
    assert accepted.ref == ("crm", "lead.form", "l-1")
    assert (accepted.deadline.status, accepted.deadline.keep_through) == (
        "scheduled",
        TODAY - timedelta(days=1),
    )
    [told] = named(await retention.announced(), "ErasureAccepted")
    assert (told.record_id, told.by) == ("l-1", "dpo")
    [commit] = await through(retention, await retention.sweep())
    assert (commit.refs, commit.reason) == (["l-1"], "erasure-request")
    assert await retention.records() == ["l-2"]
    assert await retention.pool.fetchval("SELECT count(*) FROM erasure") == 0
    closed = named(await retention.sweep(), "PurgeJobClosed")
    assert [job.counts.erased for job in closed] == [1]


async def test_what_the_law_keeps_is_refused_until_its_day_and_done_then(
    retention: Retention,
) -> None:
    await retention.invoices("F1")
    ref = ("billing", "billing.invoice", "F1")
    [accepted] = await retention.erasures.accept(retention.pool, [ref], by="dpo")
    assert accepted.deadline.keep_through == date(2031, 12, 31)
    assert str(accepted.deadline.steps[-1].rule) == "not before the statutory minimum"
    assert not named(await retention.sweep(), "PurgePrepare")
    retention.clock.advance(MIDNIGHT - retention.clock.now() - timedelta(seconds=1))
    assert not named(await retention.sweep(), "PurgePrepare")
    retention.clock.advance(timedelta(seconds=1))
    [commit] = await through(retention, await retention.sweep())
    assert commit.refs == ["F1"]


async def test_what_the_law_keeps_for_an_unknown_time_waits_until_that_is_known(
    retention: Retention,
) -> None:
    await retention.take(invoice("F1"))
    ref = ("billing", "billing.invoice", "F1")
    [accepted] = await retention.erasures.accept(retention.pool, [ref], by="dpo")
    assert accepted.deadline.status == "indeterminate"
    retention.clock.advance(timedelta(days=366 * 20))
    assert not named(await retention.sweep(), "PurgePrepare")
    await retention.take(
        FiscalYearClosed(entity="ab", start=date(2024, 1, 1), end=date(2024, 12, 31))
    )
    assert len(await through(retention, await retention.sweep())) == 1


async def test_it_waits_behind_a_hold_and_not_for_the_grace_after_it(retention: Retention) -> None:
    await retention.take(lead("l-1"), lead("l-2", "s-2"))
    hold = await retention.hold(Scope(customer_id="c-1"))
    [accepted] = await retention.erasures.accept_all_of(retention.pool, "s-1", by="dpo")
    assert accepted.deadline.status == "held"
    assert not named(await retention.sweep(), "PurgePrepare")
    retention.clock.advance(timedelta(days=90))
    assert not named(await retention.sweep(), "PurgePrepare")
    for person in ("anna", "bo"):
        await retention.holds.release(retention.pool, hold, by=person)
    lifted = civil_day(retention.clock.now())
    assert not named(await retention.sweep(), "PurgePrepare"), "the day of release is a day of it"
    retention.clock.advance(start_of(lifted + timedelta(days=1)) - retention.clock.now())
    [commit] = await through(retention, await retention.sweep())
    assert commit.refs == ["l-1"]
    assert await retention.records() == ["l-2"]


async def test_a_hold_stops_it_between_the_phases(retention: Retention) -> None:
    await retention.take(lead("l-1"))
    await retention.erasures.accept_all_of(retention.pool, "s-1", by="dpo")
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await retention.hold(Scope(subject="s-1"))
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    await retention.take(answer(cancel, retention.clock.now()))
    assert not named(await retention.sweep(), "PurgePrepare")
    assert await retention.records() == ["l-1"]


async def test_what_is_needed_for_now_may_still_be_erased(retention: Retention) -> None:
    await retention.take(
        ServiceStarted(customer_id="c-1", service_id="sv-1", date=date(2026, 1, 1)),
        RecordRegistered(
            holder="crm", category="account.master", record_id="m-1", entity="ab", customer_id="c-1"
        ),
    )
    ref = ("crm", "account.master", "m-1")
    [accepted] = await retention.erasures.accept(retention.pool, [ref], by="dpo")
    assert accepted.deadline.status == "scheduled"
    [commit] = await through(retention, await retention.sweep())
    assert commit.refs == ["m-1"]


async def test_who_is_not_known_cannot_be_erased(retention: Retention) -> None:
    with pytest.raises(Rejected, match="no such record"):
        await retention.erasures.accept_all_of(retention.pool, "s-9", by="dpo")


async def test_accepting_twice_is_accepting_once(retention: Retention) -> None:
    await retention.take(lead("l-1"))
    first: Any = await retention.erasures.accept_all_of(retention.pool, "s-1", by="dpo")
    retention.clock.advance(timedelta(days=1))
    again = await retention.erasures.accept_all_of(retention.pool, "s-1", by="dpo")
    assert again[0].deadline.keep_through == first[0].deadline.keep_through
    assert len(await through(retention, await retention.sweep())) == 1
