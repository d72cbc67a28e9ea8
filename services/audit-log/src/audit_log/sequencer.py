"""Signs the state of the log at intervals."""

from dataclasses import dataclass

from audit_log import merkle, store
from audit_log.checkpoint import Signer
from shared.clock import Clock
from shared.events.gallra import CheckpointPublished
from shared.outbox import Outbox
from shared.postgres import Pool, sole


@dataclass(frozen=True, slots=True)
class Sequencer:
    """Makes checkpoints of one log; any number may run, one signs."""

    signer: Signer
    outbox: Outbox
    clock: Clock

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
