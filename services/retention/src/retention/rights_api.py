"""Requests about the rights of persons over HTTP: intake, lists, every step, and the copy."""

import asyncio
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Template
from pydantic import ValidationError

from retention import rights_store
from retention.calendar import civil_day
from retention.policy import Policies
from retention.rights import Rights
from retention.rights_answers import Answers
from retention.rights_letter import Answer, as_json, as_text
from retention.rights_matrix import Decision, Verdict
from retention.rights_paper import as_pdf
from retention.rights_rules import OVER, Right
from retention.rights_rules import State as CaseState
from retention.rights_store import Case
from shared.errors import Rejected
from shared.events.platform import RightsRequestReceived
from shared.ids import new_id
from shared.postgres import Pool
from shared.web.access import OPEN, PERSONAL, By, Caller
from shared.web.problems import files
from shared.wording import Language

_PAGE: Final = 100
_SECRET: Final = {"unseal", "seal_to", "package", "fetch_by", "quarantined"}
_SHOWN: Final = [field.name for field in fields(Case) if field.name not in _SECRET]
_FIRST: Final = (date.min, "")
_FORMS: Final = {"json": "application/json", "pdf": "application/pdf"}
_READERS: Final = PERSONAL | {"approver"}
_CLERKS: Final = {"compliance", "dpo"}

Asked = Request[Caller, Any, State]

Stands = Annotated[CaseState | None, QueryParameter(name="state")]


