"""Requests to erase from the command line, by whoever may open retention's database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gallra.stackfile import read
from retention.erasures import Accepted, Erasures
from retention.in_force import InForce
from retention.registry import Registry
from retention.store import Ref
from shared.clock import SystemClock
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool

_ERASURES = Erasures(Registry(InForce({})), Outbox("//gallra/retention"), SystemClock())


@asynccontextmanager
async def _pool(data: Path) -> AsyncGenerator[Pool]:
    async with open_pool(read(data).databases["retention"], "gallra-erasure") as pool:
        yield pool


async def accept(data: Path, ref: Ref, *, by: str) -> list[Accepted]:
    """Accept to erase one record."""
    async with _pool(data) as pool:
        return await _ERASURES.accept(pool, [ref], by=by)


async def accept_all_of(data: Path, token: str, *, by: str) -> list[Accepted]:
    """Accept to erase every record that tells of a person."""
    async with _pool(data) as pool:
        return await _ERASURES.accept_all_of(pool, token, by=by)


def as_json(accepted: Accepted) -> dict[str, Any]:
    """Return what becomes of a record, for programs."""
    deadline = accepted.deadline
    return {
        "record": "/".join(accepted.ref),
        "status": deadline.status,
        "keep_through": deadline.keep_through,
        "purge_from": deadline.purge_from,
    }


def in_words(accepted: Accepted) -> str:
    """Return what becomes of a record, for people."""
    deadline = accepted.deadline
    why = str(deadline.steps[-1].rule)
    until = f"kept through {deadline.keep_through}" if deadline.keep_through else deadline.status
    return f"{'/'.join(accepted.ref)}: {until} ({why})"
