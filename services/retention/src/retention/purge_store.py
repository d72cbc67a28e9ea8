"""SQL of the purge loop: what is due, jobs, chunks, alerts; no rule is decided here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from retention.store import COUNT_GONE
from shared.events.gallra import PurgeCommand, PurgeResult
from shared.postgres import Connection

# What retention.override.Scope says, over record and deadline_key.
_COVERS = """
    (hold.customer_id IS NULL OR hold.customer_id = record.customer_id)
    AND (hold.category IS NULL OR hold.category = record.category)
    AND (hold.subject IS NULL
         OR EXISTS (SELECT FROM record_subject
                     WHERE record_subject.record = record.id AND token = hold.subject))
    AND (hold.record_id IS NULL
         OR (hold.holder, hold.record_id) = (record.holder, record.record_id))
    AND (first_day IS NULL OR coalesce(anchor_day >= first_day, true))
    AND (last_day IS NULL OR coalesce(anchor_day <= last_day, true))
"""

# A hold that was lifted protects through its grace.
HELD = f"""
    EXISTS (SELECT
              FROM legal_hold AS hold
             WHERE (protects_until IS NULL OR protects_until > $1) AND {_COVERS})
"""  # noqa: S608 - constants

# What was to be erased anyway waits for the end of the hold, and not for the 14 days of its grace.
_HELD_WITHOUT_GRACE = f"""
    EXISTS (SELECT
              FROM legal_hold AS hold
             WHERE (protects_until IS NULL
                    OR (protects_until AT TIME ZONE 'Europe/Stockholm' - interval '14 days')
                       AT TIME ZONE 'Europe/Stockholm' > $1)
               AND {_COVERS})
"""  # noqa: S608 - constants

# The instant from which an accepted erasure may be carried out, over erasure and deadline_key; NULL
# while the law keeps the record for a time that is not known.
ERASABLE_FROM = """
    CASE WHEN accepted_on IS NOT NULL AND (NOT statutory OR floor IS NOT NULL)
         THEN greatest(accepted_on, floor + 1)::timestamp AT TIME ZONE 'Europe/Stockholm' END
"""

_A_MONTH = "interval '30 days'"  # within which a request is to be done: GDPR article 12(3)

# Holds in force that name a customer, a person or a record, each with the records that it may keep.
_NAMED = """
      FROM legal_hold AS hold
     CROSS JOIN LATERAL (
           SELECT * FROM record WHERE customer_id = hold.customer_id
            UNION ALL
           SELECT record.*
             FROM record_subject
             JOIN record ON record.id = record_subject.record
            WHERE token = hold.subject
            UNION ALL
           SELECT *
             FROM record
            WHERE (holder, category, record_id) = (hold.holder, hold.category, hold.record_id)
           ) AS record
"""
_IN_FORCE = "(protects_until IS NULL OR protects_until > $1)"

# Ids of records that HELD need be asked of at all, found from the holds: for a WITH.  They are put
# together once: where little was thought to be due, it was done for each record that was.
MAY_BE_HELD = f"""
    may_be_held AS MATERIALIZED (
        SELECT record.id {_NAMED} WHERE {_IN_FORCE}
         UNION ALL
        SELECT record.id
          FROM legal_hold AS hold
          JOIN record ON record.category = hold.category
         WHERE {_IN_FORCE} AND num_nonnulls(hold.customer_id, hold.subject, hold.record_id) = 0
    )
"""  # noqa: S608 - constants

# Records that such a hold keeps, each once for each hold: a FROM and a WHERE clause.
NAMED_HELD = f"""
    {_NAMED}
      JOIN deadline_key ON deadline_key.id = record.key
     WHERE {_IN_FORCE} AND {_COVERS}
"""

# Ids of deadline keys all of whose records a hold keeps: it names a category, and perhaps days.
KEYS_HELD = """
    SELECT held.id
      FROM legal_hold AS hold
      JOIN deadline_key AS held ON held.category = hold.category
     WHERE (protects_until IS NULL OR protects_until > $1)
       AND num_nonnulls(hold.customer_id, hold.subject, hold.record_id) = 0
       AND (first_day IS NULL OR coalesce(held.anchor_day >= first_day, true))
       AND (last_day IS NULL OR coalesce(held.anchor_day <= last_day, true))
