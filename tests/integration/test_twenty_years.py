"""Twenty years in minutes: nothing goes early, nothing late, and nothing is forgotten.

The parts of retention are the real ones, on a real database and a virtual clock; its holders, the
platform and its people are simulated, and so is the passing of time: from one day on which SQL or
the platform has something to do to the next.  What is right is found a second time in memory, see
`oracle`.  Another history: ``GALLRA_SEED=7 pytest tests/integration/test_twenty_years.py``; four
times as many records: ``make soak``.
"""

import heapq
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain, count
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration import evidence
from tests.integration.evidence import Log
from tests.integration.oracle import Known, Oracle
from tests.integration.simulated import Platform, reporting_days
from tests.integration.simulated_holders import Holders
from tests.integration.test_closed_loop import Retention

from retention import purge_store
from retention.calendar import civil_day, day_after, start_of
from retention.guard import Guard
from retention.limits import Limits
from retention.override import Scope
from retention.planner import Planner
from retention.policy import Policies
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import (
    AlertRaised,
    PurgeCancel,
    PurgeCommand,
    PurgeCommit,
    PurgeJobFrozen,
    PurgeResult,
)
from shared.events.platform import RecordRegistered
from shared.postgres import open_pool, transaction

SEED = os.environ.get("GALLRA_SEED", "20")
RECORDS = int(os.environ.get("GALLRA_RECORDS", "25000"))
STOCK = RECORDS * 12 // 100
AT_ONCE = 2_000
FIRST = date(2026, 1, 5)
LAST = date(2047, 1, 2)
EVENTS = {"policy": 30, "hold": 70, "year": 30, "service": 40, "erasure": 30}
HALF_A_DAY = timedelta(hours=12)
PEOPLE = ("anna", "bo")

NEXT = f"""
    SELECT min(at) FROM (
        SELECT min(purge_from) AS at
          FROM deadline_key
         WHERE status = 'scheduled' AND purge_from > $1 AND id IN (SELECT key FROM key_records)
         UNION ALL
        SELECT min(not_before) FROM purge_item WHERE not_before > $1
         UNION ALL
        SELECT min(until)
          FROM legal_hold, LATERAL (VALUES (protects_until),
               ((protects_until AT TIME ZONE 'Europe/Stockholm' - interval '14 days')
                AT TIME ZONE 'Europe/Stockholm')) AS ends (until)
         WHERE until > $1
         UNION ALL
        SELECT min(erasable_from)
          FROM erasure
          JOIN record ON record.id = erasure.record
          JOIN deadline_key ON deadline_key.id = record.key,
               LATERAL (SELECT {purge_store.ERASABLE_FROM} AS erasable_from) AS found
         WHERE erasable_from > $1) AS due
"""


