"""The platform's holders, built on the holder kit: about as much as any holder has to write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

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

_CANARY: Final = {
    "account.master": "INSERT INTO account VALUES ($1, $1, 'Canary, no person', $2)",
    "billing.invoice": "INSERT INTO invoice VALUES ($1, $1, '1900-01-01', $2)",
    "billing.contact": "INSERT INTO billing_contact VALUES ($1, $1, $2)",
    "lead.form": "INSERT INTO lead VALUES ($1, 'Canary, no person', $2, '1900-01-01')",
}


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

    async def plant(self, tx: Connection, category: str, record_id: str) -> None:
        """Store a row about nobody."""
        await tx.execute(
            f"{_CANARY[category]} ON CONFLICT DO NOTHING", record_id, "canary@canary.invalid"
        )

    async def find(self, tx: Connection, category: str, record_id: str) -> bool:
        """Return whether there is such a row."""
        found: bool = await tx.fetchval(
            f"SELECT EXISTS (SELECT FROM {TABLES[category]} WHERE record_id = $1)",  # noqa: S608
            record_id,
        )
        return found

    async def copy(
        self, tx: Connection, category: str, refs: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """Return rows, without what the platform notes for itself."""
        rows = await tx.fetch(
            f"SELECT * FROM {TABLES[category]}"  # noqa: S608 - one of our tables
            " WHERE record_id = ANY($1) ORDER BY record_id",
            list(refs),
        )
        return [{n: v for n, v in row.items() if n != "quarantined"} for row in rows]

    async def restrict(
        self, tx: Connection, category: str, refs: Sequence[str], *, restricted: bool
    ) -> bool:
        """Hide rows from every use but storage, or show them again."""
        await tx.execute(
            f"UPDATE {TABLES[category]} SET restricted = $2"  # noqa: S608 - one of our tables
            " WHERE record_id = ANY($1)",
            list(refs),
            restricted,
        )
        return True

    async def stop(self, tx: Connection, category: str, refs: Sequence[str]) -> bool:
        """Write to leads no more; what services need is for people to weigh."""
        if category != "lead.form":
            return False
        await tx.execute("UPDATE lead SET objected = true WHERE record_id = ANY($1)", list(refs))
        return True

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
