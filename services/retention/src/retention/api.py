"""The retention service over HTTP: the report, deadlines, holds, purges and their certificates."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from aiokafka.errors import KafkaError
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, Template

from retention import canary_store, certificate, purge_store, report_store, store
from retention.calendar import add_months, civil_day, day_after, start_of
from retention.findings import Report, Rows, Span
from retention.paper import Proofs, as_pdf, evidence
from retention.policy import Policy
from retention.report import make
from retention.tables import as_csv, as_json, as_jsonl
from retention.workbook import as_xlsx
from shared import logs, topics
from shared.events.gallra import ReportIssued
from shared.postgres import Pool, transaction
from shared.web.access import EVERYBODY, OPEN, PERSONAL, Caller
from shared.web.problems import files
from shared.wording import Language, translator

Format = Literal["json", "jsonl", "csv", "xlsx", "pdf"]
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
    report, _ = await _make(state, start, end, as_of)
    return Template("report.html", context={"report": report, "audit_log": state.master_log.url})


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
    report, proofs = await _make(state, start, end, as_of)
    body, attached = await asyncio.to_thread(_written, report, proofs, form, lang)
    sha256 = hashlib.sha256(body).hexdigest()
    issued = ReportIssued(
        report_id=sha256,
        period_from=report.period.start,
        period_to=report.period.end,
        as_of=report.period.as_of,
        sha256=sha256,
        format=form,
        evidence=attached,
    )
    pool: Pool = state.pool
    async with transaction(pool) as tx:
        await state.outbox.announce(tx, report.made_at, [issued], ids=[sha256])
    headers = {} if form in _SHOWN else {"content-disposition": _attachment(report, form)}
    return Response(body, headers=headers, media_type=_MEDIA_TYPES[form])


def _attachment(report: Report, form: Format) -> str:
    return f'attachment; filename="retention-report-{report.period.as_of}.{form}"'


def _written(
    report: Report, proofs: Proofs, form: Format, lang: Language
) -> tuple[bytes, str | None]:
    """Return the file, and the hash of its evidence if that is part of it."""
    match form:
        case "json":
            return as_json(report), None
        case "jsonl":
            return as_jsonl(report), None
        case "csv":
            return as_csv(report), None
        case "xlsx":
            return as_xlsx(report, translator("retention", lang)), None
        case "pdf":
            attached = evidence(report, proofs)
            return as_pdf(report, attached, lang), attached.sha256


async def _make(
    state: State, start: date | None, end: date | None, as_of: date | None
) -> tuple[Report, Proofs]:
    now = state.clock.now()
    today = civil_day(now)
    days = (start or date(today.year, 1, 1), end or today, as_of or today)
    span = Span(*map(civil_day, days))
    looks = await state.master_log.looks(*span.instants)
    wider = await _wider(state.kafka, state.topic_prefix)
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        purged = await report_store.purged(tx, *span.instants)
        events = {row["closed_event"] for row in purged if row["closed_event"]}
        proofs = await state.master_log.proofs(events)
        entries = {event_id: proof["index"] for event_id, proof in proofs.items()}
        history = await state.registry.in_force.read(tx)
        report = await make(tx, history.newest, span, now, entries, looks=looks, topics=wider)
    return report, proofs


async def _wider(kafka: str, prefix: str) -> Rows | None:
    try:
        return [asdict(found) for found in await topics.wider(kafka, prefix)]
    except KafkaError:
        _log.warning("the broker cannot be asked for its topics")
        return None


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
    front, page, download, forecast, subject, holds, deadline, purges, purge, deletion_certificate,
    canaries,
]  # fmt: skip
