"""The retention report as tables: JSON, JSON Lines, CSV; pure.

Each is a function of what the report found and of nothing else: the same findings, the same bytes.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from retention.findings import COUNTS, PURGED, Line, Report, Rows
from shared.spreadsheet import Cell, inert


@dataclass(frozen=True, slots=True)
class Table:
    """One part of the report.

    Attributes:
        rows: None if who knows could not be asked.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]] | None


def tables(report: Report) -> list[Table]:
    """Return all that a report says, as tables without any nesting."""
    span = report.period
    counted = ("held", "due", "overdue", "held_back")
    asked = ("requests_open", "requests_late")
    totals = [
        *map(report.total, counted),
        report.purged,
        report.requests_open,
        report.requests_late,
    ]
    head: Sequence[Cell] = (span.start, span.end, span.as_of, report.ahead, *totals)
    return [
        Table("report", (*_SPAN, *counted, "purged", *asked), [head]),
        Table("categories", _CATEGORY, [_category(line) for line in report.lines]),
        _table("falls_due", _FALLS_DUE, report.falls_due),
        Table("unconfirmed", ("category", "holder", "records"), list(_unconfirmed(report))),
        Table("purges", _PURGE, [row for line in report.lines for row in _purges(line)]),
        Table("inventories", _INVENTORY, list(_inventories(report))),
        _table("holds", _HOLD, report.holds),
        _table("rights_requests", _REQUEST, report.requests),
        Table("erasure_requests", _ERASURE, list(_erasures(report))),
        _table("policy_changes", _CHANGE, report.policy_changes),
        _table("looks", _LOOK, report.looks),
        _table("wider_topics", _TOPIC, report.topics),
    ]


_SPAN: Final = ("from", "to", "as_of", "ahead")
_CATEGORY: Final = (
    "category", "title", "why", "period_source", "legal_basis", "policy_version", *COUNTS,
    "next_purge_on", "kept_until", "missing_facts", *PURGED, "on_time", "late", "proven",
)  # fmt: skip
_FALLS_DUE: Final = ("due_from", "category", "year_from", "year_to", "records", "held_back")
_PURGE: Final = (
    "category", "job_id", "reason", "holder", "policy_version", "closed_at", *PURGED, "on_time",
    "master_log_event", "master_log_entry",
)  # fmt: skip
_INVENTORY: Final = ("category", "holder", "as_of", "count", "known", "agrees")
_HOLD: Final = (
    "hold_id", "customer_id", "category", "subject", "holder", "record_id", "first_day", "last_day",
    "reason", "review_on", "placed_by", "placed_at", "release_asked_by", "released_by",
    "protects_until",
)  # fmt: skip
_REQUEST: Final = (
    "case_id", "right", "channel", "received_on", "stands", "due_on", "extended_on", "days_waited",
    "answered_on", "days_late", "decided_by", "approved_by",
)  # fmt: skip
_ERASURE: Final = ("category", "waiting", "kept", "first_accepted_on", "done")
_CHANGE: Final = (
    "category", "version", "activated_at", "sha256", "plan", "first_by", "first_at", "second_by",
    "second_at",
)  # fmt: skip
_LOOK: Final = ("purpose", "looks", "shown")
_TOPIC: Final = ("topic", "setting", "declared", "found")


def _table(name: str, columns: Sequence[str], rows: Rows | None) -> Table:
    found = None if rows is None else [[row[column] for column in columns] for row in rows]
    return Table(name, columns, found)


def _category(line: Line) -> Sequence[Cell]:
    policy = line.policy
    return (
        policy.category,
        policy.title.en,
        line.why,
        policy.period_source,
        "; ".join(policy.legal_basis),
        policy.version,
        *line.counts.values(),
        line.next_purge_on,
        line.kept_until,
        "; ".join(line.missing_facts),
        *line.purged.values(),
        line.on_time,
        line.gone - line.on_time,
        line.proven,
    )


def _purges(line: Line) -> Iterator[Sequence[Cell]]:
    for p in line.purges:
        yield (
            line.policy.category,
            p.job_id,
            p.reason,
            p.holder,
            p.policy_version,
            p.closed_at,
            *p.counts.values(),
            p.on_time,
            p.closed_event,
            p.entry,
        )


