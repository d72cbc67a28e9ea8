"""SQL of the retention report; it only counts, and canaries not at all.

What is due on a day is so from its first instant in Stockholm: the day after the last one on which
it is kept.
"""

from datetime import date, datetime
from typing import Any

from retention.purge_store import ERASABLE_FROM, HELD, KEYS_HELD, NAMED_HELD, NO_CANARY
from shared.postgres import Connection

# How many of a purge chunk are canaries, in a FROM clause.  That a chunk confirmed the purge of one
# is noted a little later.
_CANARIES = """
    LATERAL (SELECT (SELECT count(*) FROM canary WHERE canary.chunk = purge_chunk.id)
                  + (SELECT count(*)
                       FROM canary
                      WHERE (canary.holder, canary.category)
                          = (purge_chunk.holder, purge_job.category)
                        AND canary.state = 'due'
                        AND canary.record_id = ANY(refs)
                        AND canary.chunk IS DISTINCT FROM purge_chunk.id) AS canaries
              OFFSET 0) AS counted  -- or it would be counted wherever the number is used
"""

# That a chunk of which $canaries are canaries is of something else as well.  Its references are a
# long value: they are not read where there is nothing to compare.
_OF_OTHERS = """
    bool_or(canaries = 0 OR CASE WHEN canaries > 0 THEN cardinality(refs) > canaries END)
"""


async def standing(tx: Connection, day: date, at: datetime) -> list[dict[str, Any]]:
    """Return how records stand that are held at *at*, the end of *day*, in sums.

    What is *due* is summed up by month and, where the law sets a minimum, by financial year; so
    much of it as *kept* says waits for the end of a hold.  Of what was held then and is gone, that
    is by the deadlines that it had last: which a hold kept then is not known any more.

    Sums are those that each deadline key knows of itself, without what was registered since and
    without canaries.  Records are looked at only where a hold names them.
    """
    rows = await tx.fetch(
        f"""
        WITH now_known AS (
            SELECT key, sum(records)::bigint AS records FROM key_tally GROUP BY key
        ), since AS (
            SELECT key, sum(records)::bigint AS records
              FROM registered_tally
             WHERE registered_on > $2
          GROUP BY key
        ), nobodys AS (
            SELECT key, count(*) AS records
              FROM canary
              JOIN record USING (holder, category, record_id)
             WHERE canary.state NOT IN ('erased', 'abandoned')
               AND registered_at <= $1
          GROUP BY key
        ), named AS (
            SELECT record.key, count(DISTINCT record.id) AS records
            {NAMED_HELD}
               AND purge_from <= $1
               AND registered_at <= $1
               AND {NO_CANARY}
          GROUP BY record.key
        ), held AS (
            SELECT category, status, why, provisional, keep_through, purge_from <= $1 AS due,
                   must_purge_by <= $1 AS overdue, first_day, last_day, there.records,
                   CASE WHEN deadline_key.id IN ({KEYS_HELD}) THEN there.records
                        ELSE coalesce(named.records, 0) END AS kept
              FROM deadline_key
              JOIN now_known ON now_known.key = deadline_key.id
              LEFT JOIN since ON since.key = deadline_key.id
              LEFT JOIN nobodys ON nobodys.key = deadline_key.id
              LEFT JOIN named ON named.key = deadline_key.id
              LEFT JOIN fiscal_year
                ON fiscal_year.entity = CASE WHEN statutory AND purge_from <= $1
                                             THEN deadline_key.entity END
               AND anchor_day BETWEEN first_day AND last_day
             CROSS JOIN LATERAL (
                   SELECT now_known.records - coalesce(since.records, 0)
                          - coalesce(nobodys.records, 0) AS records) AS there
             WHERE there.records <> 0
             UNION ALL
            SELECT category, CASE WHEN purge_from IS NULL THEN 'open' ELSE 'scheduled' END, '',
                   false, keep_through, purge_from <= $1, must_purge_by <= $1, NULL, NULL,
                   records, 0
              FROM record_gone
             WHERE gone_on > $2 AND registered_on <= $2
        )
        SELECT category, status, why, provisional, coalesce(due, false) AS due, overdue,
               first_day AS year_from, last_day AS year_to,
               CASE WHEN due THEN min(keep_through) + 1 END AS due_from,
               min(keep_through) AS next_keep_through, max(keep_through) AS last_keep_through,
               sum(records)::bigint AS records,
               coalesce(sum(kept) FILTER (WHERE due), 0)::bigint AS kept
          FROM held
      GROUP BY category, status, why, provisional, due, overdue, year_from, year_to,
               CASE WHEN due THEN date_trunc('month', (keep_through + 1)::timestamp) END
        """,  # noqa: S608 - constants
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
           AND (purge_chunk.state <> 'done' OR purge_chunk.state = 'done' AND answered_at > $1)
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
        HAVING {_OF_OTHERS}
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
        SELECT date_trunc('month', (keep_through + 1)::timestamp)::date AS month,
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
