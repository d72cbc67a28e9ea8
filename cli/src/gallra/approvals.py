"""Approvals of frozen purges from the command line, by whoever may open retention's database."""

from pathlib import Path

from gallra.stackfile import read
from retention.guard import Guard
from shared.clock import SystemClock
from shared.outbox import Outbox
from shared.postgres import open_pool

_GUARD = Guard(Outbox("//gallra/retention"), SystemClock())


async def approve(data: Path, category: str, *, by: str) -> bool:
    """Approve the frozen purge of a category; return whether it goes on now."""
    async with open_pool(read(data).databases["retention"], "gallra-approve") as pool:
        return await _GUARD.approve(pool, category, by=by)
