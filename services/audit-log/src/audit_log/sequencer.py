"""Signs the state of the log at intervals."""

from dataclasses import dataclass

from audit_log import merkle, store
from audit_log.appender import Appender, own_draft, seal
from audit_log.checkpoint import KEYS_CHANGED, Signer
from audit_log.leaf import Kind
from shared.clock import Clock
from shared.events.gallra import CheckpointPublished
from shared.outbox import Outbox
from shared.postgres import Pool, sole, transaction


@dataclass(frozen=True, slots=True)
class Sequencer:
    """Makes checkpoints of one log; any number may run, one signs."""

    signer: Signer
    appender: Appender
    outbox: Outbox
    clock: Clock

    async def start(self, pool: Pool) -> None:
        """Log it if the keys are others than before, and sign what there is.

        The first keys are not logged: they are what a verifier begins to trust with.
        """
        keys = [verifier.vkey for verifier in self.signer.verifiers]
        async with transaction(pool) as tx:
            before = await store.exchange_keys(tx, keys)
            if before and before != keys:
                what = {"event": "log-keys-changed", "keys": keys, "before": before}
                draft = own_draft(Kind.KEY_EVENT, KEYS_CHANGED, self.clock.now(), what)
                await self.appender.append(tx, [seal(draft)])
        await self.publish(pool)

    async def publish(self, pool: Pool) -> int | None:
        """Sign the log as committed if it grew; return its size then.

        The checkpoint is kept before anyone can see it, at most one for each size: whatever
        crashes, no second root is ever signed for a size.
        """
        # One snapshot, so that an append cannot come between the size and its tiles.
        async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read"):
            if not await sole(tx, "checkpoint"):
                return None
            size = await store.tree_size(tx)
            latest = await store.latest_checkpoint(tx)
            if latest is not None and latest[0] == size:
                return None
            edges = await store.read_tiles(tx, merkle.edge(size))
            root = merkle.root(size, edges)
            note = self.signer.sign(size, root)
            now = self.clock.now()
            if await store.add_checkpoint(tx, size=size, root=root, note=note, signed_at=now):
                origin = self.signer.verifier.name
                published = CheckpointPublished(origin=origin, size=size, checkpoint=note)
                await self.outbox.announce(tx, now, [published])
            return size
