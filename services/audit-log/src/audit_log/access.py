"""Notes in the log itself who was shown what of it, before it is shown."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pyroaring import BitMap64

from audit_log import receipt
from audit_log.appender import Appender, Sealed, Search, own_draft, seal
from audit_log.leaf import Kind
from shared.postgres import Pool, transaction

_ACCESS: Final = "audit.access.v1"


@dataclass(slots=True)
class _Batch:
    notes: list[Sealed] = field(default_factory=list[Sealed])
    written: bool = False


class AccessNotes:
    """Appends notes of access; those that come while others are written go together."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._open = _Batch()
        self._turn = asyncio.Lock()

    async def note(
        self, pool: Pool, purpose: str, indexes: Sequence[int], *, by: str | None = None
    ) -> None:
        """Return when it is in the log that *by* is about to be shown the content of *indexes*."""
        body: Mapping[str, Any] = {
            "purpose": purpose,
            "count": len(indexes),
            "indexes": receipt.written(BitMap64(indexes)),
        }
        batch = self._add(body, by)
        async with self._turn:
            # Whose batch failed writes a note of its own: whether the failed ones are in the log
            # nobody knows, and a look that is noted twice does no harm.
            while not batch.written:
                if batch is not self._open:
                    batch = self._add(body, by)
                self._open = _Batch()
                async with transaction(pool) as tx:
                    await self._appender.append(tx, batch.notes)
                batch.written = True

    def _add(self, body: Mapping[str, Any], by: str | None) -> _Batch:
        now = self._appender.clock.now()
        who = None if by is None else {"by": by}
        found_by = Search(_ACCESS, actor=by)
        note = own_draft(Kind.ACCESS, _ACCESS, now, body, who=who, found_by=found_by)
        batch = self._open
        batch.notes.append(seal(note))
        return batch
