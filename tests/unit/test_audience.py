"""Who is written to: what is mandatory cannot be refused, and what is optional needs a basis."""

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import catalogue
from notifier.audience import (
    ALL,
    OPTIONAL,
    Candidate,
    Limit,
    Suppression,
    Verdict,
    chosen,
    limit_of,
    slots,
    verdict,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TYPES = catalogue.read((Path(__file__).parents[2] / "policies" / "messages.yaml").read_text())
NOTICE = {name: kind for name, kind in TYPES.items() if kind.notice}
REASONS = ("unsubscribed", "complaint", "hard-bounce")


def candidate(
    *suppressions: Suppression, verified: bool = True, basis: datetime | None = None
) -> Candidate:
    return Candidate("c-1", "r-1", "sv", verified, basis, suppressions)


def test_the_notice_is_covered_whole():
    assert len(NOTICE) == 7
    assert {name for name, kind in NOTICE.items() if not kind.mandatory} == {"news", "survey"}
    assert all(kind.roles for kind in NOTICE.values() if kind.mandatory)


@pytest.mark.parametrize("name", sorted(TYPES))
@pytest.mark.parametrize("scope", [ALL, OPTIONAL, "news", "survey", "maintenance-window"])
@pytest.mark.parametrize(("reason", "verified"), [*product(REASONS, (True, False))])
def test_mandatory_mail_yields_to_a_dead_address_alone(
    name: str, scope: str, reason: str, verified: bool
):
    kind = TYPES[name]
    found = verdict(
        candidate(Suppression(scope, reason, NOW), verified=verified, basis=NOW - DAY), name, kind
    )
    dead = reason == "hard-bounce" and reason in kind.suppressed_by and scope in (ALL, name)
    refused = not kind.mandatory and scope in (ALL, OPTIONAL, name)
    if dead or refused:
        assert found == Verdict("suppressed", reason)
    else:
        assert found == Verdict("queued", None if verified else "unverified")


@pytest.mark.parametrize("name", ["news", "survey"])
def test_optional_mail_needs_a_basis(name: str):
    assert verdict(candidate(), name, TYPES[name]) == Verdict("suppressed", "no-basis")
    assert verdict(candidate(basis=NOW), name, TYPES[name]) == Verdict("queued")


def test_a_later_basis_overrules_an_objection_but_not_a_dead_address():
    kind = TYPES["news"]
    objected = Suppression("news", "unsubscribed", NOW)
    assert verdict(candidate(objected, basis=NOW), "news", kind).state == "suppressed"
    assert verdict(candidate(objected, basis=NOW + DAY), "news", kind) == Verdict("queued")
    dead = Suppression(ALL, "hard-bounce", NOW)
    assert verdict(candidate(dead, basis=NOW + DAY), "news", kind).state == "suppressed"


def test_one_address_gets_one_mail_by_whoever_may_have_it():
    kind = TYPES["news"]
    contacts = [candidate(), candidate(basis=NOW, verified=False), candidate(basis=NOW)]
    for order in (contacts, contacts[::-1]):
        assert chosen(order, "news", kind) == {"r-1": (contacts[2], Verdict("queued"))}


@given(st.integers(1, 500), st.integers(1, 10_000))
def test_no_domain_gets_more_in_a_minute_than_it_takes(count: int, per_minute: int):
    turns = slots(NOW, Limit(per_minute), count)
    assert turns == sorted(turns)
    assert turns[0] == NOW
    assert sum(turn < NOW + timedelta(minutes=1) for turn in turns) <= per_minute + 1


def test_a_domain_that_is_not_named_has_the_limit_of_all_others():
    limits = {"*": Limit(60), "slow.example": Limit(1)}
    assert limit_of(limits, "slow.example") == Limit(1)
    assert limit_of(limits, "x.example") == Limit(60)
    assert limit_of({}, "x.example") == Limit()
