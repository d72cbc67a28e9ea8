"""Legal holds: what is kept from being purged, by whom, why, and until when it is looked at."""

import asyncio
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect, Template

from console import navigation
from console.access import Asked, deed, filled, page
from console.overview import titles
from console.view import Asking, Seen

_SCOPE: Final = (
    "customer_id", "category", "subject", "holder", "record_id", "first_day", "last_day",
)  # fmt: skip

Stands = Annotated[Literal["in-force", "asked", "released"] | None, QueryParameter(name="state")]


@page("/holds", navigation.HOLDS.roles)
async def holds(
    view: Seen,
    backend: Asking,
    stands_as: Stands = None,
) -> Template:
    """Show legal holds, newest first."""
    listed, policies = await asyncio.gather(
        backend.get("retention", "/api/v1/holds"),
        backend.get("retention", "/api/v1/policies"),
    )
    found = listed["holds"]
    for hold in found:
        hold["state"] = stands(hold)
    return view.page(
        "holds.html",
        navigation.HOLDS,
        holds=[hold for hold in found if stands_as in {None, hold["state"]}],
        counts={name: sum(h["state"] == name for h in found) for name in _STATES},
        today=str(view.today()),
        titles=titles(view, policies["policies"]),
    )


_STATES: Final = ("in-force", "asked", "released")


def stands(hold: dict[str, Any]) -> str:
    """Return where a hold is on its way: in force, asked to be released, or released."""
    if hold["released_at"]:
        return "released"
    return "asked" if hold["release_asked_by"] else "in-force"


@deed("/holds", {"compliance", "dpo"})
async def place(request: Asked, backend: Asking) -> Redirect:
    """Place a hold."""
    wanted = await filled(request, "reason", "review_on", *_SCOPE)
    placed = await backend.post("retention", "/api/v1/holds", wanted)
    return Redirect(f"/holds#h{placed['id']}", status_code=303)


@deed("/holds/{hold_id:uuid}/release", {"compliance", "dpo", "approver"})
async def release(hold_id: FromPath[UUID], backend: Asking) -> Redirect:
    """Ask for a hold to be lifted, or agree to it."""
    await backend.post("retention", f"/api/v1/holds/{hold_id}/release", {})
    return Redirect(f"/holds#h{hold_id}", status_code=303)


ROUTES: Final = [holds, place, release]
