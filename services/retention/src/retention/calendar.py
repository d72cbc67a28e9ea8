"""Civil days, the instants they begin at, and how Swedish and EU law count in months; pure.

A *day* is a civil day in the zone of the entity concerned; an *instant* is aware and in UTC.
The two meet here and nowhere else, so that UTC never leaks into a legal date.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import holidays

from shared.errors import Rejected

STOCKHOLM: Final = ZoneInfo("Europe/Stockholm")

Moment: TypeAlias = date | datetime
"""When something happened: a civil day, or an instant (which must be aware)."""

_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2200, 12, 31)
_SATURDAY: Final = 5


def civil_day(moment: Moment, zone: ZoneInfo = STOCKHOLM) -> date:
    """Return the civil day in *zone* on which *moment* lies; a day is itself.

    Raises:
        Rejected: the instant has no offset, or lies before 1900 or after 2200.

    >>> civil_day(datetime(2024, 12, 31, 23, 30, tzinfo=UTC))
    datetime.date(2025, 1, 1)
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise Rejected("an instant without its offset from UTC lies on no known day")
        if not _EARLIEST.year <= moment.year <= _LATEST.year:
            raise Rejected("no occurrence before 1900 or after 2200 is believed")
        return moment.astimezone(zone).date()
    if not _EARLIEST <= moment <= _LATEST:
        raise Rejected("no occurrence before 1900 or after 2200 is believed")
    return moment


@lru_cache(maxsize=100_000)
def start_of(day: date, zone: ZoneInfo = STOCKHOLM) -> datetime:
    """Return the instant, in UTC, at which *day* begins in *zone*.

    >>> start_of(date(2032, 1, 1)).isoformat()
    '2031-12-31T23:00:00+00:00'
    """
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def day_after(day: date, days: int = 1) -> date:
    """Return the day *days* later; time of day and summer time play no part."""
    return day + timedelta(days=days)


def add_months(day: date, months: int) -> date:
    """Return the day of the same number *months* later, or the last of that month if it has none.

    Source: lag (1930:173) om beräkning av lagstadgad tid, 1 §; Regulation (EEC, Euratom) 1182/71
    article 3(2)(c) says the same.

    >>> add_months(date(2024, 2, 29), 12)
    datetime.date(2025, 2, 28)
    """
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def end_of(day: date, unit: Literal["month", "year"]) -> date:
    """Return the last day of the month or calendar year that *day* lies in."""
    month = day.month if unit == "month" else 12
    return date(day.year, month, monthrange(day.year, month)[1])


def next_working_day(day: date, *, eves: bool = False) -> date:
    """Return *day*, or the first day after it that is no Saturday, Sunday or public holiday.

    Args:
        day: A civil day in Sweden.
        eves: Whether Midsummer Eve, Christmas Eve and New Year's Eve count as holidays.  They are
            none by law (1989:253), though 1930:173 2 § puts them on a level with Sundays.
    """
    while day.weekday() >= _SATURDAY or day in _public_holidays(day.year, eves):
        day = day_after(day)
    return day


@lru_cache
def _public_holidays(year: int, eves: bool) -> frozenset[date]:
    categories = ("public", "de_facto") if eves else ("public",)
    return frozenset(holidays.country_holidays("SE", years=year, categories=categories))
