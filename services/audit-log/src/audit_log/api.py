"""Entries for people and their programs.  Whatever shows personal content is logged first."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, cast

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.exceptions import (
    ClientException,
    HTTPException,
    NotFoundException,
    ServiceUnavailableException,
)
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, JSONBody, Parameter, QueryParameter
from litestar.response import Stream

from audit_log import evidence, search, sequence, store, views
from audit_log.access import AccessNotes
from audit_log.appender import Draft, Search, own_draft, seal
from audit_log.leaf import SALT, Kind, identity, kind_of
from audit_log.log_api import TEXT
from audit_log.producers import lost as lost_by_source
from audit_log.proving import Covering, covering, prove, prove_all, receipt
from shared.errors import Rejected
from shared.postgres import Connection, Pool, transaction
from shared.web.access import EVERYBODY, OPEN, PERSONAL, Caller
from shared.web.problems import files

_PAGE: Final = 100
_STEP: Final = 2000
_MOST_EVIDENCE: Final = 1000
_MOST_PROOFS: Final = 10_000
_SOURCE_AND_IDS: Final = 2
_END: Final = 2**62
_CONFLICT: Final = 409
_ACCEPTED: Final = 202
_PARAMETERS: Final = frozenset((
    "customer", "actor", "action", "target", "outcome", "channel", "from", "to", "cursor", "format",
))  # fmt: skip

Index = Annotated[int, Parameter(ge=0, le=_END)]
Format = Literal["csv", "jsonl", "ocsf"]
Start = Annotated[datetime | None, QueryParameter(name="from")]
End = Annotated[datetime | None, QueryParameter(name="to")]
Asked = Request[Caller, object, State]


@get("/api/v1/checkpoints", roles=EVERYBODY)
async def checkpoints(state: State, below: Index = _END) -> dict[str, Any]:
    """Return signed checkpoints, newest first; continue with ``below`` the last one's size."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        rows = await store.checkpoints(tx, below, _PAGE)
    return {"checkpoints": [{n: row[n] for n in ("size", "note", "signed_at")} for row in rows]}


