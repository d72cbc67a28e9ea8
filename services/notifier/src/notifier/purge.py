"""The notifier as a holder: contacts, message bodies, delivery records and suppressions can go.

What persons have a right to it does by itself for contacts and delivery records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from notifier import store
from notifier.audience import OPTIONAL
from notifier.refusals import Refusals
from shared.errors import Rejected
from shared.events.gallra import PurgeCommand
from shared.holder import Outcome
from shared.ids import new_id
from shared.postgres import Connection

_TABLES: Final = {
    "contact.address": ("contact", ("record_id", "text")),
    "contact.message_body": ("message", ("message_id", "text")),
    "contact.delivery": ("delivery", ("id", "uuid")),
    "contact.delivery.security": ("delivery", ("id", "uuid")),
    "suppression": ("suppression", ("record_id", "uuid")),
}


@dataclass(frozen=True, slots=True)
class NotifierHolder:
    """Purges by category."""

    refusals: Refusals

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Leave the rows out of audiences and answers."""
        table, key = _place(category)
        return Outcome.of(refs, await store.hide(tx, table, key, refs, hidden=True))

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        """Delete contacts and suppressions, empty bodies, part deliveries from who they went to."""
        match _place(command.category):
            case "contact", _:
                gone = await store.erase_contacts(tx, refs)
            case "delivery", _:
                gone = await store.anonymise_deliveries(tx, [(ref, str(new_id())) for ref in refs])
            case "suppression", _:
                return Outcome.of(refs, await store.erase_suppressions(tx, refs))
            case _:
                return Outcome.of(refs, await store.erase_bodies(tx, refs))
        await store.drop_idle_recipients(tx, {recipient for _, recipient in gone})
        return Outcome.of(refs, [ref for ref, _ in gone])

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Show the rows again."""
        table, key = _place(category)
        await store.hide(tx, table, key, refs, hidden=False)

    async def copy(
        self, tx: Connection, category: str, refs: Sequence[str]
    ) -> Sequence[Mapping[str, Any]] | None:
        """Return contacts with their addresses, and which mail went to whom when."""
        match _place(category):
            case "contact", _:
                return await store.copy_contacts(tx, refs)
            case "delivery", _:
                return await store.copy_deliveries(tx, refs)
            case _:
                return None

    async def restrict(
        self, tx: Connection, category: str, refs: Sequence[str], *, restricted: bool
    ) -> bool:
        """Send contacts no optional mail, and leave deliveries out of search."""
        table, key = _place(category)
        if table not in {"contact", "delivery"}:
            return False
        await store.restrict(tx, table, key, refs, restricted=restricted)
        return True

    async def stop(self, tx: Connection, category: str, refs: Sequence[str]) -> bool:
        """Send the addresses of contacts no more mail that can be declined."""
        if category != "contact.address":
            return False
        for recipient in await store.recipients_of(tx, refs):
            await self.refusals.refuse(tx, recipient, OPTIONAL, "unsubscribed")
        return True


def _place(category: str) -> tuple[str, tuple[str, str]]:
    if category not in _TABLES:
        raise Rejected(f"the notifier holds no {category}", code="unknown-category")
    return _TABLES[category]
