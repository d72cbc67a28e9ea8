"""SQL of replays after a restore: what holders purged since their backup."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from retention.purge_store import HELD_AGAIN, KNOWN, ToPurge
from shared.postgres import Connection


@dataclass(slots=True)
class Again(ToPurge):
    """A record that was purged and may be there again."""

    action: Literal["erase", "anonymise"]


# Of each record the newest purge.  What the holder kept is in the registry still.
_PURGED = """
    INSERT INTO purge_again
                (holder, category, record_id, action, policy_version, purge_from, must_purge_by,
                 added_at)
         SELECT DISTINCT ON (category, ref)
                done.holder, category, ref, command ->> 'action', policy_version,
                (command ->> 'purge_from')::timestamptz, must_purge_by, $1
           FROM purge_chunk AS done
           JOIN purge_job ON purge_job.id = done.job
          CROSS JOIN unnest(refs) AS ref
          WHERE state = 'done'
            AND erased + anonymised + not_found > 0
            AND NOT EXISTS (SELECT
                              FROM record
                             WHERE (record.holder, record.category, record_id)
                                 = (done.holder, purge_job.category, ref))
            AND {which}
       ORDER BY category, ref, answered_at DESC
    ON CONFLICT (holder, category, record_id) DO NOTHING
"""


async def note_restore(
    tx: Connection, holder: str, from_backup_at: datetime, restored_at: datetime
) -> None:
    """Note that a holder was restored by *restored_at*; an answer from before may yet come.

    Whoever is taking an answer of this holder at this moment is waited for.
    """
    await tx.execute(
        "INSERT INTO holder_restore VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        holder,
        from_backup_at,
        restored_at,
    )
    await tx.execute(
        "SELECT FROM purge_chunk WHERE holder = $1 AND state <> 'done' ORDER BY id FOR UPDATE",
        holder,
    )


async def replay_since(tx: Connection, holder: str, since: datetime, now: datetime) -> None:
    """Mark what a holder purged at or after *since* to be purged again."""
    which = "done.holder = $2 AND answered_at >= $3"
    await tx.execute(_PURGED.format(which=which), now, holder, since)


async def replay_undone(tx: Connection, chunk: UUID, now: datetime) -> None:
    """Mark what was purged with a chunk to be purged again, if a restore has undone it since."""
    undone = """
        done.id = $2
        AND EXISTS (SELECT
                      FROM holder_restore
                     WHERE holder_restore.holder = done.holder
                       AND answered_at >= from_backup_at
                       AND answered_at < restored_at)
    """
    await tx.execute(_PURGED.format(which=undone), now, chunk)


async def drop_known(tx: Connection) -> None:
    """Leave to the registry what was registered anew: it has a deadline of its own."""
    await tx.execute(f"DELETE FROM purge_again WHERE chunk IS NULL AND {KNOWN}")  # noqa: S608


async def waiting(tx: Connection, now: datetime, limit: int) -> list[Again]:
    """Return up to *limit* records to be purged again that are not held and not in a purge."""
    rows = await tx.fetch(
        f"""
        SELECT id, holder, category, record_id, policy_version, purge_from, must_purge_by, action
          FROM purge_again
         WHERE chunk IS NULL
           AND (not_before IS NULL OR not_before <= $1)
           AND NOT {HELD_AGAIN}
      ORDER BY id
         LIMIT $2
        """,  # noqa: S608 - a constant condition
        now,
        limit,
    )
    return [Again(**row) for row in rows]


async def put_in_chunk(tx: Connection, chunk: UUID, items: Sequence[Again]) -> None:
    """Note which replay records are part of."""
    await tx.execute(
        "UPDATE purge_again SET chunk = $1 WHERE id = ANY($2)", chunk, [item.id for item in items]
    )
