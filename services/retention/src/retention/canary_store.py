"""SQL of canaries: which are on their way, and how far they have come; no rule is decided here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retention.purge_store import HELD
from retention.store import Ref
from shared.postgres import Connection

Pair = tuple[str, str]
"""Holder and category."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A record of nobody.

    Attributes:
        state: ``planting`` until its holder has found it, ``due`` until its purge is confirmed,
            ``looking`` until its holder has looked again; then ``erased``, or ``survived`` while
            it is still there.  ``abandoned`` if the policies no longer ask for it.
    """

    holder: str
    category: str
    record_id: str
    state: str

    @property
    def ref(self) -> Ref:
        """What identifies it outside."""
        return self.holder, self.category, self.record_id


_CANARY = "canary.holder, canary.category, canary.record_id, canary.state"
_UNREGISTERED = """
    NOT EXISTS (SELECT
                  FROM record
                 WHERE (record.holder, record.category, record.record_id)
                     = (canary.holder, canary.category, canary.record_id))
"""


async def lacking(tx: Connection, pairs: Sequence[Pair], since: datetime) -> list[Pair]:
    """Return those of *pairs* that have no canary on its way and none planted after *since*."""
    rows = await tx.fetch(
        """
        SELECT holder, category
          FROM unnest($1::text[], $2::text[]) AS wanted (holder, category)
         WHERE NOT EXISTS (SELECT
                             FROM canary
                            WHERE (canary.holder, canary.category)
                                = (wanted.holder, wanted.category)
                              AND (state NOT IN ('erased', 'abandoned') OR planted_at > $3))
        """,
        *_columns(pairs),
        since,
    )
    return [(row["holder"], row["category"]) for row in rows]


async def plant(tx: Connection, ref: Ref, now: datetime, late_at: datetime) -> None:
    """Note that a holder is asked to plant a canary."""
    await tx.execute(
        """
        INSERT INTO canary (holder, category, record_id, state, planted_at, asked_at, late_at)
             VALUES ($1, $2, $3, 'planting', $4, $4, $5)
        """,
        *ref,
        now,
        late_at,
    )


async def ask_again(tx: Connection, before: datetime, now: datetime) -> list[Canary]:
    """Return the canaries that their holders were asked about *before* and have not answered.

    A survivor is one of them: it is asked about until it is gone.
    """
    rows = await tx.fetch(
        f"""
        UPDATE canary
           SET asked_at = $2
         WHERE state IN ('planting', 'looking', 'survived') AND asked_at <= $1
     RETURNING {_CANARY}
        """,  # noqa: S608 - a list of columns
        before,
        now,
    )
    return [Canary(**row) for row in rows]


async def look(tx: Connection, now: datetime) -> list[Canary]:
    """Return the canaries whose purge was confirmed, which their holders are asked about next.

    One that left the registry in any other way proves nothing and stays.  The clocks of two
    replicas may differ.
    """
    rows = await tx.fetch(
        f"""
        WITH gone AS (
            SELECT holder, category, record_id,
                   (SELECT id
                      FROM purge_chunk
                     WHERE purge_chunk.holder = canary.holder
                       AND purge_chunk.state = 'done'
                       AND sent_at > planted_at - interval '1 hour'
                       AND canary.record_id = ANY(refs)
                       AND erased + anonymised + not_found > 0
                  ORDER BY answered_at DESC
                     LIMIT 1) AS chunk
              FROM canary
             WHERE state = 'due' AND {_UNREGISTERED}
        )
        UPDATE canary
           SET state = 'looking', asked_at = $1, chunk = gone.chunk
          FROM gone
         WHERE (canary.holder, canary.category, canary.record_id)
             = (gone.holder, gone.category, gone.record_id)
           AND gone.chunk IS NOT NULL
     RETURNING {_CANARY}
        """,  # noqa: S608 - columns and a condition
        now,
    )
    return [Canary(**row) for row in rows]


async def abandon(tx: Connection, pairs: Sequence[Pair]) -> None:
    """Ask no more about the canaries that are of none of *pairs*; what is registered is purged."""
    await tx.execute(
        f"""
        UPDATE canary
           SET state = 'abandoned'
         WHERE state NOT IN ('erased', 'abandoned')
           AND (holder, category) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))
           AND {_UNREGISTERED}
        """,  # noqa: S608 - a constant condition
        *_columns(pairs),
    )


async def lock(tx: Connection, ref: Ref) -> Canary | None:
    """Return a canary, which nobody else changes until *tx* ends."""
    row = await tx.fetchrow(
        f"SELECT {_CANARY} FROM canary WHERE (holder, category, record_id) = ($1, $2, $3)"  # noqa: S608
        " FOR UPDATE",
        *ref,
    )
    return None if row is None else Canary(**row)


async def registered(tx: Connection, ref: Ref, now: datetime) -> None:
    """Note that a canary is in the registry and due."""
    await tx.execute(
        """
        UPDATE canary
           SET state = 'due', due_at = $4
         WHERE (holder, category, record_id) = ($1, $2, $3)
        """,
        *ref,
        now,
    )


async def survived(tx: Connection, ref: Ref) -> None:
    """Note that a canary is still there although its purge was confirmed."""
    await tx.execute(
        "UPDATE canary SET state = 'survived' WHERE (holder, category, record_id) = ($1, $2, $3)",
        *ref,
    )


async def erased(tx: Connection, ref: Ref, now: datetime) -> float:
    """Note that a canary is gone; return after how many seconds."""
    seconds: float = await tx.fetchval(
        """
        UPDATE canary
           SET state = 'erased', erased_at = $4
         WHERE (holder, category, record_id) = ($1, $2, $3)
     RETURNING extract(epoch FROM erased_at - due_at)::float8
        """,
        *ref,
        now,
    )
    return seconds


async def surviving(tx: Connection) -> list[Canary]:
    """Return the canaries that are still there although their purge was confirmed."""
    rows = await tx.fetch(f"SELECT {_CANARY} FROM canary WHERE state = 'survived' ORDER BY 1, 2")  # noqa: S608
    return [Canary(**row) for row in rows]


async def late(tx: Connection, now: datetime) -> list[Canary]:
    """Return the canaries that should have come to their end by *now* and are not held."""
    rows = await tx.fetch(
        f"""
        SELECT {_CANARY}
          FROM canary
          LEFT JOIN record USING (holder, category, record_id)
          LEFT JOIN deadline_key ON deadline_key.id = record.key
         WHERE canary.state IN ('planting', 'due', 'looking')
           AND late_at <= $1
           AND (record.id IS NULL OR NOT {HELD})
      ORDER BY 1, 2
        """,  # noqa: S608 - columns and a condition
        now,
    )
    return [Canary(**row) for row in rows]


async def were_due(tx: Connection, category: str, since: datetime) -> int:
    """Return how many canaries of a category have been due, and not yet erased, *since*."""
    count: int = await tx.fetchval(
        """
        SELECT count(*)
          FROM canary
         WHERE category = $1
           AND due_at IS NOT NULL
           AND state <> 'abandoned'
           AND (erased_at IS NULL OR erased_at >= $2)
        """,
        category,
        since,
    )
    return count


async def newest(tx: Connection) -> list[dict[str, Any]]:
    """Return the newest canary of each holder and category, with what was measured."""
    rows = await tx.fetch(
        f"""
        SELECT DISTINCT ON (holder, category)
               {_CANARY}, planted_at, due_at, erased_at, late_at,
               extract(epoch FROM erased_at - due_at)::float8 AS seconds
          FROM canary
      ORDER BY holder, category, planted_at DESC
        """  # noqa: S608 - a list of columns
    )
    return [dict(row) for row in rows]


def _columns(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [holder for holder, _ in pairs], [category for _, category in pairs]
