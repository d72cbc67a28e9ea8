"""SQL of the purge loop: what is due, jobs, chunks, alerts; no rule is decided here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from shared.events.gallra import PurgeCommand, PurgeResult
from shared.postgres import Connection

# What retention.override.Scope says, over record and deadline_key.  A hold that was lifted protects
# through its grace.
HELD = """
    EXISTS (SELECT
              FROM legal_hold AS hold
             WHERE (protects_until IS NULL OR protects_until > $1)
               AND (hold.customer_id IS NULL OR hold.customer_id = record.customer_id)
               AND (hold.category IS NULL OR hold.category = record.category)
               AND (hold.subject IS NULL
                    OR EXISTS (SELECT FROM record_subject
                                WHERE record_subject.record = record.id AND token = hold.subject))
               AND (hold.record_id IS NULL
                    OR (hold.holder, hold.record_id) = (record.holder, record.record_id))
               AND (first_day IS NULL OR coalesce(anchor_day >= first_day, true))
               AND (last_day IS NULL OR coalesce(anchor_day <= last_day, true)))
"""

# That a purge may be ordered at the instant $1.
DUE = f"""
    (status = 'scheduled'
     AND purge_from <= $1
     AND chunk IS NULL
     AND (not_before IS NULL OR not_before <= $1)
     AND NOT {HELD})
"""


# The same over purge_again, of which no more than the reference is known: a hold that names a
# customer, a person or days is of data that was there when it was placed.
HELD_AGAIN = """
    EXISTS (SELECT
              FROM legal_hold AS hold
             WHERE (protects_until IS NULL OR protects_until > $1)
               AND num_nonnulls(hold.customer_id, hold.subject, first_day, last_day) = 0
               AND (hold.category IS NULL OR hold.category = purge_again.category)
               AND (hold.record_id IS NULL
                    OR (hold.holder, hold.record_id) = (purge_again.holder, purge_again.record_id)))
"""

# A record of nobody: it counts for nothing but itself.
CANARY = """
    EXISTS (SELECT
              FROM canary
             WHERE (canary.holder, canary.category, canary.record_id)
                 = (record.holder, record.category, record.record_id))
"""

# A record to be purged again that was registered anew.
KNOWN = """
    EXISTS (SELECT
              FROM record
             WHERE (record.holder, record.category, record.record_id)
                 = (purge_again.holder, purge_again.category, purge_again.record_id))
"""


@dataclass(frozen=True, slots=True)
class ToPurge:
    """A record that is to be gone."""

    id: int
    holder: str
    category: str
    record_id: str
    policy_version: int
    purge_from: datetime
    must_purge_by: datetime


@dataclass(frozen=True, slots=True)
class Due(ToPurge):
    """A record of the registry whose time is up, by its deadline key."""

    key: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A purge chunk and the job it belongs to."""

    id: UUID
    job: UUID
    holder: str
    command: str
    refs: list[str]
    state: str
    sent_at: datetime
    attempts: int


_CHUNK = "id, job, holder, command, refs, state, sent_at, attempts"


async def due(tx: Connection, now: datetime, categories: Collection[str], limit: int) -> list[Due]:
    """Return up to *limit* records of *categories* due at *now*, the longest due first.

    Left out are those under a legal hold or in the grace after one, those in a purge already and
    those a holder refused for a time.
    """
    rows = await tx.fetch(
        f"""
        SELECT record.id, record.key, holder, record.category, record_id, policy_version,
               purge_from, must_purge_by
          FROM deadline_key
          JOIN record ON record.key = deadline_key.id
         WHERE record.category = ANY($2) AND {DUE}
      ORDER BY purge_from, record.id
         LIMIT $3
        """,  # noqa: S608 - a constant condition
        now,
        list(categories),
        limit,
    )
    return [Due(**row) for row in rows]


