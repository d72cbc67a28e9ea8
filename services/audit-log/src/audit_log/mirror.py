"""Writes the public log as static files, which any web server can serve in its place."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import obstore

from audit_log import store
from audit_log.checkpoint import Verifier, open_checkpoint
from audit_log.log_api import read_statements, read_tile
from audit_log.merkle import WIDTH
from audit_log.public import open_store
from audit_log.tiles import TilePath, path_of, paths
from shared.postgres import Connection, Pool

_TOLD_EVERY: Final = 100

Progress = Callable[[int, int], None]


async def export(
    pool: Pool, target: str, keys: list[Verifier], policy: str, progress: Progress
) -> int:
    """Bring the static files at *target* up to date; return the size of the log there now.

    The checkpoint comes last: whoever reads in between finds all that an older one speaks of.

    Args:
        pool: Of the log's database.
        target: A URL: ``file:///folder`` or that of an S3-compatible store (``s3://bucket/path``,
            credentials and endpoint from ``AWS_*`` variables).
        keys: Of the log.
        policy: Whose signatures a checkpoint needs.
        progress: Told how many files of how many are written.
    """
    files: Any = open_store(target)
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        newest = await store.latest_checkpoint(tx)
        if newest is None:
            return 0
        size = newest[0]
        before = await _size_there(files, keys)
        wanted = [path for path in paths(size) if not _was_full(path, before)]
        done = 0
        async for name, body in _bodies(tx, wanted):
            await obstore.put_async(files, name, body)
            done += 1
            if done % _TOLD_EVERY == 0:
                progress(done, 2 * len(wanted))
        note = await store.cosigned(tx, size)
    await obstore.put_async(files, "vkey", "".join(f"{k.vkey}\n" for k in keys).encode())
    await obstore.put_async(files, "policy", policy.encode())
    await obstore.put_async(files, "checkpoint", note.encode())
    return size


async def _size_there(files: Any, keys: list[Verifier]) -> int:
    try:
        found = await obstore.get_async(files, "checkpoint")
        note = bytes(await found.bytes_async()).decode()
    except FileNotFoundError:
        return 0
    return open_checkpoint(note, *keys).size


def _was_full(path: TilePath, size: int) -> bool:
    """Return True if a log of *size* entries had the tile in full, so that it never changes."""
    level = path.level or 0
    return path.width == WIDTH and (path.number + 1) * WIDTH ** (level + 1) <= size


async def _bodies(tx: Connection, wanted: list[TilePath]) -> AsyncIterator[tuple[str, bytes]]:
    for path in wanted:
        body = await read_tile(tx, path)
        if body is not None:
            yield f"tile/{path_of(path.level, path.number, path.width)}", body
        if path.level is None and (lines := await read_statements(tx, path)) is not None:
            name = path_of(None, path.number, path.width).removeprefix("entries/")
            yield f"statements/{name}", lines
