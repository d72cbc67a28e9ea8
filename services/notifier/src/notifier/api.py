"""The ledger over HTTP: which recipient got which mail, recipients by token alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from notifier import ledger, store
from notifier.addresses import lookup
from notifier.announcer import event_id
from notifier.audience import named
from notifier.delivery import State as DeliveryState
from notifier.ledger import Wanted
from notifier.letter import write
from notifier.planning import Library, Planner
from notifier.recipients import token_of
from notifier.reconciling import reconcile
from notifier.template import LAYOUT, Locale
from shared.ids import new_id
from shared.postgres import Pool, transaction
from shared.web.access import EVERYBODY, PERSONAL, Caller, Role

_PAGE: Final = 100
_CONFLICT: Final = 409
_LARGEST_LOG: Final = 100_000_000
_LEDGER: Final = PERSONAL | {"operator"}  # recipients are tokens, and still people
_SENDS: Final[frozenset[Role]] = frozenset(("compliance", "dpo", "operator"))

Asked = Request[Caller, Any, State]
Start = Annotated[datetime | None, QueryParameter(name="from")]
End = Annotated[datetime | None, QueryParameter(name="to")]
Type = Annotated[str | None, QueryParameter(name="type")]
Stands = Annotated[DeliveryState | None, QueryParameter(name="state")]


@get("/api/v1/messages", roles=EVERYBODY)
async def messages(state: State, before: FromQuery[datetime | None] = None) -> dict[str, Any]:
    """Return messages, newest first; continue with ``before`` the last one's request."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await ledger.messages(tx, before or datetime.max.replace(tzinfo=UTC), _PAGE)
        states = await ledger.counts(tx, [m["message_id"] for m in found])
    return {"messages": [{**m, "states": states[m["message_id"]]} for m in found]}


@get("/api/v1/messages/{message_id:str}", roles=EVERYBODY)
async def message(state: State, message_id: FromPath[str]) -> dict[str, Any]:
    """Return a message and how far it is: who has it, who does not, and why.

    ``in_doubt_at_most`` is how many mails one crash of a process can leave ``unknown``.
    """
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await ledger.message(tx, message_id)
        if found is None:
            raise NotFoundException("there is no such message")
        states = (await ledger.counts(tx, [message_id]))[message_id]
        return {
            **found,
            "states": states,
            "recipients": sum(states.values()),
            "reasons": await ledger.reasons(tx, message_id),
            "customers": await ledger.addressed(tx, message_id),
            "in_doubt_at_most": state.pace.doubtful,
        }


@get("/api/v1/messages/{message_id:str}/deliveries", roles=_LEDGER)
async def message_deliveries(
    request: Asked,
    state: State,
    message_id: FromPath[str],
    stands: Stands = None,
    cursor: FromQuery[UUID | None] = None,
) -> dict[str, Any]:
    """Return the deliveries of a message, newest first, a hundred at a time."""
    wanted = Wanted(message_id=message_id, state=stands, before=cursor)
    return await _page(state, request.user, wanted)


@get("/api/v1/messages/{message_id:str}/unreached", roles=_LEDGER)
async def unreached(
    state: State, message_id: FromPath[str], cursor: FromQuery[str] = ""
) -> dict[str, Any]:
    """Return the customers of whom no contact has a message: they are to be told another way."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await ledger.unreached(tx, message_id, cursor, _PAGE)
    return {"customers": found, "cursor": found[-1] if len(found) == _PAGE else None}


@get("/api/v1/deliveries", roles=_LEDGER)
async def deliveries(  # noqa: PLR0913, PLR0917 - each is one thing to look for
    request: Asked,
    state: State,
    recipient: FromQuery[str | None] = None,
    customer: FromQuery[str | None] = None,
    message_type: Type = None,
    stands: Stands = None,
    since: Start = None,
    until: End = None,
    cursor: FromQuery[UUID | None] = None,
) -> dict[str, Any]:
    """Return deliveries that match, newest first, a hundred at a time.

    A recipient is named by token or by address.
    """
    if any(at is not None and at.tzinfo is None for at in (since, until)):
        raise ClientException("from or to has no offset from UTC: end it in Z")
    if recipient is not None and "@" in recipient:
        pool: Pool = state.pool
        async with pool.acquire() as tx:
            recipient = await ledger.token_of(tx, lookup(state.address_key, recipient))
        if recipient is None:
            return {"deliveries": [], "cursor": None}
    wanted = Wanted(
        recipient=recipient,
        customer=customer,
        message_type=message_type,
        state=stands,
        since=since,
        until=until,
        before=cursor,
    )
    return await _page(state, request.user, wanted)


@get("/api/v1/deliveries/{delivery_id:uuid}", roles=_LEDGER)
async def delivery(request: Asked, state: State, delivery_id: FromPath[UUID]) -> dict[str, Any]:
    """Return a delivery and every step that it took."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await ledger.delivery(tx, delivery_id)
        if found is None:
            raise NotFoundException("there is no such delivery")
        steps = await ledger.history(tx, delivery_id)
    await state.looks.note(pool, request.user, "delivery", 1)
    told = [{**step, "event_id": event_id(delivery_id, step["position"])} for step in steps]
    return {**_shown(found), "history": told}


