"""Nobody who reads the log keeps it from growing, and no failed note of access the next look."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.conftest import PATIENCE, Database
from tests.integration.test_master_log import NOW, Log, action

from audit_log import store
from audit_log.access import AccessNotes
from audit_log.api import _exported
from audit_log.appender import Appender, Sealed
from shared.events.gallra import PersonalDataViewed
from shared.postgres import Connection, open_pool, transaction
from shared.web.access import Caller


@pytest.fixture
async def log(audit_db: Database) -> AsyncIterator[Log]:
    async with open_pool(audit_db.service, "test") as pool:
        yield Log(pool)


async def test_a_new_month_waits_for_no_verifier(log: Log) -> None:
    await log.take(action(1))
    async with log.pool.acquire() as reader, reader.transaction(isolation="repeatable_read"):
        assert await store.raw_payloads(reader, 0, 10)
        async with asyncio.timeout(PATIENCE):
            await log.take(action(2), at=NOW - timedelta(days=900))
            await log.take(action(3), at=NOW - timedelta(days=901))
    await log.sign()
    assert (await log.verdict()).problems == []
    months = await log.pool.fetchval(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'payload'::regclass"
    )
    assert months == 3, "what lies before 2020, and two months"


async def test_readers_that_pause_keep_nobody_waiting(log: Log) -> None:
    for first in range(0, 4200, 700):
        await log.take(*(action(first + n) for n in range(700)))
    state: Any = SimpleNamespace(pool=log.pool, access=AccessNotes(log.handlers.appender))
    reader = Caller("u-1", frozenset(("auditor",)))
    paused = [_exported(state, reader, store.Wanted(), "csv") for _ in range(20)]
    async with asyncio.timeout(PATIENCE):
        first = [await anext(export) for export in paused]
        await log.take(action(9999))
    assert all(page.count(b"\n") == 2001 for page in first)
    rest = [page async for page in paused[0]]
    # The entries, those of them that are notes of the other nineteen's looks, and the head.
    assert sum(page.count(b"\n") for page in [first[0], *rest]) >= 4201
    for export in paused[1:]:
        await export.aclose()


class Faltering:
    """An appender whose commit once gets lost on its way back."""

    def __init__(self, real: Appender) -> None:
        self.clock = real.clock
        self._real = real
        self.falters = True

    async def append(self, tx: Connection, entries: Sequence[Sealed]) -> int:
        index = await self._real.append(tx, entries)
        if self.falters:
            self.falters = False
            await tx.execute("COMMIT")
            raise ConnectionResetError
        return index


async def test_who_looks_is_named(log: Log) -> None:
    await log.take(action(1), PersonalDataViewed(service="x", purpose="y", by="u-7", count=2))
    notes = AccessNotes(log.handlers.appender)
    await notes.note(log.pool, "entry", [0], by="u-7")
    await notes.note(log.pool, "entry", [0])
    async with transaction(log.pool) as tx:
        theirs = await store.find(tx, replace(store.Wanted(), actor="u-7"), None, 100)
    assert [found.action for found in theirs] == ["audit.access.v1", "ops.personal-data.viewed.v1"]
    await log.sign()
    assert (await log.verdict()).problems == []


async def test_a_note_that_failed_wedges_nothing(log: Log) -> None:
    notes = AccessNotes(Faltering(log.handlers.appender))  # pyright: ignore[reportArgumentType]
    looks = [notes.note(log.pool, "entry", [n]) for n in range(5)]
    outcomes = await asyncio.gather(*looks, return_exceptions=True)
    failed = [outcome for outcome in outcomes if outcome is not None]
    assert len(failed) == 1, "only the one that wrote hears of it"
    await notes.note(log.pool, "entry", [6])
    async with transaction(log.pool) as tx:
        noted = await store.find(tx, replace(store.Wanted(), action="audit.access.v1"), None, 100)
    assert len(noted) >= 6
    await log.sign()
    assert (await log.verdict()).problems == []
