"""Every SQL statement of the audit-log; no rule is decided here."""

import json
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import asyncpg
from pyroaring import BitMap64

from audit_log.leaf import PARTS, SALT, leaves_in, part_digest
from audit_log.merkle import WIDTH, Tile
from audit_log.receipt import TYPE as RECEIPT
from audit_log.receipt import Receipt
from audit_log.sequence import Count
from shared.errors import Rejected
from shared.postgres import Connection

PAYLOAD: Final = (
    "index", "at", "bucket", "customer_id", "actor", "action", "target", "outcome", "channel",
    *PARTS,
)  # fmt: skip
"""The columns of a payload as it is written."""

_SHOWN: Final = f"""
    payload.index, payload.at, payload.customer_id, payload.actor, payload.action, payload.target,
    payload.outcome, payload.channel, payload.bucket, {", ".join(PARTS)},
    {", ".join(f"{part}_digest" for part in PARTS)}
"""
_READABLE: Final = """
    NOT EXISTS (SELECT FROM bucket WHERE bucket.id = payload.bucket AND state = 'quarantined')
"""


@dataclass(frozen=True, slots=True)
class Payload:
    """What is left of the content of an entry.

    Attributes:
        parts: Salt and value of each part that is there, by name.
        purged: The digest of each part that was destroyed, by name.
    """

    index: int
    at: datetime
    bucket: int | None
    customer_id: str | None
    parts: Mapping[str, bytes]
    purged: Mapping[str, bytes]

    def digests(self) -> dict[str, bytes]:
        """Return the digest of every part the entry was made of."""
        present = {name: part_digest(name, part) for name, part in self.parts.items()}
        return present | dict(self.purged)


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


async def last_bundle(tx: Connection, size: int) -> bytes:
    """Return the leaves in the bundle that a log of *size* entries has not filled yet."""
    leaves: bytes | None = await tx.fetchval(
        "SELECT leaves FROM bundle WHERE number = $1", size // WIDTH
    )
    return leaves or b""


async def write_bundles(tx: Connection, bundles: Mapping[int, bytes]) -> None:
    """Store bundles of leaves, by number."""
    await tx.executemany(
        """
        INSERT INTO bundle (number, leaves)
             VALUES ($1, $2)
        ON CONFLICT (number) DO UPDATE SET leaves = EXCLUDED.leaves
        """,
        list(bundles.items()),
    )


async def read_bundles(tx: Connection, first: int, end: int) -> dict[int, bytes]:
    """Return the bundles from number *first* up to *end*."""
    rows = await tx.fetch(
        "SELECT number, leaves FROM bundle WHERE number >= $1 AND number < $2", first, end
    )
    return {row["number"]: row["leaves"] for row in rows}


async def write_seen(tx: Connection, first: int, identities: Sequence[bytes]) -> None:
    """Note which events the entries from index *first* on are.

    Raises:
        asyncpg.UniqueViolationError: one of them is in the log.
    """
    await tx.copy_records_to_table(
        "seen", columns=["index", "event"], records=enumerate(identities, first)
    )


async def indexes_of(tx: Connection, identities: Sequence[bytes]) -> dict[bytes, int]:
    """Return the index of each of the events that is in the log."""
    rows = await tx.fetch("SELECT event, index FROM seen WHERE event = ANY($1)", identities)
    return {row["event"]: row["index"] for row in rows}


async def events_of(tx: Connection, first: int, end: int) -> list[Any]:
    """Return index and event of what is known from index *first* up to *end*, in no order."""
    return await tx.fetch(
        "SELECT index, event FROM seen WHERE index >= $1 AND index < $2", first, end
    )


