"""The rules in Python and the law in SQL: they agree everywhere, and nothing is ordered else."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.conftest import Database
from tests.integration.test_closed_loop import (
    MIDNIGHT,
    POLICIES,
    Retention,
    answer,
    invoice,
    named,
    retention,
)

from retention import policy, purge_store, second_engine, second_engine_store, store
from retention.activation import Activation
from retention.anchor import Resolved
from retention.calendar import add_months, day_after
from retention.deadline import Circumstances, Deadline, compute
from retention.law import FinancialYear, FinancialYears
from retention.rule import Rule, Terms
from shared.events.platform import FiscalYearChanged, FiscalYearClosed
from shared.outbox import Outbox
from shared.postgres import Connection, open_pool, transaction

__all__ = ["retention"]

RULE = TypeAdapter[Rule](Rule)
DAYS = st.dates(date(1900, 1, 1), date(2150, 12, 31))

lengths = st.one_of(
    st.builds(lambda n: {"months": n}, st.integers(1, 300)),
    st.builds(lambda n: {"days": n}, st.integers(0, 9000)),
)
periods = st.builds(
    lambda length, end: {"rule": "period", **length, "end_of": end},
    lengths,
    st.sampled_from((None, "month", "year")),
)
books = st.just({"rule": "bfl_7_2"})
oss = st.just({"rule": "oss_10y"})


def several(kind: str, parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(parts, min_size=2, max_size=3).map(lambda rules: {"rule": kind, "rules": rules})


shortest = several("min", periods)
simple = st.one_of(books, periods, shortest)
longest = st.tuples(st.one_of(simple, several("max", simple)), st.one_of(simple, oss)).map(
    lambda rules: {"rule": "max", "rules": [*rules]}
)
shipped = st.sampled_from(
    [p.rule.model_dump(mode="json") for p in policy.load(POLICIES).by_category.values() if p.stored]
)
RULES = st.one_of(simple, longest, shipped)


@st.composite
def years(draw: st.DrawFn) -> FinancialYears:
    """Years that adjoin: broken, of up to 18 months, the last one perhaps cut short."""
    first = date(draw(st.integers(1900, 2140)), draw(st.integers(1, 12)), 1)
    found: list[FinancialYear] = []
    for months in draw(st.lists(st.sampled_from((12, 12, 6, 18, 1)), min_size=1, max_size=6)):
        end = add_months(first, months)
        found.append(FinancialYear(first, day_after(end, -1)))
        first = end
    if draw(st.booleans()):
        last = found[-1]
        cut = min(last.last_day, day_after(last.first_day, draw(st.integers(0, 300))))
        found[-1] = FinancialYear(last.first_day, cut)
    return FinancialYears(tuple(found))


async def put(
    tx: Connection, entity: str, scheme: str, found: Sequence[tuple[date, Deadline]]
) -> list[int]:
    """Store deadlines; those without a date with one that somebody made up."""
    rows: list[dict[str, Any]] = []
    for day, deadline in found:
        kept = deadline.keep_through or day
        made_up = Deadline("scheduled", keep_through=kept)
        rows.append(
            {
                "entity": entity,
                "category": "tested",
                "scheme": scheme,
                "anchor_state": "known",
                "anchor_day": day,
                "lacking": "",
                "policy_version": 1,
                "status": "scheduled",
                "why": "",
                "provisional": False,
                "keep_through": kept,
                "purge_from": made_up.purge_from,
                "must_purge_by": made_up.must_purge_by,
                "floor": deadline.floor,
            }
        )
    return await store.put_keys(tx, rows)


async def compare(
    tx: Connection, rule: Any, books: FinancialYears, days: Sequence[date], scheme: str
) -> None:
    for year in books.years:
        await store.put_fiscal_year(tx, ("e", year.first_day, year.last_day, True, ""))
    around = [year.last_day for year in books.years] + [year.first_day for year in books.years]
    terms = Terms(rule=RULE.validate_python(rule), effective_from=date(1900, 1, 1))
    circumstances = Circumstances(years=books, vat_scheme="oss" if scheme else None)
    found = [
        (day, compute(terms, Resolved("known", day), circumstances))
        for day in dict.fromkeys([*days, *around])
    ]
    keys = await put(tx, "e", scheme, found)
    unknown = {k for k, (_, d) in zip(keys, found, strict=True) if d.keep_through is None}
    rules = {"tested": rule}
    differing = await second_engine_store.differing(tx, rules, keys)
    assert {difference.key for difference in differing} == unknown
    assert [difference.computed for difference in differing] == [None] * len(unknown)
    for change in ("keep_through = keep_through + 1", "purge_from = purge_from - '5h'::interval"):
        await tx.execute(f"UPDATE deadline_key SET {change}")
        assert len(await second_engine_store.differing(tx, rules, keys)) == len(keys)


@pytest.fixture
def run(retention_db: Database) -> Iterator[Callable[[Any], Any]]:
    """Run work in a transaction that is undone."""
    loop = asyncio.new_event_loop()
    lent = open_pool(retention_db.owner, "test")
    pool = loop.run_until_complete(lent.__aenter__())

    async def undone(work: Callable[[Connection], Any]) -> None:
        async with pool.acquire() as tx:
            transaction = tx.transaction()
            await transaction.start()
            try:
                await work(tx)
            finally:
                await transaction.rollback()

    yield lambda work: loop.run_until_complete(undone(work))
    loop.run_until_complete(lent.__aexit__(None, None, None))
    loop.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_both_engines_agree(run: Callable[[Any], Any]) -> None:
    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(RULES, years(), st.lists(DAYS, min_size=1, max_size=12), st.sampled_from(("", "oss")))
    def check(rule: Any, books: FinancialYears, days: list[date], scheme: str) -> None:
        run(lambda tx: compare(tx, rule, books, days, scheme))

    check()


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "bfl_7_6_original"},
        {"rule": "max", "rules": [{"rule": "period", "days": 1}, {"rule": "bfl_7_6_original"}]},
        {"rule": "period", "days": 1, "but_not": "sundays"},
        {"rule": "period", "days": 1, "months": 1},
        {"rule": "period", "days": 1, "end_of": "week"},
        {"rule": "oss_10y"},
        {"rule": "never_stored"},
        {},
    ],
)
def test_a_rule_that_sql_does_not_know_yields_no_date(
    rule: dict[str, Any], run: Callable[[Any], Any]
) -> None:
    async def ask(tx: Connection) -> None:
        day = date(2024, 3, 15)
        keys = await put(tx, "e", "", [(day, Deadline("scheduled", keep_through=day_after(day)))])
        for rules in ({"tested": rule}, {"other": rule}):
            [difference] = await second_engine_store.differing(tx, rules, keys)
            assert difference.computed is None

    run(ask)


def test_with_a_gap_in_the_books_no_year_counts(run: Callable[[Any], Any]) -> None:
    async def ask(tx: Connection) -> None:
        for year in (2023, 2025):
            row = ("e", date(year, 1, 1), date(year, 12, 31), True, "")
            await store.put_fiscal_year(tx, row)
        kept = Deadline("scheduled", keep_through=date(2030, 12, 31))
        keys = await put(tx, "e", "", [(date(2023, 3, 15), kept)])
        rules = {"tested": {"rule": "bfl_7_2"}}
        assert len(await second_engine_store.differing(tx, rules, keys)) == 1
        row = ("e", date(2024, 1, 1), date(2024, 12, 31), True, "")
        await store.put_fiscal_year(tx, row)
        assert await second_engine_store.differing(tx, rules, keys) == []

    run(ask)


# In the loop

WRONG = [
    "keep_through = '2030-12-31', purge_from = '2030-12-31 23:00Z'",
    "purge_from = '2031-12-31 22:00Z'",
    "keep_through = '2030-12-31'",
]


async def spoil(retention: Retention, wrong: str) -> None:
    await retention.pool.execute(
        f"UPDATE deadline_key SET {wrong} WHERE category = 'billing.invoice'"
    )


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_date_written_by_hand_orders_nothing_and_is_told(
    retention: Retention, wrong: str
) -> None:
    await retention.invoices("i-1", "i-2")
    await spoil(retention, wrong)
    retention.clock.advance(timedelta(hours=1))
    announced = await retention.sweep()
    assert named(announced, "PurgePrepare") == named(announced, "PurgeJobOpened") == []
    [alert] = named(announced, "AlertRaised")
    assert (alert.fingerprint, alert.severity, alert.runbook) == (
        "engines-disagree/billing.invoice",
        "critical",
        "engines-disagree",
    )
    assert "SQL finds 2031-12-31" in alert.summary
    assert await retention.sweep() == []


async def test_a_date_that_is_too_late_is_found_within_a_day(retention: Retention) -> None:
    await retention.invoices("i-1")
    await retention.sweep()
    later = "'2041-12-31', purge_from = '2041-12-31 23:00Z', must_purge_by = '2042-01-07 23:00Z'"
    await spoil(retention, f"keep_through = {later}")
    assert named(await retention.sweep(), "AlertRaised") == []
    retention.clock.advance(timedelta(days=1))
    [alert] = named(await retention.sweep(), "AlertRaised")
    assert alert.fingerprint == "engines-disagree/billing.invoice"


async def test_the_whole_category_is_frozen_and_no_other(retention: Retention) -> None:
    await retention.invoices("i-1")
    await spoil(retention, WRONG[0])
    later = FiscalYearClosed(entity="other", start=date(2023, 1, 1), end=date(2023, 12, 31))
    lead = invoice("l-1").model_copy(
        update={"category": "lead.form", "holder": "crm", "anchors": _last_contact()}
    )
    await retention.take(later, invoice("o-1").model_copy(update={"entity": "other"}), lead)
    announced = await retention.sweep()
    assert [p.refs for p in named(announced, "PurgePrepare")] == [["l-1"]]


def _last_contact() -> tuple[Any, ...]:
    [anchor] = invoice("x").anchors
    return (anchor.model_copy(update={"kind": "last_contact"}),)


@pytest.mark.parametrize("mended_by", ["event", "restart"])
async def test_it_thaws_when_the_dates_are_computed_anew(
    retention: Retention, mended_by: str
) -> None:
    await retention.invoices("i-1")
    await spoil(retention, WRONG[0])
    await retention.sweep()
    retention.clock.advance(timedelta(hours=1))
    assert named(await retention.sweep(), "PurgePrepare") == []
    if mended_by == "event":
        await retention.take(
            FiscalYearChanged(entity="ab", start=date(2024, 1, 1), end=date(2024, 12, 31))
        )
    else:
        registry = retention.handlers.registry
        await Activation(registry, Outbox("//test"), retention.clock).run(retention.pool)
    announced = await retention.sweep()
    [prepare] = named(announced, "PurgePrepare")
    assert prepare.purge_from == MIDNIGHT
    assert len(named(announced, "AlertResolved")) == 1


async def test_a_date_spoilt_between_the_phases_is_not_erased_on(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await spoil(retention, WRONG[0])
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    await retention.take(answer(cancel, retention.clock.now()))
    announced = await retention.sweep()
    assert named(announced, "PurgePrepare") == []
    assert len(named(announced, "AlertRaised")) == 1


async def test_a_policy_with_a_rule_that_sql_does_not_know_is_frozen(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    rules = {"billing.invoice": {"rule": "bfl_7_6_original"}}
    async with transaction(retention.pool) as tx:
        due = await purge_store.due(tx, retention.clock.now(), [*rules], 10)
        assert len(due) == 1
        assert await second_engine.agreed(tx, rules, due, retention.clock.now()) == []
        assert await second_engine.frozen(tx, rules) == {"billing.invoice"}
