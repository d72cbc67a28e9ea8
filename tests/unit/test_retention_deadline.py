"""What a deadline does and must never do, whatever the facts are."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from retention import law
from retention.anchor import Resolved
from retention.calendar import STOCKHOLM, civil_day, day_after
from retention.deadline import Circumstances, Deadline, compute, compute_under
from retention.explanation import say
from retention.law import FinancialYear, FinancialYears
from retention.override import Covered, Hold, Scope, override
from retention.rule import Rule, Terms
from shared.errors import Rejected

RULE = TypeAdapter[Rule](Rule)
ACCOUNTING = {"rule": "max", "rules": [{"rule": "bfl_7_2"}, {"rule": "oss_10y"}]}
YEARS = FinancialYears(
    tuple(FinancialYear(date(y, 1, 1), date(y, 12, 31), closed=y < 2026) for y in range(2015, 2028))
)
BOOKS = Circumstances(years=YEARS)
LONG_AGO = date(1900, 1, 1)


def terms(rule: dict[str, Any], **more: Any) -> Terms:
    return Terms(rule=RULE.validate_python(rule), **{"effective_from": LONG_AGO} | more)


def months(number: int, **more: Any) -> Terms:
    return terms({"rule": "period", "months": number}, **more)


def on(day: date) -> Resolved:
    return Resolved("known", day)


def booked(day: date, **circumstances: Any) -> Deadline:
    return compute(terms(ACCOUNTING), on(day), replace(BOOKS, **circumstances))


def test_a_deadline_has_its_dates_and_explains_itself() -> None:
    found = booked(date(2024, 3, 15))
    assert found.purge_from == datetime(2031, 12, 31, 23, tzinfo=UTC)
    assert found.must_purge_by == datetime(2032, 1, 7, 23, tzinfo=UTC)
    assert law.BFL_7_2 in [step.source for step in found.steps]


def test_grace_is_counted_in_civil_days() -> None:
    found = compute(months(1, grace="P3D"), on(date(2026, 2, 28)))
    assert found.purge_from == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert found.must_purge_by == datetime(2026, 3, 31, 22, tzinfo=UTC)  # summer time began


def test_sales_under_the_union_scheme_are_kept_longer() -> None:
    assert booked(date(2024, 11, 30), vat_scheme="oss").keep_through == date(2034, 12, 31)


def test_a_year_that_is_not_closed_makes_a_deadline_provisional() -> None:
    assert booked(date(2026, 3, 15)).provisional
    assert not booked(date(2025, 3, 15)).provisional


def test_an_unknown_year_is_named_and_not_guessed() -> None:
    found = booked(date(2030, 3, 15))
    assert found.status == "indeterminate"
    assert str(found.missing) == "the financial year that 2030-03-15 belongs to"
    assert found.keep_through is found.purge_from is found.must_purge_by is None


@pytest.mark.parametrize("state", ["open", "indeterminate"])
def test_without_an_anchor_there_is_no_date(state: Any) -> None:
    missing = say("an occurrence: {kinds}", kinds="sent")
    found = compute(months(12), Resolved(state, missing=missing))
    assert (found.status, found.keep_through, found.missing) == (state, None, missing)


def test_what_is_never_stored_cannot_have_a_record() -> None:
    with pytest.raises(Rejected, match="never stored"):
        compute(terms({"rule": "never_stored"}), on(date(2026, 1, 1)))


def test_the_shortest_of_several_periods() -> None:
    rules = [{"rule": "period", "months": 12}, {"rule": "period", "days": 30}]
    found = compute(terms({"rule": "min", "rules": rules}), on(date(2026, 1, 1)))
    assert found.keep_through == date(2026, 1, 31)


# Later versions of a policy


@pytest.mark.parametrize(
    ("before", "after", "existing", "anchored", "expected"),
    [
        (24, 12, "apply", date(2025, 9, 1), date(2026, 9, 1)),
        (24, 12, "apply", date(2024, 9, 1), date(2026, 6, 30)),  # due on the day of the change
        (24, 12, "keep", date(2025, 9, 1), date(2027, 9, 1)),
        (24, 12, "apply", date(2024, 6, 30), date(2026, 6, 30)),  # passed before the change
        (12, 24, "keep", date(2026, 7, 1), date(2028, 7, 1)),  # not existing data
        (12, 24, "keep", date(2025, 7, 1), date(2026, 7, 1)),
        (12, 24, "apply", date(2025, 7, 1), date(2027, 7, 1)),  # its last day is the first of it
        (12, 24, "apply", date(2025, 6, 30), date(2026, 6, 30)),  # passed before the change
    ],
)
def test_a_changed_policy(
    before: int, after: int, existing: str, anchored: date, expected: date
) -> None:
    versions = [
        months(after, effective_from=date(2026, 7, 1), existing=existing),
        months(before, effective_from=date(2020, 1, 1)),
    ]
    assert compute_under(versions, on(anchored)).keep_through == expected


def test_a_statute_reaches_existing_data_whatever_the_policy_says() -> None:
    versions = [
        months(12, effective_from=date(2020, 1, 1)),
        terms(ACCOUNTING, effective_from=date(2025, 7, 1), existing="keep"),
    ]
    assert compute_under(versions, on(date(2025, 2, 1)), BOOKS).keep_through == date(2032, 12, 31)


def test_a_deadline_names_the_terms_that_gave_it() -> None:
    one = months(12)
    for resolved in (on(date(2025, 2, 1)), Resolved("open"), Resolved("indeterminate")):
        assert compute(one, resolved).decided_by is one
    assert compute(terms(ACCOUNTING), on(date(2040, 2, 1)), BOOKS).decided_by == terms(ACCOUNTING)
    assert Deadline("open").decided_by is None


@pytest.mark.parametrize(
    ("changed", "anchored", "moved"),
    [
        (months(12, existing="apply"), date(2025, 9, 1), True),
        (months(12, existing="apply"), date(2024, 9, 1), True),  # no sooner than it is in force
        (months(24, existing="apply"), date(2025, 9, 1), True),  # to the same day
        (months(36, existing="apply"), date(2024, 6, 30), False),  # passed before the change
        (months(12, existing="keep"), date(2025, 9, 1), False),
        (months(12, existing="keep"), date(2026, 7, 1), True),  # not existing data
        (terms(ACCOUNTING, existing="keep"), date(2025, 9, 1), True),
        (months(36, statute=True), date(2025, 9, 1), True),
        (terms(ACCOUNTING, existing="keep"), date(2040, 9, 1), True),  # not existing data either
        (terms(ACCOUNTING, existing="keep"), date(2014, 9, 1), False),  # no such financial year
    ],
)
def test_a_version_decides_if_it_was_promised_or_moves_the_deadline(
    changed: Terms, anchored: date, moved: bool
) -> None:
    promised = months(24, effective_from=date(2020, 1, 1))
    later = changed.model_copy(update={"effective_from": date(2026, 7, 1)})
    found = compute_under([later, promised], on(anchored), BOOKS)
    assert found.decided_by is (later if moved else promised)


def test_the_floor_is_that_of_the_terms_that_decided() -> None:
    promised = months(120, effective_from=date(2020, 1, 1), statute=True)
    later = months(12, effective_from=date(2026, 7, 1), statute=True, existing="apply")
    clamped = compute_under([promised, later], on(date(2024, 9, 1)))
    assert (clamped.keep_through, clamped.floor) == (date(2026, 6, 30), date(2025, 9, 1))
    kept = compute_under([promised, months(12, effective_from=date(2026, 7, 1))], on(LONG_AGO))
    assert kept.floor == kept.keep_through == date(1910, 1, 1)


@pytest.mark.parametrize("existing", ["keep", "apply"])
def test_what_the_law_may_demand_is_waited_for(existing: Any) -> None:
    promised = months(240, effective_from=date(2010, 1, 1))
    law = terms(ACCOUNTING, effective_from=date(2026, 7, 1), existing=existing)
    found = compute_under([promised, law], on(date(2014, 9, 1)), BOOKS)  # of no known year
    assert (found.status, found.decided_by) == ("indeterminate", law)


@pytest.mark.parametrize("existing", ["keep", "apply"])
def test_not_even_that_revives_a_deadline_that_has_passed(existing: Any) -> None:
    promised = months(24, effective_from=date(2010, 1, 1))
    law = terms(ACCOUNTING, effective_from=date(2026, 7, 1), existing=existing)
    found = compute_under([promised, law], on(date(2014, 9, 1)), BOOKS)
    assert found.keep_through == date(2016, 9, 1)


@pytest.mark.parametrize(("existing", "through"), [("keep", None), ("apply", date(2026, 6, 30))])
def test_a_date_that_becomes_known_by_a_change_does_not_come_before_it(
    existing: Any, through: date | None
) -> None:
    unknown = terms(ACCOUNTING, effective_from=date(2010, 1, 1))
    short = months(24, effective_from=date(2026, 7, 1), existing=existing)
    found = compute_under([unknown, short], on(date(2014, 9, 1)), BOOKS)
    assert found.keep_through == through


def test_of_versions_from_the_same_day_the_one_given_later_is_the_later() -> None:
    first, second = months(12), months(24)
    assert compute_under([first, second], on(date(2025, 2, 1))).decided_by is second
    assert compute_under([second, first], on(date(2025, 2, 1))).decided_by is first


# Holds and erasure

SENT = date(2025, 1, 10)
DELIVERY = compute(months(24), on(SENT))  # through 2027-01-10


def test_an_accepted_erasure_is_due_at_once_even_while_services_run() -> None:
    running = compute(months(12), Resolved("open"))
    for deadline in (DELIVERY, running):
        found = override(deadline, as_of=SENT, erasure_accepted=date(2026, 2, 5))
        assert (found.status, found.keep_through) == ("scheduled", date(2026, 2, 4))


@pytest.mark.parametrize("day", [date(2024, 3, 15), date(2030, 3, 15)])
def test_no_erasure_goes_below_a_statute_known_or_not(day: date) -> None:
    deadline = booked(day)
    found = override(deadline, as_of=day, erasure_accepted=date(2026, 2, 5))
    assert (found.status, found.keep_through) == (deadline.status, deadline.keep_through)


def test_a_policy_can_make_its_period_a_minimum() -> None:
    notice = compute(months(60, statute=True), on(SENT))
    found = override(notice, as_of=SENT, erasure_accepted=date(2026, 2, 5))
    assert found.keep_through == date(2030, 1, 10)


def test_a_hold_without_end_leaves_no_date() -> None:
    found = override(DELIVERY, as_of=SENT, holds=[Hold(date(2026, 1, 1))])
    assert found.must_purge_by is None
    assert (found.status, found.keep_through, found.purge_from) == ("held", None, None)


def test_a_hold_keeps_what_is_overdue_but_revives_nothing() -> None:
    late = [Hold(date(2027, 6, 1), date(2027, 12, 31))]
    assert override(DELIVERY, as_of=date(2027, 1, 11), holds=late) == DELIVERY
    overdue = override(DELIVERY, as_of=date(2027, 6, 1), holds=late)
    assert overdue.keep_through == date(2028, 1, 14)


def test_a_hold_may_begin_in_the_grace_of_another() -> None:
    holds = [Hold(date(2027, 2, 1), date(2027, 3, 1)), Hold(date(2026, 1, 1), date(2027, 1, 20))]
    assert override(DELIVERY, as_of=SENT, holds=holds).keep_through == date(2027, 3, 15)


def test_an_open_request_keeps_its_evidence_without_grace() -> None:
    request = Hold(date(2027, 1, 5), date(2027, 2, 5), grace_days=0)
    assert override(DELIVERY, as_of=SENT, holds=[request]).keep_through == date(2027, 2, 5)


RECORD = Covered("lead.form", "c-1", ("s-1", "s-2"), "crm", "l-1", date(2025, 6, 1))


@pytest.mark.parametrize(
    "named",
    [
        {"customer_id": "c-1"},
        {"category": "lead.form"},
        {"subject": "s-2"},
        {"holder": "crm", "category": "lead.form", "record_id": "l-1"},
        {"customer_id": "c-1", "first_day": date(2025, 6, 1), "last_day": date(2025, 6, 1)},
    ],
)
def test_a_hold_covers_what_fits_all_that_it_names(named: dict[str, Any]) -> None:
    scope = Scope(**named)
    assert scope.covers(RECORD)
    other = Covered("event.registration", "c-2", ("s-3",), "events", "e-1", date(2025, 6, 2))
    assert not scope.covers(other)
    assert not Scope(**{"customer_id": "c-2"} | named | {"subject": "s-3"}).covers(RECORD)
    unknown_day = replace(RECORD, day=None)
    assert scope.covers(unknown_day), "to be on the safe side"


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({}, "names a customer"),
        ({"first_day": date(2025, 1, 1)}, "names a customer"),
        ({"record_id": "l-1", "category": "lead.form"}, "named by its holder"),
        ({"record_id": "l-1", "holder": "crm"}, "named by its holder"),
        ({"holder": "crm", "category": "lead.form"}, "with a record only"),
        (
            {"customer_id": "c", "first_day": date(2025, 1, 2), "last_day": date(2025, 1, 1)},
            "lies before the first",
        ),
    ],
)
def test_a_scope_that_says_too_little_or_nonsense_is_refused(
    named: dict[str, Any], why: str
) -> None:
    with pytest.raises(Rejected, match=why):
        Scope(**named)


def test_a_hold_does_not_end_before_it_begins() -> None:
    with pytest.raises(Rejected, match="before it begins"):
        Hold(date(2026, 1, 2), date(2026, 1, 1))


# Whatever the facts are

DAYS = st.dates(date(2015, 1, 1), date(2027, 12, 31))
PERIODS = st.builds(
    lambda length, end_of: {"rule": "period", "end_of": end_of} | length,
    st.builds(lambda n: {"months": n}, st.integers(1, 120))
    | st.builds(lambda n: {"days": n}, st.integers(0, 3650)),
    st.sampled_from((None, "month", "year")),
)
RULES = PERIODS | st.just(ACCOUNTING) | st.just({"rule": "bfl_7_2"})
HOLDS = st.lists(
    st.builds(
        lambda start, length, grace: Hold(start, start + timedelta(length), grace_days=grace),
        DAYS,
        st.integers(0, 4000),
        st.integers(0, 30),
    ),
    max_size=3,
)


@given(RULES, DAYS, DAYS)
def test_a_later_anchor_is_never_due_sooner(rule: dict[str, Any], one: date, other: date) -> None:
    earlier, later = (compute(terms(rule), on(day), BOOKS) for day in sorted((one, other)))
    assert earlier.keep_through is not None
    assert later.keep_through is not None
    assert earlier.keep_through <= later.keep_through


@given(RULES, DAYS)
def test_a_purge_begins_with_the_local_day_after(rule: dict[str, Any], day: date) -> None:
    found = compute(terms(rule), on(day), BOOKS)
    assert found.keep_through is not None
    assert found.purge_from is not None
    local = found.purge_from.astimezone(STOCKHOLM)
    assert (local.date(), local.hour, local.minute) == (day_after(found.keep_through), 0, 0)
    assert civil_day(found.purge_from - timedelta(microseconds=1)) == found.keep_through
    assert found.purge_from < (found.must_purge_by or found.purge_from)


@given(DAYS, HOLDS, DAYS, DAYS)
def test_nothing_goes_below_the_statute(
    day: date, holds: list[Hold], accepted: date, as_of: date
) -> None:
    deadline = booked(day)
    found = override(deadline, as_of=as_of, holds=holds, erasure_accepted=accepted)
    assert found.keep_through is not None
    assert deadline.floor is not None
    assert found.keep_through >= deadline.floor == date(day.year + 7, 12, 31)


@given(RULES, DAYS, DAYS)
def test_an_accepted_erasure_never_lengthens(
    rule: dict[str, Any], day: date, accepted: date
) -> None:
    deadline = compute(terms(rule), on(day), BOOKS)
    found = override(deadline, as_of=LONG_AGO, erasure_accepted=accepted)
    assert deadline.keep_through is not None
    assert found.keep_through is not None
    assert found.keep_through <= deadline.keep_through


@given(PERIODS, DAYS, HOLDS, DAYS, st.none() | DAYS, st.integers(0, 100), st.randoms())
def test_holds_only_ever_delay_and_a_longer_one_more(  # noqa: PLR0917 - drawn by hypothesis
    rule: dict[str, Any],
    day: date,
    holds: list[Hold],
    as_of: date,
    accepted: date | None,
    longer: int,
    random: Any,
) -> None:
    def through(holds: list[Hold]) -> date:
        deadline = compute(terms(rule), on(day))
        found = override(deadline, as_of=as_of, holds=holds, erasure_accepted=accepted)
        assert found.keep_through is not None
        return found.keep_through

    delayed = through(holds)
    assert through([]) <= delayed
    extended = [replace(h, through=day_after(h.through or h.from_day, longer)) for h in holds]
    assert delayed <= through(extended)
    random.shuffle(holds)
    assert through(holds) == delayed


@given(st.lists(st.tuples(DAYS, st.integers(1, 60)), min_size=1, max_size=4), DAYS, st.data())
def test_versions_count_by_when_they_took_effect(
    stated: list[tuple[date, int]], day: date, data: st.DataObject
) -> None:
    unique = dict(stated)
    versions = [months(n, effective_from=since, existing="apply") for since, n in unique.items()]
    shuffled = data.draw(st.permutations(versions))
    found = compute_under(shuffled, on(day)).keep_through
    assert found == compute_under(versions, on(day)).keep_through
    assert found is not None
    # Shortening or not, nobody waits longer than the longest promise.
    assert found <= max(compute(v, on(day)).keep_through or day for v in versions)
