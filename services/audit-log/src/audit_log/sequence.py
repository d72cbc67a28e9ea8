"""What a producer's own count tells of events that never arrived; pure.

A producer may number what it sends (the CloudEvents extension ``sequence``): from 1, by one, each
instance under a ``ce_source`` of its own.  Order of arrival means nothing: partitions overtake one
another, so a number that is missing now may come in a moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pyroaring import BitMap64

_MOST_RUNS: Final = 1000
FARTHEST: Final = 1_000_000
"""A number farther than this from all others is an error or a forgery, not a loss."""

_NEW: Final = 1_000  # who is first heard of below this number is taken to have begun at 1


@dataclass(slots=True)
class Count:
    """How far the count of one producer has come.

    Attributes:
        low: The first number expected.
        high: The highest that came.
        missing: Those between that did not come.
        reused: Events under a number that had come before.
        implausible: Events under a number too far from the others to be believed.
    """

    low: int
    high: int
    missing: BitMap64 = field(default_factory=BitMap64)
    reused: int = 0
    implausible: int = 0


def advance(count: Count | None, numbers: Sequence[int]) -> Count:
    """Return *count* after events with *numbers* came, in any order; None for a new producer."""
    lowest = min(numbers)
    if count is None:
        low = min(lowest, 1) if lowest <= _NEW else lowest
        count = Count(low, low - 1)
    near = [n for n in numbers if count.low - FARTHEST <= n <= count.high + FARTHEST]
    count.implausible += len(numbers) - len(near)
    fresh = BitMap64(near)
    if not fresh:
        return count
    if fresh[0] < count.low:
        count.missing.add_range(fresh[0], count.low)
        count.low = fresh[0]
    if fresh[-1] > count.high:
        count.missing.add_range(count.high + 1, fresh[-1] + 1)
        count.high = fresh[-1]
    count.reused += len(near) - len(fresh & count.missing)
    count.missing -= fresh
    return count


def named(numbers: BitMap64) -> str:
    """Return *numbers* as people write them; of very many only the first are named.

    >>> named(BitMap64([1, 2, 3, 7]))
    '1-3, 7'
    """
    runs: list[str] = []
    count = 0
    while count < len(numbers) and len(runs) < _MOST_RUNS:
        first = numbers[count]
        last = _end_of_run(numbers, first, count)
        runs.append(str(first) if first == last else f"{first}-{last}")
        count += last - first + 1
    rest = [f"and {len(numbers) - count} more"] if count < len(numbers) else []
    return ", ".join([*runs, *rest])


def _end_of_run(numbers: BitMap64, first: int, place: int) -> int:
    """Return the last of the numbers that follow *first*, which is at *place*, without a gap."""
    low, high = first, first + len(numbers) - place - 1
    while low < high:
        middle = (low + high + 1) // 2
        if numbers.rank(middle) - place == middle - first + 1:
            low = middle
        else:
            high = middle - 1
    return low
