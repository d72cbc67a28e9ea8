"""What is usual for a day, and what people are asked about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.limits import Limits, Numbers

LIMITS = Limits(factor=1.5, floor=100, share=0.25)


@pytest.mark.parametrize(
    ("numbers", "frozen"),
    [
        (Numbers(at_hand=100, of=100, forecast=0), False),  # so few that nobody is asked
        (Numbers(at_hand=101, of=10_000, forecast=0), True),
        (Numbers(at_hand=101, canaries=1, of=10_000, forecast=0), False),
        (Numbers(at_hand=150, of=10_000, forecast=100), False),
        (Numbers(at_hand=151, of=10_000, forecast=100), True),
        (Numbers(gone=100, at_hand=51, of=10_000, forecast=100), True),
        (Numbers(at_hand=250, of=1000, forecast=250), False),
        (Numbers(at_hand=251, of=1000, forecast=251), True),  # expected, and a large share
        (Numbers(at_hand=251, of=1000, forecast=251, yesterday=200), False),  # as every day
        (Numbers(at_hand=250, of=1000), False),  # the first day
        (Numbers(at_hand=251, of=1000), True),
        (Numbers(at_hand=900, late=700, of=1000), False),  # an archive is taken over
        (Numbers(at_hand=900, late=600, of=1000), True),
        (Numbers(gone=900, at_hand=200, late=200, of=1000), False),
        (Numbers(at_hand=900, late=900, of=1000, forecast=0), True),  # but not on any other day
        (Numbers(at_hand=900, of=1000, forecast=0, approved=900), False),
        (Numbers(at_hand=1001, of=2000, forecast=0, approved=900), True),
    ],
)
def test_what_waits_for_people(numbers: Numbers, frozen: bool) -> None:
    assert (LIMITS.excess(numbers) is not None) is frozen


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_is_never_less_unusual(at_hand: int, more: int, forecast: int) -> None:
    def excess(number: int) -> bool:
        return LIMITS.excess(Numbers(at_hand=number, of=5000, forecast=forecast)) is not None

    assert excess(at_hand + more) or not excess(at_hand)
