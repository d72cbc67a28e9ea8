"""Financial years and the rules of law, as tables that a lawyer can check."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention import law
from retention.calendar import (
    STOCKHOLM,
    add_months,
    civil_day,
    day_after,
    next_working_day,
    start_of,
)
from retention.law import FinancialYear, FinancialYears
from shared.errors import Rejected


def year(first: str, last: str) -> FinancialYear:
    return FinancialYear(date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2024-01-01", "2024-12-31"),
        ("2023-07-01", "2024-12-31"),  # eighteen months
        ("2024-11-04", "2024-12-31"),  # a first year, shortened
        ("2024-01-01", "2024-09-17"),  # the last one, cut short by the end of the duty
        ("2023-03-01", "2024-02-29"),
    ],
)
def test_lawful_years(first: str, last: str) -> None:
    assert FinancialYears.of([year(first, last)]).containing(date.fromisoformat(last))


@pytest.mark.parametrize(
    ("years", "reason"),
    [
        ([("2023-06-30", "2024-12-31")], "longer than 18 months"),
        ([("2023-07-31", "2025-01-31")], "longer than 18 months"),  # by one day
        ([("2024-12-31", "2024-01-01")], "ends before it starts"),
        ([("2023-01-01", "2024-02-15")], "does not end with a month"),
        ([("2023-01-01", "2023-12-31"), ("2024-02-01", "2024-12-31")], "is a gap"),
        ([("2023-01-01", "2023-12-31"), ("2023-12-01", "2024-12-31")], "overlaps"),
        ([("2023-01-01", "2023-12-31"), ("2023-01-01", "2023-12-31")], "overlaps"),
        ([("2024-01-01", "2024-06-15"), ("2024-06-16", "2025-05-31")], "does not end with a month"),
        ([("1024-01-01", "1024-12-31")], "before 1900"),
    ],
)
def test_unlawful_years(years: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        FinancialYears.of(year(first, last) for first, last in reversed(years))


@pytest.mark.parametrize(
    ("financial_year", "converted", "as_of", "expected"),
    [
        # before the change of the law: the third year after, and seven for what is still paper
        (("2023-01-01", "2023-12-31"), "2023-05-02", "2024-06-30", "2026-12-31"),
        (("2023-01-01", "2023-12-31"), None, "2024-06-30", "2030-12-31"),
        (("2018-01-01", "2018-12-31"), "2023-05-02", "2024-06-30", "2023-05-02"),
        # since: at once, for earlier conversions too, but never later than before
        (("2023-01-01", "2023-12-31"), "2023-05-02", "2024-07-01", "2024-06-30"),
        (("2023-01-01", "2023-12-31"), "2025-03-03", "2025-03-04", "2025-03-03"),
        (("2018-01-01", "2018-12-31"), "2019-05-02", "2026-01-01", "2021-12-31"),
        (("2016-01-01", "2016-12-31"), "2025-03-03", "2026-01-01", "2023-12-31"),
        # a conversion that is yet to come
        (("2023-01-01", "2023-12-31"), "2026-03-03", "2025-03-04", "2030-12-31"),
    ],
)
def test_paper_originals(
    financial_year: tuple[str, str], converted: str | None, as_of: str, expected: str
) -> None:
    day = date.fromisoformat(converted) if converted else None
    found = law.bfl_7_6_original(year(*financial_year), day, date.fromisoformat(as_of))
    assert str(found) == expected


@pytest.mark.parametrize(
    ("received", "eves", "expected"),
    [
        ("2026-11-24", False, "2026-12-24"),  # Christmas Eve is no holiday by law
        ("2026-11-24", True, "2026-12-28"),  # if it is one: Friday, Saturday and Sunday follow
        ("2026-11-30", True, "2026-12-30"),
        ("2026-05-19", True, "2026-06-22"),  # Midsummer Eve
        ("2026-03-02", False, "2026-04-02"),
        ("2026-03-03", False, "2026-04-07"),  # Good Friday to Easter Monday
        ("2026-05-06", False, "2026-06-08"),  # National Day, a Saturday
        ("2026-12-31", False, "2027-02-01"),
    ],
)
def test_answers_to_requests(received: str, eves: bool, expected: str) -> None:
    assert str(law.answer_due(date.fromisoformat(received), eves=eves)) == expected


def test_the_hour_of_the_breach_does_not_count() -> None:
    aware = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)
    assert law.breach_due(aware) == datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
    assert law.breach_due_in_full_hours(aware) == datetime(2026, 5, 4, 11, 0, tzinfo=UTC)


def test_a_breach_without_an_offset_is_rejected() -> None:
    with pytest.raises(Rejected, match="offset"):
        law.breach_due(datetime(2026, 5, 1, 10, 0))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2024, 12, 31, 22, 59, 59, tzinfo=UTC), date(2024, 12, 31)),
        (datetime(2024, 12, 31, 23, 0, tzinfo=UTC), date(2025, 1, 1)),
        (datetime(2024, 6, 30, 22, 0, tzinfo=UTC), date(2024, 7, 1)),
        (datetime(2024, 6, 30, 20, 0, tzinfo=ZoneInfo("America/New_York")), date(2024, 7, 1)),
    ],
)
def test_utc_never_leaks_into_a_civil_day(instant: datetime, day: date) -> None:
    assert civil_day(instant) == day


DAYS = st.dates(date(1980, 1, 1), date(2199, 12, 31))


@given(DAYS)
def test_a_day_begins_at_local_midnight_and_covers_all_of_itself(day: date) -> None:
    begin, end = start_of(day), start_of(day_after(day))
    local = begin.astimezone(STOCKHOLM)
    assert (local.date(), local.hour, local.minute) == (day, 0, 0)
    assert civil_day(end - timedelta(microseconds=1)) == day
    assert timedelta(hours=23) <= end - begin <= timedelta(hours=25)


@given(DAYS, DAYS, st.integers(1, 240))
def test_months_keep_the_order_of_days(one: date, other: date, months: int) -> None:
    earlier, later = sorted((one, other))
    assert add_months(earlier, months) <= add_months(later, months)
    assert add_months(earlier, months).day <= earlier.day


@given(DAYS, st.booleans())
def test_an_answer_is_due_on_a_working_day(received: date, eves: bool) -> None:
    due = law.answer_due(received, eves=eves)
    assert due.weekday() < 5
    assert due == next_working_day(due, eves=eves)
    assert add_months(received, 1) <= due <= day_after(add_months(received, 1), 6)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(STOCKHOLM)))  # noqa: DTZ001
def test_72_hours_are_hours(aware: datetime) -> None:
    strict, full = law.breach_due(aware), law.breach_due_in_full_hours(aware)
    assert strict - aware.astimezone(UTC) == timedelta(hours=72)
    assert timedelta(0) < full - strict <= timedelta(hours=1)
