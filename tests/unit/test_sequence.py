"""The accounts of what producers numbered, held against a plain set."""

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from audit_log.sequence import FARTHEST, Count, advance, named


@given(
    st.integers(0, 400).flatmap(
        lambda first: st.permutations(range(first, first + 60)).flatmap(
            lambda order: st.tuples(
                st.just(first), st.just(order), st.sets(st.sampled_from(order), max_size=20)
            )
        )
    ),
    st.integers(1, 25),
)
def test_exactly_what_did_not_come_is_missing(
    story: tuple[int, list[int], set[int]], batch: int
) -> None:
    first, order, dropped = story
    sent = [n for n in order if n not in dropped]
    count: Count | None = None
    for start in range(0, len(sent), batch):
        count = advance(count, sent[start : start + batch])
    assert count is not None
    begun_at = min(first, 1)
    expected = {n for n in range(begun_at, max(sent)) if n not in sent}
    if begun_at == 0 and min(sent) > 0:
        expected -= {0}  # nobody can know that this one counts from nought
    assert set(count.missing) == expected
    assert (count.reused, count.implausible) == (0, 0)
    if late := sorted(dropped):
        healed = advance(count, late)
        assert set(healed.missing) <= set(range(begun_at, first))


def test_who_is_first_heard_of_late_counted_before() -> None:
    count = advance(None, [5_000])
    assert (count.low, count.high, set(count.missing)) == (5_000, 5_000, set())
    count = advance(count, [4_998])
    assert set(count.missing) == {4_999}


def test_a_replayed_number_is_counted_and_nothing_else() -> None:
    count = advance(None, [1, 2, 3])
    count = advance(count, [2, 2, 4])
    assert (count.high, count.reused, set(count.missing)) == (4, 2, set())


def test_a_forged_number_is_not_believed() -> None:
    count = advance(advance(None, [1, 2, 3]), [10**18, 4])
    assert (count.high, count.implausible, set(count.missing)) == (4, 1, set())
    count = advance(count, [4 + FARTHEST])
    assert len(count.missing) == FARTHEST - 1


@given(st.sets(st.integers(0, 60)))
def test_numbers_are_named_as_people_write_them(numbers: set[int]) -> None:
    told: set[int] = set()
    for run in filter(None, named(BitMap64(numbers)).split(", ")):
        first, _, last = run.partition("-")
        told |= set(range(int(first), int(last or first) + 1))
    assert told == numbers
