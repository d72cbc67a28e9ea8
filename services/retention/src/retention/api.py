"""The retention service over HTTP: the report, deadlines, holds, purges and their certificates."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, cast
from uuid import UUID

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, QueryParameter

from retention import (
    canary_store,
    certificate,
    purge_store,
    report_store,
    scheduled_store,
    store,
)
from retention.calendar import add_months, civil_day, day_after, start_of
from retention.findings import Span
from retention.issuing import Format, Reports
from retention.policy import Policy
from shared.postgres import Pool, transaction
from shared.web.access import EVERYBODY, PERSONAL, Caller
from shared.web.problems import files
from shared.wording import Language, translator

_MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "json": "application/json",
    "jsonl": "application/jsonl",
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
_SHOWN: Final = ("json", "csv")  # by who asks, not kept as a file
_PAGE: Final = 100
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@get("/api/v1/report", roles=EVERYBODY, responses=files(*_MEDIA_TYPES.values()))
async def download(
    state: State,
    start: Annotated[date | None, QueryParameter(name="from")] = None,
    end: Annotated[date | None, QueryParameter(name="to")] = None,
    as_of: FromQuery[date | None] = None,
    form: Annotated[Format, QueryParameter(name="format")] = "json",
    lang: FromQuery[Language] = "en",
) -> Response[bytes]:
    """Return the report; that it was issued goes into the master log.

    The same findings give the same bytes, and these one entry, however often they are asked for.
    """
    reports: Reports = state.reports
    pool: Pool = state.pool
    today = civil_day(state.clock.now())
    days = (start or date(today.year, 1, 1), end or today, as_of or today)
    file = await reports.write(pool, Span(*map(civil_day, days)), form, lang)
    async with transaction(pool) as tx:
        await reports.announce(tx, file)
    name = f"retention-report-{file.report.period.as_of}.{form}"
    headers = {} if form in _SHOWN else _attached(name)
    return Response(file.body, headers=headers, media_type=_MEDIA_TYPES[form])


@get("/api/v1/month-reports", roles=EVERYBODY)
async def month_reports(state: State) -> dict[str, Any]:
    """Return the months whose report was issued when they were over, newest first."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"reports": await scheduled_store.months(tx)}


@get(
    "/api/v1/month-reports/{month:str}",
    roles=EVERYBODY,
    media_type=_MEDIA_TYPES["pdf"],
    responses=files(_MEDIA_TYPES["pdf"]),
)
async def month_report(state: State, month: FromPath[str]) -> Response[bytes]:
    """Return the report of a month, such as ``2026-10``, as it was issued."""
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError:
        raise NotFoundException("a month is written as 2026-10") from None
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        body = await scheduled_store.file(tx, first)
    if body is None:
        raise NotFoundException("no report of that month was issued")
    return Response(
        body,
        headers=_attached(f"retention-report-{first:%Y-%m}.pdf"),
        media_type=_MEDIA_TYPES["pdf"],
    )


def _attached(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


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
    first = civil_day(start or state.clock.now())
    last = civil_day(end) if end else add_months(first, 120)
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
    day = civil_day(as_of or state.clock.now())
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
    entry, proof = await state.master_log.proven(found["closed_event"])
    made = certificate.build(json.loads(found["statement"]), entry, proof)
    headers = {"content-disposition": f'attachment; filename="certificate-{job_id}.json"'}
    return Response(made, headers=headers, media_type="application/json")


@get("/api/v1/canaries", roles=EVERYBODY)
async def canaries(state: State) -> dict[str, Any]:
    """Return the newest canary of each holder and category, and how long it was due till erased."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"canaries": await canary_store.newest(tx)}


ROUTES: Final = [
    download, month_reports, month_report, forecast, subject, holds, deadline, purges, purge,
    deletion_certificate, canaries,
]  # fmt: skip
