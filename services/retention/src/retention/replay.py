"""Replay after a restore: a backup brings back what was purged since it was taken.

When a holder says that it was restored, every purge that it confirmed since the backup is ordered
again, in jobs of their own that wait for no other work.  From then on they are like any other: two
phases, chased, refused, cancelled, certified.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from retention import purge_store, replay_store
from retention.purge import CHUNK, COMMAND_LIVES, PurgeLoop, hashed
from retention.replay_store import Again
from retention.store import hold_epoch
from shared.errors import Rejected
from shared.events.gallra import HolderRestored, PurgeJobOpened
from shared.ids import new_id
from shared.postgres import Connection, Pool, sole, transaction

_REASON: Final = "restore-replay"


async def on_restored(
    tx: Connection, restored: HolderRestored, told_at: datetime, now: datetime
) -> None:
    """Mark what a holder purged since its backup to be purged again.

    Raises:
        Rejected: the backup is from after the restore.
    """
    if restored.from_backup_at > told_at:
        raise Rejected("from_backup_at is after the restore", code="invalid")
    await replay_store.note_restore(tx, restored.holder, restored.from_backup_at, told_at)
    await replay_store.replay_since(tx, restored.holder, restored.from_backup_at, now)


@dataclass(frozen=True, slots=True)
class Replay:
    """Orders again what restores brought back."""

    loop: PurgeLoop

    async def sweep(self, pool: Pool) -> int:
        """Order what is to be purged again; return how many records that were."""
        now = self.loop.clock.now()
        async with transaction(pool) as tx:
            if not await sole(tx, "replay"):
                return 0
            await replay_store.drop_known(tx)
            items = await replay_store.waiting(tx, now, self.loop.limit)
            epoch = await hold_epoch(tx)
            for _, group in groupby(sorted(items, key=_job), _job):
                await self._open(tx, list(group), epoch, now)
        return len(items)

    async def _open(
        self, tx: Connection, items: Sequence[Again], epoch: int, now: datetime
    ) -> None:
        job, first = new_id(), items[0]
        must_purge_by = min(item.must_purge_by for item in items)
        await purge_store.open_job(tx, job, items, must_purge_by, now, _REASON)
        chunks = [
            owned[start : start + CHUNK]
            for owned in _by_holder(items)
            for start in range(0, len(owned), CHUNK)
        ]
        for chunk in chunks:
            await self._send_chunk(tx, job, chunk, epoch, now)
        opened = PurgeJobOpened(
            job_id=str(job),
            category=first.category,
            reason=_REASON,
            policy_version=first.policy_version,
            records=len(items),
            chunks=len(chunks),
            holders=sorted({item.holder for item in items}),
            must_purge_by=must_purge_by,
        )
        await self.loop.outbox.announce(tx, now, [opened])

    async def _send_chunk(
        self, tx: Connection, job: UUID, items: Sequence[Again], epoch: int, now: datetime
    ) -> None:
        chunk, first = new_id(), items[0]
        command = hashed(
            {
                "job_id": str(job),
                "chunk_id": str(chunk),
                "holder": first.holder,
                "category": first.category,
                "action": first.action,
                "refs": [item.record_id for item in items],
                "reason": _REASON,
                "policy_version": first.policy_version,
                "purge_from": max(item.purge_from for item in items),
                "hold_epoch": epoch,
                "not_after": now + COMMAND_LIVES,
            }
        )
        await purge_store.add_chunks(tx, [command], now, now + self.loop.answer_within)
        await replay_store.put_in_chunk(tx, chunk, items)
        await self.loop.outbox.announce(tx, now, [command])


def _job(item: Again) -> tuple[str, int, str]:
    """Return what the records of a job have in common."""
    return item.category, item.policy_version, item.action


def _by_holder(items: Sequence[Again]) -> list[list[Again]]:
    ordered = sorted(items, key=lambda item: item.holder)
    return [list(owned) for _, owned in groupby(ordered, lambda item: item.holder)]