@get("/api/v1/entries", roles=PERSONAL)
async def entries(
    request: Asked,
    state: State,
    wanted: NamedDependency[store.Wanted],
    cursor: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Return entries that match, newest first, a hundred at a time."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found, more = await search.page(tx, wanted, cursor, _PAGE)
    await _note_access(state, request.user, "search", found)
    return {"entries": [views.summary(asdict(f)) for f in found], "cursor": more}


@get("/api/v1/events", roles=OPEN)
async def event(state: State, source: FromQuery[str], event_id: FromQuery[str]) -> dict[str, Any]:
    """Return the index of the entry that an event became."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await store.indexes_of(tx, [identity(source, event_id)])
    if not found:
        raise NotFoundException("there is no such event in the log")
    [index] = found.values()
    return {"index": index, "entry": f"/api/v1/entries/{index}"}


@post("/api/v1/proofs", status_code=200, roles=OPEN)
async def proofs(state: State, data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    """Return by event what the log says of each, and its ``.tlog-proof``.

    The body names ``source`` and up to 10,000 ``event_ids``.  All are proven under one checkpoint,
    as the log alone signed it: the first that covers all, so who asks again gets the same.  What
    is not in the log yet, or has personal content, is left out.
    """
    source, ids = data.get("source"), data.get("event_ids")
    if not isinstance(source, str) or not isinstance(ids, list) or len(data) != _SOURCE_AND_IDS:
        raise ClientException("the body names source and event_ids, and nothing else")
    named = cast("list[Any]", ids)
    if len(named) > _MOST_PROOFS or not all(isinstance(i, str) for i in named):
        raise ClientException(f"event_ids are text, and {_MOST_PROOFS:,} of them at most")
    wanted = {identity(source, event_id): cast("str", event_id) for event_id in named}
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        found = await store.indexes_of(tx, list(wanted))
        contents = await store.impersonal(tx, list(found.values()))
        events = {wanted[e]: index for e, index in found.items() if index in contents}
        under = await store.first_checkpoint_over(tx, max(events.values())) if events else None
        if under is None:
            return {"proofs": {}}
        size, note = under
        proven = await prove_all(tx, size, note, list(events.values()))
    return {
        "proofs": {
            event_id: {
                "index": index,
                "entry": {
                    "salt": contents[index][:SALT].hex(),
                    "value": json.loads(contents[index][SALT:]),
                },
                "proof": str(proven[index]),
            }
            for event_id, index in sorted(events.items())
        }
    }


@get("/api/v1/entries/{index:int}", roles=PERSONAL)
async def entry(request: Asked, state: State, index: Index) -> dict[str, Any]:
    """Return an entry with its content, as far as it is not purged."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        leaves = await store.leaves(tx, index, index + 1)
        if not leaves:
            raise NotFoundException("there is no such entry")
        payload = await store.payload(tx, index)
        whole = payload is not None and not payload.purged
        receipts = [] if whole else await store.receipts_for(tx, index)  # it reads all since
        corrections = await store.corrections_of(tx, index)
    if payload is not None and payload.bucket is not None:
        await state.access.note(pool, "entry", [index], by=request.user.subject)
    return {
        "index": index,
        "leaf": leaves[0].hex(),
        "kind": kind_of(leaves[0]).name.lower(),
        "content": None if payload is None else _content(payload),
        "purged_by": receipts,
        "corrected_by": corrections,
        "proof": f"/api/v1/entries/{index}/proof",
    }


def _content(payload: store.Payload) -> dict[str, Any]:
    row = {name: payload.parts.get(name) for name in ("who", "what", "network")}
    told = views.values(row)
    what = told.get("what", {})
    return {
        "customer_id": payload.customer_id,
        "source": what.get("source"),
        "event_id": what.get("id"),
        "type": what.get("type"),
        "at": payload.at,
        "parts": {
            name: {"salt": part[:16].hex(), "value": told[name]}
            for name, part in payload.parts.items()
        },
        "purged": {name: digest.hex() for name, digest in payload.purged.items()},
    }


@get("/api/v1/entries/{index:int}/proof", media_type=TEXT, roles=OPEN)
async def proof(state: State, index: Index) -> str:
    """Return the ``.tlog-proof`` of an entry against the newest checkpoint with its quorum."""
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        under = await covering(tx, state.quorum, index)
        if under is None:
            raise NotFoundException("no checkpoint covers that entry yet; ask again in a second")
        return str(await prove(tx, under, index))


@post("/api/v1/entries/{index:int}/corrections", roles={"compliance", "dpo"})
async def correct(
    request: Asked, state: State, index: Index, data: JSONBody[dict[str, str]]
) -> dict[str, Any]:
    """Add a correction to an entry: the log itself is never changed (GDPR article 16).

    The body names ``note``, what is right, and ``by``, the account of the person who says so,
    unless a token tells that.
    """
    data = {"by": request.user.subject or "", **data}
    if set(data) != {"note", "by"} or not all(data.values()):
        raise ClientException("the body names note and by, and nothing else")
    for name, longest in (("by", 200), ("note", 4000)):
        if "\0" in data[name] or len(data[name]) > longest:
            problem = f"{name} holds a NUL or more than {longest} characters"
            raise Rejected(problem, code="bad-correction")
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        corrected = await store.payload(tx, index)
    if corrected is None or corrected.bucket is None:
        raise NotFoundException("there is no such entry with personal content")
    now = state.appender.clock.now()
    by = request.user.acting(data["by"])
    draft = correction(index, corrected.customer_id, data["note"], by, now)
    async with transaction(pool) as tx:
        added = await state.appender.append(tx, [seal(draft)])
    return {"index": added}


def correction(index: int, customer_id: str | None, note: str, by: str, now: datetime) -> Draft:
    """Return the draft of a correction to the entry at *index*."""
    return own_draft(
        Kind.CORRECTION,
        "audit.correction.v1",
        now,
        {"corrects": index, "customer_id": customer_id, "note": note},
        who={"by": by},
        found_by=Search("audit.correction.v1", actor=by, target=f"entry/{index}"),
        customer_id=customer_id,
        category="logs.action",
    )


@get(
    "/api/v1/exports",
    roles=PERSONAL,
    responses=files("text/csv", "application/jsonl"),
)
async def export(
    request: Asked,
    state: State,
    wanted: NamedDependency[store.Wanted],
    form: Annotated[Format, QueryParameter(name="format")],
) -> Stream:
    """Return everything that matches, newest first; ``x-total-count`` says how much that is."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        total = await store.count(tx, wanted)
    types = {"csv": "text/csv", "jsonl": "application/jsonl"}
    return Stream(
        _exported(state, request.user, wanted, form),
        headers={
            "x-total-count": str(total),
            "content-disposition": f'attachment; filename="log.{form}"',
        },
        media_type=types.get(form, "application/jsonl"),
    )


async def _exported(
    state: State, caller: Caller, wanted: NamedDependency[store.Wanted], form: Format
) -> AsyncIterator[bytes]:
    """Yield page after page; a reader that is slow keeps no connection to the database."""
    pool: Pool = state.pool
    cursor: FromQuery[str | None] = None
    head = True
    while head or cursor is not None:
        async with pool.acquire() as tx:
            found, cursor = await search.page(tx, wanted, cursor, _STEP)
            indexes = [f.index for f in found]
            leaves = await store.leaves_at(tx, indexes) if form == "ocsf" else {}
        await _note_access(state, caller, "export", found)
        rows = [asdict(f) for f in found]
        match form:
            case "csv":
                yield views.as_csv(rows, head=head)
            case "jsonl":
                yield views.as_jsonl(rows)
            case "ocsf":
                yield views.as_ocsf(rows, leaves, state.verifiers[0].name)
        head = False


@get("/api/v1/evidence", media_type="application/zip", roles=PERSONAL)
async def package(
    request: Asked, state: State, wanted: NamedDependency[store.Wanted]
) -> Response[bytes]:
    """Return what the log says about one question, with everything that proves it offline."""
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        found, more = await search.page(tx, wanted, None, _MOST_EVIDENCE)
        if more is not None or not found:
            problem = f"more than {_MOST_EVIDENCE}" if found else "no"
            raise ClientException(f"{problem} entries match: ask for fewer, or for others")
        made = await _package(state, tx, [f.index for f in found])
    await _note_access(state, request.user, "evidence", found)
    return made


@get("/api/v1/entries/{index:int}/evidence", media_type="application/zip", roles=PERSONAL)
async def entry_package(request: Asked, state: State, index: Index) -> Response[bytes]:
    """Return one entry with everything that proves it offline."""
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        payload = await store.payload(tx, index)
        if payload is None:
            raise NotFoundException("there is no such entry with content")
        made = await _package(state, tx, [index])
    if payload.bucket is not None:
        await state.access.note(pool, "evidence", [index], by=request.user.subject)
    return made


async def _package(state: State, tx: Connection, indexes: Sequence[int]) -> Response[bytes]:
    under = await covering(tx, state.quorum, max(indexes))
    if under is None or not under.enough:
        missing = "checkpoint covers" if under is None else "quorum of witnesses has signed"
        text = f"no {missing} all of these entries yet; ask again in a while"
        raise ServiceUnavailableException(text)
    listed = [entry for index in indexes if (entry := await _evidence(tx, under, index))]
    made = evidence.build(listed, under.note, state.policy, state.signer)
    headers = {"content-disposition": 'attachment; filename="evidence.zip"'}
    return Response(made, headers=headers, media_type="application/zip")


async def _evidence(tx: Connection, under: Covering, index: int) -> evidence.Entry | None:
    payload = await store.payload(tx, index)
    if payload is None:
        return None
    return evidence.Entry(await prove(tx, under, index), payload.parts, payload.purged)


@get("/api/v1/producers", roles=EVERYBODY)
async def producers(state: State) -> dict[str, Any]:
    """Return what is known of each producer that numbers its events, and what of it is missing."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        rows = await store.producers(tx)
        lost = await lost_by_source(tx)
    return {
        "complete": not lost,
        "producers": [
            {
                **row,
                "missing": sequence.named(row["missing"]),
                "lost": lost.get(row["source"], ""),
            }
            for row in rows
        ],
    }


@post(
    "/api/v1/actions",
    media_type=TEXT,
    status_code=200,
    roles={"producer"},
    own_key=True,  # an event has an id of its own
    responses={_ACCEPTED: ResponseSpec(str, description="The proof comes later", media_type=TEXT)},
)
async def ingest(request: Asked, state: State) -> Response[str]:
    """Log an action (a CloudEvent, binary or structured mode); answer with its ``.tlog-proof``.

    202 with the address of the proof, if the next checkpoint takes unusually long.
    """
    pool: Pool = state.pool
    try:
        index = await state.ingest.take(pool, request.headers.items(), await request.body())
    except Rejected as error:
        if error.code == "conflict":
            raise HTTPException(str(error), status_code=_CONFLICT) from None
        raise
    path = f"/api/v1/entries/{index}/proof"
    found = await receipt(pool, state.quorum, index)
    if found is None:
        return Response("", status_code=_ACCEPTED, headers={"location": path}, media_type=TEXT)
    return Response(str(found), headers={"location": path}, media_type=TEXT)


async def _note_access(
    state: State, caller: Caller, purpose: str, found: list[store.Found]
) -> None:
    access: AccessNotes = state.access
    if personal := [f.index for f in found if f.bucket is not None]:
        await access.note(state.pool, purpose, personal, by=caller.subject)


def wanted(  # noqa: PLR0917, PLR0913 - one for each way to search
    request: Asked,
    customer: FromQuery[str | None] = None,
    actor: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    target: FromQuery[str | None] = None,
    outcome: FromQuery[str | None] = None,
    channel: FromQuery[str | None] = None,
    start: Start = None,
    end: End = None,
) -> store.Wanted:
    """Return what the parameters of a request search for.

    One that is unknown is refused: a misspelt filter would show what nobody asked for.
    """
    if unknown := sorted(set(request.query_params) - _PARAMETERS):
        names = ", ".join(sorted(_PARAMETERS))
        raise Rejected(f"{', '.join(unknown)}: not one of {names}", code="unknown-parameter")
    if any("\0" in value for value in request.query_params.values()):
        raise Rejected("no parameter may hold a NUL", code="bad-parameter")
    for name, instant in (("from", start), ("to", end)):
        if instant is not None and instant.tzinfo is None:
            raise Rejected(f"{name} has no offset from UTC: end it in Z", code="bad-time")
        try:
            _ = instant and instant.astimezone(UTC)
        except OverflowError:
            raise Rejected(f"{name} is out of range", code="bad-time") from None
    return store.Wanted(customer, actor, action, target, outcome, channel, start, end)


ROUTES: Final = [
    checkpoints, entries, event, proofs, entry, entry_package, proof, correct, export, package,
    producers, ingest,
]  # fmt: skip
