"""What a producer's own count tells of events that never arrived; pure.

A producer may number what it sends (the CloudEvents extension ``sequence``): from 1, by one, each
instance under a ``ce_source`` of its own.  Order of arrival means nothing: partitions overtake one
another, so a number that is missing now may come in a moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from pyroaring import BitMap64

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
    """Return *numbers* as people write them.

    >>> named(BitMap64([1, 2, 3, 7]))
    '1-3, 7'
    """
    listed = list(numbers)
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(listed), 1) if b != a + 1)]
    ends = [*(i - 1 for i in starts[1:]), len(listed) - 1]
    runs = [(listed[a], listed[b]) for a, b in zip(starts, ends, strict=True)] if listed else []
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
