"""Walks the whole log and says whether it is intact.

Leaves must hash to the tree, the tree to the signed checkpoint, every checkpoint ever signed must
be a beginning of the latest, every payload must match its commitment, and every payload that is
missing must be covered by a purge receipt.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from audit_log import merkle, store
from audit_log.checkpoint import Verifier, open_checkpoint
from audit_log.leaf import Kind, commitment, part_digest
from shared.errors import Rejected
from shared.postgres import Pool

_STEP = 5000


@dataclass(slots=True)
class Verdict:
    """What the walk found.

    Attributes:
        size: Entries in the checkpoint that was verified.
        present: Entries whose payload is there and matches.
        purged: Entries whose payload is gone and accounted for.
        problems: What is wrong, in words that name indexes; empty if the log is intact.
    """

    size: int = 0
    present: int = 0
    purged: int = 0
    problems: list[str] = field(default_factory=list[str])

    @property
    def intact(self) -> bool:
        """True if nothing was changed."""
        return not self.problems


async def verify(
    pool: Pool, verifier: Verifier, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> Verdict:
    """Verify the log in the database behind *pool*; *progress* is told how far it came."""
    verdict = Verdict()
    # One snapshot: the log grows while we read.
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        signed = await store.checkpoints(tx, below=2**62, limit=2**31)
        roots: dict[int, bytes] = {}
        for row in signed:
            try:
                roots[row["size"]] = open_checkpoint(row["note"], verifier).root
            except Rejected as error:
                verdict.problems.append(f"checkpoint of size {row['size']}: {error}")
        verdict.size = max(roots, default=0)
        missing: set[int] = set()
        tiles: dict[merkle.Tile, bytes] = {}
        size = 0
        async for rows in store.walk(tx, _STEP):
            for entry, payload in rows:
                if entry.index != size:
                    verdict.problems.append(f"entry {size} is missing")
                    return verdict
                tiles |= merkle.grow(size, tiles, [merkle.leaf_hash(entry.leaf)])
                size += 1
                if size in roots:
                    _check_root(verdict, size, tiles, roots[size])
                _check_payload(verdict, entry, payload, missing)
            stored = await store.read_tiles(tx, tiles)
            # A tile on the edge goes on growing with what we have not read yet.
            verdict.problems += [
                f"tile {number} of level {level} differs"
                for (level, number), hashes in tiles.items()
                if not stored.get((level, number), b"").startswith(hashes)
            ]
            tiles = {t: tiles[t] for t in merkle.edge(size)}
            progress(size, verdict.size)
    if size < verdict.size:
        verdict.problems.append(f"{verdict.size} entries were signed, {size} are there")
    verdict.problems += [f"entry {index}: payload gone without a receipt" for index in missing]
    return verdict


def _check_root(
    verdict: Verdict, size: int, tiles: dict[merkle.Tile, bytes], signed: bytes
) -> None:
    if merkle.root(size, tiles) != signed:
        verdict.problems.append(f"the first {size} entries do not hash to the signed root")


def _check_payload(
    verdict: Verdict, entry: store.Entry, payload: store.Payload | None, missing: set[int]
) -> None:
    digests = {"what": entry.what_digest}
    if entry.who_digest is not None:
        digests["who"] = entry.who_digest
    if commitment(digests) != entry.leaf[32:]:
        verdict.problems.append(f"entry {entry.index}: digests do not match the leaf")
    if payload is None:
        missing.add(entry.index)
        return
    parts = {"what": (payload.what_salt, payload.what), "who": (payload.who_salt, payload.who)}
    for name, expected in digests.items():
        salt, value = parts[name]
        if salt is None or value is None or part_digest(name, salt, value) != expected:
            verdict.problems.append(f"entry {entry.index}: part {name} was changed")
    verdict.present += 1
    if entry.leaf[3] == Kind.PURGE_RECEIPT and payload.what is not None:
        # A receipt comes after what it covers.
        for first, last in json.loads(payload.what)["indexes"]:
            covered = {i for i in missing if first <= i <= last}
            verdict.purged += len(covered)
            missing -= covered