async def still_due(tx: Connection, chunk: UUID, now: datetime) -> bool:
    """Return True if every record of a chunk is as due as when the chunk was made.

    That the registry does not know one is what a replay is about.
    """
    changed: bool = await tx.fetchval(
        f"""
        SELECT EXISTS (
            SELECT
              FROM record
              JOIN deadline_key ON deadline_key.id = record.key
             WHERE chunk = $2
               AND (status <> 'scheduled' OR purge_from > $1 OR {HELD})
             UNION ALL
            SELECT
              FROM purge_again
             WHERE chunk = $2 AND ({HELD_AGAIN} OR {KNOWN}))
        """,  # noqa: S608 - a constant condition
        now,
        chunk,
    )
    return not changed


async def open_job(
    tx: Connection,
    job: UUID,
    items: Sequence[ToPurge],
    must_purge_by: datetime,
    now: datetime,
    reason: str = "deadline",
) -> None:
    """Open a job for *items*, which are of one category."""
    await tx.execute(
        """
        INSERT INTO purge_job
                    (id, category, reason, policy_version, records, must_purge_by, opened_at)
             VALUES ($1, $2, $7, $3, $4, $5, $6)
        """,
        job,
        items[0].category,
        items[0].policy_version,
        len(items),
        must_purge_by,
        now,
        reason,
    )


async def add_chunk(
    tx: Connection,
    chunk: UUID,
    command: PurgeCommand,
    records: Sequence[int],
    now: datetime,
    next_try: datetime,
) -> None:
    """Add a chunk whose first command goes out with this transaction."""
    await tx.execute(
        """
        INSERT INTO purge_chunk (id, job, holder, command, refs, state, sent_at, next_try_at)
             VALUES ($1, $2, $3, $4, $5, 'preparing', $6, $7)
        """,
        chunk,
        UUID(command.job_id),
        command.holder,
        command.model_dump_json(),
        list(command.refs),
        now,
        next_try,
    )
    await tx.execute("UPDATE record SET chunk = $1 WHERE id = ANY($2)", chunk, list(records))


async def lock_chunk(tx: Connection, chunk: UUID) -> Chunk | None:
    """Return a chunk, which nobody else changes until *tx* ends."""
    row = await tx.fetchrow(f"SELECT {_CHUNK} FROM purge_chunk WHERE id = $1 FOR UPDATE", chunk)  # noqa: S608
    return None if row is None else Chunk(**row)


async def silent_chunks(tx: Connection, now: datetime, limit: int) -> list[Chunk]:
    """Return chunks whose holder should have answered by *now*."""
    rows = await tx.fetch(
        f"""
        SELECT {_CHUNK}
          FROM purge_chunk
         WHERE state <> 'done' AND next_try_at <= $1
      ORDER BY next_try_at
         LIMIT $2
           FOR UPDATE SKIP LOCKED
        """,  # noqa: S608 - a list of columns
        now,
        limit,
    )
    return [Chunk(**row) for row in rows]


async def asked_again(tx: Connection, chunk: UUID, next_try: datetime) -> None:
    """Note that a chunk's command was sent once more."""
    await tx.execute(
        "UPDATE purge_chunk SET attempts = attempts + 1, next_try_at = $2 WHERE id = $1",
        chunk,
        next_try,
    )


async def advance(
    tx: Connection, chunk: UUID, state: str, refs: Sequence[str], next_try: datetime
) -> None:
    """Bring a chunk into its next phase with the references that are left of it."""
    await tx.execute(
        """
        UPDATE purge_chunk
           SET state = $2, refs = $3, attempts = 1, next_try_at = $4
         WHERE id = $1
        """,
        chunk,
        state,
        list(refs),
        next_try,
    )


async def finish(tx: Connection, chunk: UUID, result: PurgeResult, refused: int) -> None:
    """Note the last answer for a chunk."""
    await tx.execute(
        """
        UPDATE purge_chunk
           SET state = 'done', next_try_at = NULL, answered_at = $2, erased = $3, anonymised = $4,
               not_found = $5, refused = $6, failed = $7, method = $8, residual_until = $9
         WHERE id = $1
        """,
        chunk,
        result.completed_at,
        result.counts.erased,
        result.counts.anonymised,
        result.counts.not_found,
        refused,
        result.counts.failed,
        result.method,
        result.residual_until,
    )


