"""SQL of what people look at: records by their deadlines, versions, plans, freezes; only reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Self

from retention.purge_store import HELD, KEYS_HELD, NAMED_HELD, NO_CANARY
from shared.errors import Rejected
from shared.postgres import Connection

_NEVER: Final = "'infinity'::timestamptz"
_GOES: Final = f"coalesce(purge_from, {_NEVER})"
_ORDER: Final = f"{_GOES}, deadline_key.id, record.id"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What records are looked for; None stands for all."""

    category: str | None = None
    holder: str | None = None
    customer: str | None = None
    status: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the next goes on strictly behind it."""

    purge_from: datetime | None
    key: int
    record: int

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Return the position that *cursor* stands for.

        Raises:
            Rejected: it is not one that was given out.
        """
        try:
            at, key, record = cursor.split("_")
            return cls(datetime.fromisoformat(at) if at else None, int(key), int(record))
        except ValueError:
            raise Rejected("not a cursor of ours", code="bad-cursor") from None

    def __str__(self) -> str:
        at = "" if self.purge_from is None else self.purge_from.isoformat()
        return f"{at}_{self.key}_{self.record}"


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a word for how records stand asks; $1 is the present.

    Attributes:
        key: Of their deadline key.
        held: Whether a hold keeps them; None if that does not matter.
    """

    key: str = "true"
    held: bool | None = None


_STANDS: Final = {
    "scheduled": _Standing(f"status = 'scheduled' AND {_GOES} > $1"),
    "due": _Standing(f"{_GOES} <= $1", held=False),
    "overdue": _Standing(f"{_GOES} <= $1 AND must_purge_by <= $1", held=False),
    "held-back": _Standing(f"{_GOES} <= $1", held=True),
    "on-hold": _Standing(held=True),
    "open": _Standing("status = 'open'"),
    "indeterminate": _Standing("status = 'indeterminate'"),
}
STATUSES: Final = tuple(_STANDS)


async def records(
    tx: Connection, wanted: Wanted, now: datetime, after: Position | None, limit: int
) -> list[dict[str, Any]]:
    """Return records that match, those whose time is up first coming first."""
    asked = _Asked([now])
    standing = _STANDS.get(wanted.status or "", _Standing())
    asked.keys.append(standing.key)
    if after is not None:
        at, key, record = asked.values(after.purge_from, after.key, after.record)
        reached = f"(coalesce({at}::timestamptz, {_NEVER}), {key}::bigint)"
        asked.keys.append(f"({_GOES}, deadline_key.id) >= {reached}")
        asked.records.append(
            f"record.id > CASE WHEN ({_GOES}, deadline_key.id) = {reached}"
            f" THEN {record}::bigint ELSE 0 END"
        )
    if wanted.category is not None:
        asked.keys.append(f"deadline_key.category = {asked.value(wanted.category)}")
    if wanted.start is not None:
        asked.keys.append(f"purge_from IS NOT NULL AND {_GOES} >= {asked.value(wanted.start)}")
    if wanted.end is not None:
        asked.keys.append(f"{_GOES} < {asked.value(wanted.end)}")
    if wanted.holder is not None:
        holder = asked.value(wanted.holder)
        keys = f"SELECT key FROM key_records WHERE holder = {holder}"  # noqa: S608 - a parameter
        asked.keys.append(_among(keys))
        asked.records.append(f"holder = {holder}")
    held = HELD
    if wanted.customer is not None:
        # By an index that has all this asks for: of their many records only those shown are read.
        # Canaries are of no customer but themselves, and are left out at the end.
        theirs = f"record.customer_id = {asked.value(wanted.customer)}"
        asked.records.append(theirs)
        named = f"SELECT record.id {NAMED_HELD} AND {theirs}"
        held = f"({_among(KEYS_HELD)} OR record.id IN ({named}))"
        kept = {None: "true", True: held, False: f"NOT {held}"}[standing.held]
        parts = [_gathered(asked, "true", kept, limit)]
    else:
        asked.records.append(NO_CANARY)
        parts = [*_parts(asked, standing.held, limit)]
    rows = await tx.fetch(
        f"""
        SELECT record.id, record.key, holder, record.category, record_id, customer_id,
               record.entity, status, why, provisional, anchor_day, keep_through, purge_from,
               must_purge_by, policy_version, {held} AS held
          FROM ({" UNION ALL ".join(parts)}) AS found
          JOIN record ON record.id = found.id
          JOIN deadline_key ON deadline_key.id = record.key
         WHERE {NO_CANARY}
      ORDER BY {_ORDER}
         LIMIT {limit:d}
        """,  # noqa: S608 - conditions of ours, values apart
        *asked.given,
    )
    return [dict(row) for row in rows]


@dataclass(slots=True)
class _Asked:
    """Conditions of deadline keys and of records, and the values that they speak of."""

    given: list[Any]
    keys: list[str] = field(default_factory=list[str])
    records: list[str] = field(default_factory=list[str])

    def value(self, value: Any) -> str:
        """Return what stands for *value* in a condition."""
        self.given.append(value)
        return f"${len(self.given)}"

    def values(self, *values: Any) -> list[str]:
        return [self.value(value) for value in values]


def _among(ids: str) -> str:
    """Return that a deadline key is one of *ids*, in words that are not planned as a join.

    A join might be one that has to sort all keys before the first can be looked at.
    """
    return f"(deadline_key.id IN ({ids})) IS TRUE"


def _parts(asked: _Asked, held: bool | None, limit: int) -> Iterator[str]:
    """Yield queries that between them find the first *limit* records that match."""
    if held is None:
        yield _walked(asked, "true", "true", limit)
    elif held:
        yield _walked(asked, _among(KEYS_HELD), "true", limit)
        named = f"record.id IN (SELECT record.id {NAMED_HELD})"
        yield _gathered(asked, f"NOT {_among(KEYS_HELD)}", named, limit)
    else:
        yield _walked(asked, f"NOT {_among(KEYS_HELD)}", f"NOT {HELD}", limit)


def _walked(asked: _Asked, of_key: str, of_record: str, limit: int) -> str:
    """Return the query that goes from key to key, and in each from record to record."""
    return f"""
        (SELECT record.id
           FROM deadline_key
          CROSS JOIN LATERAL (
                SELECT record.id
                  FROM record
                 WHERE record.key = deadline_key.id
                   AND {" AND ".join([*asked.records, of_record])}
              ORDER BY record.id
                 LIMIT {limit:d}
                ) AS record
          WHERE {" AND ".join([*asked.keys, of_key])}
       ORDER BY {_ORDER}
          LIMIT {limit:d})
    """  # noqa: S608 - conditions of ours


def _gathered(asked: _Asked, of_key: str, of_record: str, limit: int) -> str:
    """Return the query that sorts all records that match: few of them."""
    return f"""
        (SELECT record.id
           FROM record
           JOIN deadline_key ON deadline_key.id = record.key
          WHERE {" AND ".join([*asked.keys, *asked.records, of_key, of_record])}
       ORDER BY {_ORDER}
          LIMIT {limit:d})
    """  # noqa: S608 - conditions of ours


async def days(
    tx: Connection, start: datetime, end: datetime, category: str | None
) -> list[dict[str, Any]]:
    """Return how many records of each category may go on each day, as known now."""
    rows = await tx.fetch(
        """
        SELECT keep_through + 1 AS day, category, sum(records)::bigint AS records
          FROM deadline_key
          JOIN key_records ON key = id
         WHERE status = 'scheduled' AND purge_from >= $1 AND purge_from < $2
           AND ($3::text IS NULL OR category = $3)
      GROUP BY day, category
      ORDER BY day, category
        """,
        start,
        end,
        category,
    )
    return [dict(row) for row in rows]


async def versions(tx: Connection) -> list[dict[str, Any]]:
    """Return every version of every policy that was put in force, oldest first."""
    rows = await tx.fetch(
        """
        SELECT category, version, body, activated_at, encode(plan, 'hex') AS plan
          FROM policy_version
      ORDER BY category, version
        """
    )
    return [{**row, "body": json.loads(row["body"])} for row in rows]


async def plans(tx: Connection) -> list[dict[str, Any]]:
    """Return the plans of changes, newest first."""
    rows = await tx.fetch(
        """
        SELECT encode(sha256, 'hex') AS sha256, effect, made_at, first_by, first_at, second_by,
               applied_at
          FROM policy_plan
      ORDER BY made_at DESC
        """
    )
    return [{**row, "effect": json.loads(row["effect"])} for row in rows]


async def freezes(tx: Connection, today: date) -> dict[str, list[dict[str, Any]]]:
    """Return what is not purged until people look: categories, and purges of unusual size."""
    categories = await tx.fetch("SELECT category, since, why FROM category_frozen ORDER BY since")
    purges = await tx.fetch(
        """
        SELECT id, category, day, records, why, frozen_at, first_by
          FROM purge_guard
         WHERE second_by IS NULL AND lifted_at IS NULL AND day >= $1
      ORDER BY frozen_at
        """,
        today,
    )
    return {"categories": [dict(r) for r in categories], "purges": [dict(r) for r in purges]}


async def silent(tx: Connection) -> list[dict[str, Any]]:
    """Return how many chunks and records each holder has not answered for, and since when."""
    rows = await tx.fetch(
        """
        SELECT holder, count(*) AS chunks, sum(cardinality(refs))::int AS records,
               min(sent_at) AS since, max(attempts) AS attempts
          FROM purge_chunk
         WHERE state <> 'done'
      GROUP BY holder
      ORDER BY since
        """
    )
    return [dict(row) for row in rows]
