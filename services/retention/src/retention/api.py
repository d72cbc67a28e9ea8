"""The retention service over HTTP: the report, deadlines, holds, purges and their certificates."""

import asyncio
import json
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

import httpx
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, Template

from retention import canary_store, certificate, purge_store, report_store, store
from retention.calendar import add_months, civil_day, day_after, start_of
from retention.policy import Policy
from retention.report import Report, Span, as_csv, as_json, make
from shared import logs
from shared.canonical import digest
from shared.events.gallra import ReportIssued
from shared.ids import new_id
from shared.postgres import Pool, transaction
from shared.web.access import EVERYBODY, OPEN, PERSONAL, Caller
from shared.wording import Language, translator

_NOT_FOUND: Final = 404
_PAGE: Final = 100
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
SOURCE: Final = "//gallra/retention"
"""The ``ce_source`` of this service's events."""

_log = logs.get(__name__)


@get("/", include_in_schema=False, roles=OPEN)
async def front() -> Redirect:
    """Lead to the report."""
    return Redirect("/report")


@get("/report", include_in_schema=False, roles=EVERYBODY)
async def page(
    state: State,
    start: Annotated[date | None, QueryParameter(name="from")] = None,
    end: Annotated[date | None, QueryParameter(name="to")] = None,
    as_of: FromQuery[date | None] = None,
) -> Template:
    """Show the report."""
    report = await _make(state, start, end, as_of)
    return Template("report.html", context={"report": report, "audit_log": state.audit_log_url})


@get("/api/v1/report", roles=EVERYBODY)
async def download(
    state: State,
    start: Annotated[date | None, QueryParameter(name="from")] = None,
    end: Annotated[date | None, QueryParameter(name="to")] = None,
    as_of: FromQuery[date | None] = None,
    form: Annotated[Literal["json", "csv"], QueryParameter(name="format")] = "json",
) -> Response[str]:
    """Return the report; that it was issued goes into the master log."""
    report = await _make(state, start, end, as_of)
    body = as_csv(report) if form == "csv" else as_json(report)
    pool: Pool = state.pool
    async with transaction(pool) as tx:
        issued = ReportIssued(
            report_id=str(new_id()),
            period_from=report.period.start,
            period_to=report.period.end,
            as_of=report.period.as_of,
            sha256=digest(body.encode()).hex(),
        )
        await state.outbox.announce(tx, report.made_at, [issued])
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/json"
    return Response(body, media_type=kind)


async def _make(state: State, start: date | None, end: date | None, as_of: date | None) -> Report:
    now = state.clock.now()
    today = civil_day(now)
    span = Span(start or date(today.year, 1, 1), end or today, as_of or today)
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        first, last = start_of(span.start), start_of(day_after(span.end))
        purged = await report_store.purged(tx, first, last)
        events = {row["closed_event"] for row in purged if row["closed_event"]}
        entries = await _entries(state.audit_log_url, events)
        history = await state.registry.in_force.read(tx)
        return await make(tx, history.newest, span, now, entries)


async def _entries(audit_log_url: str, events: Collection[str]) -> dict[str, int]:
    """Return where in the master log *events* are; none of them while it cannot be asked."""
    async with httpx.AsyncClient(base_url=audit_log_url, timeout=5) as client:

        async def find(event_id: str) -> tuple[str, int] | None:
            params = {"source": SOURCE, "event_id": event_id}
            answer = await client.get("/api/v1/events", params=params)
            if answer.status_code == _NOT_FOUND:
                return None
            index: int = answer.raise_for_status().json()["index"]
            return event_id, index

        try:
            found = await asyncio.gather(*(find(event_id) for event_id in events))
        except httpx.HTTPError:
            _log.warning("the audit-log cannot be asked for entries")
            return {}
    return dict(pair for pair in found if pair is not None)


