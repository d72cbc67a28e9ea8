"""Every SQL statement that asks the ledger; no rule is decided here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from notifier.delivery import STEPS, State
from shared.postgres import Connection

_SENDING: Final = "EXISTS (SELECT FROM sending WHERE sending.delivery = delivery.id)"
_COLUMNS: Final = f"""
    id AS delivery_id, message_id, message_type, customer_id, recipient,
    CASE WHEN state IN ('queued', 'deferred') AND {_SENDING} THEN 'sending' ELSE state END AS state,
    reason, attempts, reply,
    (SELECT next_try_at
       FROM waiting
      WHERE (waiting.message_id, waiting.delivery) = (delivery.message_id, id)) AS next_try_at,
    changed_at, resends
"""  # noqa: S608 - a constant


def _in_state(state: State, span: str) -> str:
    """Return the condition of a state; *span* are conditions of ids.

    Most deliveries are accepted.  Those that are not stand in small tables of their own.
    """
    match state:
        case "accepted":
            return "state = 'accepted'"
        case "sending":
            return _SENDING
        case "queued" | "deferred":
            return f"state = '{state}' AND {_beside('waiting', span)}"
        case _:
            return _beside("amiss", f"{span} AND amiss.state = '{state}'")


def _beside(table: str, conditions: str) -> str:
    """Return that a delivery stands in a table with its id and message.

    Conditions are said of both: the planner concludes what is equal, but not what is less.
    """
    return f"""
        (delivery.message_id, id) IN (
            SELECT {table}.message_id, {table}.delivery FROM {table} WHERE true {conditions})
    """  # noqa: S608 - constants


def first_id(at: datetime) -> UUID:
    """Return the lowest UUIDv7 that could be made at *at*, by which a time is found in an index."""
    milliseconds = min(max(int(at.timestamp() * 1000), 0), 2**48 - 1)  # as far as such ids go
    return UUID(int=milliseconds << 80)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries are looked for; None where it does not matter.

    Attributes:
        since: The first instant at which they were planned.
        until: The first instant after.
        before: Only those planned before this one.
    """

    message_id: str | None = None
    recipient: str | None = None
    customer: str | None = None
    message_type: str | None = None
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: UUID | None = None


