"""Purges judged from what is public: exactly the wrong ones are named."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from pyroaring import BitMap64

from audit_log.conformity import Term, Version, judge, keep
from audit_log.leaf import PARTS, Kind, Leaf
from audit_log.receipt import Receipt

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG_AGO = date(2020, 1, 1)
POLICIES = {
    1: [Version(1, LONG_AGO, Term(12, 0, 7, fixed=False), LONG_AGO)],
    6: [Version(1, LONG_AGO, Term(24, 0, 7, fixed=True), LONG_AGO)],
}


def leaf(day: date, log_class: int = 1, kind: Kind = Kind.EVENT) -> bytes:
    return Leaf(kind, log_class, day, bytes(20), bytes(32)).encode()


def receipt(
    *indexes: int,
    log_class: int = 1,
    reason: str = "deadline",
    version: int = 1,
    parts: Sequence[str] = PARTS,
) -> Receipt:
    order = {"reason": reason, "policy_version": version}
    return Receipt(log_class, parts, BitMap64(indexes), order, NOW)


def judged(
    entries: Sequence[bytes],
    *receipts: Receipt | tuple[date, Receipt],
    policies: Mapping[int, Sequence[Version]] = POLICIES,
) -> tuple[set[int], set[int], set[int]]:
    """Return early, late and unexplained of a log of *entries* and then *receipts*, of today."""
    dated = [given if isinstance(given, tuple) else (NOW.date(), given) for given in receipts]
    leaves = [*entries, *(leaf(day, 0, Kind.PURGE_RECEIPT) for day, _ in dated)]
    numbered = [(index, told) for index, (_, told) in enumerate(dated, len(entries))]
    found = judge(leaves, numbered, policies, NOW)
    return set(found.early), set(found.late), set(found.unexplained)


def test_lawful_purges_and_none_are_fine() -> None:
    old, new = leaf(date(2025, 11, 1)), leaf(date(2026, 11, 1))
    assert judged([old, new], receipt(0)) == (set(), set(), set())


def test_one_early_one_late_one_unexplained() -> None:
    leaves = [leaf(NOW.date() - timedelta(days=800)) for _ in range(200)]
    leaves[17] = leaf(date(2025, 11, 23))  # its year ends with this day
    leaves[40] = leaf(date(2024, 11, 1), log_class=6)
    leaves[41] = leaf(date(2024, 11, 16), log_class=6)  # within its grace, and of another class
    early, late, unexplained = judged(leaves, receipt(3, 17, 41), receipt(5, 200, 201))
    assert (early, late, unexplained) == ({17}, {40}, {41, 200, 201})


def test_what_a_person_asked_for_is_not_early() -> None:
    asked = receipt(0, reason="erasure-request")
    assert judged([leaf(NOW.date()), leaf(NOW.date())], asked) == (set(), set(), set())


def test_a_purge_that_came_too_late_is_named_though_it_was_done() -> None:
    leaves = [leaf(date(2024, 11, 14), 6), leaf(date(2024, 11, 15), 6)]
    assert judged(leaves, receipt(0, 1, log_class=6)) == (set(), {0}, set())


def test_a_purge_is_judged_by_the_version_that_decided_when_it_was_ordered() -> None:
    change = date(2026, 6, 1)
    policies = {
        1: [
            Version(1, LONG_AGO, Term(12, 0, 7, fixed=False), LONG_AGO),
            Version(2, change, Term(36, 0, 7, fixed=False), change, applies=True),
        ]
    }
    entry = leaf(date(2025, 5, 31))  # due on the day of the change: it is concerned by one no more
    later = leaf(date(2025, 6, 5))
    on_its_way = date(2026, 6, 8)
    early, late, unexplained = judged(
        [entry, later, later, later, later, entry],
        (date(2026, 7, 1), receipt(0)),
        (on_its_way, receipt(1)),  # ordered before the change
        (on_its_way + timedelta(days=1), receipt(2)),  # a version that decided no more
        (on_its_way, receipt(3, version=2)),
        (date(2026, 5, 31), receipt(4, version=2)),  # a version that was not yet
        (date(2026, 7, 1), receipt(5, version=2)),
        policies=policies,
    )
    # The last: not before its time was up by version 1, if it ran from the entry; else too early.
    assert (early, late, unexplained) == ({3, 5}, set(), {2, 4})


def test_time_that_runs_from_the_end_of_a_service_is_promised_then() -> None:
    change = date(2025, 3, 1)
    longer = Term(18, 0, 7, fixed=False)
    policies = {1: [POLICIES[1][0], Version(2, change, longer, change)]}
    old = leaf(date(2021, 5, 1))
    lawful = (date(2026, 9, 2), receipt(0, version=2))  # of a service that ended on 1 March 2025
    assert judged([old], lawful, policies=policies) == (set(), set(), set())
    soon = (date(2026, 9, 1), receipt(0, version=2))
    assert judged([old], soon, policies=policies) == ({0}, set(), set())
    for fixed, unexplained in ((False, set[int]()), (True, {0})):
        terms = [Term(12, 0, 3650, fixed=fixed), Term(18, 0, 3650, fixed=fixed)]
        told = [Version(1, LONG_AGO, terms[0], LONG_AGO), Version(2, change, terms[1], change)]
        assert judged([old], lawful, policies={1: told}) == (set(), set(), unexplained)


def test_time_that_had_not_begun_is_of_the_newest_version_if_a_person_asked() -> None:
    told, effective = date(2026, 8, 1), date(2027, 1, 1)
    newest = Version(2, told, Term(18, 0, 7, fixed=False), effective)
    policies = {1: [POLICIES[1][0], newest]}
    for reason, unexplained in (("erasure-request", set[int]()), ("deadline", {0})):
        done = receipt(0, version=2, reason=reason)
        assert judged([leaf(told)], done, policies=policies) == (set(), set(), unexplained)


@pytest.mark.parametrize(
    ("months", "how", "day", "number", "first"),
    [
        (6, {}, date(2026, 1, 1), 1, date(2027, 1, 2)),  # as promised
        (6, {}, date(2026, 6, 1), 2, date(2026, 12, 2)),
        (6, {"applies": True}, date(2026, 1, 1), 2, date(2026, 7, 2)),
        (6, {"applies": True}, date(2025, 7, 1), 2, date(2026, 6, 1)),  # not before the change
        (6, {"applies": True}, date(2025, 5, 1), 1, date(2026, 5, 2)),  # its time was up
        (36, {}, date(2026, 1, 1), 1, date(2027, 1, 2)),
        (36, {"statute": True}, date(2026, 1, 1), 2, date(2029, 1, 2)),
        (6, {"statute": True}, date(2026, 1, 1), 1, date(2027, 1, 2)),
    ],
)
def test_what_was_promised_is_kept(
    months: int, how: Mapping[str, bool], day: date, number: int, first: date
) -> None:
    change = date(2026, 6, 1)
    versions = [
        Version(1, LONG_AGO, Term(12, 0, 7, fixed=True), LONG_AGO),
        Version(2, change, Term(months, 0, 7, fixed=True), change, **how),
    ]
    kept = keep(versions, day)
    assert (kept.version.number, kept.purge_from) == (number, first)
    assert kept.gone_by == first + timedelta(days=7)


def test_what_must_only_be_made_anonymous_is_gone_with_its_person() -> None:
    told = {"log_class": 6, "keep_months": 24, "fixed": True, "action": "anonymise"}
    term = Term.of(told)
    assert term is not None
    leaves = [leaf(date(2024, 6, 1), 6) for _ in range(2)]
    then = date(2026, 6, 2)
    receipts = (
        (then, receipt(0, log_class=6, parts=["who"])),
        (then, receipt(1, log_class=6, parts=["network"])),
    )
    policies = {6: [Version(1, LONG_AGO, term, LONG_AGO)]}
    assert judged(leaves, *receipts, policies=policies) == (set(), {1}, set())


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
