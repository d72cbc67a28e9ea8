"""Purges: each job, its chunks at each holder, their answers, the certificate."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, Stream, Template

from console import navigation
from console.access import deed, page
from console.backend import Backend
from console.overview import titles
from console.view import Asking, Seen, segment

_COUNTS: Final = ("erased", "anonymised", "not_found", "refused", "failed")


@page("/purges", navigation.PURGES.roles)
async def purges(
    view: Seen,
    backend: Asking,
    stands: Annotated[Literal["open", "closed"] | None, QueryParameter(name="state")] = None,
    category: FromQuery[str | None] = None,
    before: FromQuery[str | None] = None,
) -> Template:
    """Show purge jobs, newest first."""
    found, policies, freezes = await asyncio.gather(
        backend.get("retention", "/api/v1/purges", {"before": before}),
        backend.get("retention", "/api/v1/policies"),
        backend.get("retention", "/api/v1/freezes"),
    )
    jobs = found["purges"]
    return view.page(
        "purges.html",
        navigation.PURGES,
        jobs=[
            job
            for job in jobs
            if (stands is None or (job["closed_at"] is not None) == (stands == "closed"))
            and category in {None, "", job["category"]}
        ],
        older=jobs[-1]["opened_at"] if jobs else None,
        policies=policies["policies"],
        titles=titles(view, policies["policies"]),
        freezes=freezes,
    )


@page("/purges/{job_id:uuid}", navigation.PURGES.roles)
async def purge(view: Seen, backend: Asking, job_id: FromPath[UUID]) -> Template:
    """Show a job: what each holder was told, and what it answered."""
    job = await backend.get("retention", f"/api/v1/purges/{job_id}")
    policies, entry = await asyncio.gather(
        backend.get("retention", "/api/v1/policies"), _entry(backend, job["closed_event"])
    )
    return view.page(
        "purge.html",
        navigation.PURGES,
        job=job,
        holders=by_holder(job["chunks"]),
        attested=_attested(job["statement"]),
        title=titles(view, policies["policies"]).get(job["category"], job["category"]),
        entry=entry,
        counts=_COUNTS,
    )


def _attested(statement: dict[str, Any] | None) -> dict[str, Any]:
    """Return what holders attested in the end, by chunk."""
    return {a["chunk_id"]: a for a in statement["attestations"]} if statement else {}


async def _entry(backend: Backend, event_id: str | None) -> int | None:
    """Return where in the master log the decision stands that closed a job."""
    if event_id is None:
        return None
    asked = {"source": "//gallra/retention", "event_id": event_id}
    found = await backend.maybe("audit_log", "/api/v1/events", asked)
    return found and int(found["index"])


def by_holder(chunks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the chunks of each holder, with the sums over them."""
    ordered = sorted(chunks, key=lambda chunk: chunk["holder"])
    grouped = [(name, list(own)) for name, own in groupby(ordered, lambda chunk: chunk["holder"])]
    return [
        {
            "holder": name,
            "chunks": own,
            "done": sum(chunk["state"] == "done" for chunk in own),
            **{count: sum(chunk[count] for chunk in own) for count in _COUNTS},
        }
        for name, own in grouped
    ]


@page("/purges/{job_id:uuid}/certificate", navigation.PURGES.roles)
async def certificate(backend: Asking, job_id: FromPath[UUID]) -> Stream:
    """Hand on the deletion certificate of a closed job."""
    return await backend.download("retention", f"/api/v1/purges/{job_id}/certificate")


@deed("/purges/frozen/{category:str}/approval", {"approver"})
async def approve(category: FromPath[str], backend: Asking) -> Redirect:
    """Approve a purge that was stopped for its size."""
    await backend.post("retention", f"/api/v1/freezes/{segment(category)}/approval", {})
    return Redirect("/purges#frozen", status_code=303)


ROUTES: Final = [purges, purge, certificate, approve]
