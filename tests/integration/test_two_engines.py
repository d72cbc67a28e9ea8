"""The rules in Python and the law in SQL: they agree everywhere, and nothing is ordered else."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
from retention.anchor import Resolved
from retention.calendar import add_months, day_after
from retention.deadline import Circumstances, Deadline, compute_under
from retention.law import FinancialYear, FinancialYears
from retention.rule import Period, Terms
from shared.events.platform import FiscalYearChanged, FiscalYearClosed
from shared.postgres import Connection, open_pool, transaction

__all__ = ["retention"]


class Version(Terms):
    """A version of the policy of the one category here, ``tested``."""

    version: int = 1


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
unknown = st.just({"rule": "bfl_7_6_original"})
ANY_RULE = st.one_of(
    RULES, RULES, oss, unknown, st.builds(lambda *r: {"rule": "max", "rules": r}, simple, unknown)
)


def stated(rule: Any, **more: Any) -> Version:
    return Version.model_validate({"rule": rule, "effective_from": "1900-01-01"} | more)


@st.composite
def years(draw: st.DrawFn, since: int = 1900, until: int = 2140) -> FinancialYears:
    """Years that adjoin: broken, of up to 18 months, the last one perhaps cut short."""
    first = date(draw(st.integers(since, until)), draw(st.integers(1, 12)), 1)
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


@st.composite
def histories(draw: st.DrawFn) -> list[Version]:
    """Versions in the order of their numbers, in force in any order, often from a year's end."""
    days = st.one_of(
        st.dates(date(2015, 1, 1), date(2035, 12, 31)),
        st.builds(date, st.integers(2015, 2035), st.just(1), st.just(1)),
        st.builds(date, st.integers(2015, 2035), st.just(12), st.just(31)),
    )
    apply = st.sampled_from(("keep", "apply"))
    said = draw(st.lists(st.tuples(ANY_RULE, st.booleans(), days, apply), min_size=1, max_size=4))
    return [
        stated(rule, version=number, statute=statute, effective_from=since, existing=existing)
        for number, (rule, statute, since, existing) in enumerate(said, 1)
    ]


def boundaries(history: Sequence[Version]) -> Iterator[date]:
    """Return the days on which, and before which, a version begins, or a period of days ends so."""
    for version in history:
        yield from (day_after(version.effective_from, n) for n in (-1, 0))
        for rule in (other.rule for other in history):
            if isinstance(rule, Period) and rule.days is not None and rule.end_of is None:
                yield from (day_after(version.effective_from, n - rule.days) for n in (-1, 0))


async def put(
    tx: Connection, entity: str, scheme: str, found: Sequence[tuple[date, Deadline]]
) -> list[int]:
    """Store deadlines; those without a date with one that somebody made up."""
    rows: list[dict[str, Any]] = []
    for day, deadline in found:
        kept = deadline.keep_through or day
        made_up = Deadline("scheduled", keep_through=kept)
        terms = deadline.decided_by
        rows.append(
            {
                "entity": entity,
                "category": "tested",
                "scheme": scheme,
                "anchor_state": "known",
                "anchor_day": day,
                "lacking": "",
                "policy_version": terms.version if isinstance(terms, Version) else 1,
                "status": "scheduled",
                "why": "",
                "provisional": False,
                "keep_through": kept,
                "floor": deadline.floor,
                "purge_from": made_up.purge_from,
                "must_purge_by": made_up.must_purge_by,
                "statutory": deadline.statutory,
            }
        )
    await store.put_keys(tx, rows)
    identities: list[store.Identity] = [tuple(row[name] for name in store.KEY[:6]) for row in rows]
    ids = await store.find_keys(tx, identities)
    return [ids[identity] for identity in identities]


WRONG = [
    "keep_through = keep_through + 1",
    "purge_from = purge_from - '5h'::interval",
    "floor = CASE WHEN floor IS NULL THEN keep_through ELSE floor - 1 END",
    "floor = CASE WHEN floor IS NULL THEN keep_through END",
    "policy_version = policy_version + 1",
]


