"""The log over HTTP as anyone may read it: C2SP tlog-tiles, and what is public of its content."""

from functools import partial
from typing import Final

from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from audit_log import merkle, store
from audit_log.leaf import PUBLIC, SALT, kind_of
from audit_log.tiles import TilePath, bundle, parse_path
from shared.canonical import canonical, digest
from shared.postgres import Connection, Pool
from shared.web.access import OPEN

TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_FOREVER: Final = "public, max-age=31536000, immutable"
_SECONDS: Final = "public, max-age=1"

Asked = Request[object, object, State]
_reading = partial(route, http_method=[HttpMethod.GET, HttpMethod.HEAD], roles=OPEN)


def _answer(request: Asked, body: bytes, media_type: str, caching: str) -> Response[bytes]:
    """Return *body*, or that it is what the client has (RFC 9110, section 13)."""
    tag = f'"{digest(body).hex()[:32]}"'
    headers = {"cache-control": caching, "etag": tag}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in [given.strip().removeprefix("W/") for given in known.split(",")]:
        return Response(b"", status_code=304, headers=headers, media_type=media_type)
    return Response(body, headers=headers, media_type=media_type)


@_reading("/log/checkpoint", media_type=TEXT)
async def checkpoint(request: Asked, state: State) -> Response[bytes]:
    """Return the newest signed checkpoint, with the cosignatures that witnesses gave so far."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        latest = await store.latest_checkpoint(tx)
        if latest is None:
            raise NotFoundException("nothing is signed yet")
        note = await store.cosigned(tx, latest[0])
    return _answer(request, note.encode(), TEXT, _SECONDS)


@_reading("/log/vkey", media_type=TEXT)
async def vkey(request: Asked, state: State) -> Response[bytes]:
    """Return the keys that checkpoints are verified with, the present one first."""
    keys = "".join(f"{verifier.vkey}\n" for verifier in state.verifiers)
    return _answer(request, keys.encode(), TEXT, _SECONDS)


@_reading("/log/policy", media_type=TEXT)
async def policy(request: Asked, state: State) -> Response[bytes]:
    """Return whose signatures a checkpoint needs (C2SP tlog-policy)."""
    text: str = state.policy
    return _answer(request, text.encode(), TEXT, _SECONDS)


@_reading("/log/tile/{path:path}")
async def tile(request: Asked, state: State, path: FromPath[str]) -> Response[bytes]:
    """Return a tile of hashes or a bundle of entries, whole or as it was when it was narrower."""
    wanted = parse_path(path.removeprefix("/"))
    if wanted is None:
        raise NotFoundException("not the path of a tile")
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        body = await read_tile(tx, wanted)
    if body is None:
        raise NotFoundException("the log does not reach that far")
    return _answer(request, body, _BYTES, _FOREVER)


@_reading("/log/statements/{path:path}", media_type="application/jsonl")
async def statements(request: Asked, state: State, path: FromPath[str]) -> Response[bytes]:
    """Return the public content among the entries of a bundle: receipts, policies, key events.

    A JSON line for each, with the salt by which it opens to its leaf.
    """
    wanted = parse_path(f"entries/{path.removeprefix('/')}")
    if wanted is None:
        raise NotFoundException("not the path of a bundle")
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        body = await read_statements(tx, wanted)
    if body is None:
        raise NotFoundException("the log does not reach that far")
    return _answer(request, body, "application/jsonl", _FOREVER)


async def read_tile(tx: Connection, wanted: TilePath) -> bytes | None:
    """Return the bytes of a tile or bundle; None where the log does not reach that far."""
    if wanted.level is None:
        leaves = await _leaves(tx, wanted)
        return None if leaves is None else bundle(leaves)
    place = (wanted.level, wanted.number)
    found = (await store.read_tiles(tx, [place])).get(place, b"")
    length = wanted.width * merkle.HASH
    return found[:length] if len(found) >= length else None


async def read_statements(tx: Connection, wanted: TilePath) -> bytes | None:
    """Return the public content in a bundle; None where the log does not reach that far."""
    leaves = await _leaves(tx, wanted)
    if leaves is None:
        return None
    first = wanted.number * merkle.WIDTH
    public = [index for index, leaf in enumerate(leaves, first) if kind_of(leaf) in PUBLIC]
    found = await store.statements(tx, public)
    lines = [
        b'{"index":%d,"salt":%s,"value":%s}\n' % (i, canonical(w[:SALT].hex()), w[SALT:])
        for i, w in found
    ]
    return b"".join(lines)


async def _leaves(tx: Connection, wanted: TilePath) -> list[bytes] | None:
    first = wanted.number * merkle.WIDTH
    leaves = await store.leaves(tx, first, first + wanted.width)
    return leaves if len(leaves) == wanted.width else None


ROUTES: Final = [checkpoint, vkey, policy, tile, statements]
