"""Makes the retention report: what is held and why, what is due, and what became of it."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from retention import inventory_store, report_store
from retention.calendar import day_after
from retention.findings import (
    PURGED,
    Inventoried,
    Line,
    Purge,
    Report,
    Rows,
    Span,
    request_on,
)
from retention.policy import Policy
from shared.postgres import Connection


async def make(
    tx: Connection,
    policies: Mapping[str, Policy],
    period: Span,
    made_at: datetime,
    entries: Mapping[str, int],
    *,
    looks: Rows | None = None,
    topics: Rows | None = None,
) -> Report:
    """Return the report.

    Args:
        tx: Of one snapshot, so that the figures fit together.
        policies: The newest of each category.
        period: What the report speaks of.
        made_at: Now.
        entries: Indexes in the master log by event id.
        looks: See :class:`~retention.findings.Report`; *topics* as well.
        topics: See there.
    """
    standing = await report_store.standing(tx, period.as_of, period.at)
    return Report(
        period,
        made_at,
        await _lines(tx, policies, period, standing, entries),
        falls_due=_falls_due(standing),
        holds=await report_store.holds(tx, period.at),
        erasures=await report_store.erasures(tx, period.at),
        requests=[
            request_on(period.as_of, row)
            for row in await report_store.requests(tx, period.start, period.end, period.as_of)
        ],
        policy_changes=await report_store.policy_changes(tx, *period.instants),
        looks=looks,
        topics=topics,
    )


async def lines(tx: Connection, policies: Mapping[str, Policy], period: Span) -> list[Line]:
    """Return what the report says of each category, without where the master log has it."""
    standing = await report_store.standing(tx, period.as_of, period.at)
    return await _lines(tx, policies, period, standing, {})


async def _lines(
    tx: Connection,
    policies: Mapping[str, Policy],
    period: Span,
    standing: Rows,
    entries: Mapping[str, int],
) -> list[Line]:
    awaiting = await report_store.awaiting(tx, period.at)
    purged = await report_store.purged(tx, *period.instants)
    inventories = await inventory_store.compared_by(tx, period.at)
    lines: list[Line] = []
    for category, policy in sorted(policies.items()):
        held = [row for row in standing if row["category"] == category]
        lines.append(
            Line(
                policy=policy,
                counts=_counts(held),
                next_purge_on=_next(held),
                kept_until=_last(held),
                awaiting={r["holder"]: r["records"] for r in awaiting if r["category"] == category},
                missing_facts=sorted({row["why"] for row in held} - {""}),
                purges=[_purge(r, entries) for r in purged if r["category"] == category],
                inventories=[
                    Inventoried(i.holder, i.as_of, i.count, i.known, i.agrees)
                    for i in inventories
                    if i.category == category
                ],
            )
        )
    return lines


def _counts(held: Rows) -> dict[str, int]:
    def total(counted: Callable[[Mapping[str, Any]], object], *, kept: bool = False) -> int:
        return sum(row["kept" if kept else "records"] for row in held if counted(row))

    def due(row: Mapping[str, Any]) -> bool:
        return row["due"]

    return {
        "held": total(lambda _: True),
        "open": total(lambda row: row["status"] == "open"),
        "indeterminate": total(lambda row: row["status"] == "indeterminate"),
        "scheduled": total(lambda row: row["status"] == "scheduled" and not row["due"]),
        "due": total(due) - total(due, kept=True),
        "overdue": sum(row["records"] - row["kept"] for row in held if row["overdue"]),
        "held_back": total(due, kept=True),
        "provisional": total(lambda row: row["provisional"]),
    }


def _falls_due(standing: Rows) -> Rows:
    """Return what is due by month, category and financial year, in order."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in standing:
        if not row["due"]:
            continue
        named = {name: row[name] for name in ("category", "year_from", "year_to")}
        month = row["due_from"].replace(day=1)
        line = sums.setdefault(
            (month, *named.values()),
            {**named, "due_from": row["due_from"], "records": 0, "held_back": 0},
        )
        line["due_from"] = min(line["due_from"], row["due_from"])
        line["records"] += row["records"]
        line["held_back"] += row["kept"]
    return sorted(
        sums.values(),
        key=lambda line: (line["due_from"], line["category"], line["year_from"] or date.max),
    )


def _next(held: Rows) -> date | None:
    ahead = [r["next_keep_through"] for r in held if r["status"] == "scheduled" and not r["due"]]
    return day_after(min(ahead)) if ahead else None


def _last(held: Rows) -> date | None:
    days = [row["last_keep_through"] for row in held if row["last_keep_through"] is not None]
    return max(days, default=None)


def _purge(row: Mapping[str, Any], entries: Mapping[str, int]) -> Purge:
    return Purge(
        job_id=str(row["job_id"]),
        reason=row["reason"],
        holder=row["holder"],
        policy_version=row["policy_version"],
        closed_at=row["closed_at"],
        closed_event=row["closed_event"],
        counts={name: row[name] for name in PURGED},
        on_time=row["on_time"],
        entry=entries.get(row["closed_event"] or ""),
    )
