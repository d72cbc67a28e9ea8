"""Retention as a holder of personal data: the files of requests about the rights of persons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from retention import rights_store
from shared.errors import Rejected
from shared.events.gallra import PurgeCommand
from shared.holder import Outcome
from shared.postgres import Connection

_CATEGORY: Final = "rights.case"


@dataclass(frozen=True, slots=True)
class CaseHolder:
    """Holds the files of cases; it takes the same orders as any holder, in the same way."""

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Hide cases from lists and from who would work on them."""
        _check(category)
        return Outcome.of(refs, await rights_store.hide(tx, refs, hidden=True))

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        """Delete cases with all that was decided and done."""
        _check(command.category)
        return Outcome.of(refs, await rights_store.forget(tx, refs))

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Show cases again."""
        _check(category)
        await rights_store.hide(tx, refs, hidden=False)

    async def copy(
        self, tx: Connection, category: str, refs: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """Return the files of cases."""
        _check(category)
        return await rights_store.files(tx, refs)


def _check(category: str) -> None:
    if category != _CATEGORY:
        raise Rejected(f"retention holds no {category}", code="unknown-category")