@dataclass(frozen=True, slots=True)
class Intake:
    """A request as somebody enters it."""

    right: Right
    received_on: date
    subjects: tuple[str, ...] = ()
    channel: str = "staff"
    email: str | None = None
    name: str | None = None
    locale: Language = "sv"
    details: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(By):
    """What is done about the identity of the person."""

    step: Literal["ask", "confirm", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension(By):
    """Why it takes longer."""

    reason: Literal["complexity", "number"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision that is not the one that was proposed."""

    category: str
    decision: Verdict
    article: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(By):
    """A decision, with what differs from the proposal."""

    choices: tuple[Choice, ...] = ()


@get("/api/v1/rights", roles=_READERS)
async def cases(
    state: State, stands: Stands = None, cursor: FromQuery[str | None] = None
) -> dict[str, Any]:
    """Return requests, the next one due first, a hundred at a time; those that are over if asked.

    Those whose clock stands still come last.
    """
    states = [stands] if stands else [s for s in get_args(CaseState) if s not in OVER]
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await rights_store.cases(tx, states, _after(cursor), _PAGE)
    more = len(found) == _PAGE
    return {
        "requests": [_line(case) for case in found],
        "cursor": f"{(found[-1].due_on or date.max).isoformat()}/{found[-1].id}" if more else None,
    }


def _after(cursor: str | None) -> tuple[date, str]:
    if cursor is None:
        return _FIRST
    day, _, case_id = cursor.partition("/")
    try:
        return date.fromisoformat(day), case_id
    except ValueError:
        raise ClientException("the cursor is not one of ours") from None


def _line(case: Case) -> dict[str, Any]:
    """Return what a list shows of a request: not who the person is."""
    names = ("id", "claim", "received_on", "channel", "state", "due_on", "extended_on")
    return {name: getattr(case, name) for name in names}


@get("/api/v1/rights/{case_id:str}", roles=_READERS)
async def case(request: Asked, state: State, case_id: FromPath[str]) -> dict[str, Any]:
    """Return a request: its clock, what each holder did, what was decided, or what is proposed."""
    rights: Rights = state.rights
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read"):
        await rights.book.registry.in_force.read(tx)
        found = await _found(tx, case_id)
        decided = await rights_store.decisions(tx, case_id)
        proposed = [] if decided or found.state in OVER else await rights.proposed(tx, found)
        tasks = await rights_store.tasks(tx, case_id)
    await state.looks.note(pool, request.user, "rights-case", 1)
    today = civil_day(rights.book.clock.now())
    clock = found.clock
    return {
        **{name: getattr(found, name) for name in _SHOWN},
        "clock": {
            "stands_still": clock.stands_still,
            "days_waited": clock.waited,
            "days_left": None if clock.due is None else (clock.due - today).days,
        },
        "tasks": [
            {
                name: getattr(task, name)
                for name in ("id", "holder", "category", "action", "state", "attempts", "records")
            }
            for task in tasks
        ],
        "decisions": [asdict(decision) for decision in decided],
        "proposed": [asdict(decision) for decision in proposed],
    }


async def _found(tx: Any, case_id: str) -> Case:
    found = await rights_store.case(tx, case_id)
    if found is None:
        raise NotFoundException("there is no such request")
    return found


@get("/api/v1/rights/{case_id:str}/answer", roles=_READERS, responses=files(*_FORMS.values()))
async def answer(
    request: Asked,
    state: State,
    case_id: FromPath[str],
    lang: FromQuery[Language | None] = None,
    form: Annotated[Literal["json", "pdf"], QueryParameter(name="format")] = "json",
) -> Response[Any]:
    """Return the answer to a request: as JSON, with the text of the letter, or as PDF."""
    rights: Rights = state.rights
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read"):
        history = await rights.book.registry.in_force.read(tx)
        found = await _found(tx, case_id)
        decisions = await rights_store.decisions(tx, case_id)
    if found.answered_on is None:
        raise NotFoundException("the request is not answered yet")
    await state.looks.note(pool, request.user, "rights-answer", 1)
    told = Answer(
        found.id,
        found.claim,
        found.received_on,
        found.answered_on,
        None if found.state == "refused" else decisions,
    )
    policies = Policies(history.newest, rights.book.registry.in_force.holders)
    language = lang or found.locale
    if form == "pdf":
        body: Any = await asyncio.to_thread(as_pdf, told, policies, language)
    else:
        until = found.fetch_until and civil_day(found.fetch_until)
        letter = as_text(told, policies, language, until)
        body = {**as_json(told, policies, language), "letter": letter}
    return Response(body, media_type=_FORMS[form])


@post("/api/v1/rights", roles=_CLERKS)
async def intake(state: State, data: JSONBody[Intake]) -> dict[str, Any]:
    """Open a request that came by letter, telephone or mail."""
    rights: Rights = state.rights
    claimant = {"email": data.email, "name": data.name, "locale": data.locale}
    try:
        request = RightsRequestReceived.model_validate(
            {
                "request_id": str(new_id()),
                "right": data.right,
                "subjects": data.subjects,
                "received_on": data.received_on,
                "channel": data.channel,
                "claimant": claimant if data.email else None,
                "details": data.details,
            }
        )
    except ValidationError as error:
        wrong = sorted({str(problem["loc"][-1]) for problem in error.errors(include_input=False)})
        raise ClientException(f"unfit: {', '.join(wrong)}") from None
    await rights.receive(state.pool, request)
    return {"id": request.request_id}


@post("/api/v1/rights/{case_id:str}/identity", status_code=200, roles=_CLERKS)
async def identity(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[Identity]
) -> dict[str, Any]:
    """Ask for proof of who the person is, which stops the clock; confirm it, or refuse without."""
    rights: Rights = state.rights
    steps = {
        "ask": rights.ask_identity,
        "confirm": rights.confirm_identity,
        "refuse": rights.refuse_identity,
    }
    return _line(await steps[data.step](state.pool, case_id, by=request.user.acting(data.by)))


@post("/api/v1/rights/{case_id:str}/extend", status_code=200, roles=_CLERKS)
async def extend(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[Extension]
) -> dict[str, Any]:
    """Take two months more, and tell the person so."""
    rights: Rights = state.rights
    by = request.user.acting(data.by)
    return _line(await rights.extend(state.pool, case_id, reason=data.reason, by=by))


@post("/api/v1/rights/{case_id:str}/decide", status_code=200, roles={"dpo"})
async def decide(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[Decided]
) -> dict[str, Any]:
    """Decide as proposed, but for the choices given."""
    rights: Rights = state.rights
    choices = [
        Decision(choice.category, choice.decision, choice.article, choice.reason)
        for choice in data.choices
    ]
    by = request.user.acting(data.by)
    return _line(await rights.decide(state.pool, case_id, choices, by=by))


@post("/api/v1/rights/{case_id:str}/approve", status_code=200, roles={"approver"})
async def approve(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[By]
) -> dict[str, Any]:
    """Approve what another person decided, and have it carried out."""
    rights: Rights = state.rights
    return _line(await rights.approve(state.pool, case_id, by=request.user.acting(data.by)))


@post("/api/v1/rights/{case_id:str}/return", status_code=200, roles={"approver"})
async def send_back(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[By]
) -> dict[str, Any]:
    """Have it decided anew."""
    rights: Rights = state.rights
    return _line(await rights.send_back(state.pool, case_id, by=request.user.acting(data.by)))


@post("/api/v1/rights/{case_id:str}/withdraw", status_code=200, roles=_CLERKS)
async def withdraw(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[By]
) -> dict[str, Any]:
    """End a request that the person does not want any more."""
    rights: Rights = state.rights
    return _line(await rights.withdraw(state.pool, case_id, by=request.user.acting(data.by)))


@post("/api/v1/rights/{case_id:str}/lift", status_code=200, roles={"dpo"})
async def lift(
    request: Asked, state: State, case_id: FromPath[str], data: JSONBody[By]
) -> dict[str, Any]:
    """End a restriction, and tell the person so."""
    rights: Rights = state.rights
    return _line(await rights.lift(state.pool, case_id, by=request.user.acting(data.by)))


@post("/api/v1/rights-tasks/{task:uuid}/done", status_code=200, roles=_CLERKS)
async def done(
    request: Asked, state: State, task: FromPath[UUID], data: JSONBody[By]
) -> dict[str, Any]:
    """Say that what a holder left to people is done."""
    rights: Rights = state.rights
    return _line(await rights.done(state.pool, task, by=request.user.acting(data.by)))


@get("/r/{link:str}", include_in_schema=False, roles=OPEN)
async def fetch_page(link: FromPath[str]) -> Template:  # noqa: ARG001 - it is the address
    """Show a button: what only looks at links in mails fetches nothing by that."""
    return Template("fetch.html")


@post("/r/{link:str}", include_in_schema=False, status_code=200, roles=OPEN)
async def fetch(state: State, link: FromPath[str]) -> Response[bytes]:
    """Give the copy of the data that a person asked for."""
    answers: Answers = state.answers
    try:
        package = await answers.fetch(state.pool, link)
    except Rejected as error:
        raise NotFoundException(str(error)) from None
    headers = {
        "content-disposition": 'attachment; filename="personal-data.zip"',
        "cache-control": "no-store",
    }
    return Response(package, headers=headers, media_type="application/zip")


ROUTES: Final = [
    cases, case, answer, intake, identity, extend, decide, approve, send_back, withdraw, lift, done,
    fetch_page, fetch,
]  # fmt: skip
