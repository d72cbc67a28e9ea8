"""The log as a holder of personal data: forgets content and says so in the log itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyroaring import BitMap64

from audit_log import receipt, store
from audit_log.appender import HOLDER, LOG_CLASS, Appender, own_draft, seal
from audit_log.leaf import IDENTIFYING, PARTS, Kind
from shared.clock import Clock
from shared.events.gallra import PurgeCommand
from shared.holder import Outcome
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class LogHolder:
    """Purges by bucket: a day of a customer's entries of one category."""

    appender: Appender
    clock: Clock

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Close the buckets to reading and to new entries."""
        await store.lock_tree(tx)  # no appender may hold a bucket open meanwhile
        known = await store.set_state(tx, category, refs, "quarantined")
        return Outcome.of(refs, known)

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        """Destroy content and salts in the buckets, and append the receipt for it.

        The receipt commits with the purge: what is gone is never unexplained.
        """
        if command.action == "anonymise":
            for part in IDENTIFYING:
                indexes = await store.destroy_part(tx, part, command.category, refs)
                await self._receipt(tx, command, [part], indexes)
            done = await store.set_state(tx, command.category, refs, "closed")
        else:
            indexes = await store.destroy_payloads(tx, command.category, refs)
            await self._receipt(tx, command, PARTS, indexes)
            await self._forget_tenants(tx, command.category, refs)
            done = await store.drop_buckets(tx, command.category, refs)
        return Outcome.of(refs, done)

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Open the buckets to reading again; new entries of the day have a bucket of their own."""
        await store.set_state(tx, category, refs, "closed")

    async def _receipt(
        self, tx: Connection, command: PurgeCommand, parts: Sequence[str], indexes: Sequence[int]
    ) -> None:
        if not indexes:
            return
        order: dict[str, Any] = command.model_dump(
            mode="json",
            include={"job_id", "chunk_id", "command_hash", "policy_version", "reason"},
        )
        written = receipt.Receipt(
            log_class=LOG_CLASS[command.category],
            parts=parts,
            indexes=BitMap64(indexes),
            order={**order, "holder": HOLDER},
            purged_at=self.clock.now(),
        )
        draft = own_draft(Kind.PURGE_RECEIPT, receipt.TYPE, written.purged_at, written.body())
        await self.appender.append(tx, [seal(draft)])

    async def _forget_tenants(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Destroy the keys of customers of whom nothing is left to find with them."""
        if destroyed := await store.forget_tenants(tx, category, refs):
            what = {"event": "tenant-keys-destroyed", "count": destroyed}
            now = self.clock.now()
            draft = own_draft(Kind.KEY_EVENT, "audit.key.destroyed.v1", now, what)
            await self.appender.append(tx, [seal(draft)])
