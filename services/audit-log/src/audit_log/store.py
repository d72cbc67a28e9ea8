"""Every SQL statement of the audit-log; no rule is decided here."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from audit_log.merkle import Tile
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of an entry that never changes."""

    index: int
    leaf: bytes
    who_digest: bytes | None
    what_digest: bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """The part of an entry that may be purged; values are canonical JSON."""

    index: int
    bucket: int | None
    customer_id: str | None
    source: str
    event_id: str
    type: str
    at: datetime
    who: bytes | None
    who_salt: bytes | None
    what: bytes | None
    what_salt: bytes | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A day of a customer's entries of one category: what retention calls a record."""

    id: int
    record_id: str
    category: str
    customer_id: str
    day: date


async def lock_tree(tx: Connection) -> int:
    """Return the size of the log; no other appender goes on before *tx* ends."""
    size: int = await tx.fetchval("SELECT size FROM tree FOR UPDATE")
    return size


async def tree_size(tx: Connection) -> int:
    """Return the size of the log as last committed."""
    size: int = await tx.fetchval("SELECT size FROM tree")
    return size


async def read_tiles(tx: Connection, tiles: Collection[Tile]) -> dict[Tile, bytes]:
    """Return the tiles asked for, as far as they exist."""
    rows = await tx.fetch(
        """
        SELECT level, number, hashes
          FROM tile
          JOIN unnest($1::smallint[], $2::bigint[]) AS wanted (level, number)
         USING (level, number)
        """,
        [level for level, _ in tiles],
        [number for _, number in tiles],
    )
    return {(row["level"], row["number"]): row["hashes"] for row in rows}


async def write_tiles(tx: Connection, tiles: Mapping[Tile, bytes], size: int) -> None:
    """Store *tiles*, which make the log *size* entries long."""
    await tx.executemany(
        """
        INSERT INTO tile (level, number, hashes)
             VALUES ($1, $2, $3)
        ON CONFLICT (level, number) DO UPDATE SET hashes = EXCLUDED.hashes
        """,
        [(level, number, hashes) for (level, number), hashes in tiles.items()],
    )
    await tx.execute("UPDATE tree SET size = $1", size)


async def write_entries(
    tx: Connection, entries: Sequence[Entry], payloads: Sequence[Payload]
) -> None:
    """Add entries and what they hold."""
    await tx.copy_records_to_table(
        "entry",
        columns=["index", "leaf", "who_digest", "what_digest"],
        records=[(e.index, e.leaf, e.who_digest, e.what_digest) for e in entries],
    )
    await tx.copy_records_to_table(
        "payload",
        columns=list(Payload.__slots__),
        records=[tuple(getattr(p, name) for name in Payload.__slots__) for p in payloads],
    )


async def count_tenants(
    tx: Connection, counts: Mapping[str, int], fresh_keys: Mapping[str, bytes]
) -> dict[str, tuple[bytes, int]]:
    """Count entries for each customer; return its key and its number of entries before.

    A customer seen for the first time gets the key that *fresh_keys* has for it.
    """
    rows = await tx.fetch(
        """
        INSERT INTO tenant (customer_id, key, entries)
             SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])
        ON CONFLICT (customer_id) DO UPDATE SET entries = tenant.entries + EXCLUDED.entries
          RETURNING customer_id, key, entries
        """,
        list(counts),
        [fresh_keys[customer] for customer in counts],
        list(counts.values()),
    )
    return {
        row["customer_id"]: (row["key"], row["entries"] - counts[row["customer_id"]])
        for row in rows
    }


async def open_buckets(
    tx: Connection, wanted: Collection[tuple[str, str, date]], fresh_ids: Sequence[str]
) -> tuple[dict[tuple[str, str, date], int], list[Bucket]]:
    """Return the open bucket of each (category, customer, day), and which ones are new."""
    keys = list(wanted)
    columns = [list(column) for column in zip(*keys, strict=True)]
    rows = await tx.fetch(
        """
        INSERT INTO bucket (category, customer_id, day, record_id)
             SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::text[])
        ON CONFLICT (category, customer_id, day) WHERE state = 'open' DO NOTHING
          RETURNING id, record_id, category, customer_id, day
        """,
        *columns,
        list(fresh_ids),
    )
    new = [Bucket(**row) for row in rows]
    found = await tx.fetch(
        """
        SELECT id, category, customer_id, day
          FROM bucket
          JOIN unnest($1::text[], $2::text[], $3::date[]) AS wanted (category, customer_id, day)
         USING (category, customer_id, day)
         WHERE state = 'open'
        """,
        *columns,
    )
    ids = {(row["category"], row["customer_id"], row["day"]): row["id"] for row in found}
    return ids, new