async def release(
    tx: Connection, chunk: UUID, refs: Sequence[str], not_before: datetime | None
) -> None:
    """Take records out of a chunk again; they are not tried before *not_before*."""
    await tx.execute(
        """
        WITH again AS (
            UPDATE purge_again
               SET chunk = NULL, not_before = $3
             WHERE chunk = $1 AND record_id = ANY($2)
        )
        UPDATE record
           SET chunk = NULL, not_before = $3
         WHERE chunk = $1 AND record_id = ANY($2)
        """,
        chunk,
        list(refs),
        not_before,
    )


async def forget_purged(tx: Connection, chunk: UUID) -> None:
    """Delete what is left in a chunk from the registry, with its facts: it is purged."""
    await tx.execute(
        """
        WITH again AS (
            DELETE FROM purge_again WHERE chunk = $1
        ), gone AS (
            DELETE FROM record WHERE chunk = $1 RETURNING holder, category, record_id
        )
        DELETE FROM anchor
         USING gone
         WHERE (anchor.holder, anchor.category, anchor.record_id)
             = (gone.holder, gone.category, gone.record_id)
        """,
        chunk,
    )


async def finished_jobs(tx: Connection) -> list[dict[str, Any]]:
    """Return open jobs all of whose chunks are done, with the sums over them."""
    rows = await tx.fetch(
        """
        SELECT purge_job.id, category, reason, policy_version, records, opened_at, must_purge_by,
               array_agg(DISTINCT holder) AS holders,
               sum(erased)::int AS erased, sum(anonymised)::int AS anonymised,
               sum(not_found)::int AS not_found, sum(refused)::int AS refused,
               sum(failed)::int AS failed, max(answered_at) AS completed_at
          FROM purge_job
          JOIN purge_chunk ON purge_chunk.job = purge_job.id
         WHERE closed_at IS NULL
      GROUP BY purge_job.id
        HAVING bool_and(state = 'done')
        """
    )
    return [dict(row) for row in rows]


async def close_job(tx: Connection, job: UUID, event_id: str, stated: bytes, now: datetime) -> None:
    """Close a job; *event_id* is the decision in the master log, which commits to *stated*."""
    await tx.execute(
        """
        UPDATE purge_job
           SET closed_at = $2, closed_event = $3, statement = $4
         WHERE id = $1
        """,
        job,
        now,
        event_id,
        stated.decode(),
    )


async def attested(tx: Connection, job: UUID) -> list[dict[str, Any]]:
    """Return what holders answered for the chunks of a job."""
    rows = await tx.fetch(
        """
        SELECT id::text AS chunk_id, holder, command ->> 'command_hash' AS command_hash,
               jsonb_array_length(command -> 'refs') AS records, erased, anonymised, not_found,
               refused, failed, method, answered_at, residual_until
          FROM purge_chunk
         WHERE job = $1
        """,
        job,
    )
    return [dict(row) for row in rows]


_JOB = """
    id::text AS job_id, category, reason, policy_version, records, opened_at, must_purge_by,
    closed_at
"""


async def jobs(tx: Connection, before: datetime, limit: int) -> list[dict[str, Any]]:
    """Return the jobs opened before an instant, newest first."""
    rows = await tx.fetch(
        f"SELECT {_JOB} FROM purge_job WHERE opened_at < $1 ORDER BY opened_at DESC LIMIT $2",  # noqa: S608
        before,
        limit,
    )
    return [dict(row) for row in rows]


async def job(tx: Connection, job_id: UUID) -> dict[str, Any] | None:
    """Return a job, with the decision that closed it and its statement, if it is closed."""
    row = await tx.fetchrow(
        f"SELECT {_JOB}, closed_event, statement FROM purge_job WHERE id = $1",  # noqa: S608
        job_id,
    )
    return None if row is None else dict(row)


