"""SQL of what people look at: records by their deadlines, versions, plans, freezes; only reads."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Self

from retention.purge_store import CANARY, HELD, MAY_BE_HELD
from shared.errors import Rejected
from shared.postgres import Connection

_NEVER: Final = "'infinity'::timestamptz"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What records are looked for; None stands for all."""

    category: str | None = None
    holder: str | None = None
    customer: str | None = None
    status: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the next goes on strictly behind it."""

    purge_from: datetime | None
    key: int
    record: int

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Return the position that *cursor* stands for.

        Raises:
            Rejected: it is not one that was given out.
        """
        try:
            at, key, record = cursor.split("_")
            return cls(datetime.fromisoformat(at) if at else None, int(key), int(record))
        except ValueError:
            raise Rejected("not a cursor of ours", code="bad-cursor") from None

    def __str__(self) -> str:
        at = "" if self.purge_from is None else self.purge_from.isoformat()
        return f"{at}_{self.key}_{self.record}"


# What each word asks of a record and its key; the parameters are those of records().
_STANDS: Final = {
    "scheduled": "status = 'scheduled' AND purge_from > $1",
    "due": f"status = 'scheduled' AND purge_from <= $1 AND NOT {HELD}",
    "overdue": f"status = 'scheduled' AND must_purge_by <= $1 AND NOT {HELD}",
    "held-back": f"status = 'scheduled' AND purge_from <= $1 AND {HELD}",
    "on-hold": f"record.id IN ({MAY_BE_HELD}) AND {HELD}",
    "open": "status = 'open'",
    "indeterminate": "status = 'indeterminate'",
}
STATUSES: Final = tuple(_STANDS)


async def records(
    tx: Connection, wanted: Wanted, now: datetime, after: Position | None, limit: int
) -> list[dict[str, Any]]:
    """Return records that match, those whose time is up first coming first."""
    rows = await tx.fetch(
        f"""
        SELECT record.id, record.key, holder, record.category, record_id, customer_id,
               record.entity, status, why, provisional, anchor_day, keep_through, purge_from,
               must_purge_by, policy_version, {HELD} AS held
          FROM deadline_key
          JOIN record ON record.key = deadline_key.id
         WHERE ($2::text IS NULL OR record.category = $2)
           AND ($3::text IS NULL OR holder = $3)
           AND ($4::text IS NULL OR customer_id = $4)
           AND ($5::timestamptz IS NULL OR purge_from >= $5)
           AND ($6::timestamptz IS NULL OR purge_from < $6)
           AND (coalesce(purge_from, {_NEVER}), deadline_key.id, record.id)
             > (coalesce($7, {_NEVER}), $8::bigint, $9::bigint)
           AND {_STANDS.get(wanted.status or "", "true")}
           AND NOT {CANARY}
      ORDER BY coalesce(purge_from, {_NEVER}), deadline_key.id, record.id
         LIMIT $10
        """,  # noqa: S608 - constants
        now,
        wanted.category,
        wanted.holder,
        wanted.customer,
        wanted.start,
        wanted.end,
        after.purge_from if after else datetime.min.replace(tzinfo=now.tzinfo),
        after.key if after else 0,
        after.record if after else 0,
        limit,
    )
    return [dict(row) for row in rows]


async def days(
    tx: Connection, start: datetime, end: datetime, category: str | None
) -> list[dict[str, Any]]:
    """Return how many records of each category may go on each day, as known now."""
    rows = await tx.fetch(
        """
        SELECT (purge_from AT TIME ZONE 'Europe/Stockholm')::date AS day, category,
               sum(records)::bigint AS records
          FROM deadline_key
          JOIN key_records ON key = id
         WHERE status = 'scheduled' AND purge_from >= $1 AND purge_from < $2
           AND ($3::text IS NULL OR category = $3)
      GROUP BY day, category
      ORDER BY day, category
        """,
        start,
        end,
        category,
    )
    return [dict(row) for row in rows]


async def versions(tx: Connection) -> list[dict[str, Any]]:
    """Return every version of every policy that was put in force, oldest first."""
    rows = await tx.fetch(
        """
        SELECT category, version, body, activated_at, encode(plan, 'hex') AS plan
          FROM policy_version
      ORDER BY category, version
        """
    )
    return [{**row, "body": json.loads(row["body"])} for row in rows]


async def plans(tx: Connection) -> list[dict[str, Any]]:
    """Return the plans of changes, newest first."""
    rows = await tx.fetch(
        """
        SELECT encode(sha256, 'hex') AS sha256, effect, made_at, first_by, first_at, second_by,
               applied_at
          FROM policy_plan
      ORDER BY made_at DESC
        """
    )
    return [{**row, "effect": json.loads(row["effect"])} for row in rows]


async def freezes(tx: Connection, today: date) -> dict[str, list[dict[str, Any]]]:
    """Return what is not purged until people look: categories, and purges of unusual size."""
    categories = await tx.fetch("SELECT category, since, why FROM category_frozen ORDER BY since")
    purges = await tx.fetch(
        """
        SELECT id, category, day, records, why, frozen_at, first_by
          FROM purge_guard
         WHERE second_by IS NULL AND lifted_at IS NULL AND day >= $1
      ORDER BY frozen_at
        """,
        today,
    )
    return {"categories": [dict(r) for r in categories], "purges": [dict(r) for r in purges]}


async def silent(tx: Connection) -> list[dict[str, Any]]:
    """Return how many chunks and records each holder has not answered for, and since when."""
    rows = await tx.fetch(
        """
        SELECT holder, count(*) AS chunks, sum(cardinality(refs))::int AS records,
               min(sent_at) AS since, max(attempts) AS attempts
          FROM purge_chunk
         WHERE state <> 'done'
      GROUP BY holder
      ORDER BY since
        """
    )
    return [dict(row) for row in rows]
