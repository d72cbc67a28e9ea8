"""The master log: searched, read entry by entry, proven in the reader's own browser."""

import asyncio
from typing import Annotated, Any, Final, Literal

from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, Parameter, QueryParameter
from litestar.response import Response, Stream, Template

from console import navigation, searching
from console.access import Asked, page
from console.backend import Backend
from console.view import Asking, Seen

_END: Final = 2**62

Index = Annotated[int, Parameter(ge=0, le=_END)]
Form = Annotated[Literal["csv", "jsonl", "ocsf"], QueryParameter(name="format")]


@page("/log", navigation.LOG.roles)
async def search(
    request: Asked,
    view: Seen,
    backend: Asking,
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Template:
    """Show the entries that a search finds, newest first."""
    asked = searching.understand(q, view.now, view.tzinfo)
    found, problem = None, ""
    if not asked.strange:
        try:
            params = {**asked.params, "cursor": cursor}
            found = await backend.get("audit_log", "/api/v1/entries", params)
        except HTTPException as error:
            problem = error.detail
    part = request.headers.get("hx-target") == "found"
    return view.page(
        "found.html" if part else "log.html",
        navigation.LOG,
        q=q,
        asked=asked,
        found=found,
        problem=problem,
        fields=searching.FIELDS,
    )


@page("/log/exports", navigation.LOG.roles)
async def export(view: Seen, backend: Asking, form: Form, q: FromQuery[str] = "") -> Stream:
    """Hand on everything that a search finds."""
    asked = searching.understand(q, view.now, view.tzinfo)
    return await backend.download("audit_log", "/api/v1/exports", {**asked.params, "format": form})


@page("/log/{index:int}", navigation.LOG.roles)
async def entry(view: Seen, backend: Asking, index: FromPath[Index]) -> Template:
    """Show an entry and its proof, which the reader's browser verifies."""
    found = await backend.get("audit_log", f"/api/v1/entries/{index}")
    proof, vkeys = await asyncio.gather(
        _proof(backend, index), backend.text("audit_log", "/log/vkey")
    )
    return view.page(
        "entry.html",
        navigation.LOG,
        entry=found,
        proof=proof,
        vkeys=vkeys.splitlines(),
        opening=_opening(found),
    )


async def _proof(backend: Backend, index: int) -> str | None:
    try:
        return await backend.text("audit_log", f"/api/v1/entries/{index}/proof")
    except HTTPException:
        return None


def _opening(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the commitment in a leaf is made of: content with salts, and digests."""
    content: dict[str, Any] = found["content"] or {}
    return {"parts": content.get("parts", {}), "purged": content.get("purged", {})}


@page("/log/{index:int}/proof", navigation.LOG.roles)
async def proof(backend: Asking, index: FromPath[Index]) -> Response[str]:
    """Hand on the ``.tlog-proof`` of an entry."""
    headers = {"content-disposition": f'attachment; filename="entry-{index}.tlog-proof"'}
    text = await backend.text("audit_log", f"/api/v1/entries/{index}/proof")
    return Response(text, headers=headers, media_type="text/plain; charset=utf-8")


@page("/log/{index:int}/evidence", navigation.LOG.roles)
async def evidence(backend: Asking, index: FromPath[Index]) -> Stream:
    """Hand on an entry with everything that proves it offline."""
    return await backend.download("audit_log", f"/api/v1/entries/{index}/evidence")


@page("/log/checkpoints", navigation.CHECKPOINTS.roles)
async def checkpoints(view: Seen, backend: Asking, below: FromQuery[int | None] = None) -> Template:
    """Show what the log has signed, and what is known of its being whole."""
    history, producers, newest, vkeys, policy = await asyncio.gather(
        backend.get("audit_log", "/api/v1/checkpoints", {"below": below}),
        backend.maybe("audit_log", "/api/v1/producers"),
        _newest(backend),
        backend.text("audit_log", "/log/vkey"),
        backend.text("audit_log", "/log/policy"),
    )
    listed = history["checkpoints"]
    return view.page(
        "checkpoints.html",
        navigation.CHECKPOINTS,
        checkpoints=[{**each, "root": each["note"].splitlines()[2]} for each in listed],
        older=listed[-1]["size"] if listed else None,
        producers=producers,
        newest=newest,
        signatures=[line.split(" ")[1] for line in newest.splitlines() if line.startswith("—")],
        vkeys=vkeys.splitlines(),
        policy=policy,
    )


async def _newest(backend: Backend) -> str:
    try:
        return await backend.text("audit_log", "/log/checkpoint")
    except HTTPException:
        return ""


ROUTES: Final = [search, export, entry, proof, evidence, checkpoints]
