"""Recipients over HTTP: what each chose, what is not sent there and why; never an address."""

from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from litestar import Request, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath, JSONBody

from notifier import ledger, return_store, store
from notifier.addresses import lookup
from notifier.refusals import ObjectionError, Refusals
from shared.postgres import Connection, Pool, transaction
from shared.web.access import PERSONAL, By, Caller, Role

_CONFLICT: Final = 409
_SEES: Final = PERSONAL | {"operator"}
_LIFTS: Final[frozenset[Role]] = frozenset(("compliance", "dpo", "operator"))

Asked = Request[Caller, Any, State]


@get("/api/v1/recipients/{recipient:str}", roles=_SEES)
async def recipient(request: Asked, state: State, recipient: FromPath[str]) -> dict[str, Any]:
    """Return what is sent to a recipient and what is not; named by token or by address.

    ``preferences`` are of the contacts who have the address; ``suppressions`` stand against the
    address itself, whoever has it.  Only one that does not work can be lifted by others.
    """
    pool: Pool = state.pool
    refusals: Refusals = state.refusals
    async with pool.acquire() as tx:
        token = await _token(tx, state.address_key, recipient)
        hashed = None if token is None else await store.lookup_of(tx, token)
        if token is None or hashed is None:
            raise NotFoundException("there is no such recipient, or its address was purged")
        contacts = await return_store.contacts(tx, token)
        preferences = await refusals.preferences(tx, token)
        held = await return_store.standing(tx, hashed)
    await state.looks.note(pool, request.user, "preferences", 1)
    return {
        "recipient": token,
        "contacts": contacts,
        "preferences": [asdict(each) for each in preferences],
        "suppressions": [
            {**asdict(each), "may_be_lifted": each.reason == "hard-bounce"} for each in held
        ],
    }


async def _token(tx: Connection, key: bytes, recipient: str) -> str | None:
    if "@" not in recipient:
        return recipient
    return await ledger.token_of(tx, lookup(key, recipient))


@post("/api/v1/suppressions/{record_id:uuid}/lift", status_code=200, roles=_LIFTS)
async def lift(
    request: Asked, state: State, record_id: FromPath[UUID], data: JSONBody[By]
) -> dict[str, Any]:
    """Have mail sent again to an address that did not work; an objection nobody else takes back."""
    by = request.user.acting(data.by)
    refusals: Refusals = state.refusals
    pool: Pool = state.pool
    async with transaction(pool) as tx:
        try:
            lifted = await refusals.lift(tx, record_id, by)
        except ObjectionError:
            raise ClientException(
                "whoever has the address does not want such mail; only they can ask for it again",
                status_code=_CONFLICT,
            ) from None
    if not lifted:
        raise NotFoundException("nothing of that id stands against an address")
    return {"record_id": str(record_id)}


ROUTES: Final = [recipient, lift]