async def chunks_of(tx: Connection, job_id: UUID) -> list[dict[str, Any]]:
    """Return the chunks of a job and how far each has come."""
    rows = await tx.fetch(
        """
        SELECT id::text AS chunk_id, holder, state, cardinality(refs) AS open, attempts, sent_at,
               next_try_at, answered_at, erased, anonymised, not_found, refused, failed
          FROM purge_chunk
         WHERE job = $1
      ORDER BY holder, id
        """,
        job_id,
    )
    return [dict(row) for row in rows]


async def overdue(tx: Connection, now: datetime, known_before: datetime) -> dict[str, int]:
    """Return how many records of each category should have been purged by *now* and are not.

    Of those known since before *known_before*: what came late gets its chance first.
    """
    rows = await tx.fetch(
        f"""
        SELECT category, sum(records)::int AS records
          FROM (SELECT record.category, count(*) AS records
                  FROM deadline_key
                  JOIN record ON record.key = deadline_key.id
                 WHERE status = 'scheduled'
                   AND must_purge_by < $1
                   AND registered_at < $2
                   AND NOT {HELD}
                   AND NOT {CANARY}
              GROUP BY record.category
                 UNION ALL
                SELECT category, count(*)
                  FROM purge_again
                 WHERE must_purge_by < $1 AND added_at < $2 AND NOT {HELD_AGAIN}
              GROUP BY category) AS late
      GROUP BY category
        """,  # noqa: S608 - a constant condition
        now,
        known_before,
    )
    return {row["category"]: row["records"] for row in rows}


async def silent_holders(tx: Connection, before: datetime) -> dict[str, int]:
    """Return how many chunks each holder has left unanswered since *before*."""
    rows = await tx.fetch(
        """
        SELECT holder, count(*) AS chunks
          FROM purge_chunk
         WHERE state <> 'done' AND sent_at < $1
      GROUP BY holder
        """,
        before,
    )
    return {row["holder"]: row["chunks"] for row in rows}


async def beyond_recall(tx: Connection, now: datetime) -> int:
    """Return how many records are held and ordered to be erased, with no answer yet."""
    count: int = await tx.fetchval(
        f"""
        SELECT (SELECT count(*)
                  FROM purge_chunk
                  JOIN record ON record.chunk = purge_chunk.id
                  JOIN deadline_key ON deadline_key.id = record.key
                 WHERE purge_chunk.state = 'committing' AND {HELD})
             + (SELECT count(*)
                  FROM purge_chunk
                  JOIN purge_again ON purge_again.chunk = purge_chunk.id
                 WHERE purge_chunk.state = 'committing' AND {HELD_AGAIN})
        """,  # noqa: S608 - a constant condition
        now,
    )
    return count


async def holds_to_review(tx: Connection, day: date) -> list[UUID]:
    """Return the holds in force that were to be looked at again by *day*."""
    rows = await tx.fetch(
        "SELECT id FROM legal_hold WHERE released_at IS NULL AND review_on <= $1 ORDER BY id", day
    )
    return [row["id"] for row in rows]


async def open_alerts(tx: Connection) -> dict[str, str]:
    """Return the alerts that are raised and not resolved, with what was said."""
    rows = await tx.fetch("SELECT fingerprint, summary FROM alert_open")
    return {row["fingerprint"]: row["summary"] for row in rows}


async def note_alert(tx: Connection, fingerprint: str, summary: str, now: datetime) -> None:
    """Note that an alert was raised."""
    await tx.execute("INSERT INTO alert_open VALUES ($1, $2, $3)", fingerprint, summary, now)


async def drop_alert(tx: Connection, fingerprint: str) -> None:
    """Note that an alert was resolved."""
    await tx.execute("DELETE FROM alert_open WHERE fingerprint = $1", fingerprint)