@post("/api/v1/deliveries/{delivery_id:uuid}/resend", roles=_SENDS)
async def resend(state: State, delivery_id: FromPath[UUID]) -> dict[str, Any]:
    """Send a mail anew, as a delivery of its own that is linked to the first."""
    pool: Pool = state.pool
    fresh = new_id()
    async with transaction(pool) as tx:
        if not await store.resend(tx, delivery_id, fresh, state.clock.now()):
            raise ClientException(
                "there is no such delivery, it is still on its way, its recipient was purged, or it"
                " was sent anew before",
                status_code=_CONFLICT,
            )
    return {"delivery_id": str(fresh), "resends": str(delivery_id)}


@post("/api/v1/deliveries/{delivery_id:uuid}/send-again", roles=_SENDS)
async def send_again(state: State, delivery_id: FromPath[UUID]) -> dict[str, Any]:
    """Send a mail in doubt once more, under the same Message-ID: somebody has decided so."""
    pool: Pool = state.pool
    async with transaction(pool) as tx:
        if not await store.send_again(tx, [delivery_id], state.clock.now()):
            raise ClientException("no such delivery is in doubt", status_code=_CONFLICT)
    return {"delivery_id": str(delivery_id), "state": "queued"}


@dataclass(frozen=True, slots=True)
class RelayLog:
    """What the relay noted.

    Attributes:
        complete_until: Up to when nothing is missing in it.
    """

    log: str
    complete_until: datetime


@post("/api/v1/reconciliations", request_max_body_size=_LARGEST_LOG, roles={"operator"})
async def reconciliation(state: State, data: JSONBody[RelayLog]) -> dict[str, Any]:
    """Settle what is in doubt with the relay's own log."""
    if data.complete_until.tzinfo is None:
        raise ClientException("complete_until has no offset from UTC")
    done = await reconcile(state.pool, data.log, data.complete_until, state.clock.now())
    return asdict(done)


@get("/api/v1/templates", roles=EVERYBODY)
async def templates(state: State) -> dict[str, Any]:
    """Return the templates and the parameters of their versions."""
    library: Library = state.library
    found = sorted(library.templates.versions.items())
    return {
        "templates": [
            {"name": name, "version": number, "params": version.schema}
            for (name, number), version in found
            if name != LAYOUT
        ]
    }


@dataclass(frozen=True, slots=True)
class Draft:
    """What a mail would be made of."""

    message_type: str
    params: dict[str, Any]
    locale: Locale = "en"


@post("/api/v1/templates/{name:str}/preview", status_code=200, roles=EVERYBODY)
async def preview(state: State, name: FromPath[str], data: JSONBody[Draft]) -> dict[str, Any]:
    """Return the mail that the newest version of a template makes; nothing is sent."""
    planner: Planner = state.planner
    kind = planner.kind(data.message_type)
    version = planner.library.templates.newest(name)
    written = write(planner.library.templates, version, data.locale, data.params, kind.footing)
    return {"subject": written.subject, "text": written.text, "html": written.html,
            "template": written.label}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial(Draft):
    """A draft, and the address that it is sent to."""

    to: str = ""


@post("/api/v1/templates/{name:str}/trial", status_code=202, roles=_SENDS)
async def trial(state: State, name: FromPath[str], data: JSONBody[Trial]) -> dict[str, Any]:
    """Send the mail that the newest version of a template makes to one address, as any other."""
    planner: Planner = state.planner
    drafted = planner.message(f"trial-{new_id()}", data.message_type, data.params)
    version = planner.library.templates.newest(name)
    sent = replace(drafted, template=version.name, template_version=version.number)
    pool: Pool = state.pool
    async with transaction(pool) as tx:
        token = await token_of(tx, state.address_key, data.to)
        await planner.write_to(tx, None, sent, [named(token, data.locale)])
    return {"message_id": sent.message_id}


async def _page(state: State, caller: Caller, wanted: Wanted) -> dict[str, Any]:
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await ledger.search(tx, wanted, _PAGE)
    await state.looks.note(pool, caller, "deliveries", len(found))
    cursor = str(found[-1]["delivery_id"]) if len(found) == _PAGE else None
    return {"deliveries": [_shown(row) for row in found], "cursor": cursor}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "id": row["delivery_id"]}


ROUTES: Final = [
    messages, message, message_deliveries, unreached, deliveries, delivery, resend, send_again,
    reconciliation, templates, preview, trial,
]  # fmt: skip
