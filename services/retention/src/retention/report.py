"""The retention report: what is held and why, what is due, and what became of it."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, assert_never

from retention import inventory_store, report_store
from retention.calendar import day_after, start_of
from retention.inventory_store import Compared
from retention.policy import Policy
from retention.rule import (
    Bfl72,
    Bfl76Original,
    Max,
    Min,
    NeverStored,
    Oss10y,
    Period,
    Rule,
)
from shared.errors import Rejected
from shared.postgres import Connection

LONGEST: Final = timedelta(days=366 * 20)
_COUNTS: Final = (
    "held", "open", "indeterminate", "scheduled", "due", "overdue", "held_back", "provisional",
)  # fmt: skip
_PURGED: Final = ("erased", "anonymised", "not_found", "refused")


@dataclass(frozen=True, slots=True)
class Span:
    """What a report speaks of; all three days belong to it."""

    start: date
    end: date
    as_of: date

    def __post_init__(self) -> None:
        if self.end < self.start or self.end - self.start > LONGEST:
            raise Rejected("the period ends before it begins, or spans over 20 years")

    @property
    def at(self) -> datetime:
        """The last instant of the day that holdings are counted on."""
        return start_of(day_after(self.as_of)) - timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Purge:
    """What one job had one holder purge.

    Attributes:
        entry: Index of the decision that closed the job in the master log, if it is known.
    """

    job_id: str
    reason: str
    holder: str
    policy_version: int
    closed_at: datetime | None
    closed_event: str | None
    counts: Mapping[str, int]
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One category.

    Attributes:
        why: The rule in words, with its source.
        counts: By name.  Held are open, indeterminate, scheduled, due or held_back, one of them;
            overdue is a part of due, and provisional a part of all.
        awaiting: Records that a holder was told to purge and has not confirmed, by holder.
        missing_facts: What is not known, where a deadline is indeterminate.
        inventories: What holders said last that they have, beside what the registry knew.
    """

    policy: Policy
    why: str
    counts: Mapping[str, int]
    next_purge_on: date | None
    kept_until: date | None
    awaiting: Mapping[str, int]
    missing_facts: Sequence[str]
    purges: Sequence[Purge]
    inventories: Sequence[Compared]

    @property
    def purged(self) -> Mapping[str, int]:
        """The sums over all purges; a replay is of what was counted before."""
        first = [p for p in self.purges if p.reason != "restore-replay"]
        return {name: sum(p.counts[name] for p in first) for name in _PURGED}


@dataclass(frozen=True, slots=True)
class Report:
    """All categories, in the order of their names."""

    period: Span
    made_at: datetime
    lines: Sequence[Line]

    def total(self, name: str) -> int:
        """Return the sum of a count over all categories."""
        return sum(line.counts[name] for line in self.lines)

    @property
    def purged(self) -> int:
        """Records that are gone, erased or anonymised, in the period."""
        return sum(line.purged["erased"] + line.purged["anonymised"] for line in self.lines)


async def make(
    tx: Connection,
    policies: Mapping[str, Policy],
    period: Span,
    made_at: datetime,
    entries: Mapping[str, int],
) -> Report:
    """Return the report; *entries* are indexes in the master log by event id."""
    held = {r["category"]: r for r in await report_store.holdings(tx, period.at)}
    awaiting = await report_store.awaiting(tx, period.at)
    start, end = start_of(period.start), start_of(day_after(period.end))
    purged = await report_store.purged(tx, start, end)
    inventories = await inventory_store.compared_by(tx, period.at)
    lines: list[Line] = []
    for category, policy in sorted(policies.items()):
        found = held.get(category, {})
        lines.append(
            Line(
                policy=policy,
                why=in_words(policy.rule),
                counts={name: found.get(name, 0) for name in _COUNTS},
                next_purge_on=_next(found.get("next_keep_through")),
                kept_until=found.get("last_keep_through"),
                awaiting={r["holder"]: r["records"] for r in awaiting if r["category"] == category},
                missing_facts=found.get("missing_facts") or [],
                purges=[_purge(r, entries) for r in purged if r["category"] == category],
                inventories=[i for i in inventories if i.category == category],
            )
        )
    return Report(period, made_at, lines)


