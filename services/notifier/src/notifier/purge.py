"""The notifier as a holder: contacts, message bodies, delivery records and suppressions can go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from notifier import store
from shared.errors import Rejected
from shared.events.gallra import PurgeCommand
from shared.holder import Outcome
from shared.ids import new_id
from shared.postgres import Connection

_TABLES: Final = {
    "contact.address": ("contact", "record_id"),
    "contact.message_body": ("message", "message_id"),
    "contact.delivery": ("delivery", "id"),
    "contact.delivery.security": ("delivery", "id"),
    "suppression": ("suppression", "record_id"),
}


@dataclass(frozen=True, slots=True)
class NotifierHolder:
    """Purges by category."""

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Leave the rows out of audiences and answers."""
        table, column = _place(category)
        return Outcome.of(refs, await store.hide(tx, table, column, refs, hidden=True))

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
        table, column = _place(category)
        await store.hide(tx, table, column, refs, hidden=False)


def _place(category: str) -> tuple[str, str]:
    if category not in _TABLES:
        raise Rejected(f"the notifier holds no {category}", code="unknown-category")
    return _TABLES[category]
