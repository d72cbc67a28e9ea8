"""What a change of policies does, and which changes nobody can make."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.plan import Counted, Dates, Plan, changes, effect, faults, forbidden, stale
from retention.policy import Policy, load

TODAY = date(2026, 11, 24)
SHIPPED = load(Path(__file__).parents[2] / "policies").by_category
LEAD, INVOICE = SHIPPED["lead.form"], SHIPPED["billing.invoice"]


def next_of(policy: Policy, **changed: Any) -> Policy:
    said = {"version": policy.version + 1, "effective_from": date(2027, 1, 1), **changed}
    return Policy.model_validate(policy.model_dump(mode="json") | said)


def key(before: date | None, after: date | None, records: int = 1, **more: Any) -> Counted:
    floor: date | None = more.get("floor")
    holders: Mapping[str, int] = {more.get("holder", "crm"): records}
    return Counted(1, "lead.form", holders, Dates(before, floor), Dates(after))


def test_an_effect_counts_records_not_keys() -> None:
    found = effect(
        next_of(LEAD),
        [
            key(date(2027, 6, 30), date(2027, 1, 31), 12),
            key(date(2027, 6, 30), date(2027, 9, 30), 1228, holder="website"),
            key(date(2027, 6, 30), date(2027, 6, 30), 3000, holder="portal"),
        ],
        held=2,
    )
    assert (found.records, found.moved, found.earlier, found.held) == (4240, 1240, 12, 2)
    assert found.first_purge == date(2027, 2, 1)
    assert found.holders == ("crm", "website")
    assert found.purges == ((date(2027, 2, 1), 12), (date(2027, 10, 1), 1228))
    assert found.below_statute == 0


def test_what_was_to_be_kept_for_an_unknown_time_goes_sooner_if_it_gets_a_date() -> None:
    assert key(None, date(2030, 1, 1)).earlier
    assert not key(date(2030, 1, 1), None).earlier
    assert key(date(2030, 1, 1), None).moved


@given(st.dates(), st.dates(), st.dates())
def test_below_the_statute_is_what_goes_before_the_floor(
    before: date, after: date, floor: date
) -> None:
    found = key(before, after, floor=floor)
    assert found.below_statute is (before != after and after < floor)
    stands = forbidden([effect(next_of(LEAD), [found], 0)])
    assert (stands is not None) is found.below_statute


@pytest.mark.parametrize(
    ("old", "changed", "fault"),
    [
        (LEAD, {"version": 3}, "version: 1 is in force: the change is version 2"),
        (LEAD, {"version": 1}, "version: 1 is in force: the change is version 2"),
        (LEAD, {"effective_from": TODAY - timedelta(days=1)}, "effective_from: lies in the past"),
        (LEAD, {"effective_from": date(2025, 1, 1)}, "effective_from: version 1 begins then"),
        (
            INVOICE,
            {"rule": {"rule": "period", "months": 120}, "period_source": "notice"},
            "rule: the law sets a minimum here",
        ),
        (LEAD, {"log_class": 99}, "log_class: never changes"),
        (LEAD, {"clock": {"anchors": ["submitted"]}}, "clock: another one is for existing data"),
        (LEAD, {"group": "own"}, "clock: another one is for existing data"),
        (
            LEAD,
            {"rule": {"rule": "never_stored"}, "holders": [], "clock": None},
            "rule: there may be records",
        ),
    ],
)
def test_a_version_that_cannot_follow_says_why(
    old: Policy, changed: dict[str, Any], fault: str
) -> None:
    found = list(faults(old, next_of(old, **changed), TODAY))
    assert any(line.startswith(f"{old.category}.yaml: {fault}") for line in found), found


def test_a_version_may_follow() -> None:
    assert not list(faults(LEAD, next_of(LEAD, rule={"rule": "period", "months": 6}), TODAY))
    other_clock = {"clock": {"anchors": ["submitted"]}, "existing": "apply"}
    assert not list(faults(LEAD, next_of(LEAD, **other_clock), TODAY))
    longer = {"rule": "max", "rules": [{"rule": "bfl_7_2"}, {"rule": "period", "months": 120}]}
    assert not list(faults(INVOICE, next_of(INVOICE, rule=longer), TODAY))


def test_changes_name_what_differs() -> None:
    new = next_of(LEAD, rule={"rule": "period", "months": 6})
    assert [field for field, _, _ in changes(LEAD, new)] == ["rule", "effective_from"]


def plan(earlier: int = 0, *, made_on: date = TODAY, basis: bytes = b"b") -> Plan:
    keys = [key(date(2030, 1, 1), date(2029, 1, 1), earlier)]
    return Plan((next_of(LEAD),), (effect(next_of(LEAD), keys, 0),), made_on, basis)


def test_a_plan_is_outdated_by_what_it_rests_on() -> None:
    assert stale(plan(5), plan(5), 100) is None
    assert stale(plan(5), plan(105), 100) is None
    assert stale(plan(5), plan(106), 100) == "it would make 106 records go sooner, not 5"
    assert stale(plan(5), plan(4), 100) is None
    assert stale(plan(basis=b"a"), plan(basis=b"b"), 100) is not None
    assert stale(plan(), plan(made_on=date(2027, 1, 2)), 100) == "it was to begin before today"


def test_the_hash_covers_all_that_is_shown() -> None:
    hashes = {
        plan().sha256,
        plan(1).sha256,
        plan(basis=b"c").sha256,
        plan(made_on=date(2026, 11, 25)).sha256,
        Plan((next_of(LEAD, grace="P8D"),), plan().effects, TODAY, b"b").sha256,
    }
    assert len(hashes) == 5
