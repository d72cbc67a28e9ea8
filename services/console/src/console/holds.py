"""Legal holds: what is kept from being purged, by whom, why, and until when it is looked at."""

from typing import Annotated, Any, Final, Literal

from litestar.params import QueryParameter
from litestar.response import Template

from console import navigation
from console.access import page
from console.view import Asking, Seen

Stands = Annotated[Literal["in-force", "asked", "released"] | None, QueryParameter(name="state")]


@page("/holds", navigation.HOLDS.roles)
async def holds(
    view: Seen,
    backend: Asking,
    stands_as: Stands = None,
) -> Template:
    """Show legal holds, newest first."""
    found = (await backend.get("retention", "/api/v1/holds"))["holds"]
    for hold in found:
        hold["state"] = stands(hold)
    return view.page(
        "holds.html",
        navigation.HOLDS,
        holds=[hold for hold in found if stands_as in {None, hold["state"]}],
        counts={name: sum(h["state"] == name for h in found) for name in _STATES},
        today=str(view.today()),
    )


_STATES: Final = ("in-force", "asked", "released")


def stands(hold: dict[str, Any]) -> str:
    """Return where a hold is on its way: in force, asked to be released, or released."""
    if hold["released_at"]:
        return "released"
    return "asked" if hold["release_asked_by"] else "in-force"


ROUTES: Final = [holds]
