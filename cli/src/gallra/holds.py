"""Legal holds from the command line, by whoever may open retention's database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from gallra.stackfile import read
from retention import store
from retention.holds import Holds, Placed
from retention.override import Scope
from shared.clock import SystemClock
from shared.errors import Rejected
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool

_HOLDS = Holds(Outbox("//gallra/retention"), SystemClock())


@asynccontextmanager
async def _pool(data: Path) -> AsyncGenerator[Pool]:
    async with open_pool(read(data).databases["retention"], "gallra-hold") as pool:
        yield pool


async def place(data: Path, scope: Scope, *, reason: str, review_on: date, by: str) -> Placed:
    """Place a hold."""
    async with _pool(data) as pool:
        return await _HOLDS.place(pool, scope, reason=reason, review_on=review_on, by=by)


async def release(data: Path, hold_id: str, *, by: str) -> bool:
    """Ask for a hold to be lifted, or agree to it; return whether it is lifted now."""
    try:
        known = UUID(hold_id)
    except ValueError:
        raise Rejected("that is no id of a hold; `gallra hold list` shows them") from None
    async with _pool(data) as pool:
        return await _HOLDS.release(pool, known, by=by)


async def all_of(data: Path) -> list[dict[str, Any]]:
    """Return all holds, newest first."""
    async with _pool(data) as pool, pool.acquire() as connection:
        return await store.holds(connection)


def in_words(hold: dict[str, Any]) -> str:
    """Return one line about a hold."""
    scope = ", ".join(f"{name} {hold[name]}" for name in Scope.__slots__ if hold[name] is not None)
    state = "in force"
    if hold["released_at"]:
        state = f"released {hold['released_at']:%Y-%m-%d}"
    elif hold["release_asked_by"]:
        state = "release asked for"
    return f"{hold['id']}  {state:19}  review {hold['review_on']}  {scope}: {hold['reason']}"
