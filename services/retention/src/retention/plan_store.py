"""SQL of plans: records per deadline key, what is under hold, plans and approvals."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from retention.plan import Plan
from retention.purge_store import HELD, MAY_BE_HELD
from retention.store import Identity
from shared.canonical import canonical, digest
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A deadline key that records have, with how many each holder has."""

    id: int
    identity: Identity
    keep_through: date | None
    floor: date | None
    records: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """A plan that waits for people, or was applied."""

    policies: str
    effect: str
    basis: bytes
    made_at: datetime
    first_by: str | None
    applied_at: datetime | None


async def counted(tx: Connection, categories: Collection[str]) -> list[KeyRow]:
    """Return the deadline keys of *categories* that records have."""
    rows = await tx.fetch(
        """
        SELECT id, entity, category, scheme, anchor_state, anchor_day, lacking, keep_through, floor,
               holders, counts
          FROM deadline_key
          JOIN (SELECT key, array_agg(holder) AS holders, array_agg(records) AS counts
                  FROM key_records
              GROUP BY key) AS counted ON key = id
         WHERE category = ANY($1)
      ORDER BY id
        """,
        list(categories),
    )
    return [
        KeyRow(id_, tuple(identity), keep_through, floor, dict(zip(holders, counts, strict=True)))
        for id_, *identity, keep_through, floor, holders, counts in rows
    ]


async def held(tx: Connection, keys: Collection[int], now: datetime) -> dict[str, int]:
    """Return how many records of *keys* are under a legal hold, by category."""
    rows = await tx.fetch(
        f"""
        WITH {MAY_BE_HELD}
        SELECT record.category, count(*) AS records
          FROM record
          JOIN deadline_key ON deadline_key.id = record.key
         WHERE record.id IN (SELECT id FROM may_be_held) AND record.key = ANY($2) AND {HELD}
      GROUP BY record.category
        """,  # noqa: S608 - constants
        now,
        list(keys),
    )
    return {row["category"]: row["records"] for row in rows}


async def basis(tx: Connection) -> bytes:
    """Return the SHA-256 of what a plan rests on, beside the records."""
    found: str = await tx.fetchval(
        """
        SELECT jsonb_build_array(
            (SELECT jsonb_agg(jsonb_build_array(category, version, encode(sha256, 'hex'))
                              ORDER BY category, version)
               FROM policy_version),
            (SELECT jsonb_agg(jsonb_build_array(entity, first_day, last_day, closed)
                              ORDER BY entity, first_day)
               FROM fiscal_year),
            (SELECT epoch FROM hold_epoch))::text
        """
    )
    return digest(canonical(json.loads(found)))


async def keep(tx: Connection, plan: Plan, now: datetime) -> None:
    """Keep a plan until it is approved; the same one is not kept twice."""
    await tx.execute(
        """
        INSERT INTO policy_plan (sha256, basis, policies, effect, made_at)
             VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """,
        plan.sha256,
        plan.basis,
        json.dumps([policy.model_dump(mode="json") for policy in plan.policies]),
        json.dumps(plan.shown),
        now,
    )


async def lock(tx: Connection, sha256: bytes) -> Kept | None:
    """Return a plan, which nobody else approves until *tx* ends."""
    row = await tx.fetchrow(
        """
        SELECT policies, effect, basis, made_at, first_by, applied_at
          FROM policy_plan
         WHERE sha256 = $1
           FOR UPDATE
        """,
        sha256,
    )
    return None if row is None else Kept(**row)


async def starting_with(tx: Connection, prefix: str) -> list[bytes]:
    """Return the plans whose hash begins like this, in hexadecimal."""
    rows = await tx.fetch(
        "SELECT sha256 FROM policy_plan WHERE starts_with(encode(sha256, 'hex'), $1)", prefix
    )
    return [row["sha256"] for row in rows]


async def approve_first(tx: Connection, sha256: bytes, by: str, now: datetime) -> None:
    """Note who approved a plan first."""
    await tx.execute(
        "UPDATE policy_plan SET first_by = $2, first_at = $3 WHERE sha256 = $1", sha256, by, now
    )


async def approve_second(tx: Connection, sha256: bytes, by: str, now: datetime) -> None:
    """Note who agreed to a plan, with which it is applied."""
    await tx.execute(
        "UPDATE policy_plan SET second_by = $2, applied_at = $3 WHERE sha256 = $1", sha256, by, now
    )