class World:
    """Everything at once, and what happens to it."""

    def __init__(self, retention: Retention, owner: Any, random: Random) -> None:
        self.random = random
        self.owner = owner
        self.retention = retention
        self.days = reporting_days(random, LAST)
        self.oracle = Oracle(retention.policies, self.now)
        self.platform = Platform(random, self.oracle, self.days)
        self.log = Log()
        self.holders = Holders(random, self.log, quiet_from=date(2046, 9, 1))
        self.by_category = dict(retention.policies.by_category)
        self.agenda: list[tuple[datetime, int, Callable[[], Awaitable[None]]]] = []
        self.numbers = count()
        self.in_force: dict[UUID, date] = {}
        self.frozen: dict[str, datetime] = {}
        self.alerts: list[Data] = []
        self.mailed = 0
        self.happened = Counter[str]()

    def now(self) -> datetime:
        return self.retention.clock.now()

    @property
    def today(self) -> date:
        return civil_day(self.now())

    def plan(self, day: date, what: Callable[[], Awaitable[None]], hour: int = 11) -> None:
        self.plan_at(datetime.combine(day, time(hour), UTC), what)

    def plan_at(self, at: datetime, what: Callable[[], Awaitable[None]]) -> None:
        heapq.heappush(self.agenda, (at, next(self.numbers), what))

    # Time.

    async def live(self) -> None:
        """Let all of it happen."""
        await self.begin()
        self._draw_up()
        await self.sweep()
        while (at := await self.next()) <= start_of(LAST) or self.oracle.is_waiting():
            self.oracle.check() if at > start_of(LAST) else None
            self.retention.clock.advance(at - self.now())
            await self.let_through()
            await self.work(await self.answered(self.holders.late(at)))
            while self.agenda and self.agenda[0][0] <= at:
                await heapq.heappop(self.agenda)[2]()
            await self.sweep()
        self.log.sign()

    async def next(self) -> datetime:
        """Return the next instant at which there is something to do."""
        now = self.now()
        times = [await self.retention.pool.fetchval(NEXT, now)]
        times += [at for _, at, _ in self.holders.owed.values()]
        times += [at + HALF_A_DAY for at in self.frozen.values()]
        times += [self.agenda[0][0]] if self.agenda else []
        return min((at for at in times if at is not None), default=now + HALF_A_DAY)

    async def begin(self) -> None:
        """Start the service, and tell it of the stock."""
        at = datetime.combine(FIRST, time(9), UTC)
        self.retention.clock.advance(at - self.now())
        await self.retention.start()
        await self.work(await self.retention.announced())
        await self.tell(self.platform.years(FIRST))
        await self.tell(self.platform.arrivals(500, date(2016, 6, 1)))
        place = sum(day <= FIRST for day in self.days) - 1
        await self.tell(self.platform.records(place, STOCK, back=72))

    def _draw_up(self) -> None:
        """Put what will happen on the agenda, in the order in which it does."""
        reporting = [n for n, day in enumerate(self.days) if FIRST < day < date(2046, 12, 1)]
        for number, place in enumerate(reporting):
            left = RECORDS - STOCK
            share = left * (number + 1) // len(reporting) - left * number // len(reporting)
            self.plan(self.days[place], lambda p=place, s=share: self.report(p, s))
        kinds = [kind for kind, times in EVENTS.items() for _ in range(times)]
        self.random.shuffle(kinds)
        span = (date(2046, 7, 1) - FIRST).days
        for kind in kinds:
            day = day_after(FIRST, self.random.randrange(10, span))
            self.plan(day, getattr(self, kind), hour=self.random.randrange(7, 17))
        for year in range(FIRST.year + 1, LAST.year):
            self.plan(date(year, 1, 15), self.year_ends)

    # What the platform tells.

    async def tell(self, facts: Iterable[Data]) -> None:
        told = [*facts]
        for start in range(0, len(told), AT_ONCE):
            some = told[start : start + AT_ONCE]
            await self.retention.take(*some)
            self.oracle.take(*some)
            for fact in some:
                if isinstance(fact, RecordRegistered) and fact.holder == evidence.HOLDER:
                    self.log.hold(fact)

    async def report(self, place: int, records: int) -> None:
        """Let the platform tell what happened by the day number *place*."""
        await self.tell(self.platform.years(self.today))
        await self.tell(
            chain(
                self.platform.arrivals(9, self.today),
                self.platform.departures(place),
                self.platform.later(self.today),
            )
        )
        await self.tell(self.platform.records(place, records))

    async def service(self) -> None:
        await self.tell(self.platform.service_event(self.today))
        self.happened["service"] += 1

    async def year(self) -> None:
        await self.tell(self.platform.year_event(self.today))
        self.happened["year"] += 1

    # What people decide.

    async def policy(self) -> None:
        """Plan a change and approve it twice; nobody can approve what no law allows."""
        new = self.platform.policy(self.today)
        wanted = Policies({**self.by_category, new.category: new}, self.retention.policies.holders)
        retention = self.retention
        planner = Planner(retention.in_force, retention.outbox, retention.clock)
        made = await planner.plan(retention.pool, wanted)
        self.happened["policy"] += 1
        try:
            for person in PEOPLE:
                await planner.approve(retention.pool, made.sha256.hex(), by=person)
        except Rejected as rejected:
            if rejected.code != "below-statute" or not new.statutory:
                raise
            self.happened["forbidden"] += 1
            return
        self.by_category[new.category] = new
        self.oracle.change(new)

    async def hold(self) -> None:
        """Place a hold, or let two people lift the one that should have been reviewed longest."""
        self.happened["hold"] += 1
        if len(self.in_force) > self.random.randrange(2, 7):
            oldest = min(self.in_force, key=lambda hold: self.in_force[hold])
            for person in PEOPLE:
                lifted = await self.retention.holds.release(self.retention.pool, oldest, by=person)
            assert lifted
            del self.in_force[oldest]
            self.oracle.release(oldest)
            return
        await self.place(self.platform.scope())

    async def place(self, scope: Scope) -> None:
        review_on = day_after(self.today, self.random.randrange(30, 900))
        placed = await self.retention.holds.place(
            self.retention.pool, scope, reason="a dispute", review_on=review_on, by="anna"
        )
        self.in_force[placed.id] = review_on
        self.oracle.hold(placed.id, scope)

    async def disturb(self, refs: Sequence[str]) -> None:
        """Let something happen to a record while its holder is silent."""
        there = [ref for ref in refs if ref in self.oracle.alive]
        if not there:
            return
        self.happened["disturbed"] += 1
        known = self.oracle.alive[self.random.choice(there)]
        fact = self.platform.respite(known, self.today)
        if fact is None:
            holder, category, number = known.ref
            await self.place(Scope(holder=holder, category=category, record_id=number))
        else:
            await self.tell([fact])

    async def erasure(self) -> None:
        """Accept to erase a few records, or all that tell of a person."""
        self.happened["erasure"] += 1
        few = self.random.sample([*self.oracle.alive.values()], 3)
        erasures, pool = self.retention.erasures, self.retention.pool
        if few[0].subjects and self.random.random() < 0.5:
            accepted = await erasures.accept_all_of(pool, few[0].subjects[0], by="dpo")
            ids = {known.id for known in self.oracle.of("subject", few[0].subjects[0])}
        else:
            accepted = await erasures.accept(pool, [known.ref for known in few], by="dpo")
            ids = {known.id for known in few}
        assert {told.ref[2] for told in accepted} == ids
        self.oracle.erase(ids)

    async def let_through(self) -> None:
        """Let two people approve what has been frozen for half a day."""
        guard = Guard(self.retention.outbox, self.retention.clock, self.retention.loop.limits)
        for category, since in [*self.frozen.items()]:
            if since + HALF_A_DAY > self.now():
                continue
            del self.frozen[category]
            self.happened["approved"] += 1
            try:
                for person in PEOPLE:
                    await guard.approve(self.retention.pool, category, by=person)
            except Rejected as rejected:
                if rejected.code != "unknown-purge":  # not unusual any more
                    raise

    async def year_ends(self) -> None:
        """Look back, keep a root of the log, and do what autovacuum would have done in a year."""
        self.oracle.check()
        self.log.sign()
        await self.owner.execute("VACUUM ANALYZE")

    # The purge loop.

    async def sweep(self) -> None:
        """Sweep as often as something is to be ordered anew, and tell on-call what it must know."""
        self.happened["sweeps"] += 1
        while await self.work(await self.retention.sweep()):
            pass
        alerts, self.alerts = self.alerts, []
        for alert in alerts:
            left = evidence.mail(alert, self.now(), self.random)
            await self.tell(left)
            self.mailed += len(left)

    async def work(self, announced: Sequence[Data]) -> bool:
        """Log all that was announced and carry it out; return whether to sweep again."""
        again = False
        while announced:
            for told in announced:
                if isinstance(told, PurgeJobFrozen):
                    self.frozen[told.category] = self.now()
                if isinstance(told, AlertRaised):
                    self.happened[told.fingerprint.partition("/")[0]] += 1
                    self.alerts.append(told)
                if not isinstance(told, PurgeCommand):
                    self.log.take(told, self.now())
            commands = [told for told in announced if isinstance(told, PurgeCommand)]
            again = again or any(isinstance(told, PurgeCancel) for told in commands)
            announced = await self.answered(self.carried_out(commands))
        return again

    def carried_out(self, commands: list[Any]) -> list[PurgeResult]:
        answers: list[PurgeResult] = []
        for command in sorted(commands, key=lambda c: (c.category, c.holder, min(c.refs))):
            if isinstance(command, PurgeCommit):
                self.oracle.ordered(command, self.holders.hidden[command.chunk_id])
            silent = command.chunk_id in self.holders.owed
            told = self.holders.take(command, self.now())
            if told is not None:
                answers.append(told)
            elif not silent and self.random.random() < 0.5:
                later = self.now() + timedelta(hours=6)
                self.plan_at(later, lambda refs=command.refs: self.disturb(refs))
        return answers

    async def answered(self, answers: Sequence[PurgeResult]) -> list[Data]:
        """Bring retention the answers of holders; return what it says to them."""
        if not answers:
            return []
        await self.retention.take(*answers)
        for told in answers:
            self.oracle.refused(told.exceptions)
            if told.phase == "commit":
                self.oracle.confirmed(self.holders.hidden[told.chunk_id])
        return await self.retention.announced()


