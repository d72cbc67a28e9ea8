"""SQL of the retention report; it only counts, and canaries not at all."""

from datetime import datetime
from typing import Any

from retention.purge_store import CANARY, HELD
from shared.postgres import Connection

# How many of a purge chunk are canaries, in a FROM clause.  That a chunk confirmed the purge of one
# is noted a little later.
_CANARIES = """
    LATERAL (SELECT count(*) AS canaries
               FROM canary
              WHERE (canary.holder, canary.category) = (purge_chunk.holder, purge_job.category)
                AND (canary.chunk = purge_chunk.id
                     OR canary.state = 'due' AND canary.record_id = ANY(refs))) AS counted
"""


async def holdings(tx: Connection, at: datetime) -> list[dict[str, Any]]:
    """Return, for each category, how many records are held at *at* and how they stand.

    Of what was registered by then and is still in the registry; what was purged since is counted
    by :func:`purged_after`.
    """
    rows = await tx.fetch(
        f"""
        SELECT record.category,
               count(*) AS held,
               count(*) FILTER (WHERE status = 'open') AS open,
               count(*) FILTER (WHERE status = 'indeterminate') AS indeterminate,
               count(*) FILTER (WHERE status = 'scheduled' AND purge_from > $1) AS scheduled,
               count(*) FILTER (WHERE purge_from <= $1 AND NOT {HELD}) AS due,
               count(*) FILTER (WHERE must_purge_by <= $1 AND NOT {HELD}) AS overdue,
               count(*) FILTER (WHERE purge_from <= $1 AND {HELD}) AS held_back,
               count(*) FILTER (WHERE provisional) AS provisional,
               min(keep_through) FILTER (WHERE purge_from > $1) AS next_keep_through,
               max(keep_through) AS last_keep_through,
               array_agg(DISTINCT why) FILTER (WHERE why <> '') AS missing_facts
          FROM record
          JOIN deadline_key ON deadline_key.id = record.key
         WHERE registered_at <= $1 AND NOT {CANARY}
      GROUP BY record.category
        """,  # noqa: S608 - a constant condition
        at,
    )
    return [dict(row) for row in rows]


async def awaiting(tx: Connection, at: datetime) -> list[dict[str, Any]]:
    """Return how many records each holder had been told to purge at *at* and had not confirmed."""
    rows = await tx.fetch(
        f"""
        SELECT category, holder, sum(cardinality(refs) - canaries)::int AS records
          FROM purge_chunk
          JOIN purge_job ON purge_job.id = purge_chunk.job,
               {_CANARIES}
         WHERE purge_chunk.sent_at <= $1
           AND (purge_chunk.state <> 'done' OR answered_at > $1)
      GROUP BY category, holder
        HAVING sum(cardinality(refs) - canaries) > 0
      ORDER BY category, holder
        """,  # noqa: S608 - a constant table
        at,
    )
    return [dict(row) for row in rows]


async def purged(tx: Connection, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return what each job had purged, by holder, from *start* up to *end*."""
    rows = await tx.fetch(
        f"""
        SELECT purge_job.id AS job_id, reason, category, holder, policy_version, closed_at,
               closed_event,
               sum(greatest(erased - canaries, 0))::int AS erased,
               sum(greatest(anonymised - canaries, 0))::int AS anonymised,
               sum(not_found)::int AS not_found, sum(refused)::int AS refused
          FROM purge_chunk
          JOIN purge_job ON purge_job.id = purge_chunk.job,
               {_CANARIES}
         WHERE purge_chunk.state = 'done' AND answered_at >= $1 AND answered_at < $2
      GROUP BY purge_job.id, holder
        HAVING sum(cardinality(refs) - canaries) > 0
      ORDER BY category, closed_at, holder
        """,  # noqa: S608 - a constant table
        start,
        end,
    )
    return [dict(row) for row in rows]


async def forecast(tx: Connection, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return how many records of each category may go in each month, as known now.

    Months are Stockholm's, named by their first day; *start* belongs to the time asked for, *end*
    does not.
    """
    rows = await tx.fetch(
        """
        SELECT date_trunc('month', purge_from AT TIME ZONE 'Europe/Stockholm')::date AS month,
               category, sum(records)::bigint AS records
          FROM deadline_key
          JOIN key_records ON key = id
         WHERE status = 'scheduled' AND purge_from >= $1 AND purge_from < $2
      GROUP BY month, category
      ORDER BY month, category
        """,
        start,
        end,
    )
    return [dict(row) for row in rows]


async def held_about(tx: Connection, token: str, now: datetime) -> list[dict[str, Any]]:
    """Return the records that tell of a person, until when each is kept, and whether it is held."""
    rows = await tx.fetch(
        f"""
        SELECT record.holder, record.category, record.record_id, role, status, keep_through, floor,
               policy_version, accepted_on AS erasure_accepted_on, {HELD} AS held
          FROM record_subject
          JOIN record ON record.id = record_subject.record
          JOIN deadline_key ON deadline_key.id = record.key
          LEFT JOIN erasure ON erasure.record = record.id
         WHERE token = $2
      ORDER BY record.category, record.holder, record.record_id
        """,  # noqa: S608 - a constant condition
        now,
        token,
    )
    return [dict(row) for row in rows]
