"""Notes in the log itself who was shown what of it, before it is shown."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap64

from audit_log import receipt
from audit_log.appender import Appender, Sealed, own_draft, seal
from audit_log.leaf import Kind
from shared.postgres import Pool, transaction


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

    async def note(self, pool: Pool, purpose: str, indexes: Sequence[int], **more: Any) -> None:
        """Return when it is in the log that the content of *indexes* is about to be shown."""
        body: Mapping[str, Any] = {
            "purpose": purpose,
            "count": len(indexes),
            "indexes": receipt.written(BitMap64(indexes)),
            **more,
        }
        batch = self._add(body)
        async with self._turn:
            # Whose batch failed writes a note of its own: whether the failed ones are in the log
            # nobody knows, and a look that is noted twice does no harm.
            while not batch.written:
                if batch is not self._open:
                    batch = self._add(body)
                self._open = _Batch()
                async with transaction(pool) as tx:
                    await self._appender.append(tx, batch.notes)
                batch.written = True

    def _add(self, body: Mapping[str, Any]) -> _Batch:
        now = self._appender.clock.now()
        batch = self._open
        batch.notes.append(seal(own_draft(Kind.ACCESS, "audit.access.v1", now, body)))
        return batch