async def compare(
    tx: Connection,
    history: Sequence[Version],
    books: FinancialYears,
    days: Sequence[date],
    scheme: str,
) -> list[Deadline]:
    """Check that SQL finds the same and notices what is not; return what the rules find."""
    for year in books.years:
        await store.put_fiscal_year(tx, ("e", year.first_day, year.last_day, True, ""))
    circumstances = Circumstances(years=books, vat_scheme="oss" if scheme else None)
    found = {
        day: compute_under(history, Resolved("known", day), circumstances)
        for day in [*days, *(d for y in books.years for d in (y.first_day, y.last_day))]
    }
    keys = await put(tx, "e", scheme, [*found.items()])
    by_key = dict(zip(keys, found.values(), strict=True))
    versions = {"tested": [version.model_dump(mode="json") for version in reversed(history)]}
    differing = await second_engine_store.differing(tx, versions, keys)
    unknown = {key for key, deadline in by_key.items() if deadline.keep_through is None}
    assert {difference.key for difference in differing} == unknown
    for wrong in WRONG:
        spoilt = tx.transaction()
        await spoilt.start()
        await tx.execute(f"UPDATE deadline_key SET {wrong}")
        differing = await second_engine_store.differing(tx, versions, keys)
        assert [difference.key for difference in differing] == sorted(keys)
        for difference in differing:
            deadline = by_key[difference.key]
            terms = deadline.decided_by
            assert isinstance(terms, Version)
            right = (deadline.keep_through, deadline.floor, terms.version)
            assert right == (
                difference.computed,
                difference.computed_floor,
                difference.computed_version,
            )
        await spoilt.rollback()
    return [*found.values()]


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


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_both_engines_agree(run: Callable[[Any], Any]) -> None:
    @examples(300)
    @given(RULES, years(), st.lists(DAYS, min_size=1, max_size=12), st.sampled_from(("", "oss")))
    def check(rule: Any, books: FinancialYears, days: list[date], scheme: str) -> None:
        run(lambda tx: compare(tx, [stated(rule)], books, days, scheme))

    check()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_both_engines_agree_on_what_becomes_of_a_promise(run: Callable[[Any], Any]) -> None:
    seen: Counter[str] = Counter()

    @examples(500)
    @given(
        histories(),
        years(2012, 2026),
        st.lists(st.dates(date(2012, 1, 1), date(2037, 1, 1)), min_size=12, max_size=12),
        st.sampled_from(("", "oss")),
    )
    def check(history: list[Version], books: FinancialYears, days: list[date], scheme: str) -> None:
        async def ask(tx: Connection) -> None:
            found = await compare(tx, history, books, [*days, *boundaries(history)], scheme)
            seen.update(deadline.status for deadline in found)
            seen.update(str(step.rule) for deadline in found for step in deadline.steps)

        run(ask)

    check()
    happened = {
        "indeterminate",
        "a deadline that has passed is not revived",
        "existing data is kept as promised",
        "the change applies to existing data",
        "the change applies to existing data, which is never due before it",
    }
    assert {what for what, times in seen.items() if times >= 10} >= happened, seen


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
        version = {"version": 1, "rule": rule, "effective_from": "1900-01-01", "existing": "keep"}
        statute = {**version, "statute": True}
        for versions in ({"tested": [statute]}, {"tested": []}, {"other": [version]}):
            [difference] = await second_engine_store.differing(tx, versions, keys)
            assert difference.computed is difference.computed_floor is None

    run(ask)


def test_with_a_gap_in_the_books_no_year_counts(run: Callable[[Any], Any]) -> None:
    async def ask(tx: Connection) -> None:
        for year in (2023, 2025):
            row = ("e", date(year, 1, 1), date(year, 12, 31), True, "")
            await store.put_fiscal_year(tx, row)
        day = date(2030, 12, 31)
        kept = Deadline("scheduled", keep_through=day, floor=day)
        keys = await put(tx, "e", "", [(date(2023, 3, 15), kept)])
        versions = {"tested": [stated({"rule": "bfl_7_2"}).model_dump(mode="json")]}
        assert len(await second_engine_store.differing(tx, versions, keys)) == 1
        row = ("e", date(2024, 1, 1), date(2024, 12, 31), True, "")
        await store.put_fiscal_year(tx, row)
        assert await second_engine_store.differing(tx, versions, keys) == []

    run(ask)


# In the loop

BY_HAND = [
    "keep_through = '2030-12-31', purge_from = '2030-12-31 23:00Z'",
    "purge_from = '2031-12-31 22:00Z'",
    "keep_through = '2030-12-31'",
    "floor = '2030-12-31'",
    "floor = NULL",
    "policy_version = policy_version + 1",
]


async def spoil(retention: Retention, wrong: str) -> None:
    await retention.pool.execute(
        f"UPDATE deadline_key SET {wrong} WHERE category = 'billing.invoice'"
    )


@pytest.mark.parametrize("wrong", BY_HAND)
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
    await spoil(retention, BY_HAND[0])
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
    await spoil(retention, BY_HAND[0])
    await retention.sweep()
    retention.clock.advance(timedelta(hours=1))
    assert named(await retention.sweep(), "PurgePrepare") == []
    if mended_by == "event":
        await retention.take(
            FiscalYearChanged(entity="ab", start=date(2024, 1, 1), end=date(2024, 12, 31))
        )
    else:
        await retention.start()
    announced = await retention.sweep()
    [prepare] = named(announced, "PurgePrepare")
    assert prepare.purge_from == MIDNIGHT
    assert len(named(announced, "AlertResolved")) == 1


async def test_a_date_spoilt_between_the_phases_is_not_erased_on(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await spoil(retention, BY_HAND[0])
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    await retention.take(answer(cancel, retention.clock.now()))
    announced = await retention.sweep()
    assert named(announced, "PurgePrepare") == []
    assert len(named(announced, "AlertRaised")) == 1


async def test_a_policy_with_a_rule_that_sql_does_not_know_is_frozen(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    unknown = stated({"rule": "bfl_7_6_original"}).model_dump(mode="json")
    versions = {"billing.invoice": [unknown]}
    async with transaction(retention.pool) as tx:
        now = retention.clock.now()
        keys = [key for key, _ in await purge_store.due_keys(tx, now)]
        due = await purge_store.due(tx, now, [*versions], keys, 10)
        assert len(due) == 1
        assert await second_engine.agreed(tx, versions, due, retention.clock.now()) == []
        assert await second_engine.frozen(tx, versions) == {"billing.invoice"}