"""

# Without one, no record need be looked at.
SOME_HOLD = """
    (SELECT EXISTS (SELECT FROM legal_hold WHERE protects_until IS NULL OR protects_until > $1))
"""

# That a purge may be ordered at the instant $1, of a record that is not in one.
DUE = f"(status = 'scheduled' AND purge_from <= $1 AND NOT {HELD})"

# The same because of a request, over erasure as well.
ERASABLE = f"coalesce({ERASABLE_FROM} <= $1 AND NOT {_HELD_WITHOUT_GRACE}, false)"


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

# That a record is none.  As a join, it might be planned to read all canaries for a few records.
NO_CANARY = f"({CANARY}) IS NOT TRUE"

# A record to be purged again that was registered anew.
KNOWN = """
    EXISTS (SELECT
              FROM record
             WHERE (record.holder, record.category, record.record_id)
                 = (purge_again.holder, purge_again.category, purge_again.record_id))
"""


# Of these there are ten thousands at once, and frozen ones take thrice as long to make.
@dataclass(slots=True)
class ToPurge:
    """A record that is to be gone."""

    id: int
    holder: str
    category: str
    record_id: str
    policy_version: int
    purge_from: datetime
    must_purge_by: datetime


@dataclass(slots=True)
class Due(ToPurge):
    """A record of the registry whose time is up, by its deadline key or by request.

    Attributes:
        reason: ``deadline`` or ``erasure-request``.
        waited: The purge came to it before, and it was let go.
        held: It has to wait for the end of a hold.
    """

    key: int
    reason: Literal["deadline", "erasure-request"]
    waited: bool
    held: bool


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


async def due_keys(tx: Connection, now: datetime) -> list[tuple[int, int]]:
    """Return the deadline keys due at *now*, the longest first, each with its count of records."""
    rows = await tx.fetch(
        """
        SELECT id, sum(records)::bigint AS records
          FROM key_records
          JOIN deadline_key ON id = key
         WHERE status = 'scheduled' AND purge_from <= $1
      GROUP BY id
      ORDER BY purge_from, id
        """,
        now,
    )
    return [(row["id"], row["records"]) for row in rows]


async def due(
    tx: Connection,
    now: datetime,
    categories: Collection[str],
    keys: Collection[int],
    limit: int,
) -> list[Due]:
    """Return up to *limit* records of *categories* due at *now*, and as many that are held.

    First those that the purge came to before and that may be tried again; then, of *keys*, those
    due longest before the others, what it has not come to.  Say with :func:`come_to` what became of
    the latter.
    """
    rows = await tx.fetch(
        f"""
        WITH waiting AS (
            SELECT record.id, holder, record.category, record_id, policy_version, record.key,
                   purge_from, must_purge_by, {ERASABLE_FROM} AS erasable_from,
                   {DUE} AS due, {ERASABLE} AS erasable
              FROM purge_item
              JOIN record ON record.id = purge_item.record
              JOIN deadline_key ON deadline_key.id = record.key
              LEFT JOIN erasure ON erasure.record = record.id
             WHERE chunk IS NULL
               AND (not_before IS NULL OR not_before <= $1)
               AND record.category = ANY($2)
        )
        SELECT id, holder, category, record_id, policy_version,
               CASE WHEN due THEN purge_from ELSE erasable_from END AS purge_from,
               CASE WHEN due THEN must_purge_by ELSE erasable_from + {_A_MONTH} END,
               key, CASE WHEN due THEN 'deadline' ELSE 'erasure-request' END, true, false
          FROM waiting
         WHERE due OR erasable
      ORDER BY purge_from, id
         LIMIT $3
        """,  # noqa: S608 - constants
        now,
        list(categories),
        limit,
    )
    left = limit - len(rows)
    # Who points records to a key shares its row until they commit: from here on, what is not seen
    # yet gets a higher id than what is.
    open_keys = await tx.fetch(
        """
        SELECT id
          FROM deadline_key
         WHERE id = ANY($3)
           AND status = 'scheduled'
           AND purge_from <= $1
           AND category = ANY($2)
           -- The end of an index for each key; EXISTS would be planned as a join of all.
           AND issued_to < (SELECT max(record.id) FROM record WHERE record.key = deadline_key.id)
      ORDER BY purge_from, id
           FOR UPDATE
        """,
        now,
        list(categories),
        list(keys),
    )
    rows += await tx.fetch(
        f"""
        SELECT record.id, holder, record.category, record_id, policy_version, purge_from,
               must_purge_by, record.key, 'deadline', false, {SOME_HOLD} AND {HELD}
          FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (id, place)
          JOIN deadline_key USING (id)
         CROSS JOIN LATERAL (
               SELECT *
                 FROM record
                WHERE record.key = deadline_key.id
                  AND record.id > issued_to
                  AND NOT EXISTS (SELECT FROM purge_item WHERE record = record.id)
             ORDER BY record.id
                LIMIT $3
               ) AS record
      ORDER BY place, record.id
         LIMIT $3
        """,  # noqa: S608 - constants
        now,
        [key["id"] for key in open_keys],
        left,
    )
    return [Due(*row) for row in rows]


async def come_to(tx: Connection, items: Collection[Due]) -> None:
    """Note that the purge has come to *items*, all that :func:`due` found of their keys."""
    furthest: dict[int, int] = {}
    for item in items:
        if not item.waited:
            furthest[item.key] = max(item.id, furthest.get(item.key, 0))
    await tx.execute(
        """
        UPDATE deadline_key
           SET issued_to = reached.id
          FROM unnest($1::bigint[], $2::bigint[]) AS reached (key, id)
         WHERE deadline_key.id = reached.key
        """,
        list(furthest),
        list(furthest.values()),
    )
    await tx.execute(
        "INSERT INTO purge_item (record) SELECT unnest($1::bigint[])",
        [item.id for item in items if item.held],
    )


async def sum_up(tx: Connection) -> None:
    """Sum up the differences that records left for each key, so that few are left to read."""
    for tally, counted in (
        ("key_tally", "key, holder"),
        ("registered_tally", "key, registered_on"),
    ):
        await tx.execute(
            f"""
            WITH taken AS (
                DELETE FROM {tally}
                 WHERE ({counted}) IN (SELECT {counted}
                                         FROM {tally}
                                     GROUP BY {counted}
                                       HAVING count(*) > 1)
             RETURNING *
            )
            INSERT INTO {tally}
                 SELECT {counted}, sum(records)
                   FROM taken
               GROUP BY {counted}
                 HAVING sum(records) <> 0
            """  # noqa: S608 - names of ours
        )


async def records_in(tx: Connection, chunk: UUID) -> list[int]:
    """Return the ids of the records in a chunk."""
    rows = await tx.fetch("SELECT record FROM purge_item WHERE chunk = $1", chunk)
    return [row["record"] for row in rows]


async def still_due(tx: Connection, chunk: UUID, records: Sequence[int], now: datetime) -> bool:
    """Return True if every record of a chunk is as due as when the chunk was made.

    That the registry does not know one is what a replay is about.
    """
    changed: bool = await tx.fetchval(
        f"""
        SELECT EXISTS (
            SELECT
              FROM record
              JOIN deadline_key ON deadline_key.id = record.key
              LEFT JOIN erasure ON erasure.record = record.id
             WHERE record.id = ANY($3) AND NOT ({DUE} OR {ERASABLE})
             UNION ALL
            SELECT
              FROM purge_again
             WHERE chunk = $2 AND ({HELD_AGAIN} OR {KNOWN}))
        """,  # noqa: S608 - a constant condition
        now,
        chunk,
        records,
    )
    return not changed


async def open_job(
    tx: Connection,
    job: UUID,
    items: Sequence[ToPurge],
    must_purge_by: datetime,
    now: datetime,
    reason: str,
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


async def add_chunks(
    tx: Connection, chunks: Sequence[PurgeCommand], now: datetime, next_try: datetime
) -> None:
    """Add chunks whose first commands go out with this transaction."""
    await tx.executemany(
        """
        INSERT INTO purge_chunk (id, job, holder, command, refs, state, sent_at, next_try_at)
             VALUES ($1, $2, $3, $4, $5, 'preparing', $6, $7)
        """,
        [
            (
                UUID(command.chunk_id),
                UUID(command.job_id),
                command.holder,
                command.model_dump_json(),
                command.refs,
                now,
                next_try,
            )
            for command in chunks
        ],
    )


async def put_in_chunks(tx: Connection, pairs: Sequence[tuple[Due, UUID]]) -> None:
    """Note which chunk each record is part of."""
    await tx.execute(
        """
        UPDATE purge_item
           SET chunk = put.chunk, not_before = NULL
          FROM unnest($1::bigint[], $2::uuid[]) AS put (record, chunk)
         WHERE purge_item.record = put.record
        """,
        [item.id for item, _ in pairs if item.waited],
        [chunk for item, chunk in pairs if item.waited],
    )
    await tx.copy_records_to_table(
        "purge_item",
        records=[(item.id, chunk) for item, chunk in pairs if not item.waited],
        columns=["record", "chunk"],
    )


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
        UPDATE purge_item
           SET chunk = NULL, not_before = $3
          FROM record
         WHERE chunk = $1 AND record.id = purge_item.record AND record_id = ANY($2)
        """,
        chunk,
        list(refs),
        not_before,
    )


