"""The log as a holder of personal data: forgets payloads and says so in the log itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from audit_log import store
from audit_log.appender import HOLDER, LOG_CLASS, Appender, Draft
from audit_log.leaf import Kind
from shared.clock import Clock
from shared.events.gallra import PurgeCommand
from shared.holder import Outcome
from shared.ids import new_id
from shared.postgres import Connection


def ranges(indexes: Iterable[int]) -> list[list[int]]:
    """Return sorted *indexes* as first and last of each unbroken run.

    >>> ranges([1, 2, 3, 7])
    [[1, 3], [7, 7]]
    """
    runs = groupby(enumerate(indexes), key=lambda pair: pair[1] - pair[0])
    listed = ([index for _, index in run] for _, run in runs)
    return [[run[0], run[-1]] for run in listed]


@dataclass(frozen=True, slots=True)
class LogHolder:
    """Purges by bucket: a day of a customer's entries of one category."""

    appender: Appender
    clock: Clock

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Close the buckets to reading and to new entries."""
        await store.lock_tree(tx)  # no appender may hold a bucket open meanwhile
        known = await store.set_state(tx, category, refs, "quarantined", unless="purged")
        return Outcome.of(refs, known)

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        """Destroy every value and salt in the buckets, and append the receipt for it.

        The receipt commits with the purge: an entry without payload is never unexplained.
        """
        indexes = await store.destroy_payloads(tx, command.category, refs)
        purged = await store.set_state(tx, command.category, refs, "purged", unless="purged")
        if indexes:
            await self.appender.append(tx, [self._receipt(command, indexes)])
        return Outcome.of(refs, purged)

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Open the buckets to reading again; new entries of the day have a bucket of their own."""
        await store.set_state(tx, category, refs, "closed", unless="purged")

    def _receipt(self, command: PurgeCommand, indexes: Sequence[int]) -> Draft:
        body = {
            "job_id": command.job_id,
            "chunk_id": command.chunk_id,
            "command_hash": command.command_hash,
            "policy_version": command.policy_version,
            "reason": command.reason,
            "log_class": LOG_CLASS[command.category],
            "parts": ["what", "who"],
            "count": len(indexes),
            "indexes": ranges(indexes),
        }
        return Draft(
            kind=Kind.PURGE_RECEIPT,
            source=f"//gallra/{HOLDER}",
            event_id=str(new_id()),
            type="audit.purge.receipt.v1",
            at=self.clock.now(),
            parts={"what": body},
        )