@get("/api/v1/holds", roles=EVERYBODY)
async def holds(state: State) -> dict[str, Any]:
    """Return all legal holds, newest first."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"holds": await store.holds(tx)}


@get("/api/v1/forecast", roles=EVERYBODY)
async def forecast(
    state: State,
    start: Annotated[date | None, QueryParameter(name="from")] = None,
    end: Annotated[date | None, QueryParameter(name="to")] = None,
) -> dict[str, Any]:
    """Return how many records of each category may be purged in each month, as known now.

    Both days belong to the time asked for: by default the ten years from today.
    """
    first = start or civil_day(state.clock.now())
    last = end or add_months(first, 120)
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await report_store.forecast(tx, start_of(first), start_of(day_after(last)))
    return {"from": first, "to": last, "purges": found}


@get("/api/v1/subjects/{token:str}", roles=PERSONAL)
async def subject(
    request: Request[Caller, Any, State], state: State, token: FromPath[str]
) -> dict[str, Any]:
    """Return the records that tell of a person, with what decides a request about each.

    That is until when it is kept and on what basis, and what the policy answers to each right.
    """
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        history = await state.registry.in_force.read(tx)
        found = await report_store.held_about(tx, token, state.clock.now())
    await state.looks.note(pool, request.user, "subject", len(found))
    policies = {category: history.newest[category] for category in {r["category"] for r in found}}
    return {
        "records": found,
        "categories": {
            category: {"legal_basis": policy.legal_basis, "rights": policy.rights}
            for category, policy in sorted(policies.items())
        },
    }


@get("/api/v1/deadlines/{ref:path}", roles=EVERYBODY)
async def deadline(
    state: State,
    ref: FromPath[str],
    as_of: FromQuery[date | None] = None,
    lang: FromQuery[Language] = "en",
) -> dict[str, Any]:
    """Return until when a record is kept, and each step that leads there.

    The record is named as on the bus: ``holder/category/record_id``.
    """
    parts = ref.removeprefix("/").split("/", 2)
    if len(parts) < len(("holder", "category", "record_id")):
        raise NotFoundException("a record is named holder/category/record_id")
    holder, category, record_id = parts
    day = as_of or civil_day(state.clock.now())
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        await state.registry.in_force.read(tx)
        record, found = await state.registry.explain(tx, (holder, category, record_id), day)
    translate = translator("retention", lang)
    return {
        "record": "/".join(record.ref),
        "entity": record.entity,
        "customer_id": record.customer_id,
        "policy_version": cast("Policy", found.decided_by).version,
        "status": found.status,
        "keep_through": found.keep_through,
        "purge_from": found.purge_from,
        "must_purge_by": found.must_purge_by,
        "statutory": found.statutory,
        "provisional": found.provisional,
        "missing": found.missing and found.missing.said(translate),
        "steps": [step.told(translate) for step in found.steps],
    }


@get("/api/v1/purges", roles=EVERYBODY)
async def purges(state: State, before: FromQuery[datetime | None] = None) -> dict[str, Any]:
    """Return purge jobs, newest first, a hundred at a time.

    Continue with ``before`` the last one's ``opened_at``.
    """
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await purge_store.jobs(tx, before or _NEVER, _PAGE)
    return {"purges": found}


@get("/api/v1/purges/{job_id:uuid}", roles=EVERYBODY)
async def purge(state: State, job_id: FromPath[UUID]) -> dict[str, Any]:
    """Return a purge job and how far each of its chunks has come."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await purge_store.job(tx, job_id)
        if found is None:
            raise NotFoundException("there is no such purge job")
        chunks = await purge_store.chunks_of(tx, job_id)
    statement = found.pop("statement")
    return {**found, "statement": statement and json.loads(statement), "chunks": chunks}


@get("/api/v1/purges/{job_id:uuid}/certificate", media_type="application/json", roles=EVERYBODY)
async def deletion_certificate(state: State, job_id: FromPath[UUID]) -> Response[bytes]:
    """Return the deletion certificate of a closed job."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await purge_store.job(tx, job_id)
    if found is None or found["statement"] is None:
        raise NotFoundException("no such purge job is closed: a holder has not answered yet")
    entry, proof = await _proven(state.audit_log_url, found["closed_event"])
    made = certificate.build(json.loads(found["statement"]), entry, proof)
    headers = {"content-disposition": f'attachment; filename="certificate-{job_id}.json"'}
    return Response(made, headers=headers, media_type="application/json")


async def _proven(audit_log_url: str, event_id: str) -> tuple[Mapping[str, Any], str]:
    """Return what the master log says of a decision, and the proof that it does."""
    async with httpx.AsyncClient(base_url=audit_log_url, timeout=5) as client:
        try:
            params = {"source": SOURCE, "event_id": event_id}
            event = (await client.get("/api/v1/events", params=params)).raise_for_status().json()
            entry = (await client.get(event["entry"])).raise_for_status().json()
            proof = (await client.get(f"{event['entry']}/proof")).raise_for_status().text
        except httpx.HTTPError:
            text = "the master log cannot be asked for the proof yet; ask again in a while"
            raise ServiceUnavailableException(text) from None
    return entry["content"]["parts"]["what"], proof


@get("/api/v1/canaries", roles=EVERYBODY)
async def canaries(state: State) -> dict[str, Any]:
    """Return the newest canary of each holder and category, and how long it was due till erased."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"canaries": await canary_store.newest(tx)}


ROUTES: Final = [
    front, page, download, forecast, subject, holds, deadline, purges, purge, deletion_certificate,
    canaries,
]  # fmt: skip
