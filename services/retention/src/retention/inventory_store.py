"""SQL of inventories: what the registry knows of a holder, and what came of comparing."""

from dataclasses import dataclass
from datetime import datetime

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Known:
    """Records of one holder and category, by id.

    Attributes:
        records: Those that it must have.
        being_purged: Those in a purge, and those that a backup brought back.
        purged_since: Those that it still had at the time of the inventory.
    """

    records: frozenset[str]
    being_purged: frozenset[str]
    purged_since: frozenset[str]


@dataclass(frozen=True, slots=True)
class Compared:
    """An inventory beside what the registry knew.

    Attributes:
        count: Records that the holder counts.
        known: Records that it must have.
    """

    holder: str
    category: str
    as_of: datetime
    count: int
    known: int
    agrees: bool


async def known(tx: Connection, holder: str, category: str, as_of: datetime) -> Known:
    """Return the records of a holder and category that were registered by *as_of*."""
    rows = await tx.fetch(
        """
        SELECT record_id, chunk IS NOT NULL AS moving, false AS gone
          FROM record
          LEFT JOIN purge_item ON purge_item.record = record.id
         WHERE holder = $1 AND category = $2 AND registered_at <= $3
         UNION ALL
        SELECT record_id, true, false
          FROM purge_again
         WHERE holder = $1 AND category = $2
         UNION ALL
        SELECT unnest(refs), false, true
          FROM purge_chunk
         WHERE holder = $1
           AND command ->> 'category' = $2
           AND state = 'done'
           AND answered_at >= $3
           AND erased + anonymised + not_found > 0
        """,
        holder,
        category,
        as_of,
    )
    return Known(
        records=frozenset(r["record_id"] for r in rows if not r["moving"] and not r["gone"]),
        being_purged=frozenset(r["record_id"] for r in rows if r["moving"]),
        purged_since=frozenset(r["record_id"] for r in rows if r["gone"]),
    )


async def keep(tx: Connection, compared: Compared) -> None:
    """Keep the newest inventory of a holder and category."""
    await tx.execute(
        """
        INSERT INTO inventory (holder, category, as_of, count, known, agrees)
             VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (holder, category) DO UPDATE
                SET as_of = EXCLUDED.as_of,
                    count = EXCLUDED.count,
                    known = EXCLUDED.known,
                    agrees = EXCLUDED.agrees
              WHERE inventory.as_of <= EXCLUDED.as_of
        """,
        compared.holder,
        compared.category,
        compared.as_of,
        compared.count,
        compared.known,
        compared.agrees,
    )


async def differing(tx: Connection) -> list[Compared]:
    """Return the newest inventories that are not as the registry knows it."""
    rows = await tx.fetch("SELECT * FROM inventory WHERE NOT agrees ORDER BY holder, category")
    return [Compared(**row) for row in rows]


async def compared_by(tx: Connection, at: datetime) -> list[Compared]:
    """Return the newest inventories, of those from before *at*."""
    rows = await tx.fetch("SELECT * FROM inventory WHERE as_of <= $1 ORDER BY category, holder", at)
    return [Compared(**row) for row in rows]
