"""SQL of the mass-purge guard: forecasts, a day's numbers, frozen purges; decides no rule."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from retention.limits import Numbers
from retention.purge_store import HELD, MAY_BE_HELD
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Frozen:
    """A purge that waits for people."""

    id: int
    category: str
    day: date
    records: int
    why: str
    first_by: str | None


_FROZEN = "id, category, day, records, why, first_by"
_OPEN = "second_by IS NULL AND lifted_at IS NULL"


async def waiting(tx: Connection, at: datetime, categories: Collection[str]) -> dict[str, int]:
    """Return how many records of *categories* are due at an instant, as known now.

    Those in a purge among them, but not those that have to wait for a hold or a holder.
    """
    rows = await tx.fetch(
        f"""
        WITH {MAY_BE_HELD}
        SELECT category, sum(records)::int AS records
          FROM (SELECT category, records
                  FROM deadline_key
                  JOIN key_records ON key = id
                 WHERE status = 'scheduled' AND purge_from <= $1 AND category = ANY($2)
                 UNION ALL
                SELECT record.category, -1
                  FROM purge_item
                  JOIN record ON record.id = purge_item.record
                  JOIN deadline_key ON deadline_key.id = record.key
                 WHERE chunk IS NULL
                   AND status = 'scheduled'
                   AND purge_from <= $1
                   AND record.category = ANY($2)
                   AND (not_before > $1 OR {HELD})
                 UNION ALL
                SELECT record.category, -1
                  FROM record
                  JOIN deadline_key ON deadline_key.id = record.key AND record.id > issued_to
                 WHERE record.id IN (SELECT id FROM may_be_held)
                   AND status = 'scheduled'
                   AND purge_from <= $1
                   AND record.category = ANY($2)
                   AND NOT EXISTS (SELECT FROM purge_item WHERE record = record.id)
                   AND {HELD}) AS counted
      GROUP BY category
        HAVING sum(records) > 0
        """,  # noqa: S608 - constant conditions
        at,
        list(categories),
    )
    return {row["category"]: row["records"] for row in rows}


async def is_foreseen(tx: Connection, day: date) -> bool:
    """Return whether there is a forecast for a day."""
    found: bool = await tx.fetchval("SELECT EXISTS (SELECT FROM forecast WHERE day = $1)", day)
    return found


async def foresee(tx: Connection, day: date, category: str, records: int) -> None:
    """Keep the forecast of a category for a day."""
    await tx.execute("INSERT INTO forecast VALUES ($1, $2, $3)", day, category, records)


async def numbers(
    tx: Connection,
    category: str,
    now: datetime,
    day: date,
    midnights: tuple[datetime, datetime],
    *,
    due: int,
    floor: int,
) -> Numbers:
    """Return the numbers of a category at *now*.

    Args:
        tx: The transaction.
        category: Of which records.
        now: When.
        day: The civil day of *now*.
        midnights: At which the day before began, and this one.
        due: What :func:`waiting` counts.
        floor: Up to so many, nobody asks how many are late.
    """
    row = await tx.fetchrow(
        """
        WITH sent AS (
            SELECT state, sent_at, cardinality(refs) AS records,
                   erased + anonymised + not_found AS gone
              FROM purge_chunk
              JOIN purge_job ON purge_job.id = job
             WHERE category = $2
               AND reason = 'deadline'
               AND (sent_at >= $4 OR state <> 'done')
        ),
        today AS (
            SELECT coalesce(sum(gone) FILTER (WHERE sent_at >= $5), 0)::int AS gone,
                   coalesce(sum(gone) FILTER (WHERE sent_at < $5), 0)::int AS yesterday,
                   coalesce(sum(records) FILTER (WHERE sent_at < $5 AND state <> 'done'), 0)::int
                       AS from_before
              FROM sent
        ),
        foreseen AS (
            SELECT max(records) AS records FROM forecast WHERE (day, category) = ($3, $2)
        )
        SELECT gone,
               yesterday,
               greatest($6 - from_before, 0) AS at_hand,
               foreseen.records AS forecast,
               CASE WHEN foreseen.records IS NULL AND gone + $6 > $7 THEN (
                   SELECT count(*)
                     FROM deadline_key
                     JOIN record ON record.key = deadline_key.id
                    WHERE status = 'scheduled'
                      AND purge_from <= $1
                      AND purge_from <= registered_at
                      AND record.category = $2) ELSE 0 END AS late,
               (SELECT coalesce(sum(records), 0)::bigint
                  FROM deadline_key
                  JOIN key_records ON key = id
                 WHERE category = $2) AS of,
               (SELECT coalesce(max(records), 0)
                  FROM purge_guard
                 WHERE category = $2 AND second_at > $1 - interval '24 hours') AS approved
          FROM today, foreseen
        """,
        now,
        category,
        day,
        *midnights,
        due,
        floor,
    )
    assert row is not None  # noqa: S101 - each part is one row
    return Numbers(**row)


async def frozen(tx: Connection) -> dict[str, Frozen]:
    """Return the purges that wait for people, by category."""
    rows = await tx.fetch(f"SELECT {_FROZEN} FROM purge_guard WHERE {_OPEN} ORDER BY category")  # noqa: S608
    return {row["category"]: Frozen(**row) for row in rows}


async def lock(tx: Connection, category: str) -> Frozen | None:
    """Return the purge of a category that waits, which nobody else changes until *tx* ends."""
    row = await tx.fetchrow(
        f"SELECT {_FROZEN} FROM purge_guard WHERE category = $1 AND {_OPEN} FOR UPDATE",  # noqa: S608
        category,
    )
    return None if row is None else Frozen(**row)


async def freeze(
    tx: Connection, category: str, day: date, records: int, why: str, now: datetime
) -> None:
    """Keep a purge that waits for people."""
    await tx.execute(
        """
        INSERT INTO purge_guard (category, day, records, why, frozen_at)
             VALUES ($1, $2, $3, $4, $5)
        """,
        category,
        day,
        records,
        why,
        now,
    )


async def lift(tx: Connection, frozen_id: int, now: datetime) -> None:
    """Note that a purge waits no more although nobody approved it."""
    await tx.execute("UPDATE purge_guard SET lifted_at = $2 WHERE id = $1", frozen_id, now)


async def approve_first(tx: Connection, frozen_id: int, by: str, now: datetime) -> None:
    """Note who approved a purge first."""
    await tx.execute(
        "UPDATE purge_guard SET first_by = $2, first_at = $3 WHERE id = $1", frozen_id, by, now
    )


async def approve_second(tx: Connection, frozen_id: int, by: str, now: datetime) -> None:
    """Note who agreed to it."""
    await tx.execute(
        "UPDATE purge_guard SET second_by = $2, second_at = $3 WHERE id = $1", frozen_id, by, now
    )
