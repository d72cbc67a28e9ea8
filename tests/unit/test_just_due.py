"""A canary is due, by the very rules that all records go by, on the day it is registered."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.anchor import Facts, resolve
from retention.calendar import day_after
from retention.deadline import Circumstances, Deadline, compute
from retention.just_due import YEARS, just_due
from retention.policy import Policy, load
from retention.rule import Clock, NeverStored
from shared.errors import Rejected

POLICIES = load(Path(__file__).parents[2] / "policies").by_category
STORED = sorted(name for name, policy in POLICIES.items() if policy.stored)


def deadline(policy: Policy, facts: Facts) -> Deadline:
    assert policy.clock is not None
    return compute(policy, resolve(policy.clock, facts), Circumstances(YEARS))


def later(facts: Facts) -> Facts:
    """Return the facts as if they had happened a day later."""
    day = timedelta(days=1)
    return replace(
        facts,
        anchors=[replace(a, moment=a.moment + day) for a in facts.anchors],
        services=[replace(s, moment=s.moment + day) for s in facts.services],
    )


@given(st.sampled_from(STORED), st.dates(date(2024, 2, 1), date(2090, 12, 31)))
def test_a_day_later_it_would_not_be_due(category: str, today: date) -> None:
    policy = POLICIES[category]
    facts = just_due([policy], today)
    found, next_day = deadline(policy, facts), deadline(policy, later(facts))
    assert found.keep_through is not None
    assert next_day.keep_through is not None
    assert found.keep_through < today <= next_day.keep_through


@pytest.mark.parametrize(
    ("category", "today", "day"),
    [
        ("billing.invoice", date(2031, 12, 31), date(2023, 12, 31)),  # a day before the next year
        ("billing.invoice", date(2032, 1, 1), date(2024, 12, 31)),
        ("lead.form", date(2026, 11, 24), date(2025, 11, 23)),
        ("lead.form", date(2025, 3, 1), date(2024, 2, 29)),
        ("form.spam_token", date(2026, 11, 24), date(2026, 11, 22)),
    ],
)
def test_days(category: str, today: date, day: date) -> None:
    assert {anchor.moment for anchor in just_due([POLICIES[category]], today).anchors} == {day}


@pytest.mark.parametrize(
    ("clock", "kinds", "served"),
    [
        (Clock(anchors=("sent", "paid")), ["sent"], False),
        (Clock(while_service=True), [], True),
        (Clock(anchors=("settled",), while_service=True), ["settled"], True),
        (Clock(ended_by=("removed",), while_service=True), ["removed"], False),
        (Clock(ended_by=("closed",)), ["closed"], False),
    ],
)
def test_it_has_what_its_clock_asks_for(clock: Clock, kinds: list[str], served: bool) -> None:
    policy = POLICIES["lead.form"].model_copy(update={"clock": clock})
    facts = just_due([policy], date(2026, 11, 24))
    assert [anchor.kind for anchor in facts.anchors] == kinds
    assert bool(facts.services) is served
    assert deadline(policy, facts).keep_through == day_after(date(2026, 11, 24), -1)


def test_what_is_never_stored_is_never_due() -> None:
    never = POLICIES["cookie.popup"]
    assert isinstance(never.rule, NeverStored)
    with pytest.raises(Rejected):
        just_due([never], date(2026, 11, 24))
