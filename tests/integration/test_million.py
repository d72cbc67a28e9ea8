"""A million records: keys say of each what it says by itself, and a plan is what is then purged.

``make soak`` makes the million; else there are fewer.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Final

import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import Retention, answer, named

from retention.anchor import Anchor, Facts, ServiceEvent, resolve
from retention.calendar import civil_day, day_after, start_of
from retention.deadline import Circumstances, compute_under
from retention.history import History
from retention.law import FinancialYear, FinancialYears
from retention.plan import Effect
from retention.planner import Planner
from retention.policy import Policies, Policy
from shared.cloudevents import Event
from shared.events import BY_TYPE, Data
from shared.events import platform as facts
from shared.events.gallra import PurgeCommand, PurgeCommit, PurgePrepare
from shared.postgres import open_pool, transaction

RECORDS: Final = int(os.environ.get("GALLRA_RECORDS", "200000"))
BATCH: Final = 10_000
REGISTERED: Final = "platform.record.registered.v1"
CUSTOMERS: Final = 5000
TODAY: Final = date(2026, 11, 24)
HORIZON: Final = date(2036, 1, 1)
KINDS: Final = {
    "billing.invoice": ("billing", ("booked", "paid")),
    "lead.form": ("crm", ("submitted", "last_contact")),
    "contact.delivery": ("notifier", ("sent",)),
    "logs.action": ("audit-log", ("occurred",)),
    "prospect.linkedin": ("crm", ("assessed", "opportunity_closed")),
    "account.master": ("portal", ()),
}
CATEGORIES: Final = tuple(KINDS)
BOOKS: Final = {
    "ab": [(date(y, 1, 1), date(y, 12, 31)) for y in range(2018, 2027)],
    "broken-ab": [(date(y, 7, 1), date(y + 1, 6, 30)) for y in range(2018, 2026)],  # then unknown
}


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of the record with a number."""

    number: int
    category: str
    entity: str
    scheme: str
    customer: int
    anchors: Sequence[tuple[str, date]]

    @classmethod
    def of(cls, number: int) -> "Made":
        chance = random.Random(number)  # noqa: S311 - data, and no secret
        category = CATEGORIES[number % len(CATEGORIES)]
        kinds = KINDS[category][1]
        happened = kinds[: chance.choice((1, 1, 2))]
        days = [date(chance.randrange(2019, 2027), chance.randrange(1, 12), 1) for _ in kinds]
        return cls(
            number,
            category,
            "ab" if chance.random() < 0.7 else "broken-ab",
            "oss" if category == "billing.invoice" and chance.random() < 0.1 else "",
            chance.randrange(CUSTOMERS),
            list(zip(happened, days, strict=False)),
        )

    @property
    def record_id(self) -> str:
        return f"{self.number:07}"

    def registered(self) -> Data:
        return facts.RecordRegistered(
            holder=KINDS[self.category][0],
            category=self.category,
            record_id=self.record_id,
            entity=self.entity,
            customer_id=f"c-{self.customer}",
            vat_scheme="oss" if self.scheme else None,
            anchors=tuple(
                facts.Anchor(anchor_id=kind, kind=kind, date=day) for kind, day in self.anchors
            ),
        )


def services(customer: int) -> list[tuple[str, date]]:
    """Return what happened to the one service of a customer: a third of them left."""
    started = [("started", date(2018, 1, 1))]
    if customer % 3:
        return started
    return [*started, ("terminated", date(2019 + customer % 7, 1 + customer % 12, 15))]


@dataclass(frozen=True)
class BruteForce:
    """Says of every record by itself until when it is kept: no keys, no database."""

    history: History

    @cached_property
    def years(self) -> Mapping[str, FinancialYears]:
        return {
            entity: FinancialYears.of(FinancialYear(first, last, closed=True) for first, last in of)
            for entity, of in BOOKS.items()
        }

    def kept_through(self, made: Made) -> date | None:
        policy = self.history.newest[made.category]
        assert policy.clock is not None
        served: list[ServiceEvent] = []
        if policy.clock.while_service:
            steps: Any = services(made.customer)
            served = [ServiceEvent("sv", change, day) for change, day in steps]
        resolved = resolve(
            policy.clock,
            Facts([Anchor(kind, kind, day) for kind, day in made.anchors], services=served),
        )
        circumstances = Circumstances(self.years[made.entity], "oss" if made.scheme else None)
        versions = self.history.versions[made.category]
        return compute_under(versions, resolved, circumstances).keep_through


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        made = await Retention.on(pool)
        made.clock.advance(start_of(TODAY) + timedelta(hours=9) - made.clock.now())
        yield made