def _unconfirmed(report: Report) -> Iterator[Sequence[Cell]]:
    for line in report.lines:
        for holder, records in line.awaiting.items():
            yield line.policy.category, holder, records


def _inventories(report: Report) -> Iterator[Sequence[Cell]]:
    for line in report.lines:
        for i in line.inventories:
            yield line.policy.category, i.holder, i.as_of, i.count, i.known, i.agrees


def _erasures(report: Report) -> Iterator[Sequence[Cell]]:
    """Yield what was granted, by category: what waits, and what was done in the period."""
    waiting = {row["category"]: row for row in report.erasures}
    for line in report.lines:
        row = waiting.get(line.policy.category, {})
        if row or line.on_request:
            yield (
                line.policy.category,
                row.get("waiting", 0),
                row.get("kept", 0),
                row.get("first_accepted_on"),
                line.on_request,
            )


def as_json(report: Report) -> bytes:
    """Return the report for programs."""
    return (json.dumps(content(report), indent=2, ensure_ascii=False) + "\n").encode()


def content(report: Report) -> dict[str, Any]:
    """Return the report as JSON has it, each category with all that is its own."""
    whole = {table.name: table for table in tables(report)}
    [totals] = _named(whole.pop("report"))
    for name in ("categories", "unconfirmed", "purges", "inventories"):  # below each category
        del whole[name]
    return {
        **{name: totals.pop(name) for name in _SPAN},
        "totals": totals,
        "categories": [_plain(line) for line in report.lines],
        **{
            name: None if table.rows is None else list(_named(table))
            for name, table in whole.items()
        },
    }


def _named(table: Table) -> Iterator[dict[str, Any]]:
    for row in table.rows or ():
        yield dict(zip(table.columns, map(_written, row), strict=True))


def _written(cell: Cell) -> str | int | bool | None:
    return cell.isoformat() if isinstance(cell, date) else cell


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
        "next_purge_on": _written(line.next_purge_on),
        "kept_until": _written(line.kept_until),
        "missing_facts": list(line.missing_facts),
        "awaiting": dict(line.awaiting),
        "purged": dict(line.purged),
        "on_time": line.on_time,
        "late": line.gone - line.on_time,
        "proven": line.proven,
        "inventories": [
            dict(zip(_INVENTORY[1:], map(_written, row[1:]), strict=True))
            for row in (
                (policy.category, i.holder, i.as_of, i.count, i.known, i.agrees)
                for i in line.inventories
            )
        ],
        "purges": [
            dict(zip(_PURGE[1:], map(_written, row[1:]), strict=True)) for row in _purges(line)
        ],
    }


def as_jsonl(report: Report) -> bytes:
    """Return a line of JSON for each row of each table, which it names first."""
    lines = [
        json.dumps({"table": table.name, **row}, ensure_ascii=False)
        for table in tables(report)
        for row in _named(table)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def as_csv(report: Report) -> bytes:
    """Return the report for spreadsheets: one line for each category and purge."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    header = ["category", "title", "why", "period_source", "legal_basis", *COUNTS, "next_purge_on"]
    purge = ["awaiting", "job_id", "holder", *PURGED, "master_log_entry", "reason", "on_time"]
    writer.writerow([*header, *purge])
    for line in report.lines:
        policy = line.policy
        shared: list[Cell] = [
            policy.category,
            policy.title.en,
            line.why,
            policy.period_source,
            "; ".join(policy.legal_basis),
            *line.counts.values(),
            line.next_purge_on,
            _listed(line.awaiting),
        ]
        for p in line.purges or [None]:
            done: list[Cell] = (
                [p.job_id, p.holder, *p.counts.values(), p.entry, p.reason, p.on_time]
                if p
                else [None] * 9
            )
            writer.writerow([inert(cell) for cell in (*shared, *done)])
    return out.getvalue().encode()


def _listed(records: Mapping[str, int]) -> str:
    return "; ".join(f"{holder}: {n}" for holder, n in records.items())