async def write_payloads(tx: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    """Add content; each row has the columns of :data:`PAYLOAD`."""
    await tx.copy_records_to_table("payload", columns=list(PAYLOAD), records=rows)


async def missing_months(tx: Connection, months: Sequence[date]) -> list[date]:
    """Return those of *months* (given by their first days) that there is no room for yet."""
    rows = await tx.fetch(
        """
        SELECT month
          FROM unnest($1::date[]) AS month
         WHERE to_regclass('payload_' || to_char(month, 'YYYY_MM')) IS NULL
        """,
        months,
    )
    return [row["month"] for row in rows]


async def open_months(tx: Connection, months: Sequence[date]) -> None:
    """Make room for the content of each month, unless another appender just did."""
    await tx.execute("SELECT open_month(month) FROM unnest($1::date[]) AS month", months)


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
        WITH wanted AS (
            SELECT *
              FROM unnest($1::text[], $2::text[], $3::date[], $4::text[])
                AS wanted (category, customer_id, day, record_id)
        ), new AS (
            INSERT INTO bucket (category, customer_id, day, record_id)
                 SELECT * FROM wanted
            ON CONFLICT (category, customer_id, day) WHERE state = 'open' DO NOTHING
              RETURNING id, record_id, category, customer_id, day
        )
        SELECT *, true AS new FROM new
         UNION ALL
        SELECT bucket.id, bucket.record_id, category, customer_id, day, false
          FROM bucket
          JOIN wanted USING (category, customer_id, day)
         WHERE state = 'open'
        """,
        *columns,
        list(fresh_ids),
    )
    new = [Bucket(**{name: row[name] for name in Bucket.__slots__}) for row in rows if row["new"]]
    ids = {(row["category"], row["customer_id"], row["day"]): row["id"] for row in rows}
    return ids, new


async def set_state(
    tx: Connection, category: str, record_ids: Sequence[str], state: str
) -> list[str]:
    """Bring the buckets into *state*; return those it knows."""
    rows = await tx.fetch(
        """
        UPDATE bucket SET state = $3
         WHERE category = $1 AND record_id = ANY($2)
     RETURNING record_id
        """,
        category,
        record_ids,
        state,
    )
    return [row["record_id"] for row in rows]


async def drop_buckets(tx: Connection, category: str, record_ids: Sequence[str]) -> list[str]:
    """Forget the buckets, of which no content is left; return those it knew."""
    rows = await tx.fetch(
        "DELETE FROM bucket WHERE category = $1 AND record_id = ANY($2) RETURNING record_id",
        category,
        record_ids,
    )
    return [row["record_id"] for row in rows]


async def destroy_payloads(tx: Connection, category: str, record_ids: Sequence[str]) -> list[int]:
    """Destroy the content in the buckets, salts and all; return the indexes."""
    indexes: list[int] | None = await tx.fetchval(
        f"""
        WITH gone AS (DELETE FROM payload USING {_BUCKETS} RETURNING payload.index)
        SELECT array_agg(index) FROM gone
        """,  # noqa: S608 - all of it is ours
        category,
        record_ids,
    )
    return indexes or []


async def destroy_part(
    tx: Connection, part: str, category: str, record_ids: Sequence[str]
) -> list[int]:
    """Destroy one part of the content in the buckets, its salt with it; return the indexes.

    Its digest stays, so that the rest of the entry still opens to the leaf.
    """
    indexes: list[int] | None = await tx.fetchval(
        f"""
        WITH gone AS (
            UPDATE payload
               SET {part}_digest = sha256('part1\\000'::bytea || substr({part}, 1, 16)
                                   || '["{part}",' || substr({part}, 17) || ']'),
                   {part} = NULL,
                   {_FOLLOWS[part]}
              FROM {_BUCKETS} AND {part} IS NOT NULL
         RETURNING payload.index)
        SELECT array_agg(index) FROM gone
        """,  # noqa: S608 - all of it is ours
        category,
        record_ids,
    )
    return indexes or []


_FOLLOWS: Final = {
    "who": "actor = NULL",
    "what": "target = NULL, outcome = NULL, channel = NULL",
    "network": "channel = channel",
}
"""What goes with a part."""

# By customer and time, for which there is an index; a day in any zone lies in these three.
_BUCKETS: Final = """
    bucket
     WHERE bucket.category = $1
       AND bucket.record_id = ANY($2)
       AND payload.bucket = bucket.id
       AND payload.customer_id = bucket.customer_id
       AND (payload.at >= bucket.day - 1 OR bucket.day = '1970-01-01')
       AND payload.at < bucket.day + 2
"""


async def forget_tenants(tx: Connection, category: str, record_ids: Sequence[str]) -> int:
    """Destroy the keys of customers of whom there are no other buckets; return how many."""
    status = await tx.execute(
        """
        DELETE FROM tenant
         WHERE customer_id IN
               (SELECT customer_id FROM bucket WHERE category = $1 AND record_id = ANY($2))
           AND NOT EXISTS
               (SELECT FROM bucket
                 WHERE bucket.customer_id = tenant.customer_id
                   AND (category <> $1 OR record_id <> ALL($2)))
        """,
        category,
        record_ids,
    )
    return int(status.split()[-1])


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


async def first_checkpoint_over(tx: Connection, index: int) -> tuple[int, str] | None:
    """Return the size and the note of the first checkpoint that covers the entry at *index*."""
    row = await tx.fetchrow(
        "SELECT size, note FROM checkpoint WHERE size > $1 ORDER BY size LIMIT 1", index
    )
    return None if row is None else (row["size"], row["note"])


async def checkpoints(tx: Connection, below: int, limit: int) -> list[dict[str, Any]]:
    """Return checkpoints of fewer than *below* entries, newest first."""
    rows = await tx.fetch(
        """
        SELECT size, root, note, signed_at
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
    """Return the leaves from *first* up to *end*, as far as they exist."""
    bundles = await read_bundles(tx, first // WIDTH, -(-end // WIDTH))
    joined = b"".join(bundles[number] for number in sorted(bundles))
    skipped = first % WIDTH
    return leaves_in(joined)[skipped : skipped + end - first]


async def payload(tx: Connection, index: int) -> Payload | None:
    """Return the content of an entry as far as it is neither purged nor quarantined."""
    found = await payloads(tx, index, index + 1, readable=True)
    return found[0] if found else None


async def payloads(
    tx: Connection, first: int, end: int, *, readable: bool = False
) -> list[Payload]:
    """Return what is left of the content of the entries from *first* up to *end*, in order."""
    rows = await tx.fetch(
        f"""
        SELECT {_SHOWN}
          FROM payload
         WHERE index >= $1 AND index < $2 AND ({_READABLE} OR NOT $3)
      ORDER BY index
        """,  # noqa: S608 - all of it is ours
        first,
        end,
        readable,
    )
    return [_payload(row) for row in rows]


def _payload(row: Any) -> Payload:
    return Payload(
        index=row["index"],
        at=row["at"],
        bucket=row["bucket"],
        customer_id=row["customer_id"],
        parts={name: row[name] for name in PARTS if row[name] is not None},
        purged={n: row[f"{n}_digest"] for n in PARTS if row[f"{n}_digest"] is not None},
    )


async def counts(tx: Connection, sources: Sequence[str]) -> dict[str, Count]:
    """Return the count of each of the producers that is known."""
    rows = await tx.fetch(
        """
        SELECT source, low, high, missing, reused, implausible
          FROM producer
         WHERE source = ANY($1)
        """,
        sources,
    )
    return {
        row["source"]: Count(
            row["low"],
            row["high"],
            BitMap64.deserialize(row["missing"]),
            row["reused"],
            row["implausible"],
        )
        for row in rows
    }


async def write_counts(tx: Connection, counted: Mapping[str, Count], now: datetime) -> None:
    """Store the counts of producers heard of *now*."""
    await tx.executemany(
        """
        INSERT INTO producer (source, low, high, missing, reused, implausible, seen_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (source) DO UPDATE
                SET low = EXCLUDED.low,
                    high = EXCLUDED.high,
                    missing = EXCLUDED.missing,
                    reused = EXCLUDED.reused,
                    implausible = EXCLUDED.implausible,
                    seen_at = EXCLUDED.seen_at
        """,
        [
            (source, c.low, c.high, c.missing.serialize(), c.reused, c.implausible, now)
            for source, c in counted.items()
        ],
    )


async def producers(tx: Connection) -> list[dict[str, Any]]:
    """Return all producers that number their events, with what is missing of each."""
    rows = await tx.fetch(
        """
        SELECT source, low, high, missing, reused, implausible, seen_at
          FROM producer
      ORDER BY source
        """
    )
    return [{**row, "missing": BitMap64.deserialize(row["missing"])} for row in rows]


async def still_missing(tx: Connection, since: datetime | None = None) -> dict[str, BitMap64]:
    """Return by producer the numbers that are missing now and already were at *since*.

    That is a minute ago, by default.
    """
    rows = await tx.fetch(
        """
        SELECT DISTINCT ON (source) source, producer.missing AS now, missing_then.missing AS before
          FROM missing_then
          JOIN producer USING (source)
         WHERE at <= coalesce($1, now() - interval '1 minute')
      ORDER BY source, at DESC
        """,
        since,
    )
    found = {
        row["source"]: BitMap64.deserialize(row["now"]) & BitMap64.deserialize(row["before"])
        for row in rows
    }
    return {source: missing for source, missing in found.items() if missing}


async def remember_missing(tx: Connection, now: datetime, *, forget_before: datetime) -> None:
    """Note what is missing *now*, to compare with later."""
    await tx.execute("DELETE FROM missing_then WHERE at < $1", forget_before)
    await tx.execute(
        """
        INSERT INTO missing_then (source, at, missing)
             SELECT source, $1, missing
               FROM producer
              WHERE missing <> $2
        ON CONFLICT DO NOTHING
        """,
        now,
        BitMap64().serialize(),
    )


async def standing_alerts(tx: Connection, family: str) -> dict[str, str]:
    """Return the summaries of the alerts that stand in a family, by fingerprint."""
    rows = await tx.fetch(
        "SELECT fingerprint, summary FROM standing_alert WHERE starts_with(fingerprint, $1)",
        f"{family}/",
    )
    return {row["fingerprint"]: row["summary"] for row in rows}


async def write_standing_alerts(tx: Connection, family: str, summaries: Mapping[str, str]) -> None:
    """Note which alerts of a family stand now."""
    await tx.execute("DELETE FROM standing_alert WHERE starts_with(fingerprint, $1)", f"{family}/")
    await tx.executemany(
        "INSERT INTO standing_alert (fingerprint, summary) VALUES ($1, $2)", list(summaries.items())
    )


async def raw_payloads(tx: Connection, first: int, end: int) -> list[Any]:
    """Return what is left of the content from *first* up to *end*, in no order, for the verifier.

    Each row: index, at, bucket, customer, actor, action, the three parts, the three digests,
    target, outcome, channel.
    """
    return await tx.fetch(
        """
        SELECT index, at, bucket, customer_id, actor, action, who, what, network,
               who_digest, what_digest, network_digest, target, outcome, channel
          FROM payload
         WHERE index >= $1 AND index < $2
        """,
        first,
        end,
    )


async def buckets(tx: Connection, ids: Collection[int]) -> list[Any]:
    """Return the buckets with these *ids*: id, category, customer, day, state."""
    return await tx.fetch(
        "SELECT id, category, customer_id, day, state FROM bucket WHERE id = ANY($1)", ids
    )


async def hidden_without_order(tx: Connection, ids: Collection[int]) -> list[int]:
    """Return those of these quarantined buckets that no purge command is about to destroy."""
    rows = await tx.fetch(
        """
        SELECT id
          FROM bucket
         WHERE id = ANY($1)
           AND record_id <> ALL
               (ARRAY(SELECT unnest(refs) FROM purge_chunk_seen WHERE state = 'quarantined'))
        """,
        ids,
    )
    return [row["id"] for row in rows]


async def tiles_from(tx: Connection, firsts: Mapping[int, int]) -> list[Tile]:
    """Return, of each level, the first tile from a number on, where there is one."""
    rows = await tx.fetch(
        """
        SELECT level, min(number) AS number
          FROM tile
          JOIN unnest($1::smallint[], $2::bigint[]) AS beyond (level, first) USING (level)
         WHERE number >= first
      GROUP BY level
        """,
        list(firsts),
        list(firsts.values()),
    )
    return [(row["level"], row["number"]) for row in rows]


async def bundles_from(tx: Connection, first: int) -> list[int]:
    """Return the first number of a bundle from *first* on, if there is one."""
    rows = await tx.fetch(
        "SELECT number FROM bundle WHERE number >= $1 ORDER BY number LIMIT 1", first
    )
    return [row["number"] for row in rows]


async def strays(tx: Connection, size: int) -> list[tuple[int, str]]:
    """Return index and kind of what belongs to no entry of a log of *size*: content, an event."""
    rows = await tx.fetch(
        """
        SELECT index, 'content' AS kind FROM payload WHERE index >= $1
         UNION ALL
        SELECT index, 'content' FROM payload WHERE index < 0
         UNION ALL
        SELECT index, 'an event' FROM seen WHERE index >= $1
         UNION ALL
        SELECT index, 'an event' FROM seen WHERE index < 0
         LIMIT 1000
        """,
        size,
    )
    return [(row["index"], row["kind"]) for row in rows]


async def statements_of(tx: Connection, action: str, after: int = -1) -> list[tuple[int, bytes]]:
    """Return index, and salt and body, of the entries of a type after index *after*, in order."""
    rows = await tx.fetch(
        """
        SELECT index, what
          FROM payload
         WHERE action = $1 AND index > $2 AND what IS NOT NULL
      ORDER BY index
        """,
        action,
        after,
    )
    return [(row["index"], row["what"]) for row in rows]


async def exchange_keys(tx: Connection, keys: Sequence[str]) -> list[str]:
    """Note that the log signs with *keys* from now on; return those it signed with before."""
    before: list[str] = await tx.fetchval("SELECT keys FROM tree FOR UPDATE")
    await tx.execute("UPDATE tree SET keys = $1", keys)
    return before


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for; None matches anything.

    Attributes:
        action: The beginning of the action.
        start: The instant of the first that is wanted.
        end: The instant before which the last that is wanted happened.
    """

    customer: str | None = None
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: str | None = None
    channel: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that was searched for, as far as its content is not purged."""

    index: int
    at: datetime
    bucket: int | None
    customer_id: str | None
    actor: str | None
    action: str
    target: str | None
    outcome: str | None
    channel: str | None
    who: bytes | None
    what: bytes | None
    network: bytes | None


_CONDITIONS: Final = {
    "customer": "customer_id = {}",
    "actor": "actor = {}",
    "target": "target = {}",
    "outcome": "outcome = {}",
    "channel": "channel = {}",
    "start": "at >= {}",
    "end": "at < {}",
}
_LONGEST_SEARCH: Final = "10s"
_LAST: Final = chr(0x10FFFF)  # no action begins with what its prefix and this make


def _where(wanted: Wanted, before: tuple[datetime, int] | None) -> tuple[str, list[Any]]:
    conditions: list[str] = [_READABLE]
    values: list[Any] = []

    def add(condition: str, *given: Any) -> None:
        places = [f"${len(values) + n}" for n in range(1, len(given) + 1)]
        conditions.append(condition.format(*places))
        values.extend(given)

    for name, condition in _CONDITIONS.items():
        if (value := getattr(wanted, name)) is not None:
            add(condition, value)
    if wanted.action is not None:
        add("action >= {} AND action < {}", wanted.action, wanted.action + _LAST)
    if before is not None:
        add("(at, index) < ({}, {})", *before)
        add("at <= {}", before[0])  # by which whole months are passed over
    return " AND ".join(conditions), values


@asynccontextmanager
async def _searching(tx: Connection) -> AsyncGenerator[None]:
    try:
        async with tx.transaction():
            # How common the values are decides between the indexes: a plan for any will not do.
            await tx.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            await tx.execute(f"SET LOCAL statement_timeout = '{_LONGEST_SEARCH}'")
            yield
    except asyncpg.QueryCanceledError:
        narrower = "name a customer, an account, a target, or a shorter time"
        raise Rejected(f"that took too long: {narrower}", code="too-broad") from None


async def find(
    tx: Connection, wanted: Wanted, before: tuple[datetime, int] | None, limit: int
) -> list[Found]:
    """Return up to *limit* entries that match, newest first, from strictly *before* on.

    Raises:
        Rejected: it takes too long.
    """
    where, values = _where(wanted, before)
    async with _searching(tx):
        rows = await tx.fetch(
            f"""
            SELECT {", ".join(Found.__slots__)}
              FROM payload
             WHERE {where}
          ORDER BY at DESC, index DESC
             LIMIT {limit:d}
            """,  # noqa: S608 - conditions and names of ours, values apart
            *values,
        )
    return [Found(**row) for row in rows]


async def count(tx: Connection, wanted: Wanted) -> int:
    """Return how many entries match."""
    where, values = _where(wanted, None)
    number: int = await tx.fetchval(f"SELECT count(*) FROM payload WHERE {where}", *values)  # noqa: S608
    return number


async def cosigned(tx: Connection, size: int) -> str:
    """Return the note of the checkpoint of *size* with the cosignatures on it."""
    note: str = await tx.fetchval("SELECT note FROM checkpoint WHERE size = $1", size)
    lines = await tx.fetch(
        "SELECT line FROM cosignature WHERE size = $1 ORDER BY signed_at, witness", size
    )
    return note + "".join(row["line"] for row in lines)


async def cosigned_sizes(tx: Connection, above: int) -> list[int]:
    """Return the newest sizes of more than *above* entries that some witness signed."""
    rows = await tx.fetch(
        "SELECT DISTINCT size FROM cosignature WHERE size > $1 ORDER BY size DESC LIMIT 20", above
    )
    return [row["size"] for row in rows]


async def add_cosignature(
    tx: Connection, size: int, witness: str, line: str, now: datetime
) -> None:
    """Keep the signature line of a witness on the checkpoint of *size*."""
    await tx.execute(
        """
        INSERT INTO cosignature (size, witness, line, signed_at)
             VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        size,
        witness,
        line,
        now,
    )


async def last_cosigned(tx: Connection) -> dict[str, int]:
    """Return by witness the size of the newest checkpoint that it signed."""
    rows = await tx.fetch("SELECT witness, max(size) AS size FROM cosignature GROUP BY witness")
    return {row["witness"]: row["size"] for row in rows}


async def statements(tx: Connection, indexes: Sequence[int]) -> list[tuple[int, bytes]]:
    """Return index and content, salt first, of public entries, in order."""
    rows = await tx.fetch(
        "SELECT index, what FROM payload WHERE index = ANY($1) ORDER BY index", indexes
    )
    return [(row["index"], row["what"]) for row in rows]


async def impersonal(tx: Connection, indexes: Sequence[int]) -> dict[int, bytes]:
    """Return by index what entries say, salt first, of those that hold nothing personal."""
    rows = await tx.fetch(
        """
        SELECT index, what
          FROM payload
         WHERE index = ANY($1) AND bucket IS NULL AND what IS NOT NULL
        """,
        indexes,
    )
    return {row["index"]: row["what"] for row in rows}


async def leaves_at(tx: Connection, indexes: Sequence[int]) -> dict[int, bytes]:
    """Return the leaves at *indexes*."""
    rows = await tx.fetch(
        """
        SELECT index, substring(leaves FROM (index % 256 * 64)::int + 1 FOR 64) AS leaf
          FROM unnest($1::bigint[]) AS index
          JOIN bundle ON number = index / 256
        """,
        indexes,
    )
    return {row["index"]: row["leaf"] for row in rows}


async def corrections_of(tx: Connection, index: int) -> list[int]:
    """Return the indexes of the corrections to an entry."""
    rows = await tx.fetch(
        "SELECT index FROM payload WHERE target = $1 AND action = 'audit.correction.v1'",
        f"entry/{index}",
    )
    return sorted(row["index"] for row in rows)


async def receipts_for(tx: Connection, index: int) -> list[int]:
    """Return the indexes of the receipts for what was purged of an entry."""
    return [
        number
        for number, what in await statements_of(tx, RECEIPT, after=index)
        if index in Receipt.read(json.loads(what[SALT:])).indexes
    ]


async def latest_of(tx: Connection, action: str) -> datetime | None:
    """Return when the newest entry with *action* happened."""
    found: datetime | None = await tx.fetchval(
        "SELECT at FROM payload WHERE action = $1 ORDER BY at DESC, index DESC LIMIT 1", action
    )
    return found


async def untold_tenants(tx: Connection) -> list[tuple[str, bytes, int]]:
    """Return customer, key and entries of tenants with more than they were told; note them told."""
    rows = await tx.fetch(
        """
        UPDATE tenant SET told = entries
         WHERE entries > told
     RETURNING customer_id, key, entries
        """
    )
    return [(row["customer_id"], row["key"], row["entries"]) for row in rows]


async def tenant_key(tx: Connection, customer: str) -> bytes | None:
    """Return the key by which *customer* recognises its entries."""
    key: bytes | None = await tx.fetchval("SELECT key FROM tenant WHERE customer_id = $1", customer)
    return key


async def watch_position(tx: Connection) -> int:
    """Return up to where the continuous verifier has come in its present round."""
    position: int = await tx.fetchval("SELECT position FROM watch")
    return position


async def set_watch(tx: Connection, position: int, finished_at: datetime | None) -> None:
    """Note where the continuous verifier goes on, and when it ended a round."""
    await tx.execute(
        "UPDATE watch SET position = $1, finished_at = coalesce($2, finished_at)",
        position,
        finished_at,
    )


async def checkpoints_between(tx: Connection, above: int, to: int) -> list[Any]:
    """Return the checkpoints of more than *above* and at most *to* entries."""
    return await tx.fetch(
        "SELECT size, root, note FROM checkpoint WHERE size > $1 AND size <= $2", above, to
    )
