"""Holds, erasures, purges, crashes, restores in any order: the held stays, and the due goes.

The parts are the real ones on a real database: retention's loop on its side, the holder's desk on
the other.  Between them messages wait, come twice, and are handled by processes that die before
they commit.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Database
from tests.integration.events import event
from tests.integration.test_closed_loop import MIDNIGHT, invoice
from tests.integration.test_replay import Restorable

from retention.calendar import civil_day, day_after, start_of
from retention.override import Covered, Scope
from shared.events import Data
from shared.events.gallra import HolderRestored, PurgeCommand, PurgeCommit, PurgeResult
from shared.events.platform import FiscalYearClosed
from shared.holder import Outcome, PurgeDesk
from shared.outbox import Outbox
from shared.postgres import Connection, open_pool, transaction

INTERLEAVINGS = int(os.environ.get("GALLRA_INTERLEAVINGS", "150"))
PEOPLE = ("anna", "bo")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "place",
                "release",
                "sweep",
                "sweep",
                "command",
                "command",
                "result",
                "result",
                "wait",
                "restore",
                "erase",
            )
        ),
        st.integers(0, 7),
        st.sampled_from(("well", "well", "twice", "crash")),
    ),
    min_size=4,
    max_size=24,
)


class CrashError(Exception):
    """The process died before its transaction committed."""


@dataclass
class Store:
    """A holder's records by id: there, hidden or gone; what a transaction did can be undone."""

    state: dict[str, str]

    async def quarantine(self, _tx: Connection, _category: str, refs: Sequence[str]) -> Outcome:
        known = [ref for ref in refs if self.state[ref] != "gone"]
        self.state |= dict.fromkeys(known, "hidden")
        return Outcome.of(refs, known)

    async def erase(self, _tx: Connection, _command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        self.state |= dict.fromkeys(refs, "gone")
        return Outcome.of(refs, refs)

    async def restore(self, _tx: Connection, _category: str, refs: Sequence[str]) -> None:
        self.state |= {ref: "there" for ref in refs if self.state[ref] == "hidden"}


@dataclass
class World:
    """Both sides, the messages between them, and what the model knows of holds."""

    retention: Restorable
    holder_pool: Any
    desk: PurgeDesk
    store: Store
    records: tuple[str, ...]
    backup_at: datetime
    commands: deque[Data] = field(default_factory=deque[Data])
    results: deque[Data] = field(default_factory=deque[Data])
    holds: dict[UUID, Scope] = field(default_factory=dict[UUID, Scope])
    lifted: list[tuple[Scope, date]] = field(default_factory=list[tuple[Scope, date]])
    to_erase: set[str] = field(default_factory=set[str])
    asked: dict[UUID, str] = field(default_factory=dict[UUID, str])

    def held(self, record: str, *, again: bool = False) -> bool:
        """Return whether a hold or its grace keeps a record now.

        What a backup brought back is kept by those alone that name it.  What was to be erased on
        request waits for no grace.
        """
        covered = _covered(record)
        now = self.retention.clock.now()
        days = 1 if record in self.to_erase and not again else 15
        lifted = [scope for scope, day in self.lifted if now < start_of(day_after(day, days))]
        scopes = [*self.holds.values(), *lifted]
        return any(scope.covers(covered) for scope in scopes if scope.record_id or not again)

    def take_up(self, announced: Sequence[Data]) -> None:
        """Take up what retention announced; nothing that is held is ordered to be erased."""
        for told in announced:
            if isinstance(told, PurgeCommit):
                again = told.reason == "restore-replay"
                held = [ref for ref in told.refs if self.held(ref, again=again)]
                assert not held, "held, and to be erased"
            if isinstance(told, PurgeCommand):
                self.commands.append(told)

    async def place(self, choice: int) -> None:
        scope = _scopes(self.records)[choice % 4]
        self.holds[await self.retention.hold(scope)] = scope

    async def release(self, hold: UUID, person: str) -> None:
        """Let a person ask for a hold to be lifted, or agree to it."""
        if self.asked.get(hold) == person:
            return
        lifted = await self.retention.holds.release(self.retention.pool, hold, by=person)
        assert lifted is (hold in self.asked), "two people lift a hold, one does not"
        self.asked[hold] = person
        if lifted:
            today = civil_day(self.retention.clock.now())
            self.lifted.append((self.holds.pop(hold), today))

    async def erase(self, record: str) -> None:
        """Accept to erase a record, if it is there."""
        if record in await self.retention.records():
            ref = ("billing", "billing.invoice", record)
            await self.retention.erasures.accept(self.retention.pool, [ref], by="dpo")
            self.to_erase.add(record)

    async def command(self, how: str) -> None:
        """Let the holder take the next command."""
        if not self.commands:
            return
        command = self.commands[0]
        before = dict(self.store.state)
        try:
            async with transaction(self.holder_pool) as tx:
                await self.desk.take(tx, event(command, self.retention.clock.now()))
                _perhaps_die(how)
        except CrashError:
            self.store.state = before
            return
        if how != "twice":
            self.commands.popleft()
        rows = await self.holder_pool.fetch("DELETE FROM outbox RETURNING value")
        self.results += [PurgeResult.model_validate_json(row["value"]) for row in rows]

    async def result(self, how: str) -> None:
        """Let retention take the next answer."""
        if not self.results:
            return
        told = event(self.results[0], self.retention.clock.now())
        try:
            async with transaction(self.retention.pool) as tx:
                await self.retention.handlers.handle(tx, [told])
                _perhaps_die(how)
        except CrashError:
            return
        if how != "twice":
            self.results.popleft()
        self.take_up(await self.retention.announced())

    async def restore(self) -> None:
        """Bring the holder back to a backup from before all; the news overtakes its answers."""
        self.store.state = dict.fromkeys(self.records, "there")
        await self.holder_pool.execute("DELETE FROM purge_chunk_seen")
        self.results.appendleft(HolderRestored(holder="billing", from_backup_at=self.backup_at))
        self.retention.clock.advance(timedelta(seconds=1))

    async def step(self, what: str, choice: int, how: str) -> None:
        match what:
            case "place":
                await self.place(choice)
            case "release" if self.holds:
                await self.release(list(self.holds)[choice % len(self.holds)], PEOPLE[choice // 4])
            case "sweep":
                self.take_up(await self.retention.sweep())
            case "command":
                await self.command(how)
            case "result":
                await self.result(how)
            case "restore":
                await self.restore()
            case "erase":
                await self.erase(self.records[choice % 3])
            case "wait":
                self.retention.clock.advance(timedelta(hours=(1, 7, 30, 200)[choice % 4]))
            case _:
                pass  # there is no hold to release

    async def settle(self) -> None:
        """Let everything come to rest: what is ordered is carried out, as often as it takes."""
        for _ in range(12):
            await self.step("sweep", 0, "well")
            while self.commands or self.results:
                await self.command("well")
                await self.result("well")
            self.retention.clock.advance(timedelta(days=1, hours=1))

    async def lift_all(self) -> None:
        for hold in list(self.holds):
            for person in (*PEOPLE, PEOPLE[0]):  # whoever has asked before does not count twice
                if hold in self.holds:
                    await self.release(hold, person)
        self.retention.clock.advance(timedelta(days=16))


def _perhaps_die(how: str) -> None:
    if how == "crash":
        raise CrashError


def _covered(record: str) -> Covered:
    return Covered("billing.invoice", "c-1", (), "billing", record, date(2024, 3, 15))


def _scopes(records: tuple[str, ...]) -> list[Scope]:
    one = {"holder": "billing", "category": "billing.invoice"}
    return [
        Scope(customer_id="c-1"),
        Scope(category="billing.invoice", first_day=date(2024, 3, 15)),
        Scope(**one, record_id=records[0]),
        Scope(**one, record_id=records[1]),
    ]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.timeout(3600)
def test_nothing_held_is_purged_and_nothing_due_forgotten(
    retention_db: Database, platform_db: Database
) -> None:
    loop = asyncio.new_event_loop()
    run: Callable[..., Any] = loop.run_until_complete
    pools = [open_pool(db.owner, "test") for db in (retention_db, platform_db)]
    pool, holder_pool = [run(lent.__aenter__()) for lent in pools]
    retention = run(Restorable.on(pool))
    numbers = iter(range(10**9))

    async def interleave(steps: list[tuple[str, int, str]]) -> None:
        retention.clock.advance(MIDNIGHT - timedelta(minutes=1) - retention.clock.now())
        await pool.execute("TRUNCATE purge_job, purge_chunk, purge_again, holder_restore, canary")
        await pool.execute("DELETE FROM legal_hold")  # whose grace is in what is the future again
        records = tuple(f"i-{next(numbers)}" for _ in range(3))
        store = Store(dict.fromkeys(records, "there"))
        desk = PurgeDesk("billing", store, Outbox("//billing"), retention.clock)
        year = FiscalYearClosed(entity="ab", start=date(2024, 1, 1), end=date(2024, 12, 31))
        await retention.take(year, *(invoice(record) for record in records))
        world = World(retention, holder_pool, desk, store, records, retention.clock.now())
        for step in steps:
            await world.step(*step)
        await world.settle()
        for record, state in store.state.items():
            if state != "gone":
                held = world.held(record) or world.held(record, again=True)
                assert held, "due, and forgotten"
                assert state == "there", "held, and hidden all the same"
        await world.lift_all()
        await world.settle()
        assert set(store.state.values()) == {"gone"}
        assert await retention.records() == []

    @settings(
        max_examples=INTERLEAVINGS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def check(steps: list[tuple[str, int, str]]) -> None:
        try:
            run(asyncio.wait_for(interleave(steps), 60))
        except BaseException:
            run(_forget(retention_db))  # what one left behind must not fail the next
            raise

    check()
    for lent in pools:
        run(lent.__aexit__(None, None, None))
    loop.close()


async def _forget(database: Database) -> None:
    connection = await asyncpg.connect(database.owner)
    await connection.execute("TRUNCATE record, anchor, purge_job, legal_hold, outbox CASCADE")
    await connection.close()
