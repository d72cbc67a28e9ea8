"""Notes in the log itself who was shown what of it, before it is shown."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pyroaring import BitMap64

from audit_log import receipt
from audit_log.appender import Appender, Sealed, own_draft, seal
from audit_log.leaf import Kind
from shared.postgres import Pool, transaction


class AccessNotes:
    """Appends notes of access; those that come while others are written go together."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._waiting: list[Sealed] = []
        self._turn = asyncio.Lock()
        self._written = 0
        self._asked = 0

    async def note(self, pool: Pool, purpose: str, indexes: Sequence[int], **more: Any) -> None:
        """Return when it is in the log that the content of *indexes* is about to be shown."""
        body: Mapping[str, Any] = {
            "purpose": purpose,
            "count": len(indexes),
            "indexes": receipt.written(BitMap64(indexes)),
            **more,
        }
        draft = own_draft(Kind.ACCESS, "audit.access.v1", self._appender.clock.now(), body)
        self._waiting.append(seal(draft))
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._written >= mine:
                return  # went with another's
            batch, self._waiting = self._waiting, []
            try:
                async with transaction(pool) as tx:
                    await self._appender.append(tx, batch)
            except BaseException:
                self._waiting = batch + self._waiting
                raise
            self._written += len(batch)
