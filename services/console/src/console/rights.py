"""Requests of people about their data: the clock, what holders did, the decision, the answer."""

from typing import Annotated, Any, Final, Literal

from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, Stream, Template

from console import navigation
from console.access import Asked, deed, filled, page
from console.view import Asking, Seen, segment
from shared.web.access import Role

_RIGHTS: Final = ("access", "rectify", "erase", "restrict", "object", "portability")
_STATES: Final = (
    "received", "identity", "collecting", "open", "decided", "approved", "answered",
    "closed", "refused", "withdrawn",
)  # fmt: skip
_CLERKS: Final[frozenset[Role]] = frozenset(("compliance", "dpo"))

Stands = Annotated[str | None, QueryParameter(name="state")]


@page("/rights", navigation.RIGHTS.roles)
async def rights(
    view: Seen, backend: Asking, stands: Stands = None, cursor: FromQuery[str | None] = None
) -> Template:
    """Show requests, the one that is due first coming first."""
    known = stands if stands in _STATES else None
    found = await backend.get("retention", "/api/v1/rights", {"state": known, "cursor": cursor})
    return view.page(
        "rights.html",
        navigation.RIGHTS,
        requests=found["requests"],
        cursor=found["cursor"],
        states=_STATES,
        rights=_RIGHTS,
        today=str(view.today()),
    )


@page("/rights/{case_id:str}", navigation.RIGHTS.roles)
async def case(view: Seen, backend: Asking, case_id: FromPath[str]) -> Template:
    """Show one request, and what can be done about it."""
    found = await backend.get("retention", _place(case_id))
    return view.page("right.html", navigation.RIGHTS, case=found)


@page("/rights/{case_id:str}/answer", navigation.RIGHTS.roles)
async def answer(
    view: Seen,
    backend: Asking,
    case_id: FromPath[str],
    form: Annotated[Literal["json", "pdf"], QueryParameter(name="format")] = "pdf",
) -> Stream:
    """Hand on the answer that was given."""
    asked = {"format": form, "lang": view.language}
    return await backend.download("retention", f"{_place(case_id)}/answer", asked)


@deed("/rights", _CLERKS)
async def intake(request: Asked, backend: Asking) -> Redirect:
    """Open a request that came by letter, telephone or mail."""
    given: dict[str, Any] = await filled(
        request, "right", "received_on", "subjects", "email", "name", "locale", "details"
    )
    given["subjects"] = given.get("subjects", "").split()
    made = await backend.post("retention", "/api/v1/rights", given)
    return Redirect(f"/rights/{made['id']}", status_code=303)


@deed("/rights/{case_id:str}/{step:str}", {"compliance", "dpo", "approver"})
async def take(
    request: Asked, backend: Asking, case_id: FromPath[str], step: FromPath[str]
) -> Redirect:
    """Take a step in a case; the service knows who may take which."""
    given = await filled(request, "step", "reason")
    body = {**given, "by": request.user.sub}
    await backend.post("retention", f"{_place(case_id)}/{segment(step)}", body)
    return Redirect(f"/rights/{segment(case_id)}", status_code=303)


def _place(case_id: str) -> str:
    return f"/api/v1/rights/{segment(case_id)}"


ROUTES: Final = [rights, case, answer, intake, take]
