"""Makes the retention report: what is held and why, what is due, and what became of it."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from retention import inventory_store, report_store
from retention.calendar import day_after
from retention.findings import (
    COUNTS,
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
    held = {r["category"]: r for r in await report_store.holdings(tx, period.at)}
    gone = {r["category"]: r for r in await report_store.gone_since(tx, period.as_of, period.at)}
    awaiting = await report_store.awaiting(tx, period.at)
    purged = await report_store.purged(tx, *period.instants)
    inventories = await inventory_store.compared_by(tx, period.at)
    lines: list[Line] = []
    for category, policy in sorted(policies.items()):
        found = [rows.get(category, {}) for rows in (held, gone)]
        lines.append(
            Line(
                policy=policy,
                counts={name: sum(row.get(name) or 0 for row in found) for name in COUNTS},
                next_purge_on=_next([row.get("next_keep_through") for row in found]),
                kept_until=_last([row.get("last_keep_through") for row in found]),
                awaiting={r["holder"]: r["records"] for r in awaiting if r["category"] == category},
                missing_facts=sorted(found[0].get("missing_facts") or []),
                purges=[_purge(r, entries) for r in purged if r["category"] == category],
                inventories=[
                    Inventoried(i.holder, i.as_of, i.count, i.known, i.agrees)
                    for i in inventories
                    if i.category == category
                ],
            )
        )
    return Report(
        period,
        made_at,
        lines,
        falls_due=await report_store.fall_due(tx, period.as_of, period.at),
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


def _next(keep_through: list[date | None]) -> date | None:
    known = [day for day in keep_through if day is not None]
    return day_after(min(known)) if known else None


def _last(keep_through: list[date | None]) -> date | None:
    return max((day for day in keep_through if day is not None), default=None)


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
