"""Purges judged from what is public: exactly the wrong ones are named."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pyroaring import BitMap64

from audit_log.conformity import Term, Version, judge
from audit_log.leaf import PARTS, Kind, Leaf
from audit_log.receipt import Receipt

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG_AGO = date(2020, 1, 1)
POLICIES = {
    1: [Version(1, LONG_AGO, Term(12, 0, 7, fixed=False))],
    6: [Version(1, LONG_AGO, Term(24, 0, 7, fixed=True))],
}


def leaf(day: date, log_class: int = 1, kind: Kind = Kind.EVENT) -> bytes:
    return Leaf(kind, log_class, day, bytes(20), bytes(32)).encode()


def receipt(
    *indexes: int,
    log_class: int = 1,
    at: datetime = NOW,
    reason: str = "deadline",
    version: int = 1,
) -> Receipt:
    order = {"reason": reason, "policy_version": version}
    return Receipt(log_class, PARTS, BitMap64(indexes), order, at)


def test_lawful_purges_and_none_are_fine() -> None:
    old, new = leaf(date(2025, 11, 1)), leaf(date(2026, 11, 1))
    found = judge([old, new, old], [(2, receipt(0))], POLICIES, NOW)
    assert (found.early, found.late, found.unexplained) == (BitMap64(),) * 3


def test_one_early_one_late_one_unexplained() -> None:
    leaves = [leaf(NOW.date() - timedelta(days=800)) for _ in range(200)]
    leaves[17] = leaf(date(2025, 11, 23))  # its year ends with this day
    leaves[40] = leaf(date(2024, 11, 1), log_class=6)
    leaves[41] = leaf(date(2024, 11, 16), log_class=6)  # within its grace, and of another class
    leaves.append(leaf(NOW.date(), 0, Kind.PURGE_RECEIPT))
    receipts = [(200, receipt(3, 17, 41)), (200, receipt(5, 200))]
    found = judge(leaves, receipts, POLICIES, NOW)
    assert set(found.early) == {17}
    assert set(found.late) == {40}
    assert set(found.unexplained) == {41, 200}


def test_what_a_person_asked_for_is_not_early() -> None:
    found = judge(
        [leaf(NOW.date()), leaf(NOW.date())],
        [(1, receipt(0, reason="erasure-request"))],
        POLICIES,
        NOW,
    )
    assert not found.early


def test_a_purge_that_came_too_late_is_named_though_it_was_done() -> None:
    leaves = [leaf(date(2024, 11, 14), 6), leaf(date(2024, 11, 15), 6), leaf(NOW.date())]
    found = judge(leaves, [(2, receipt(0, 1, log_class=6))], POLICIES, NOW)
    assert (set(found.late), set(found.early)) == ({0}, set())


def test_a_purge_is_judged_by_the_version_it_was_ordered_under() -> None:
    policies = {
        1: [
            Version(1, LONG_AGO, Term(12, 0, 7, fixed=False)),
            Version(2, date(2026, 6, 1), Term(36, 0, 7, fixed=False)),
        ]
    }
    leaves = [leaf(date(2025, 1, 1)) for _ in range(6)]
    in_force = datetime(2026, 2, 1, tzinfo=UTC)
    on_its_way = datetime(2026, 6, 8, 12, tzinfo=UTC)
    receipts = [
        (5, receipt(0, at=in_force)),
        (5, receipt(1, at=on_its_way)),  # ordered before the change
        (5, receipt(2, at=on_its_way + timedelta(days=1))),  # a version that was no more
        (5, receipt(3, at=on_its_way, version=2)),
        (5, receipt(4, at=in_force, version=2)),  # a version that was not yet
        (5, receipt(4, at=in_force, version=3)),
    ]
    found = judge(leaves, receipts, policies, NOW)
    assert set(found.early) == {3}
    assert set(found.unexplained) == {2, 4}


@pytest.mark.parametrize(
    ("day", "months", "days", "first"),
    [
        (date(2024, 1, 31), 1, 0, date(2024, 3, 1)),  # 29 February is the last day kept
        (date(2023, 1, 31), 1, 0, date(2023, 3, 1)),
        (date(2024, 2, 29), 12, 0, date(2025, 3, 1)),
        (date(2025, 12, 31), 12, 0, date(2027, 1, 1)),
        (date(2025, 11, 30), 1, 0, date(2025, 12, 31)),
        (date(2025, 11, 30), 0, 90, date(2026, 3, 1)),
    ],
)
def test_the_first_day_on_which_an_entry_may_be_gone(
    day: date, months: int, days: int, first: date
) -> None:
    assert Term(months, days, 0, fixed=True).purge_from(day) == first
