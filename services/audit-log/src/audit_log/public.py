"""Reads and verifies a log as a stranger does: from its public files alone."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import obstore
from obstore.store import from_url

from audit_log import merkle
from audit_log.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit_log.conformity import Version, leaf_day
from audit_log.leaf import PUBLIC, SIZE, Kind, commitment, part_digest
from audit_log.merkle import WIDTH
from audit_log.receipt import Receipt
from audit_log.tiles import TilePath, path_of
from shared.errors import Rejected

_NOT_FOUND: Final = 404
_ENTRY: Final = 2 + SIZE  # in a bundle each leaf comes after its length

Fetch = Callable[[str], Awaitable[bytes | None]]
"""Returns a file of the log by its path below the log's address; None if there is none."""


class Progress(Protocol):
    """Is told how far it came."""

    def __call__(self, done: int, of: int, /) -> None:
        """Take note that *done* of *of* entries were read."""
        ...


def over_http(client: httpx.AsyncClient) -> Fetch:
    """Return a way to read the log that *client* has the address of."""

    async def fetch(path: str) -> bytes | None:
        answer = await client.get(path)
        if answer.status_code == _NOT_FOUND:
            return None
        return answer.raise_for_status().content

    return fetch


def open_store(url: str) -> Any:
    """Return the files at *url*, in a folder (``file://``) or an object store (``s3://``).

    Credentials, region and endpoint of a store come from ``AWS_*`` variables.
    """
    if url.startswith("file://"):
        return from_url(url, mkdir=True)
    return from_url(url, client_options={"allow_http": True})  # what is read is verified anyway


def from_store(url: str) -> Fetch:
    """Return a way to read a mirror of static files (``file://``, ``s3://``)."""
    files = open_store(url)

    async def fetch(path: str) -> bytes | None:
        return await read_file(files, path)

    return fetch


async def read_file(files: Any, path: str) -> bytes | None:
    """Return the file at *path* of an open store; None if there is none.

    In a thread of ours, not by obstore's coroutines: those end in a thread of their own, which
    crashes the interpreter if it is just coming down (PyO3/pyo3-async-runtimes issue 40).
    """
    return await asyncio.to_thread(_read_file, files, path)


def _read_file(files: Any, path: str) -> bytes | None:
    try:
        return bytes(obstore.get(files, path).bytes())
    except FileNotFoundError:
        return None


async def write_file(files: Any, path: str, body: bytes) -> None:
    """Write *body* to the file at *path* of an open store, in a thread as ``read_file`` does."""
    await asyncio.to_thread(obstore.put, files, path, body)


@dataclass(frozen=True, slots=True)
class PublicLog:
    """A log whose leaves were seen to hash to its signed checkpoint.

    Attributes:
        statements: Kind and content of the public entries, by index.
    """

    checkpoint: Checkpoint
    leaves: Sequence[bytes]
    statements: dict[int, tuple[Kind, dict[str, Any]]]

    def receipts(self) -> list[tuple[int, Receipt]]:
        """Return the purge receipts, in order."""
        return [
            (index, Receipt.read(content))
            for index, (kind, content) in sorted(self.statements.items())
            if kind is Kind.PURGE_RECEIPT
        ]

    def policies(self) -> dict[int, list[Version]]:
        """Return the versions of the policy of each class that tell how long entries are kept."""
        found: dict[int, list[Version]] = {}
        for index, (kind, content) in sorted(self.statements.items()):
            told = content.get("data", {})
            if kind is not Kind.POLICY_VERSION:
                continue
            version = Version.of(told, leaf_day(self.leaves[index]))
            if version is not None:
                found.setdefault(told["log_class"], []).append(version)
        return {of: sorted(told, key=lambda version: version.number) for of, told in found.items()}


async def read(
    fetch: Fetch,
    keys: Sequence[Verifier],
    *,
    statements: bool = True,
    progress: Progress = lambda _done, _of: None,
) -> PublicLog:
    """Return the whole log, verified.

    Raises:
        Rejected: a file is missing or is not what was signed; the text names it.
    """
    note = await _file(fetch, "checkpoint")
    checkpoint = open_checkpoint(note.decode(errors="replace"), *keys)
    leaves: list[bytes] = []
    found: dict[int, tuple[Kind, dict[str, Any]]] = {}
    tiles: dict[merkle.Tile, bytes] = {}
    for number in range(-(-checkpoint.size // WIDTH)):
        width = min(WIDTH, checkpoint.size - number * WIDTH)
        path = path_of(None, number, width)
        fresh = _leaves(await _file(fetch, f"tile/{path}"), width, path)
        first = len(leaves)
        tiles |= merkle.grow(first, tiles, [merkle.leaf_hash(leaf) for leaf in fresh])
        tiles = {tile: tiles[tile] for tile in merkle.edge(first + width)}
        leaves += fresh
        if statements:
            body = await _file(fetch, f"statements/{path.removeprefix('entries/')}")
            found |= _statements(body, leaves)
            for index, leaf in enumerate(fresh, first):
                if leaf[3] in PUBLIC and index not in found:
                    raise Rejected(f"statement {index} is missing", code="not-intact")
        progress(len(leaves), checkpoint.size)
    if merkle.root(checkpoint.size, tiles) != checkpoint.root:
        raise Rejected("the leaves do not hash to the signed root", code="not-intact")
    return PublicLog(checkpoint, leaves, found)


async def _file(fetch: Fetch, path: str) -> bytes:
    body = await fetch(path)
    if body is None:
        raise Rejected(f"{path} is missing", code="not-intact")
    return body


def _leaves(body: bytes, width: int, path: str) -> list[bytes]:
    listed = [body[i : i + _ENTRY] for i in range(0, len(body), _ENTRY)]
    sized = SIZE.to_bytes(2, "big")
    if len(body) != width * _ENTRY or not all(entry.startswith(sized) for entry in listed):
        raise Rejected(f"tile/{path} is not a bundle of ours", code="not-intact")
    return [entry[2:] for entry in listed]


def _statements(body: bytes, leaves: Sequence[bytes]) -> dict[int, tuple[Kind, dict[str, Any]]]:
    found: dict[int, tuple[Kind, dict[str, Any]]] = {}
    for line in body.splitlines():
        try:
            statement = json.loads(line)
            index: int = statement["index"]
            value = line[line.index(b'"value":') + len(b'"value":') : -1]
            part = bytes.fromhex(statement["salt"]) + value
            leaf: bytes = leaves[index]
        except (ValueError, KeyError, IndexError, TypeError):
            raise Rejected("a statement is malformed", code="not-intact") from None
        if commitment({"what": part_digest("what", part)}) != leaf[32:]:
            raise Rejected(f"statement {index} does not match its leaf", code="not-intact")
        found[index] = Kind(leaf[3]), statement["value"]
    return found


async def check_tiles(fetch: Fetch, log: PublicLog) -> None:
    """Check that every tile of hashes that is served is the one that the leaves make.

    Raises:
        Rejected: one is not.
    """
    tiles = merkle.grow(0, {}, [merkle.leaf_hash(leaf) for leaf in log.leaves])
    for (level, number), expected in tiles.items():
        wanted = TilePath(level, number, len(expected) // merkle.HASH)
        path = f"tile/{path_of(wanted.level, wanted.number, wanted.width)}"
        if await fetch(path) != expected:
            raise Rejected(f"{path} is not the tile of these leaves", code="not-intact")