async def set_state(
    tx: Connection, category: str, record_ids: Sequence[str], state: str, *, unless: str
) -> list[str]:
    """Bring the buckets into *state* unless they are in *unless*; return those it knows."""
    rows = await tx.fetch(
        """
        UPDATE bucket SET state = $3
         WHERE category = $1 AND record_id = ANY($2) AND state <> $4
     RETURNING record_id
        """,
        category,
        record_ids,
        state,
        unless,
    )
    return [row["record_id"] for row in rows]


async def destroy_payloads(tx: Connection, category: str, record_ids: Sequence[str]) -> list[int]:
    """Destroy the payloads in the buckets, salts and all; return their indexes in order."""
    rows = await tx.fetch(
        """
        DELETE FROM payload
         USING bucket
         WHERE payload.bucket = bucket.id AND category = $1 AND record_id = ANY($2)
     RETURNING payload.index
        """,
        category,
        record_ids,
    )
    return sorted(row["index"] for row in rows)


async def add_checkpoint(
    tx: Connection, *, size: int, root: bytes, note: str, signed_at: datetime
) -> bool:
    """Keep a signed checkpoint; return False if one of that size is there already."""
    status = await tx.execute(
        """
        INSERT INTO checkpoint (size, root, note, signed_at)
             VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        size,
        root,
        note,
        signed_at,
    )
    return status == "INSERT 0 1"


async def latest_checkpoint(tx: Connection) -> tuple[int, str] | None:
    """Return the size and the note of the newest checkpoint."""
    row = await tx.fetchrow("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
    return None if row is None else (row["size"], row["note"])


async def checkpoints(tx: Connection, below: int, limit: int) -> list[dict[str, Any]]:
    """Return checkpoints of fewer than *below* entries, newest first."""
    rows = await tx.fetch(
        """
        SELECT size, note, signed_at
          FROM checkpoint
         WHERE size < $1
      ORDER BY size DESC
         LIMIT $2
        """,
        below,
        limit,
    )
    return [dict(row) for row in rows]


async def leaves(tx: Connection, first: int, end: int) -> list[bytes]:
    """Return the leaves from *first* up to *end*."""
    rows = await tx.fetch(
        "SELECT leaf FROM entry WHERE index >= $1 AND index < $2 ORDER BY index", first, end
    )
    return [row["leaf"] for row in rows]


async def entry(tx: Connection, index: int) -> tuple[Entry, Payload | None] | None:
    """Return an entry with its payload; without it where that is purged or quarantined."""
    row = await tx.fetchrow("SELECT * FROM entry WHERE index = $1", index)
    if row is None:
        return None
    held = await tx.fetchrow(
        """
        SELECT payload.*
          FROM payload
     LEFT JOIN bucket ON bucket.id = payload.bucket
         WHERE payload.index = $1 AND bucket.state IS DISTINCT FROM 'quarantined'
        """,
        index,
    )
    return Entry(**row), Payload(**held) if held else None


async def find(
    tx: Connection, *, customer: str | None, event_id: str | None, below: int, limit: int
) -> list[dict[str, Any]]:
    """Return entries that match, newest first, by what is not personal in them."""
    rows = await tx.fetch(
        """
        SELECT payload.index, payload.customer_id, source, event_id, type, at
          FROM payload
     LEFT JOIN bucket ON bucket.id = payload.bucket
         WHERE payload.index < $3
           AND ($1::text IS NULL OR payload.customer_id = $1)
           AND ($2::text IS NULL OR event_id = $2)
           AND bucket.state IS DISTINCT FROM 'quarantined'
      ORDER BY payload.index DESC
         LIMIT $4
        """,
        customer,
        event_id,
        below,
        limit,
    )
    return [dict(row) for row in rows]


async def walk(tx: Connection, step: int) -> AsyncIterator[list[tuple[Entry, Payload | None]]]:
    """Yield the whole log in order, *step* entries at a time, with the payloads that are left."""
    first = 0
    while True:
        rows = await tx.fetch(
            """
            SELECT entry.index AS at_index, leaf, who_digest, what_digest, payload.*
              FROM entry
         LEFT JOIN payload USING (index)
             WHERE entry.index >= $1 AND entry.index < $2
          ORDER BY entry.index
            """,
            first,
            first + step,
        )
        if not rows:
            return
        yield [_joined(row) for row in rows]
        first += step


def _joined(row: Any) -> tuple[Entry, Payload | None]:
    held = Payload(**{name: row[name] for name in Payload.__slots__}) if row["source"] else None
    return Entry(row["at_index"], row["leaf"], row["who_digest"], row["what_digest"]), held