@pytest.fixture
async def world(retention_db: Database) -> AsyncIterator[World]:
    async with open_pool(retention_db.service, "test") as pool:
        owner = await asyncpg.connect(retention_db.owner)
        yield World(Retention(pool, Limits()), owner, Random(SEED))  # noqa: S311 - a simulation
        await owner.close()


@pytest.mark.timeout(600)
async def test_twenty_years(world: World) -> None:
    sys.stdout.write(f"GALLRA_SEED={SEED}\n")  # shown when it fails
    await world.live()
    ended = world.oracle.ends()
    sys.stdout.write(f"{ended}, {world.happened}\n")
    world.oracle.check()
    assert sum(ended.values()) == RECORDS + world.mailed
    assert min(ended[end] for end in ("purged", "held", "open", "indeterminate", "scheduled")) > 0
    assert sum(world.happened[kind] for kind in EVENTS) == 200
    await _the_registry_agrees(world)
    await _nothing_is_under_way(world)
    _the_log_agrees(world)


async def _the_registry_agrees(world: World) -> None:
    """Check the date of every record that is left, and what is said of why it is."""
    left = world.oracle.alive
    rows = await world.retention.pool.fetch(
        """
        SELECT record_id, status, purge_from, must_purge_by
          FROM record
          JOIN deadline_key ON deadline_key.id = key
        """
    )
    promised = {known.id: world.oracle.promised(known) for known in left.values()}
    assert {row["record_id"]: tuple(row)[1:] for row in rows} == {
        number: (d.status, d.purge_from, d.must_purge_by) for number, d in promised.items()
    }
    by_reason: dict[Any, list[Known]] = {}
    for known in (known for known in left.values() if known.group is None):
        reason = known.category, known.deadline.status, str(known.deadline.missing)
        by_reason.setdefault(reason, []).append(known)
    for known in chain.from_iterable(several[:3] for several in by_reason.values()):
        async with transaction(world.retention.pool) as tx:
            _, told = await world.retention.registry.explain(tx, known.ref, world.today)
        assert (told.status, told.keep_through) == (
            known.deadline.status,
            known.deadline.keep_through,
        )
        assert str(told.missing) == str(known.deadline.missing) or told.status != "indeterminate"
        assert told.steps if told.status != "indeterminate" else told.missing


async def _nothing_is_under_way(world: World) -> None:
    fetch = world.retention.pool.fetchval
    assert await fetch("SELECT count(*) FROM purge_chunk WHERE state <> 'done'") == 0
    alerts = "SELECT count(*) FROM alert_open WHERE fingerprint NOT LIKE 'hold-review/%'"
    assert await fetch(alerts) == 0
    assert world.happened["engines-disagree"] == 0


def _the_log_agrees(world: World) -> None:
    """Check that whoever sees the public log alone finds the same."""
    world.log.check(world.random, sample=200)
    found = world.log.judge(world.now())
    ids = {index: number for number, index in world.log.entries.items()}
    known = world.oracle.purged | world.oracle.alive
    assert [ids[index] for index in found.early] == []
    assert [known[ids[i]] for i in found.unexplained] == []
    assert [known[ids[i]] for i in found.late if not known[ids[i]].excused] == []
