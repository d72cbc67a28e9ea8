"""The audit-log over HTTP: the log for anyone to verify, and entries for people."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter

from audit_log import merkle, store
from audit_log.appender import Appender, Draft
from audit_log.leaf import Kind
from audit_log.tiles import TilePath, bundle, parse_path, tlog_proof
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction

_PAGE: Final = 100
_END: Final = 2**62
_FOREVER: Final = {"cache-control": "public, max-age=31536000, immutable"}
_SECONDS: Final = {"cache-control": "public, max-age=1"}

Index = Annotated[int, Parameter(ge=0, le=_END)]


@get("/log/checkpoint", media_type="text/plain; charset=utf-8")
async def checkpoint(state: State) -> Response[str]:
    """Return the newest signed checkpoint."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        latest = await store.latest_checkpoint(tx)
    if latest is None:
        raise NotFoundException("nothing is signed yet")
    return Response(latest[1], headers=_SECONDS, media_type="text/plain; charset=utf-8")


@get("/log/vkey", media_type="text/plain; charset=utf-8")
async def vkey(state: State) -> str:
    """Return the key that checkpoints are verified with."""
    return f"{state.verifier.vkey}\n"


@get("/log/tile/{path:path}")
async def tile(state: State, path: str) -> Response[bytes]:
    """Return a tile of hashes or a bundle of entries, whole or as it was when it was narrower."""
    wanted = parse_path(path.removeprefix("/"))
    if wanted is None:
        raise NotFoundException("not the path of a tile")
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        body = await (_bundle(tx, wanted) if wanted.level is None else _hashes(tx, wanted))
    if body is None:
        raise NotFoundException("the log does not reach that far")
    return Response(body, headers=_FOREVER, media_type="application/octet-stream")


async def _hashes(tx: Connection, wanted: TilePath) -> bytes | None:
    place = (wanted.level or 0, wanted.number)
    found = (await store.read_tiles(tx, [place])).get(place, b"")
    length = wanted.width * merkle.HASH
    return found[:length] if len(found) >= length else None


async def _bundle(tx: Connection, wanted: TilePath) -> bytes | None:
    first = wanted.number * merkle.WIDTH
    leaves = await store.leaves(tx, first, first + wanted.width)
    return bundle(leaves) if len(leaves) == wanted.width else None


@get("/api/v1/checkpoints")
async def checkpoints(state: State, below: Index = _END) -> dict[str, Any]:
    """Return signed checkpoints, newest first; continue with ``below`` the last one's size."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"checkpoints": await store.checkpoints(tx, below, _PAGE)}


@get("/api/v1/entries")
async def entries(
    state: State, customer: str | None = None, event_id: str | None = None, cursor: Index = _END
) -> dict[str, Any]:
    """Return entries by customer or event id, newest first, without their content."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await store.find(
            tx, customer=customer, event_id=event_id, below=cursor, limit=_PAGE
        )
    more = found[-1]["index"] if len(found) == _PAGE else None
    return {"entries": found, "cursor": more}


@get("/api/v1/entries/{index:int}")
async def entry(state: State, index: Index) -> dict[str, Any]:
    """Return an entry with its content, as far as it is not purged; the look itself is logged."""
    pool: Pool = state.pool
    async with transaction(pool) as tx:
        found = await store.entry(tx, index)
        if found is None:
            raise NotFoundException("there is no such entry")
        public, payload = found
        if payload is not None and payload.bucket is not None:
            await _note_access(tx, state.appender, index)
    content = None
    if payload is not None:
        content = {
            "customer_id": payload.customer_id,
            "source": payload.source,
            "event_id": payload.event_id,
            "type": payload.type,
            "at": payload.at,
            "parts": {n: _part(payload, n) for n in ("what", "who") if getattr(payload, n)},
        }
    return {
        "index": index,
        "leaf": public.leaf.hex(),
        "kind": Kind(public.leaf[3]).name.lower(),
        "content": content,
        "proof": f"/api/v1/entries/{index}/proof",
    }


def _part(payload: store.Payload, name: str) -> dict[str, Any]:
    salt: bytes = getattr(payload, f"{name}_salt")
    return {"salt": salt.hex(), "value": msgspec.json.decode(getattr(payload, name))}


async def _note_access(tx: Connection, appender: Appender, index: int) -> None:
    draft = Draft(
        kind=Kind.ACCESS,
        source="//gallra/audit-log",
        event_id=str(new_id()),
        type="audit.entry.read.v1",
        at=appender.clock.now(),
        parts={"what": {"index": index, "channel": "api"}},
    )
    await appender.append(tx, [draft])


@get("/api/v1/entries/{index:int}/proof", media_type="text/plain; charset=utf-8")
async def proof(state: State, index: Index) -> str:
    """Return the ``.tlog-proof`` of an entry against the newest checkpoint."""
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        latest = await store.latest_checkpoint(tx)
        if latest is None or index >= latest[0]:
            raise NotFoundException("no checkpoint covers that entry yet; ask again in a second")
        size, note = latest

        def prove(read: merkle.ReadTile) -> list[bytes]:
            return merkle.inclusion_proof(read, index, size)

        tiles = await store.read_tiles(tx, merkle.tiles_needed(prove))
        [leaf] = await store.leaves(tx, index, index + 1)
    hashes = prove(lambda level, number: tiles[level, number])
    return tlog_proof(leaf, index, hashes, note)


ROUTES: Final = [checkpoint, vkey, tile, checkpoints, entries, entry, proof]
