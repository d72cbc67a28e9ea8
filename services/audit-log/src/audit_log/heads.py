"""Tells each tenant, in the log itself, how many entries it has: a missing last one shows too."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from audit_log import store
from audit_log.appender import Appender, own_draft, seal
from audit_log.leaf import Kind
from audit_log.tenant import HEAD
from shared.postgres import Pool, sole, transaction

_TYPE: Final = "audit.tenant.head.v1"


@dataclass(frozen=True, slots=True)
class Heads:
    """Appends a head for every tenant that has more entries than it was last told.

    Attributes:
        every: Between two rounds, however often the service is started anew in between.
    """

    appender: Appender
    every: timedelta

    async def tell(self, pool: Pool) -> int:
        """Append the heads if they are due; return how many."""
        async with transaction(pool) as tx:
            if not await sole(tx, "tenant-heads"):
                return 0
            now = self.appender.clock.now()
            last = await store.latest_of(tx, _TYPE)
            if last is not None and now - last < self.every:
                return 0
            await store.lock_tree(tx)
            due = await store.untold_tenants(tx)
            entries = [
                seal(
                    own_draft(
                        Kind.TENANT_HEAD,
                        _TYPE,
                        now,
                        {"entries": entries},
                        tag=(key, HEAD | entries),
                    )
                )
                for _, key, entries in due
            ]
            if entries:
                await self.appender.append(tx, entries)
            return len(entries)
