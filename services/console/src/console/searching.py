"""What people write into the log's search box: fields and dates as one says them; pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

FIELDS: Final = ("customer", "actor", "action", "target", "outcome", "channel")
_BOUNDS: Final = {"since": "from", "from": "from", "until": "to", "to": "to"}
_WORD: Final = re.compile(r"""(?:(?P<field>[^\s:"]+):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>\S+))""")
_RELATIVE: Final = re.compile(r"(\d{1,4})\s*([a-zåäö]+?)(?:\s+(?:ago|sedan))?")
_UNITS: Final = {
    **dict.fromkeys(("m", "min", "minute", "minutes", "minut", "minuter"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hour", "hours", "timme", "timmar", "tim"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days", "dag", "dagar"), timedelta(days=1)),
    **dict.fromkeys(("w", "week", "weeks", "vecka", "veckor"), timedelta(weeks=1)),
    **dict.fromkeys(("month", "months", "månad", "månader"), timedelta(days=30)),
    **dict.fromkeys(("y", "year", "years", "år"), timedelta(days=365)),
}
_DAYS: Final = {"today": 0, "idag": 0, "yesterday": 1, "igår": 1}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Attributes:
        params: Of the audit-log's search.
        strange: Words that mean nothing.
    """

    params: Mapping[str, str]
    strange: Sequence[str]


def understand(text: str, now: datetime, zone: tzinfo) -> Asked:
    """Return what *text* asks for.

    >>> now = datetime(2026, 5, 3, tzinfo=UTC)
    >>> asked = understand('customer:c-1 since:"2 days ago" what', now, UTC)
    >>> asked.params
    {'customer': 'c-1', 'from': '2026-05-01T00:00:00+00:00'}
    >>> asked.strange
    ['what']
    """
    params: dict[str, str] = {}
    strange: list[str] = []
    for word in _WORD.finditer(text):
        field = (word["field"] or "").lower()
        value = word["plain"] if word["quoted"] is None else word["quoted"]
        bound = _BOUNDS.get(field)
        at = instant(value, now, zone, last=bound == "to") if bound else None
        if field in FIELDS and value:
            params[field] = value
        elif bound and at:
            params[bound] = at.isoformat()
        else:
            strange.append(word[0])
    return Asked(params, strange)


def instant(said: str, now: datetime, zone: tzinfo, *, last: bool = False) -> datetime | None:
    """Return the instant that is meant; of a day its beginning, or its end for the *last*."""
    try:
        return _instant(said.strip().lower(), now, zone, last=last)
    except (ValueError, OverflowError):  # no date, or none that a calendar has
        return None


def _instant(said: str, now: datetime, zone: tzinfo, *, last: bool) -> datetime:
    if (back := _DAYS.get(said)) is not None:
        return _bound(now.astimezone(zone) - timedelta(days=back), zone, last=last)
    if (relative := _RELATIVE.fullmatch(said)) and (unit := _UNITS.get(relative[2])):
        return now - int(relative[1]) * unit
    at = datetime.fromisoformat(said.upper())
    if len(said) == len("2026-01-31"):
        return _bound(at, zone, last=last)
    return at if at.tzinfo else at.replace(tzinfo=zone).astimezone(UTC)


def _bound(day: datetime, zone: tzinfo, *, last: bool) -> datetime:
    start = datetime.combine(day.date() + timedelta(days=last), time(), zone)
    return start.astimezone(UTC)
