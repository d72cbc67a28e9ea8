"""What a person is told about each category for each right, as a lawyer would have it.

``tests/golden/rights.csv`` is written by hand, from the notice and the GDPR; policies must agree.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import get_args

import pytest

from retention import policy
from retention.rights_matrix import Decision, Held, decide, four_eyes, marketing, propose
from retention.rights_rules import Right
from shared.errors import Rejected
from shared.wording import translator

ROOT = Path(__file__).parents[2]
POLICIES = policy.load(ROOT / "policies").by_category
RIGHTS: tuple[Right, ...] = get_args(Right)
TODAY = date(2026, 11, 24)
SWEDISH = translator("retention", "sv")

LAW = {  # until when a law keeps the records of the person; None for a time that is not known yet
    "billing.invoice": (date(2033, 12, 31), date(2031, 12, 31)),
    "billing.payment_hash": (date(2032, 12, 31),),
    "contact.delivery.security": (date(2030, 5, 31),),
    "rights.case": (date(2031, 6, 30),),
    "suppression": (None,),
    "erasure_ledger": (date(2027, 3, 1),),
}
ROWS = list(csv.DictReader((ROOT / "tests/golden/rights.csv").read_text("utf-8").splitlines()))


def person() -> Iterator[Held]:
    """Yield a record of each category that is stored; two invoices."""
    for category, found in POLICIES.items():
        for floor in LAW.get(category, (date(2027, 8, 1),)) if found.stored else ():
            status = "scheduled" if floor else "open"
            law = category in LAW
            yield Held(
                hash((category, floor)), found.holders[0], category, "r", status, floor, law,
                floor if law else None,
            )  # fmt: skip


def records(situation: str) -> list[Held]:
    match situation:
        case "a service runs":
            running = {c for c, p in POLICIES.items() if p.clock and p.clock.while_service}
            assert running == {
                "account.master",
                "billing.contact",
                "contact.address",
                "logs.action",
            }
            return [
                replace(r, status="open", keep_through=None) if r.category in running else r
                for r in person()
            ]
        case "a legal hold":
            return [replace(r, held=True) for r in person()]
        case "no service":
            return list(person())
        case _:
            return []


def said(decision: Decision) -> str:
    first, last = decision.until_first, decision.until_last
    span = f" {first}" if first else ""
    return f"{decision.decision} {decision.article}{span}{f'..{last}' if last != first else ''}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['category']}, {row['situation']}")
def test_each_category_and_right_is_answered_as_the_law_has_it(row: dict[str, str]) -> None:
    held = records(row["situation"])
    answers = {
        right: said(next(d for d in propose(POLICIES.values(), held, right, TODAY)
                         if d.category == row["category"]))
        for right in RIGHTS
    }  # fmt: skip
    assert answers == {right: row[right] for right in RIGHTS}


def test_the_matrix_leaves_no_category_out() -> None:
    of_records = {row["category"] for row in ROWS if row["situation"] == "no service"}
    never = {row["category"] for row in ROWS} - of_records
    assert of_records == {c for c, p in POLICIES.items() if p.stored}
    assert never == {c for c, p in POLICIES.items() if not p.stored}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_refusal_for_now_is_dated_and_every_reason_is_swedish_too(right: Right) -> None:
    for situation in ("no service", "a service runs", "a legal hold", "nothing"):
        for found in propose(POLICIES.values(), records(situation), right, TODAY):
            assert SWEDISH(found.reason) != found.reason, found.reason


def test_a_person_may_decide_otherwise_but_not_against_the_law() -> None:
    proposed = propose(POLICIES.values(), records("no service"), "erase", TODAY)
    choice = Decision("account.master", "refused", "17(3)(e)", "En fordran är obetald.")
    decided = {d.category: d for d in decide(proposed, [choice])}
    assert decided["account.master"] == replace(choice, records=1, by_hand=True)
    assert decided["lead.form"].decision == "granted"
    with pytest.raises(Rejected, match="nobody can grant"):
        decide(proposed, [Decision("billing.invoice", "granted", "17(1)", "why not")])
    with pytest.raises(Rejected, match="nothing to decide"):
        decide(proposed, [Decision("stats.visitor", "granted", "17(1)", "why not")])


def test_two_people_see_what_goes_out_or_is_erased() -> None:
    eyes = {
        right: four_eyes(right, propose(POLICIES.values(), records("no service"), right, TODAY))
        for right in RIGHTS
    }
    assert {right for right, needed in eyes.items() if needed} == {"access", "erase", "portability"}
    nothing = propose(POLICIES.values(), [], "access", TODAY)
    assert not four_eyes("access", nothing)


def test_marketing_is_where_an_objection_is_absolute() -> None:
    assert marketing(POLICIES.values()) == {
        "contact.address", "event.registration", "lead.form", "newsletter.subscription",
        "prospect.linkedin",
    }  # fmt: skip