def _next(keep_through: date | None) -> date | None:
    return None if keep_through is None else day_after(keep_through)


def _purge(row: Mapping[str, Any], entries: Mapping[str, int]) -> Purge:
    return Purge(
        job_id=str(row["job_id"]),
        reason=row["reason"],
        holder=row["holder"],
        policy_version=row["policy_version"],
        closed_at=row["closed_at"],
        closed_event=row["closed_event"],
        counts={name: row[name] for name in _PURGED},
        entry=entries.get(row["closed_event"] or ""),
    )


def in_words(rule: Rule) -> str:  # noqa: PLR0911 - one for each rule
    """Return what a rule says, with its source."""
    match rule:
        case Bfl72():
            return (
                "through the seventh year after the calendar year in which the financial year"
                " ended (Bokföringslagen 7 kap. 2 §)"
            )
        case Oss10y():
            return "ten years after the year of the sale (Directive 2006/112/EC art. 369k)"
        case Bfl76Original():
            return "paper originals, until converted (Bokföringslagen 7 kap. 6 §)"
        case Period():
            length = f"{rule.months} months" if rule.months is not None else f"{rule.days} days"
            return f"{length}{f', to the end of the {rule.end_of}' if rule.end_of else ''}"
        case Max():
            return "the longest of: " + "; ".join(in_words(part) for part in rule.rules)
        case Min():
            return "the shortest of: " + "; ".join(in_words(part) for part in rule.rules)
        case NeverStored():
            return "never stored"
    assert_never(rule)


def as_json(report: Report) -> str:
    """Return the report for programs."""
    content = {
        "from": report.period.start,
        "to": report.period.end,
        "as_of": report.period.as_of,
        "made_at": report.made_at.isoformat(),
        "categories": [_plain(line) for line in report.lines],
    }
    return json.dumps(content, indent=2, default=str, ensure_ascii=False) + "\n"


def _plain(line: Line) -> dict[str, Any]:
    policy = line.policy
    return {
        "category": policy.category,
        "title": policy.title.model_dump(),
        "why": line.why,
        "period_source": policy.period_source,
        "legal_basis": list(policy.legal_basis),
        "policy_version": policy.version,
        **line.counts,
        "next_purge_on": line.next_purge_on,
        "kept_until": line.kept_until,
        "missing_facts": list(line.missing_facts),
        "awaiting": dict(line.awaiting),
        "purged": dict(line.purged),
        "inventories": [
            {
                "holder": i.holder,
                "as_of": i.as_of.isoformat(),
                "count": i.count,
                "known": i.known,
                "agrees": i.agrees,
            }
            for i in line.inventories
        ],
        "purges": [
            {
                "job_id": p.job_id,
                "reason": p.reason,
                "holder": p.holder,
                "policy_version": p.policy_version,
                "closed_at": p.closed_at and p.closed_at.isoformat(),
                "master_log_event": p.closed_event,
                "master_log_entry": p.entry,
                **p.counts,
            }
            for p in line.purges
        ],
    }


def as_csv(report: Report) -> str:
    """Return the report for spreadsheets: one line for each category and purge."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    header = ["category", "title", "why", "period_source", "legal_basis", *_COUNTS, "next_purge_on"]
    purge = ["awaiting", "job_id", "holder", *_PURGED, "master_log_entry", "reason"]
    writer.writerow([*header, *purge])
    for line in report.lines:
        policy = line.policy
        shared = [
            policy.category,
            policy.title.en,
            line.why,
            policy.period_source,
            "; ".join(policy.legal_basis),
            *line.counts.values(),
            line.next_purge_on or "",
            "; ".join(f"{holder}: {n}" for holder, n in line.awaiting.items()),
        ]
        for p in line.purges or [None]:
            done = [p.job_id, p.holder, *p.counts.values(), p.entry, p.reason] if p else [""] * 8
            writer.writerow([_inert(cell) for cell in (*shared, *done)])
    return out.getvalue()


def _inert(cell: object) -> str:
    """Return *cell* such that no spreadsheet takes it for a formula."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
