"""Every SQL statement about what comes back from recipients; no rule is decided here."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from notifier.catalogue import Suppressed
from notifier.delivery import State
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery that something came back for.

    Attributes:
        email: None once the address was purged, or parted from the delivery.
    """

    id: UUID
    state: State
    attempts: int
    recipient: str
    email: str | None


async def sent(tx: Connection, delivery: UUID) -> Sent | None:
    """Return a delivery and keep it as it is until *tx* ends; None if there is none."""
    row = await tx.fetchrow(
        """
        SELECT id,
               CASE WHEN EXISTS (SELECT FROM sending WHERE sending.delivery = delivery.id)
                    THEN 'sending' ELSE state END AS state,
               attempts, recipient, email
          FROM delivery LEFT JOIN recipient ON token = recipient
         WHERE id = $1
           FOR UPDATE OF delivery
        """,
        delivery,
    )
    return None if row is None else Sent(**row)


async def locale_of(tx: Connection, recipient: str) -> str | None:
    """Return the language of an address by its token; None if nobody has it."""
    found: str | None = await tx.fetchval(
        """
        SELECT locale FROM contact
         WHERE recipient = $1 ORDER BY removed, customer_id, contact_id LIMIT 1
        """,
        recipient,
    )
    return found


async def lift(tx: Connection, lookup: bytes, scopes: Collection[str]) -> dict[str, UUID]:
    """Send an address mail of some scopes again; return what stood against that, with its record.

    What stands because the address does not work stays.
    """
    rows = await tx.fetch(
        """
        DELETE FROM suppression
         WHERE lookup = $1 AND scope = ANY($2) AND reason <> 'hard-bounce'
     RETURNING scope, record_id
        """,
        lookup,
        list(scopes),
    )
    return {row["scope"]: row["record_id"] for row in rows}


async def had_by_somebody(tx: Connection, recipient: str) -> bool:
    """Return whether an address, by its token, is a contact's."""
    found: bool = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM contact WHERE recipient = $1 AND NOT removed)", recipient
    )
    return found


async def contacts(tx: Connection, recipient: str) -> list[dict[str, Any]]:
    """Return the contacts who have an address, by its token, with their bases for optional mail."""
    rows = await tx.fetch(
        """
        SELECT customer_id, contact_id, roles, locale, kind, verified, restricted,
               (SELECT coalesce(jsonb_object_agg(message_type, basis), '{}')
                  FROM basis
                 WHERE (basis.customer_id, basis.contact_id)
                     = (contact.customer_id, contact.contact_id)) AS bases
          FROM contact
         WHERE recipient = $1 AND NOT removed AND NOT quarantined
      ORDER BY customer_id, contact_id
        """,
        recipient,
    )
    return [{**row, "bases": json.loads(row["bases"])} for row in rows]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is not sent to an address, as a record.

    Attributes:
        scope: A message type, ``optional`` for all that may be refused, or ``all``.
    """

    record_id: UUID
    scope: str
    reason: Suppressed
    since: datetime


async def standing(tx: Connection, lookup: bytes) -> list[Standing]:
    """Return what is not sent to an address, by its keyed hash."""
    rows = await tx.fetch(
        """
        SELECT record_id, scope, reason, since
          FROM suppression WHERE lookup = $1 AND NOT quarantined ORDER BY scope
        """,
        lookup,
    )
    return [Standing(**row) for row in rows]


async def taken_up(tx: Connection, record_id: UUID) -> Standing | None:
    """Return a suppression and keep it as it is until *tx* ends; None if there is none."""
    row = await tx.fetchrow(
        """
        SELECT record_id, scope, reason, since
          FROM suppression WHERE record_id = $1 AND NOT quarantined
           FOR UPDATE
        """,
        record_id,
    )
    return None if row is None else Standing(**row)


async def end(tx: Connection, record_id: UUID) -> None:
    """Forget a suppression."""
    await tx.execute("DELETE FROM suppression WHERE record_id = $1", record_id)
