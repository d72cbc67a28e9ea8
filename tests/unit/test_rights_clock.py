"""The clock of a request and the steps of its case."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retention.calendar import add_months, day_after, next_working_day
from retention.rights_rules import OVER, STEPS, UNANSWERED, WARN_DAYS, Clock, after
from shared.errors import Rejected

DAYS = st.dates(date(2025, 1, 1), date(2034, 12, 31))


def on(day: str) -> date:
    return date.fromisoformat(day)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2025-03-05", "2025-04-07"),  # 5 April is a Saturday
        ("2026-01-31", "2026-03-02"),  # no 31 February; the 28th is a Saturday
        ("2026-05-06", "2026-06-08"),  # the national day, a Saturday
        ("2026-11-25", "2026-12-28"),  # Christmas, Boxing Day, Sunday
        ("2026-03-03", "2026-04-07"),  # Good Friday to Easter Monday
    ],
)
def test_a_month_ends_on_the_same_date_or_the_next_working_day(received: str, due: str) -> None:
    assert Clock(on(received)).due == on(due)


def test_it_stands_still_from_the_question_to_the_proof() -> None:
    clock = Clock(on("2026-03-02")).asked(on("2026-03-04"))
    assert clock.stands_still
    assert clock.due is None
    assert clock.warning(on("2030-01-01")) is None
    shown = clock.shown(on("2026-03-14"))
    assert (shown.waited, shown.due) == (10, on("2026-04-13"))  # 2 April + 10 is a Sunday


def test_what_is_asked_for_too_late_gains_nothing() -> None:
    clock = Clock(on("2026-03-02")).asked(on("2026-04-03"))
    assert not clock.stands_still
    assert clock.due == on("2026-04-02")
    assert clock.shown(on("2026-06-01")).due == on("2026-04-02")


def test_two_months_more_are_counted_from_receipt() -> None:
    clock = Clock(on("2026-03-02")).extended(on("2026-04-02"))
    assert clock.due == on("2026-06-02")
    with pytest.raises(Rejected, match="once"):
        clock.extended(on("2026-04-02"))
    with pytest.raises(Rejected, match="within the first month"):
        Clock(on("2026-03-02")).extended(on("2026-04-03"))


def test_somebody_is_told_in_time_and_when_it_is_late() -> None:
    clock = Clock(on("2026-03-02"))  # due on 2 April
    told = {day: clock.warning(on("2026-04-02") - timedelta(days=day)) for day in (15, 14, 8, 7)}
    assert told == {15: None, 14: 14, 8: 14, 7: 7}
    assert [clock.warning(on(f"2026-04-0{day}")) for day in (1, 2, 3)] == [1, 1, 0]


@pytest.mark.parametrize("wrong", [("2026-03-01", "asked"), ("2026-03-01", "extended")])
def test_nothing_happens_before_receipt(wrong: tuple[str, str]) -> None:
    day, name = wrong
    with pytest.raises(Rejected):
        getattr(Clock(on("2026-03-02")), name)(on(day))


@given(received=DAYS, asked=st.integers(0, 40), waited=st.integers(0, 400), extend=st.booleans())
def test_a_clock_gives_the_month_the_wait_and_no_more_than_the_next_working_day(
    received: date, asked: int, waited: int, extend: bool
) -> None:
    clock = Clock(received)
    first = clock.due
    assert first is not None
    if extend:
        clock = clock.extended(received)
    clock = clock.asked(day_after(received, asked))
    in_time = day_after(received, asked) <= first
    assert clock.stands_still == in_time
    clock = clock.shown(day_after(received, asked + waited))
    assert clock.waited == (waited if in_time else 0)
    at_least = day_after(add_months(received, 3 if extend else 1), clock.waited)
    assert clock.due == next_working_day(at_least)
    assert clock.due < at_least + timedelta(days=6)
    warned = [clock.warning(clock.due - timedelta(days=left)) for left in range(20, -2, -1)]
    counted = [days for days in warned if days is not None]
    assert counted == sorted(counted, reverse=True)
    assert set(counted) == {0, *WARN_DAYS}


class Case(RuleBasedStateMachine):
    """A case on which all steps are tried."""

    @initialize()
    def comes(self) -> None:
        self.state = "received"
        self.steps: list[str] = []

    @rule(step=st.sampled_from(sorted(STEPS)))
    def tries(self, step: str) -> None:
        try:
            self.state = after(self.state, step)  # type: ignore[arg-type]
        except Rejected:
            assert self.state not in STEPS[step]  # type: ignore[index]
        else:
            self.steps.append(step)

    @precondition(lambda self: self.state in {"answered", "closed"})
    @rule()
    def was_identified_decided_and_approved(self) -> None:
        order = ["confirm-identity", "collected", "decide", "approve", "answer"]
        last = {step: len(self.steps) - self.steps[::-1].index(step) for step in order}
        assert sorted(order, key=lambda step: last[step]) == order

    @precondition(lambda self: self.state in OVER)
    @rule()
    def nothing_follows(self) -> None:
        assert not [step for step, ways in STEPS.items() if self.state in ways]

    @invariant()
    def a_clock_counts_until_it_is_answered(self) -> None:
        answered = "answer" in self.steps
        assert (self.state in UNANSWERED) == (not answered and self.state not in OVER)


TestCase = Case.TestCase
