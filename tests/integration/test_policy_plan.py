"""A change of policies on a real database: planned, approved by two, and done as it was planned."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import Retention, named

from retention.calendar import civil_day
from retention.override import Scope
from retention.plan import Plan
from retention.planner import Planner
from retention.policy import Policies, Policy
from shared.document import DocumentError
from shared.errors import Rejected
from shared.events.platform import (
    Anchor,
    FiscalYearClosed,
    RecordRegistered,
)
from shared.postgres import open_pool


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        made = await Retention.on(pool)
        made.clock.advance(date(2026, 11, 24) - civil_day(made.clock.now()))
        yield made


def planner(retention: Retention) -> Planner:
    return Planner(retention.in_force, retention.outbox, retention.clock)


def changed(retention: Retention, category: str, **said: Any) -> Policies:
    old = retention.policies.by_category[category]
    new = Policy.model_validate(
        old.model_dump(mode="json")
        | {"version": old.version + 1, "effective_from": "2027-01-01", **said}
    )
    by_category = {**retention.policies.by_category, category: new}
    return Policies(by_category, retention.policies.holders)


def lead(number: int, day: date, holder: str = "crm") -> RecordRegistered:
    return RecordRegistered(
        holder=holder,
        category="lead.form",
        record_id=f"lead-{number}",
        entity="ab",
        customer_id=f"c-{number % 3}",
        anchors=(Anchor(anchor_id="a", kind="submitted", date=day),),
    )


async def leads(retention: Retention) -> None:
    """Register leads of each month of 2026, kept for a year."""
    days = [date(2026, month, 15) for month in range(1, 12)]
    await retention.take(*(lead(n, day) for n, day in enumerate(days)))


async def kept_through(retention: Retention) -> dict[str, date]:
    rows = await retention.pool.fetch(
        "SELECT record_id, keep_through FROM record JOIN deadline_key ON deadline_key.id = key"
    )
    return {row["record_id"]: row["keep_through"] for row in rows}


async def apply(retention: Retention, made: Plan) -> None:
    for person in ("anna", "bo"):
        await planner(retention).approve(retention.pool, made.sha256.hex(), by=person)


SIX_MONTHS = {"rule": {"rule": "period", "months": 6}}


async def test_a_plan_says_what_two_people_then_put_in_force(retention: Retention) -> None:
    await leads(retention)
    await retention.hold(Scope(customer_id="c-1"))
    await retention.announced()
    wanted = changed(retention, "lead.form", existing="apply", **SIX_MONTHS)
    made = await planner(retention).plan(retention.pool, wanted)
    [effect] = made.effects
    assert (effect.records, effect.moved, effect.earlier, effect.below_statute) == (11, 11, 11, 0)
    assert effect.held == 4
    assert effect.holders == ("crm",)
    # Never before the change itself; the leads from July on go half a year after they came.
    assert effect.purges[0] == (date(2027, 1, 1), 6)
    assert effect.purges[1:] == tuple((date(2027, m, 16), 1) for m in range(1, 6))
    before = await kept_through(retention)
    assert await planner(retention).approve(retention.pool, made.sha256.hex(), by="anna") is None
    assert await kept_through(retention) == before, "one person changes nothing"
    done = await planner(retention).approve(retention.pool, made.sha256.hex()[:10], by="bo")
    assert done == made
    assert min((await kept_through(retention)).values()) == date(2026, 12, 31)
    told = await retention.announced()
    approvals = named(told, "PolicyPlanApproved")
    assert [(a.by, a.complete, a.earlier) for a in approvals] == [
        ("anna", False, 11),
        ("bo", True, 11),
    ]
    [activated] = named(told, "PolicyActivated")
    assert (activated.category, activated.version) == ("lead.form", 2)
    await retention.take(lead(100, date(2027, 2, 1)))
    assert (await kept_through(retention))["lead-100"] == date(2027, 8, 1)


async def test_existing_data_is_kept_as_promised(retention: Retention) -> None:
    await leads(retention)
    before = await kept_through(retention)
    made = await planner(retention).plan(
        retention.pool, changed(retention, "lead.form", rule={"rule": "period", "months": 36})
    )
    assert made.effects[0].moved == 0
    await apply(retention, made)
    assert await kept_through(retention) == before
    await retention.take(lead(100, date(2026, 12, 31)), lead(101, date(2027, 1, 1)))
    after = await kept_through(retention)
    assert (after["lead-100"], after["lead-101"]) == (date(2027, 12, 31), date(2030, 1, 1))


async def test_a_statute_lengthens_what_was_promised(retention: Retention) -> None:
    await leads(retention)
    longer = {"rule": {"rule": "period", "months": 36}, "statute": True}
    made = await planner(retention).plan(
        retention.pool, changed(retention, "lead.form", **longer, period_source="statute")
    )
    assert (made.effects[0].moved, made.effects[0].earlier) == (11, 0)
    await apply(retention, made)
    assert min((await kept_through(retention)).values()) == date(2029, 1, 15)


async def test_nobody_shortens_below_a_statute(retention: Retention) -> None:
    await retention.invoices("F1", "F2")
    # A rule of the law that is met sooner than the one before: it is statutory, and too short.
    shorter = {"rule": {"rule": "period", "months": 12}, "statute": True, "existing": "apply"}
    made = await planner(retention).plan(
        retention.pool, changed(retention, "billing.invoice", **shorter)
    )
    assert made.effects[0].below_statute == 2
    before = await kept_through(retention)
    for person in ("anna", "bo"):
        with pytest.raises(Rejected, match=r"2 record.s. would go before the law allows it"):
            await planner(retention).approve(retention.pool, made.sha256.hex(), by=person)
    assert await kept_through(retention) == before


async def test_one_person_is_not_two(retention: Retention) -> None:
    made = await planner(retention).plan(
        retention.pool, changed(retention, "lead.form", **SIX_MONTHS)
    )
    await planner(retention).approve(retention.pool, made.sha256.hex(), by="anna")
    with pytest.raises(Rejected, match="another person"):
        await planner(retention).approve(retention.pool, made.sha256.hex(), by="anna")
    await planner(retention).approve(retention.pool, made.sha256.hex(), by="bo")
    with pytest.raises(Rejected, match="no such plan"):
        await planner(retention).approve(retention.pool, made.sha256.hex(), by="cleo")


async def test_an_outdated_plan_is_refused(retention: Retention) -> None:
    await leads(retention)

    async def stale(made: Plan, why: str) -> None:
        with pytest.raises(Rejected, match=rf"outdated: .*{why}"):
            await planner(retention).approve(retention.pool, made.sha256.hex(), by="bo")

    wanted = changed(retention, "lead.form", existing="apply", **SIX_MONTHS)
    first = await planner(retention).plan(retention.pool, wanted)
    await planner(retention).approve(retention.pool, first.sha256.hex(), by="anna")
    await retention.hold(Scope(customer_id="c-2"))
    await stale(first, "holds have changed")
    second = await planner(retention).plan(retention.pool, wanted)
    await retention.take(
        FiscalYearClosed(entity="ab", start=date(2025, 1, 1), end=date(2025, 12, 31))
    )
    await stale(second, "financial years")
    third = await planner(retention).plan(retention.pool, wanted)
    await retention.take(*(lead(n, date(2026, 11, 1)) for n in range(200, 301)))
    await stale(third, "would make 112 records go sooner, not 11")
    fourth = await planner(retention).plan(retention.pool, wanted)
    await planner(retention).approve(retention.pool, fourth.sha256.hex(), by="anna")
    other = changed(retention, "newsletter.subscription", grace="P8D")
    await apply(retention, await planner(retention).plan(retention.pool, other))
    await stale(fourth, "policies")
    both = Policies(
        wanted.by_category
        | {"newsletter.subscription": other.by_category["newsletter.subscription"]},
        wanted.holders,
    )
    fifth = await planner(retention).plan(retention.pool, both)
    retention.clock.advance(timedelta(days=60))
    await stale(fifth, "begin before today")


async def test_another_clock_finds_every_record_anew(retention: Retention) -> None:
    await leads(retention)
    talked = Anchor(anchor_id="b", kind="last_contact", date=date(2026, 11, 20))
    again = lead(0, date(2026, 1, 15)).model_copy(update={"anchors": (talked,)})
    await retention.take(again)
    assert (await kept_through(retention))["lead-0"] == date(2027, 11, 20)
    first = {"clock": {"anchors": ["submitted", "last_contact"], "resolve": "first"}}
    made = await planner(retention).plan(
        retention.pool, changed(retention, "lead.form", existing="apply", **first)
    )
    [effect] = made.effects
    assert (effect.records, effect.moved, effect.earlier) == (11, 1, 1)
    assert effect.first_purge == date(2027, 1, 16)
    await apply(retention, made)
    assert (await kept_through(retention))["lead-0"] == date(2027, 1, 15)


async def test_a_file_that_cannot_follow_changes_nothing(retention: Retention) -> None:
    with pytest.raises(DocumentError, match=r"lead\.form\.yaml: version: 1 is in force"):
        await planner(retention).plan(retention.pool, changed(retention, "lead.form", version=7))
    with pytest.raises(Rejected, match="in force as they are"):
        await planner(retention).plan(retention.pool, retention.policies)
    assert await retention.pool.fetchval("SELECT count(*) FROM policy_plan") == 0