async def forget_purged(tx: Connection, chunk: UUID, day: date) -> None:
    """Delete what is left in a chunk from the registry, with its facts: it is purged on *day*."""
    await tx.execute(
        f"""
        WITH again AS (
            DELETE FROM purge_again WHERE chunk = $1
        ), item AS (
            DELETE FROM purge_item WHERE chunk = $1 RETURNING record
        ), gone AS (
            DELETE FROM record
             USING item
             WHERE id = item.record
         RETURNING id, key, holder, category, record_id, registered_at
        ), {COUNT_GONE}, told_of AS (
            DELETE FROM record_subject USING gone WHERE record_subject.record = gone.id
        ), asked AS (
            DELETE FROM erasure USING gone WHERE erasure.record = gone.id
        )
        DELETE FROM anchor
         USING gone
         WHERE (anchor.holder, anchor.category, anchor.record_id)
             = (gone.holder, gone.category, gone.record_id)
        """,  # noqa: S608 - a constant query
        chunk,
        day,
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
                SELECT record.category, count(*)
                  FROM erasure
                  JOIN record ON record.id = erasure.record
                  JOIN deadline_key ON deadline_key.id = record.key
                 WHERE {ERASABLE_FROM} + {_A_MONTH} < $1
                   AND (status <> 'scheduled' OR must_purge_by >= $1)
                   AND NOT {_HELD_WITHOUT_GRACE}
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


async def silent_holders(tx: Connection, before: datetime) -> dict[str, tuple[int, datetime]]:
    """Return how many chunks each holder has left unanswered since *before*, and since when."""
    rows = await tx.fetch(
        """
        SELECT holder, count(*) AS chunks, min(sent_at) AS since
          FROM purge_chunk
         WHERE state <> 'done' AND sent_at < $1
      GROUP BY holder
        """,
        before,
    )
    return {row["holder"]: (row["chunks"], row["since"]) for row in rows}


async def last_answers(tx: Connection) -> dict[str, datetime]:
    """Return when each holder was last heard of: an answer, an inventory, a canary gone."""
    rows = await tx.fetch(
        """
        SELECT holder, max(at) AS at
          FROM (SELECT holder, max(answered_at) AS at
                  FROM purge_chunk WHERE state = 'done' GROUP BY holder
                 UNION ALL
                SELECT holder, max(as_of) FROM inventory GROUP BY holder
                 UNION ALL
                SELECT holder, max(erased_at) FROM canary GROUP BY holder) AS heard
      GROUP BY holder
        HAVING max(at) IS NOT NULL
        """
    )
    return {row["holder"]: row["at"] for row in rows}


async def beyond_recall(tx: Connection, now: datetime) -> int:
    """Return how many records are held and ordered to be erased, with no answer yet."""
    count: int = await tx.fetchval(
        f"""
        SELECT (SELECT count(*)
                  FROM purge_chunk
                  JOIN purge_item ON purge_item.chunk = purge_chunk.id
                  JOIN record ON record.id = purge_item.record
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
