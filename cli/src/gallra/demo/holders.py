"""The platform's holders, built on the holder kit: about as much as any holder has to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.events.gallra import PurgeCommand
from shared.holder import Outcome
from shared.postgres import Connection

TABLES: Final = {
    "account.master": "account",
    "billing.invoice": "invoice",
    "billing.contact": "billing_contact",
    "lead.form": "lead",
}
HOLDERS: Final = ("portal", "billing", "crm")


@dataclass(frozen=True, slots=True)
class TableHolder:
    """Holds each category in a table of its own, by record id."""

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Hide rows from the platform's own use."""
        return await self._mark(tx, category, refs, hidden=True)

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        """Delete rows."""
        rows = await tx.fetch(
            f"DELETE FROM {TABLES[command.category]}"  # noqa: S608 - one of our tables
            " WHERE record_id = ANY($1) RETURNING record_id",
            list(refs),
        )
        return Outcome.of(refs, [row["record_id"] for row in rows])

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Show rows again."""
        await self._mark(tx, category, refs, hidden=False)

    async def _mark(
        self, tx: Connection, category: str, refs: Sequence[str], *, hidden: bool
    ) -> Outcome:
        rows = await tx.fetch(
            f"UPDATE {TABLES[category]} SET quarantined = $2"  # noqa: S608 - one of our tables
            " WHERE record_id = ANY($1) RETURNING record_id",
            list(refs),
            hidden,
        )
        return Outcome.of(refs, [row["record_id"] for row in rows])
