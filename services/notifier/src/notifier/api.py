"""The notifier over HTTP: messages and deliveries, recipients by token alone."""

import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar import get
from litestar.datastructures import State

from notifier import store
from shared.postgres import Pool

_PAGE: Final = 100


@get("/api/v1/messages")
async def messages(state: State, before: datetime | None = None) -> dict[str, Any]:
    """Return messages, newest first; continue with ``before`` the last one's request."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await store.messages(tx, before or datetime.max.replace(tzinfo=UTC), _PAGE)
    return {"messages": [{**m, "states": json.loads(m["states"])} for m in found]}


@get("/api/v1/messages/{message_id:str}/deliveries")
async def message_deliveries(
    state: State, message_id: str, after: UUID | None = None
) -> dict[str, Any]:
    """Return the deliveries of a message."""
    return await _deliveries(state, message_id=message_id, after=after)


@get("/api/v1/deliveries")
async def deliveries(
    state: State,
    customer: str | None = None,
    delivery_state: str | None = None,
    after: UUID | None = None,
) -> dict[str, Any]:
    """Return deliveries by customer and state."""
    return await _deliveries(state, customer=customer, delivery_state=delivery_state, after=after)


async def _deliveries(
    state: State,
    *,
    message_id: str | None = None,
    customer: str | None = None,
    delivery_state: str | None = None,
    after: UUID | None = None,
) -> dict[str, Any]:
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await store.deliveries(
            tx,
            message_id=message_id,
            customer=customer,
            state=delivery_state,
            after=after,
            limit=_PAGE,
        )
    cursor = str(found[-1]["id"]) if len(found) == _PAGE else None
    return {"deliveries": found, "cursor": cursor}


ROUTES: Final = [messages, message_deliveries, deliveries]
