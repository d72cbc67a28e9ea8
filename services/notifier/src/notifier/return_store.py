"""Every SQL statement about what comes back from recipients; no rule is decided here."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

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
        SELECT id, state, attempts, recipient, email
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
