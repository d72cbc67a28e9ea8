"""Deadlines as a lawyer derives them by hand, against what the rules compute.

Runs every case of ``tests/golden/deadlines.csv``, or of the file that ``GALLRA_GOLDEN`` names.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise
from os import environ
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from retention import law
from retention.anchor import Anchor, Facts, ServiceEvent, resolve
from retention.calendar import Moment, civil_day
from retention.deadline import Circumstances, Deadline, compute_under
from retention.override import Covered, Hold, Scope, override
from retention.rule import Clock, Rule, Terms
from shared.errors import Rejected

GOLDEN = Path(environ.get("GALLRA_GOLDEN", Path(__file__).parents[1] / "golden/deadlines.csv"))
RULE = TypeAdapter[Rule](Rule)
BEGINNING = date(1900, 1, 1)

ANSWERS = (
    "expected_status",
    "keep_through",
    "first_purge_date",
    "first_purge_instant_utc",
    "due_date",
    "due_strict_utc",
    "due_reg1182_utc",
)
LENGTH = {"months", "days", "end_of"}
KEYS = {
    "gdpr_month": {"received", "months", "eves"},
    "h72": {"aware"},
    "deadline": LENGTH
    | {"dates", "superseded", "revoked", "services", "also", "purge_issued"}
    | {"fy", "provisional", "rules", "converted", "as_of", "policies"}
    | {"group", "group_dates", "extension_basis"}
    | {"holds", "grace_days", "soft_holds", "erasure_accepted", "erasure_requested"},
}
HOLD_KEYS = {"from", "to", "until", "scope", "kind", "type", "reason"}


def cases() -> list[Any]:
    with GOLDEN.open(newline="", encoding="utf-8") as lines:
        return [
            pytest.param(row, id=f"{row['case_id']} {row['title']}")
            for row in csv.DictReader(lines)
        ]


@pytest.mark.parametrize("row", cases())
def test_golden_deadline(row: dict[str, str]) -> None:
    expected = {column: row[column] for column in ANSWERS if row.get(column)}
    assert expected, "a case that expects nothing tests nothing"
    found = answer(json.loads(row["spec_json"]))
    assert {column: found.get(column) for column in expected} == expected
    if row["expected_status"] in ("open", "indeterminate", "rejected", "held"):
        assert "keep_through" not in found


def answer(spec: dict[str, Any]) -> dict[str, str]:
    rule = spec["rule"]
    unknown = spec.keys() - KEYS.get(rule, KEYS["deadline"]) - {"rule"}
    assert not unknown, f"keys that would decide nothing: {unknown}"
    try:
        match rule:
            case "gdpr_month":
                return answer_month(spec)
            case "h72":
                return answer_breach(spec)
            case _:
                return answer_deadline(spec)
    except Rejected:
        return {"expected_status": "rejected"}


def answer_month(spec: dict[str, Any]) -> dict[str, str]:
    months, eves = spec.get("months", 1), spec.get("eves", False)
    due = law.answer_due(moment(spec["received"]), months=months, eves=eves)
    return {"expected_status": "due", "due_date": str(due)}


def answer_breach(spec: dict[str, Any]) -> dict[str, str]:
    aware = datetime.fromisoformat(spec["aware"])
    return {
        "expected_status": "due",
        "due_strict_utc": zulu(law.breach_due(aware)),
        "due_reg1182_utc": zulu(law.breach_due_in_full_hours(aware)),
    }


def answer_deadline(spec: dict[str, Any]) -> dict[str, str]:
    deadline = overridden(spec, computed(spec))
    if deadline.keep_through is None or deadline.purge_from is None:
        return {"expected_status": deadline.status}
    return {
        "expected_status": deadline.status,
        "keep_through": str(deadline.keep_through),
        "first_purge_date": str(civil_day(deadline.purge_from)),
        "first_purge_instant_utc": zulu(deadline.purge_from),
    }


def computed(spec: dict[str, Any]) -> Deadline:
    while_service = "services" in spec
    dated = not while_service or bool(spec.get("dates") or spec.get("also"))
    resolved = resolve(
        Clock(anchors=("dated",) if dated else (), while_service=while_service),
        facts(spec),
        group=spec.get("group") or "max",
        extension_basis=spec.get("extension_basis") or "c",
    )
    rules = [spec["rule"], *spec.get("rules", [])]
    circumstances = Circumstances(
        years=years(spec),
        vat_scheme="oss" if "oss" in rules else None,
        converted=civil_day(moment(spec["converted"])) if spec.get("converted") else None,
        as_of=date.fromisoformat(spec["as_of"]) if spec.get("as_of") else date.max,
    )
    return compute_under(versions(spec), resolved, circumstances)


def facts(spec: dict[str, Any]) -> Facts:
    dates = [*spec.get("dates", []), *spec.get("also", [])]
    anchors = [Anchor(str(n), "dated", moment(item)) for n, item in enumerate(dates)]
    revoked = spec.get("revoked") or []
    if revoked is True:
        revoked = dates
    return Facts(
        anchors=superseding(anchors, [named(dates, item) for item in spec.get("superseded") or []]),
        revoked=frozenset(anchor_id for item in revoked for anchor_id in named(dates, item)),
        services=services(spec, revoked),
        group=[item and moment(item) for item in spec.get("group_dates", [])],
        purge_issued=bool(spec.get("purge_issued")),
        erasure=bool(spec.get("erasure_requested") or spec.get("erasure_accepted")),
    )


def named(dates: Sequence[Any], item: Any) -> list[str]:
    """Return the ids of the anchors meant by *item*: a place in the list, a date or an id."""
    return [
        str(place)
        for place, stated in enumerate(dates)
        if item in (place, stated) or (isinstance(stated, dict) and item in stated.values())
    ]


def superseding(anchors: list[Anchor], superseded: Sequence[Sequence[str]]) -> list[Anchor]:
    """Have each superseded anchor corrected by the next, and the last of them by a valid one."""
    old = [anchor_id for ids in superseded for anchor_id in ids]
    valid = [anchor.anchor_id for anchor in anchors if anchor.anchor_id not in old]
    if old and not valid:
        anchors = [*anchors, Anchor("correction", "another kind", BEGINNING)]
        valid = ["correction"]
    corrects = {new: old_one for old_one, new in pairwise([*old, *valid[:1]])}
    return [replace(each, supersedes=corrects.get(each.anchor_id)) for each in anchors]


def services(spec: dict[str, Any], revoked: Sequence[Any]) -> list[ServiceEvent]:
    histories = spec.get("services") or []
    by_name = histories if isinstance(histories, dict) else dict(enumerate(histories))
    events = [
        ServiceEvent(str(name), change(event[0]), moment(event[1]))
        for name, history in by_name.items()
        for event in history
    ]
    taken_back = [moment(item) for item in revoked if isinstance(item, str)]
    return events + [
        replace(event, change="termination-revoked")
        for event in events
        if event.change == "terminated" and event.moment in taken_back
    ]


def change(word: str) -> Any:
    return "termination-revoked" if "revoked" in word else word


def years(spec: dict[str, Any]) -> law.FinancialYears:
    stated = [tuple(year[:2]) for year in spec.get("fy") or []]
    provisional = spec.get("provisional") or []
    if provisional and provisional is not True and isinstance(provisional[0], str):
        provisional = [provisional]
    planned = stated if provisional is True else [tuple(year[:2]) for year in provisional]
    # A plan that a stated year has replaced is no year of its own.
    open_plans = [p for p in planned if all(p[1] < s[0] or s[1] < p[0] for s in stated)]
    return law.FinancialYears.of(
        law.FinancialYear(
            date.fromisoformat(first),
            date.fromisoformat(last),
            closed=(first, last) not in planned,
        )
        for first, last in [*stated, *open_plans]
    )


def versions(spec: dict[str, Any]) -> list[Terms]:
    if "policies" not in spec:
        return [Terms(rule=rule(spec), effective_from=BEGINNING)]
    stated = sorted(spec["policies"], key=lambda version: version["effective_from"])
    for earlier, later in pairwise(stated):
        # A shorter period reaches existing data, a longer one does not, unless the case says so.
        later.setdefault("existing", "apply" if days(later) < days(earlier) else "keep")
    return [
        Terms(
            rule=rule({"rule": spec["rule"]} | version),
            effective_from=version["effective_from"],
            existing=version.get("existing", "keep"),
        )
        for version in stated
    ]


def days(version: dict[str, Any]) -> float:
    return version.get("months", 0) * 30.4 + version.get("days", 0)


def rule(spec: dict[str, Any]) -> Rule:
    names = {"bfl": "bfl_7_2", "oss": "oss_10y", "paper": "bfl_7_6_original"}
    name = spec["rule"]
    content: dict[str, Any] = {"rule": names.get(name, name)}
    if name == "period":
        content |= {key: spec[key] for key in LENGTH if spec.get(key) is not None}
    elif name == "max":
        parts = [{"rule": part} if isinstance(part, str) else part for part in spec["rules"]]
        content["rules"] = [rule({key: spec.get(key) for key in LENGTH} | part) for part in parts]
    return RULE.validate_python(content)


def overridden(spec: dict[str, Any], deadline: Deadline) -> Deadline:
    accepted = spec.get("erasure_accepted")
    ours = Covered("ours", holder="us", record_id="this")
    legal = [
        hold(item, spec.get("grace_days", 14))
        for item in spec.get("holds") or []
        if scope(item).covers(ours)
    ]
    soft = [hold(item, 0) for item in spec.get("soft_holds") or [] if scope(item).covers(ours)]
    return override(
        deadline,
        as_of=BEGINNING,  # a record that is due is gone: a hold that begins later finds nothing
        holds=[*legal, *soft],
        erasure_accepted=moment(accepted) if accepted else None,
    )


def scope(item: Any) -> Scope:
    named = item.get("scope") if isinstance(item, dict) else None
    return Scope(category="another" if "other" in (named or "ours") else "ours")


def hold(item: Any, grace_days: int) -> Hold:
    if isinstance(item, str):
        item = {"until": item}
    elif isinstance(item, list):
        item = {"from": item[0], "to": item[1]}
    assert item.keys() <= HOLD_KEYS, f"keys of a hold that would decide nothing: {item.keys()}"
    last = item.get("to") or item.get("until")
    return Hold(
        civil_day(moment(item["from"])) if item.get("from") else BEGINNING,
        civil_day(moment(last)) if last else None,
        grace_days=grace_days,
    )


def moment(item: Any) -> Moment:
    """Read a civil day, an instant, or an object that says either; the civil day wins."""
    text = item if isinstance(item, str) else item.get("date") or item["at"]
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


def zulu(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