async def search(tx: Connection, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """Return deliveries that match, newest first, recipients as tokens."""
    asked: list[tuple[str, str, Any]] = [
        ("message_id", "=", wanted.message_id),
        ("recipient", "=", wanted.recipient),
        ("customer_id", "=", wanted.customer),
        ("message_type", "=", wanted.message_type),
        ("id", ">=", wanted.since and first_id(wanted.since)),
        ("id", "<", wanted.until and first_id(wanted.until)),
        ("id", "<", wanted.before),
    ]
    given = [those for those in asked if those[2] is not None]
    # A plan for what is asked, not one for all that could be.
    conditions = "".join(f" AND {c} {is_} ${n}" for n, (c, is_, _) in enumerate(given, 2))
    if wanted.state in STEPS:  # and so fit to be a part of the statement
        span = [f" AND delivery {is_} ${n}" for n, (c, is_, _) in enumerate(given, 2) if c == "id"]
        conditions += f" AND {_in_state(wanted.state, ''.join(span))}"
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS}
          FROM delivery
         WHERE NOT quarantined AND NOT restricted {conditions}
      ORDER BY id DESC
         LIMIT $1
        """,  # noqa: S608 - constants
        limit,
        *(value for _, _, value in given),
    )
    return [dict(row) for row in rows]


async def delivery(tx: Connection, id_: UUID) -> dict[str, Any] | None:
    """Return a delivery, with the version of the template that it was made from."""
    row = await tx.fetchrow(
        f"""
        SELECT {_COLUMNS}, template, template_version, anonymised,
               (SELECT again.id FROM delivery AS again
                 WHERE again.resends = delivery.id) AS resent_as
          FROM delivery JOIN message USING (message_id)
         WHERE id = $1 AND NOT delivery.quarantined AND NOT restricted
        """,  # noqa: S608 - a constant
        id_,
    )
    return None if row is None else dict(row)


async def history(tx: Connection, id_: UUID) -> list[dict[str, Any]]:
    """Return the steps that a delivery took, in order."""
    rows = await tx.fetch(
        """
        SELECT position, state, reason, reply, attempts, at
          FROM delivery_change WHERE delivery = $1 ORDER BY position
        """,
        id_,
    )
    return [dict(row) for row in rows]


async def messages(tx: Connection, before: datetime, limit: int) -> list[dict[str, Any]]:
    """Return messages asked for before an instant, newest first."""
    rows = await tx.fetch(
        """
        SELECT message_id, type, template, template_version, requested_at, send_after, send_before,
               supersedes, done_at
          FROM message
         WHERE requested_at < $1 AND NOT quarantined
      ORDER BY requested_at DESC
         LIMIT $2
        """,
        before,
        limit,
    )
    return [dict(row) for row in rows]


async def message(tx: Connection, message_id: str) -> dict[str, Any] | None:
    """Return one message."""
    row = await tx.fetchrow(
        """
        SELECT message_id, type, template, template_version, requested_at, send_after, send_before,
               supersedes, done_at
          FROM message WHERE message_id = $1 AND NOT quarantined
        """,
        message_id,
    )
    return None if row is None else dict(row)


async def counts(tx: Connection, messages: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many deliveries of each message are in each state."""
    rows = await tx.fetch(
        """
        SELECT message_id,
               coalesce(states, (SELECT states
                                   FROM message_states
                                  WHERE message_states.message_id = message.message_id), '{}')
                   AS states
          FROM message
         WHERE message_id = ANY($1)
        """,
        list(messages),
    )
    return {row["message_id"]: json.loads(row["states"]) for row in rows}


async def reasons(tx: Connection, message_id: str) -> dict[str, int]:
    """Return why deliveries of a message that were not taken were not."""
    rows = await tx.fetch(
        """
        SELECT coalesce(reason, reply, state) AS why, count(*) AS n
          FROM delivery
         WHERE message_id = $1
           AND id IN (SELECT delivery FROM amiss WHERE message_id = $1
                      UNION ALL
                      SELECT delivery FROM waiting WHERE message_id = $1
                      UNION ALL
                      SELECT delivery FROM sending)
      GROUP BY why ORDER BY n DESC, why LIMIT 100
        """,
        message_id,
    )
    return {row["why"]: row["n"] for row in rows}


async def addressed(tx: Connection, message_id: str) -> int:
    """Return how many customers a message was meant for."""
    found: int = await tx.fetchval(
        "SELECT count(*) FROM message_customer WHERE message_id = $1", message_id
    )
    return found


async def unreached(tx: Connection, message_id: str, after: str, limit: int) -> list[str]:
    """Return customers of whom no contact's mail server took a message, in order of their ids."""
    rows = await tx.fetch(
        """
        SELECT customer_id
          FROM message_customer
         WHERE message_id = $1 AND customer_id > $2
           AND NOT EXISTS (
                   SELECT FROM contact
                     JOIN delivery USING (recipient)
                    WHERE contact.customer_id = message_customer.customer_id
                      AND delivery.message_id = $1 AND state = 'accepted')
           AND NOT EXISTS (
                   SELECT FROM delivery
                    WHERE delivery.message_id = $1 AND state = 'accepted'
                      AND delivery.customer_id = message_customer.customer_id)
      ORDER BY customer_id
         LIMIT $3
        """,
        message_id,
        after,
        limit,
    )
    return [row["customer_id"] for row in rows]


async def token_of(tx: Connection, lookup: bytes) -> str | None:
    """Return the token of an address by its keyed hash."""
    found: str | None = await tx.fetchval("SELECT token FROM recipient WHERE lookup = $1", lookup)
    return found
