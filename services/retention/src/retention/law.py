"""What the law says about how long records are kept and when people must be answered; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from retention.calendar import (
    STOCKHOLM,
    Moment,
    add_months,
    civil_day,
    day_after,
    next_working_day,
)
from shared.errors import Rejected

BFL_7_2: Final = "Bokföringslagen (1999:1078) 7 kap. 2 §"
BFL_7_6: Final = "Bokföringslagen (1999:1078) 7 kap. 6 §"
OSS: Final = "Directive 2006/112/EC article 369k"

_ACCOUNTING_YEARS: Final = 7
_OSS_YEARS: Final = 10
_ORIGINAL_YEARS: Final = 3  # Bokföringslagen 7 kap. 6 § as it stood until 30 June 2024
_ORIGINALS_FREE_FROM: Final = date(2024, 7, 1)
_NORMAL_MONTHS: Final = 12
_LONGEST_MONTHS: Final = 18


@dataclass(frozen=True, slots=True, order=True)
class FinancialYear:
    """A *räkenskapsår*; both days belong to it.

    Twelve months as a rule; up to eighteen when bookkeeping begins or the year is moved.

    Source: Bokföringslagen 3 kap. 1 and 3 §§.

    Attributes:
        closed: The books are closed; until then the last day may still move.
        event: The event that told of it.

    Raises:
        Rejected: it ends before it starts or is too long.
    """

    first_day: date
    last_day: date
    closed: bool = field(default=True, compare=False)
    event: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for day in (self.first_day, self.last_day):
            civil_day(day)
        if self.last_day < self.first_day:
            raise Rejected(f"{self} ends before it starts")
        if self.last_day >= add_months(self.first_day, _LONGEST_MONTHS):
            raise Rejected(f"{self} is longer than {_LONGEST_MONTHS} months")
        shortened = not self.ends_with_a_month
        if shortened and self.last_day >= add_months(self.first_day, _NORMAL_MONTHS):
            # Only the end of the duty to keep books cuts a month, and it never lengthens the year.
            raise Rejected(f"{self} is longer than a year yet does not end with a month")

    @property
    def ends_with_a_month(self) -> bool:
        """Whether the last day is the last of its month."""
        return day_after(self.last_day).day == 1

    def __str__(self) -> str:
        return f"the financial year {self.first_day}..{self.last_day}"


@dataclass(frozen=True, slots=True)
class FinancialYears:
    """The financial years of one entity, earliest first, each the day after the one before.

    Raises:
        Rejected: they overlap or leave a gap; one but the first starts, or one but the last ends,
            in the middle of a month.
    """

    years: tuple[FinancialYear, ...] = ()

    @classmethod
    def of(cls, years: Iterable[FinancialYear]) -> "FinancialYears":
        """Return *years*, given in any order."""
        return cls(tuple(sorted(years)))

    def __post_init__(self) -> None:
        for year, following in pairwise(self.years):
            if following.first_day <= year.last_day:
                raise Rejected(f"{following} overlaps {year}")
            if following.first_day != day_after(year.last_day):
                raise Rejected(f"between {year} and {following} is a gap")
            if not year.ends_with_a_month:
                raise Rejected(f"{year} does not end with a month")

    def containing(self, day: date) -> FinancialYear | None:
        """Return the year that *day* belongs to, if it is known."""
        return next((y for y in self.years if y.first_day <= day <= y.last_day), None)


def bfl_7_2(year: FinancialYear) -> date:
    """Return the last day on which accounting information of *year* must exist.

    The seven years run from the end of the *calendar* year in which the financial year ended.

    Source: Bokföringslagen (1999:1078) 7 kap. 2 §.

    >>> bfl_7_2(FinancialYear(date(2025, 7, 1), date(2026, 6, 30)))
    datetime.date(2033, 12, 31)
    """
    return date(year.last_day.year + _ACCOUNTING_YEARS, 12, 31)


def oss_10y(day: date) -> date:
    """Return the last day on which records of a sale on *day* under the union scheme must exist.

    Source: Directive 2006/112/EC article 369k: ten years from the end of the year of the sale.
    """
    return date(day.year + _OSS_YEARS, 12, 31)


def bfl_7_6_original(year: FinancialYear, converted: date | None, as_of: date) -> date:
    """Return the last day on which a paper original must exist, by the law in force on *as_of*.

    Until 30 June 2024 a converted original had to be kept through the third calendar year after
    its financial year; since 1 July 2024 it may go once it is converted, whenever that was.  One
    that is not (yet) converted is kept as any accounting information.

    Source: Bokföringslagen (1999:1078) 7 kap. 6 §, the later wording by the change of 2024-07-01.
    """
    original = bfl_7_2(year)
    if converted is None or converted > as_of:
        return original
    by_old_law = max(date(year.last_day.year + _ORIGINAL_YEARS, 12, 31), converted)
    if as_of < _ORIGINALS_FREE_FROM:
        return min(original, by_old_law)
    by_new_law = max(_ORIGINALS_FREE_FROM - timedelta(days=1), converted)
    return min(original, by_old_law, by_new_law)


def answer_due(
    received: Moment,
    *,
    months: int = 1,
    waited: int = 0,
    eves: bool = False,
    zone: ZoneInfo = STOCKHOLM,
) -> date:
    """Return the last day to answer a request received then, by the end of that day.

    Counted from receipt, also when extended; a day that is no working day moves to the next one.

    Source: GDPR articles 12(3) and 14(3)(a); Regulation 1182/71 article 3(2)(c) and 3(4).

    Args:
        received: When it came; the day of receipt does not count.
        months: 1, or 3 when extended for complexity or number.
        waited: Days for which the time stood still.
        eves: See :func:`retention.calendar.next_working_day`.
        zone: Where the controller is established.

    >>> answer_due(date(2025, 3, 5))
    datetime.date(2025, 4, 7)
    """
    last = day_after(add_months(civil_day(received, zone), months), waited)
    return next_working_day(last, eves=eves)


def breach_due(aware_at: datetime) -> datetime:
    """Return the instant, 72 hours of elapsed time later, by which a breach must be notified.

    Source: GDPR article 33(1).  Hours run through nights, holidays and changes of the clock.

    Raises:
        Rejected: *aware_at* has no offset.
    """
    civil_day(aware_at)
    return aware_at.astimezone(UTC) + timedelta(hours=72)


def breach_due_in_full_hours(aware_at: datetime) -> datetime:
    """Return the same by Regulation 1182/71 article 3(1): the hour of the event does not count.

    It is never earlier than :func:`breach_due`, which alarms go by.
    """
    due = breach_due(aware_at)
    return due.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