async def register(retention: Retention) -> None:
    for entity, years in BOOKS.items():
        for start, end in years:
            await retention.take(facts.FiscalYearClosed(entity=entity, start=start, end=end))
    for first in range(0, CUSTOMERS, 1000):
        steps: list[Data] = []
        for number in range(first, first + 1000):
            for change, day in services(number):
                kind = facts.ServiceStarted if change == "started" else facts.ServiceTerminated
                steps.append(kind(customer_id=f"c-{number}", service_id="sv", date=day))
        await retention.take(*steps)
    now = retention.clock.now()
    for first in range(0, RECORDS, BATCH):
        numbers = range(first, min(first + BATCH, RECORDS))
        told = [
            Event(BY_TYPE[REGISTERED], "//test", str(n), now, {}, _data=Made.of(n).registered())
            for n in numbers
        ]
        async with transaction(retention.pool) as tx:
            await retention.handlers.handle(tx, told)


async def stored(retention: Retention) -> dict[str, date | None]:
    """Return until when each record is kept, as its deadline key says."""
    rows = await retention.pool.fetch(
        "SELECT record_id, keep_through FROM record JOIN deadline_key ON deadline_key.id = key"
    )
    return {row["record_id"]: row["keep_through"] for row in rows}


def change(old: Policy, months: int, existing: str) -> Policy:
    said = {"version": 2, "effective_from": "2027-01-01", "existing": existing}
    rule = {"rule": {"rule": "period", "months": months}}
    return Policy.model_validate(old.model_dump(mode="json") | said | rule)


async def purged(retention: Retention) -> dict[str, date]:
    """Let the years pass, with holders that erase; return the day on which each record went."""
    went: dict[str, date] = {}
    days = await retention.pool.fetch(
        "SELECT DISTINCT keep_through FROM deadline_key WHERE keep_through < $1 ORDER BY 1", HORIZON
    )
    for [keep_through] in days:
        midnight = start_of(day_after(keep_through))
        if midnight > retention.clock.now():
            retention.clock.advance(midnight - timedelta(seconds=1) - retention.clock.now())
            assert not await ordered(retention), "before its day"
            retention.clock.advance(timedelta(seconds=1))
        today = civil_day(retention.clock.now())
        prepared = await ordered(retention)
        await retention.take(*(answer(c, retention.clock.now()) for c in prepared))
        for command in await commands(retention, PurgeCommit):
            for ref in command.refs:
                assert ref not in went, "twice"
                went[ref] = today
            await retention.take(answer(command, retention.clock.now()))
        await retention.announced()
    return went


async def ordered(retention: Retention) -> list[PurgeCommand]:
    await retention.loop.run(retention.pool)
    return await commands(retention, PurgePrepare)


async def commands(retention: Retention, kind: type[PurgeCommand]) -> list[PurgeCommand]:
    return named(await retention.announced(), kind.__name__)


def moved(
    effect: Effect, before: Mapping[str, date | None], after: Mapping[str, date | None]
) -> Iterator[str]:
    for ref, keep_through in after.items():
        if (
            CATEGORIES[int(ref) % len(CATEGORIES)] == effect.category
            and keep_through != before[ref]
        ):
            yield ref


@pytest.mark.timeout(1800)
async def test_a_million_records(retention: Retention) -> None:
    await register(retention)
    alone = BruteForce(retention.in_force.history)
    everything = [Made.of(number) for number in range(RECORDS)]
    before = {made.record_id: alone.kept_through(made) for made in everything}
    assert await stored(retention) == before

    old = retention.policies.by_category
    changed = {
        "lead.form": change(old["lead.form"], 6, "apply"),
        "contact.delivery": change(old["contact.delivery"], 36, "apply"),
        "prospect.linkedin": change(old["prospect.linkedin"], 3, "keep"),
    }
    planner = Planner(retention.in_force, retention.outbox, retention.clock)
    plan = await planner.plan(retention.pool, Policies(old | changed, retention.policies.holders))
    for person in ("anna", "bo"):
        await planner.approve(retention.pool, plan.sha256.hex(), by=person)
    alone = BruteForce(History.of([*old.values(), *changed.values()]))
    after = before | {
        m.record_id: alone.kept_through(m) for m in everything if m.category in changed
    }
    assert await stored(retention) == after

    went = await purged(retention)
    due = {ref: day for ref, day in after.items() if day is not None and day < HORIZON}
    assert went == {ref: max(day_after(day), TODAY) for ref, day in due.items()}
    assert sum(1 for day in went.values() if day > TODAY) > RECORDS // 5

    by_category = {effect.category: effect for effect in plan.effects}
    assert by_category["prospect.linkedin"].moved == 0, "kept as promised"
    for effect in plan.effects:
        days = Counter(day_after(after[ref]) for ref in moved(effect, before, after) if after[ref])
        assert dict(effect.purges) == days
        really = Counter(went[ref] for ref in moved(effect, before, after) if ref in went)
        said = {day: count for day, count in effect.purges if day_after(day, -1) < HORIZON}
        assert really == said
