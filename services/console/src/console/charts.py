"""Where the bars of a chart stand: server-side SVG needs numbers, and no script; pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, log10
from typing import Any, Final

MOST: Final = 5  # categories with a colour of their own; the rest are one
REST: Final = "other"
_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """One category's part of a bar."""

    series: str
    shade: int
    count: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One month."""

    month: date
    x: float
    total: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, one beside the other, and the lines behind them."""

    bars: Sequence[Bar]
    series: Sequence[str]
    ticks: Sequence[tuple[int, float]]
    step: float
    width: int
    height: int


def months_from(first: date, count: int) -> list[date]:
    """Return the first days of *count* months.

    >>> [str(d) for d in months_from(date(2026, 11, 26), 3)]
    ['2026-11-01', '2026-12-01', '2027-01-01']
    """
    start = first.year * 12 + first.month - 1
    return [date(n // 12, n % 12 + 1, 1) for n in range(start, start + count)]


def ceiling(highest: int) -> int:
    """Return a round number that is not below *highest*.

    >>> [ceiling(n) for n in (0, 7, 12, 99, 101, 4321)]
    [4, 8, 20, 100, 200, 8000]
    """
    power = 10 ** int(log10(max(highest, 1)))
    steps = (n * power for n in (1, 2, 4, 8, 10, 20))
    return next((n for n in steps if n >= highest and n % _TICKS == 0), _TICKS)


def stacked(
    rows: Iterable[Mapping[str, Any]], months: Sequence[date], width: int, height: int
) -> Chart:
    """Return the chart of *rows*, each of which names a month, a category and records."""
    counts: dict[tuple[date, str], int] = {}
    totals: dict[str, int] = {}
    for row in rows:
        month, category = date.fromisoformat(row["month"]), str(row["category"])
        if month in months:
            counts[month, category] = counts.get((month, category), 0) + int(row["records"])
            totals[category] = totals.get(category, 0) + int(row["records"])
    series = sorted(totals, key=lambda name: (-totals[name], name))[:MOST]
    rest = [name for name in totals if name not in series]
    shown = [*series, REST] if rest else series

    def count(month: date, name: str) -> int:
        names = rest if name == REST else [name]
        return sum(counts.get((month, each), 0) for each in names)

    highest = max((sum(count(m, n) for n in shown) for m in months), default=0)
    top = ceiling(highest)
    step = width / max(len(months), 1)
    bars = [
        _bar(
            month, number * step, [(n, count(month, n)) for n in shown], lambda n: n * height / top
        )
        for number, month in enumerate(months)
    ]
    ticks = [(top * n // _TICKS, height - height * n / _TICKS) for n in range(_TICKS + 1)]
    return Chart(bars, shown, ticks, step, width, height)


def _bar(
    month: date, x: float, parts: Sequence[tuple[str, int]], scaled: Callable[[int], float]
) -> Bar:
    pieces: list[Piece] = []
    below = 0
    for shade, (name, count) in enumerate(parts):
        if count:
            below += count
            pieces.append(Piece(name, shade, count, scaled(below), scaled(count)))
    return Bar(month, round(x, 2), below, pieces)


def share(count: int, highest: int, steps: int) -> int:
    """Return which of *steps* shades a count gets beside the highest; 0 for nothing.

    >>> [share(n, 100, 4) for n in (0, 1, 50, 100)]
    [0, 1, 2, 4]
    """
    return ceil(count * steps / highest) if count else 0
