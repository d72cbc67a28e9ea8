"""What a deadline says of itself, in both languages."""

import ast
from datetime import date
from pathlib import Path
from string import Formatter

import pytest

from retention import explanation
from retention.anchor import Anchor, Facts, resolve
from retention.calendar import STOCKHOLM
from retention.deadline import Circumstances, compute
from retention.explanation import say
from retention.law import BFL_7_2, FinancialYear, FinancialYears
from retention.override import Hold, override
from retention.rule import Bfl72, Clock, Terms
from shared.wording import translator

SOURCES = sorted(Path(explanation.__file__).parent.glob("*.py"))
SWEDISH = translator("retention", "sv")


def said() -> list[str]:
    """Return every sentence in the code that people are told."""
    calls = [
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say"
    ]
    return sorted({str(ast.literal_eval(call.args[0])) for call in calls})


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("english", said())
def test_every_sentence_is_swedish_too(english: str) -> None:
    swedish = SWEDISH(english)
    assert swedish != english
    assert places(swedish) == places(english)


def test_a_deadline_names_fact_event_rule_and_source() -> None:
    facts = Facts(anchors=[Anchor("a-1", "booked", date(2024, 3, 15), event="//erp e-1")])
    year = FinancialYear(date(2024, 1, 1), date(2024, 12, 31), event="//erp y-1")
    terms = Terms(rule=Bfl72(rule="bfl_7_2"), effective_from=date(2020, 1, 1))
    resolved = resolve(Clock(anchors=("booked",)), facts, zone=STOCKHOLM)
    found = compute(terms, resolved, Circumstances(years=FinancialYears.of([year])))
    found = override(found, as_of=date(2026, 1, 1), holds=[Hold(date(2031, 6, 1))])
    told = [step.told(str) for step in found.steps]
    assert [(t["fact"], t["event"]) for t in told] == [
        ("booked on 2024-03-15", "//erp e-1"),
        ("time runs from 2024-03-15", ""),
        ("the financial year 2024-01-01..2024-12-31", "//erp y-1"),
        ("held since 2031-06-01", ""),
    ]
    assert told[2]["source"] == BFL_7_2
    swedish = [step.told(SWEDISH) for step in found.steps]
    assert swedish[2]["fact"] == "räkenskapsåret 2024-01-01..2024-12-31"
    assert "sjunde året" in swedish[2]["rule"]


def test_a_sentence_within_a_sentence_is_translated() -> None:
    phrase = say("{length}, to the end of the month", length=say("kept for {count} days", count=3))
    assert phrase.said(SWEDISH) == "bevaras i 3 dagar, till månadens slut"
    assert str(phrase) == "kept for 3 days, to the end of the month"
