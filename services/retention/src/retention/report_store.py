"""SQL of the retention report; it only counts, and canaries not at all."""

from datetime import date, datetime
from typing import Any

from retention.purge_store import CANARY, ERASABLE_FROM, HELD
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

    Of what was registered by then and is still in the registry; for the rest see
    :func:`gone_since`.
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


async def gone_since(tx: Connection, day: date, at: datetime) -> list[dict[str, Any]]:
    """Return the same, as far as it is known, of records that were held on *day* and are gone.

    By the deadlines that they had last; which of them a hold kept then is not known any more.
    """
    rows = await tx.fetch(
        """
        SELECT category,
               sum(records)::bigint AS held,
               sum(records) FILTER (WHERE purge_from IS NULL)::bigint AS open,
               sum(records) FILTER (WHERE purge_from > $2)::bigint AS scheduled,
               sum(records) FILTER (WHERE purge_from <= $2)::bigint AS due,
               sum(records) FILTER (WHERE must_purge_by <= $2)::bigint AS overdue,
               min(keep_through) FILTER (WHERE purge_from > $2) AS next_keep_through,
               max(keep_through) AS last_keep_through
          FROM record_gone
         WHERE gone_on > $1 AND registered_on <= $1
      GROUP BY category
        """,
        day,
        at,
    )
    return [dict(row) for row in rows]


async def fall_due(tx: Connection, day: date, at: datetime) -> list[dict[str, Any]]:
    """Return what of the records held on *day* is due by *at*, by month and category.

    Where the law sets a minimum, by financial year as well.  So many as *held_back* says wait for
    the end of a hold.
    """
    rows = await tx.fetch(
        f"""
        WITH counted AS (
            SELECT record.category, first_day, last_day, purge_from, count(*) AS records,
                   count(*) FILTER (WHERE {HELD}) AS held_back
              FROM record
              JOIN deadline_key ON deadline_key.id = record.key
              LEFT JOIN fiscal_year ON statutory AND fiscal_year.entity = deadline_key.entity
                                   AND anchor_day BETWEEN first_day AND last_day
             WHERE purge_from <= $1 AND registered_at <= $1 AND NOT {CANARY}
          GROUP BY record.category, first_day, last_day, purge_from
             UNION ALL
            SELECT category, NULL, NULL, purge_from, records, 0
              FROM record_gone
             WHERE gone_on > $2 AND registered_on <= $2 AND purge_from <= $1
        )
        SELECT category, first_day AS year_from, last_day AS year_to,
               min(purge_from AT TIME ZONE 'Europe/Stockholm')::date AS due_from,
               sum(records)::bigint AS records, sum(held_back)::bigint AS held_back
          FROM counted
      GROUP BY date_trunc('month', purge_from AT TIME ZONE 'Europe/Stockholm'), category,
               first_day, last_day
      ORDER BY due_from, category, first_day
        """,  # noqa: S608 - constant conditions
        at,
        day,
    )
    return [dict(row) for row in rows]


async def holds(tx: Connection, at: datetime) -> list[dict[str, Any]]:
    """Return the holds that kept records at *at*, those in their grace too, in order."""
    rows = await tx.fetch(
        """
        SELECT id::text AS hold_id, customer_id, category, subject, holder, record_id, first_day,
               last_day, reason, review_on, placed_by, placed_at,
               CASE WHEN released_at <= $1 THEN release_asked_by END AS release_asked_by,
               CASE WHEN released_at <= $1 THEN released_by END AS released_by,
               CASE WHEN released_at <= $1 THEN protects_until END AS protects_until
          FROM legal_hold
         WHERE placed_at <= $1 AND (protects_until IS NULL OR protects_until > $1)
      ORDER BY placed_at, id
        """,
        at,
    )
    return [dict(row) for row in rows]


async def erasures(tx: Connection, at: datetime) -> list[dict[str, Any]]:
    """Return how many records were granted to be erased by *at* and are still there.

    *kept* of them stay for now: by law, or by a hold.
    """
    rows = await tx.fetch(
        f"""
        SELECT record.category, count(*) AS waiting,
               count(*) FILTER (WHERE coalesce({ERASABLE_FROM} > $1, true) OR {HELD}) AS kept,
               min(accepted_on) AS first_accepted_on
          FROM erasure
          JOIN record ON record.id = erasure.record
          JOIN deadline_key ON deadline_key.id = record.key
         WHERE accepted_at <= $1
      GROUP BY record.category
      ORDER BY record.category
        """,  # noqa: S608 - constant conditions
        at,
    )
    return [dict(row) for row in rows]


async def requests(tx: Connection, start: date, end: date, as_of: date) -> list[dict[str, Any]]:
    """Return the requests of persons that were open on *as_of*, or answered from *start* to *end*.

    Those that were withdrawn, if they came in that time: when they were, nobody needs to know.
    """
    rows = await tx.fetch(
        """
        SELECT id AS case_id, claim AS right, channel, state, received_on, asked_on, shown_on,
               extended_on, answered_on, decided_by, approved_by
          FROM rights_case
         WHERE received_on <= $3 AND NOT quarantined
           AND CASE WHEN state = 'withdrawn' THEN received_on BETWEEN $1 AND $2
                    ELSE answered_on IS NULL OR answered_on > $3 OR answered_on BETWEEN $1 AND $2
               END
      ORDER BY received_on, id
        """,
        start,
        end,
        as_of,
    )
    return [dict(row) for row in rows]


async def policy_changes(tx: Connection, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return the versions of policies put in force from *start* up to *end*, and by whom."""
    rows = await tx.fetch(
        """
        SELECT category, version, activated_at, encode(policy_version.sha256, 'hex') AS sha256,
               encode(plan, 'hex') AS plan, first_by, first_at, second_by,
               applied_at AS second_at
          FROM policy_version
          LEFT JOIN policy_plan ON policy_plan.sha256 = plan
         WHERE activated_at >= $1 AND activated_at < $2
      ORDER BY activated_at, category, version
        """,
        start,
        end,
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
               coalesce(sum(greatest(erased + anonymised - canaries, 0))
                        FILTER (WHERE answered_at <= must_purge_by), 0)::int AS on_time,
               sum(not_found)::int AS not_found, sum(refused)::int AS refused
          FROM purge_chunk
          JOIN purge_job ON purge_job.id = purge_chunk.job,
               {_CANARIES}
         WHERE purge_chunk.state = 'done' AND answered_at >= $1 AND answered_at < $2
      GROUP BY purge_job.id, holder
        HAVING sum(cardinality(refs) - canaries) > 0
      ORDER BY category, closed_at, holder, purge_job.id
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
