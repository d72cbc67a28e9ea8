"""Requests of people about their data, and the time that the law leaves for each."""

from typing import Annotated, Final, Literal, get_args
from urllib.parse import quote

from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Template

from console import navigation
from console.access import page
from console.view import Asking, Seen

State = Literal[
    "received", "identity", "collecting", "open", "decided", "approved", "answered", "closed",
    "withdrawn", "refused",
]  # fmt: skip
STATES: Final = get_args(State)
Stands = Annotated[State | None, QueryParameter(name="state")]


@page("/rights", navigation.RIGHTS.roles)
async def requests(
    view: Seen, backend: Asking, stands: Stands = None, cursor: FromQuery[str | None] = None
) -> Template:
    """Show requests, the one that is due first coming first."""
    found = await backend.get("retention", "/api/v1/rights", {"state": stands, "cursor": cursor})
    return view.page("rights.html", navigation.RIGHTS, found=found, states=STATES)


@page("/rights/{case_id:str}", navigation.RIGHTS.roles)
async def case(view: Seen, backend: Asking, case_id: FromPath[str]) -> Template:
    """Show a request: its clock, what each holder did, what was decided or is proposed."""
    found = await backend.get("retention", f"/api/v1/rights/{quote(case_id, safe='')}")
    return view.page("right.html", navigation.RIGHTS, case=found)


ROUTES: Final = [requests, case]
