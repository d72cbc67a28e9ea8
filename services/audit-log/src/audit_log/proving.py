"""Proves entries under checkpoints that enough witnesses have signed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from audit_log import merkle, store
from audit_log.proof import Proof
from audit_log.witness import Policy
from shared.postgres import Connection, Pool

PATIENCE: Final = timedelta(seconds=10)
"""How long a caller is kept waiting for the next checkpoint, and for the witnesses of it."""

_PAUSE: Final = 0.05  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Covering:
    """A checkpoint that covers an entry.

    Attributes:
        enough: Whether all have signed it whose signatures the policy asks for.
    """

    size: int
    note: str
    enough: bool


async def covering(tx: Connection, policy: Policy, index: int) -> Covering | None:
    """Return the newest checkpoint over entry *index* with its quorum, or else the newest of all.

    None if not even that covers it.
    """
    latest = await store.latest_checkpoint(tx)
    if latest is None or index >= latest[0]:
        return None
    if policy.quorum is not None:
        for size in await store.cosigned_sizes(tx, index):
            note = await store.cosigned(tx, size)
            if policy.satisfied(policy.agreed(note)):
                return Covering(size, note, enough=True)
    note = await store.cosigned(tx, latest[0])
    return Covering(latest[0], note, enough=policy.quorum is None)


async def prove(tx: Connection, under: Covering, index: int) -> Proof:
    """Return the proof of an entry that a checkpoint covers."""

    def path(read: merkle.ReadTile) -> list[bytes]:
        return merkle.inclusion_proof(read, index, under.size)

    tiles = await store.read_tiles(tx, merkle.tiles_needed(path))
    [leaf] = await store.leaves(tx, index, index + 1)
    hashes = path(lambda level, number: tiles[level, number])
    return Proof(leaf, index, hashes, under.note)


async def prove_all(
    tx: Connection, size: int, note: str, indexes: Sequence[int]
) -> dict[int, Proof]:
    """Return the proofs of entries that the checkpoint of *size* covers, by index."""

    def paths(read: merkle.ReadTile) -> dict[int, list[bytes]]:
        return {index: merkle.inclusion_proof(read, index, size) for index in indexes}

    tiles = await store.read_tiles(tx, merkle.tiles_needed(paths))
    leaves = await store.leaves_at(tx, indexes)
    found = paths(lambda level, number: tiles[level, number])
    return {index: Proof(leaves[index], index, found[index], note) for index in indexes}


async def receipt(pool: Pool, policy: Policy, index: int) -> Proof | None:
    """Return the proof of an entry as soon as a checkpoint with its quorum covers it.

    Where that takes too long, the witnesses that are away are done without; None if there is no
    checkpoint either.
    """
    found: Covering | None = None
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while found is None or not found.enough:
                await asyncio.sleep(_PAUSE)
                async with pool.acquire() as tx:
                    found = await covering(tx, policy, index)
    except TimeoutError:
        if found is None:
            return None
    async with pool.acquire() as tx:
        return await prove(tx, found, index)
