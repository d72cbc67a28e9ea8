"""Writes the public log as static files, which any web server can serve in its place."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from audit_log import store
from audit_log.checkpoint import Checkpoint, Keyring, Verifier
from audit_log.log_api import read_statements, read_tile
from audit_log.merkle import WIDTH
from audit_log.public import open_store, read_file, write_file
from audit_log.statements import check_consistency, learn_keys
from audit_log.tiles import TilePath, path_of, paths
from shared.errors import Rejected
from shared.postgres import Connection, Pool

_TOLD_EVERY: Final = 100

Progress = Callable[[int, int], None]


async def export(
    pool: Pool, target: str, keys: list[Verifier], policy: str, progress: Progress
) -> int:
    """Bring the static files at *target* up to date; return the size of the log there now.

    The checkpoint comes last: whoever reads in between finds all that an older one speaks of.
    Nothing is written if the log does not extend what was mirrored before.

    Args:
        pool: Of the log's database.
        target: A URL: ``file:///folder`` or that of an S3-compatible store (``s3://bucket/path``,
            credentials and endpoint from ``AWS_*`` variables).
        keys: Of the log.
        policy: Whose signatures a checkpoint needs.
        progress: Told how many files of how many are written.

    Raises:
        Rejected: the log is not what its signatures say, or not the one that is mirrored.
    """
    files: Any = open_store(target)
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        latest = await store.latest_checkpoint(tx)
        if latest is None:
            return 0
        keyring = Keyring(keys)
        newest = keyring.open(latest[1])
        before = await _size_there(tx, files, keyring, newest)
        wanted = [path for path in paths(newest.size) if not _was_full(path, before)]
        of = sum(1 if path.level is not None else 2 for path in wanted)  # with its statements
        done = 0
        async for name, body in _bodies(tx, wanted):
            await write_file(files, name, body)
            done += 1
            if done % _TOLD_EVERY == 0 or done == of:
                progress(done, of)
        note = await store.cosigned(tx, newest.size)
    await write_file(files, "vkey", "".join(f"{k.vkey}\n" for k in keys).encode())
    await write_file(files, "policy", policy.encode())
    await write_file(files, "checkpoint", note.encode())
    return newest.size


async def _size_there(tx: Connection, files: Any, keyring: Keyring, newest: Checkpoint) -> int:
    """Return the size of the log that is mirrored, which the log at *newest* must begin with."""
    found = await read_file(files, "checkpoint")
    if found is None:
        return 0
    note = found.decode()
    await learn_keys(tx, keyring, newest)
    try:
        before = keyring.open(note)
        await check_consistency(tx, before, newest)
    except Rejected as error:
        text = f"the log does not extend what is mirrored, and nothing was written: {error}"
        raise Rejected(text, code=error.code) from None
    return before.size


def _was_full(path: TilePath, size: int) -> bool:
    """Return True if a log of *size* entries had the tile in full, so that it never changes."""
    level = path.level or 0
    return path.width == WIDTH and (path.number + 1) * WIDTH ** (level + 1) <= size


async def _bodies(tx: Connection, wanted: list[TilePath]) -> AsyncIterator[tuple[str, bytes]]:
    for path in wanted:
        name = path_of(path.level, path.number, path.width)
        yield f"tile/{name}", _there(await read_tile(tx, path), name)
        if path.level is None:
            lines = _there(await read_statements(tx, path), name)
            yield f"statements/{name.removeprefix('entries/')}", lines


def _there(body: bytes | None, name: str) -> bytes:
    if body is None:
        raise Rejected(f"tile/{name} is missing: gallra log verify says more", code="not-intact")
    return body
