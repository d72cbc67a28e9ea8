"""Dead letters of all services: what was set aside and why, sent again or let go by an operator."""

import asyncio
from http import HTTPStatus
from typing import Any, Final, Literal, get_args

from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.response import Redirect, Template

from console import navigation
from console.access import Asked, deed, filled, page
from console.backend import Backend, Name
from console.view import Asking, Seen, url
from shared.web.access import Role

PATH: Final = "/operations/dead-letters"
_API: Final = "/api/v1/dead-letters"
_SERVICES: Final[tuple[Name, ...]] = get_args(Name)
_STATES: Final = ("waiting", "redriven", "dropped")
_FILTERS: Final = ("state", "topic", "code", "cursor")
_PAGE: Final = 100
_OPERATORS: Final[frozenset[Role]] = frozenset({"operator"})

Deed = Literal["redrive", "drop"]


@page(PATH, navigation.OPERATIONS.roles)
async def dead_letters(view: Seen, backend: Asking) -> Template:
    """Show what the services set aside, newest first, and what became of it."""
    asked = {name: view.query.get(name) for name in _FILTERS}
    answers = await asyncio.gather(*(_asked(backend, name, asked) for name in _SERVICES))
    heard = [answer for answer in answers if answer is not None]
    letters = sorted(_joined(heard, "letters"), key=lambda letter: letter["id"], reverse=True)
    more = len(letters) > _PAGE or any(answer["cursor"] for answer in heard)
    waiting = _joined(heard, "waiting")
    topics = sorted({row["topic"] for row in waiting} | {*_given(view, "topic")})
    codes = sorted({row["code"] for row in waiting} | {*_given(view, "code")})
    return view.page(
        "dead-letters.html",
        navigation.OPERATIONS,
        letters=letters[:_PAGE],
        cursor=letters[:_PAGE][-1]["id"] if more and letters else None,
        waiting=waiting,
        topics=topics,
        codes=codes,
        as_they_are={name: name for name in (*topics, *codes)},
        states=_STATES,
        stands=view.query.get("state") or "waiting",
        away=[_title(n) for n, a in zip(_SERVICES, answers, strict=True) if a is None],
        may_settle=view.may(*_OPERATORS),
    )


async def _asked(backend: Backend, name: Name, asked: dict[str, str | None]) -> Any:
    """Return what a service set aside, named as the pages name it; None if it does not answer."""
    try:
        found = await backend.get(name, _API, asked)
    except HTTPException as error:
        if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:  # what is asked for is at fault
            raise
        return None
    for each in (*found["letters"], *found["waiting"]):
        each["service"] = name
    return found


def _joined(answers: list[Any], part: str) -> list[Any]:
    return [each for answer in answers for each in answer[part]]


def _given(view: Seen, name: str) -> list[str]:
    return [view.query[name]] if view.query.get(name) else []


def _title(name: Name) -> str:
    return name.replace("_", "-")


@deed(PATH + "/{service:str}/{what:str}", _OPERATORS)
async def settle(
    request: Asked, backend: Asking, view: Seen, service: FromPath[Name], what: FromPath[Deed]
) -> Redirect:
    """Send letters again or let them go: one, or all that wait of a topic and a code."""
    form = await filled(request, "letter", "topic", "code")
    letter = form.pop("letter", None)
    wanted: dict[str, Any] = {"letters": [letter]} if letter else form
    done = await backend.post(service, f"{_API}/{what}", wanted)
    kept = {name: view.query.get(name) for name in ("state", "topic", "code")}
    told = {name: done[name] or None for name in ("left", "missing", "refused")}
    return Redirect(url(PATH, **kept, **told, done=what, settled=done["settled"]), status_code=303)


ROUTES: Final = [dead_letters, settle]
