"""Canaries go the way of every record; what a holder confirms and does not do is found."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.conftest import Database
from tests.integration.events import event
from tests.integration.test_closed_loop import Retention, named
from tests.integration.test_inventory import inventory

from gallra.demo.holders import HOLDERS, TABLES, TableHolder
from retention import canary_store, report
from retention.canary import Canaries
from retention.limits import Limits
from retention.override import Scope
from retention.policy import Policies
from retention.replay import Replay
from shared.errors import Rejected
from shared.events import BY_TYPE, Data
from shared.events.gallra import CanaryCommand, CanarySeen, HolderRestored, PurgeCommand
from shared.events.platform import Anchor, RecordGone, RecordRegistered
from shared.holder import Holder, Outcome, PurgeDesk
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, open_pool, transaction

NOON = datetime(2032, 6, 15, 10, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
GRACE = timedelta(days=7)
PAIRS = [
    ("billing", "billing.contact"),
    ("billing", "billing.invoice"),
    ("crm", "lead.form"),
    ("portal", "account.master"),
]
LEADS = ("crm", "lead.form")


class World(Retention):
    """Retention, and holders that it speaks with over no broker.

    Attributes:
        twice: Whether everything is delivered twice.
    """

    def __init__(self, pool: Pool, platform: Pool) -> None:
        super().__init__(pool)
        self.platform = platform
        self.clock.advance(NOON - self.clock.now())
        self.holder: Holder = TableHolder()
        self.twice = False
        self.asks_for(self.policies)

    def asks_for(self, policies: Policies, limit: timedelta | None = None) -> None:
        outbox = Outbox("//test/retention")
        self.canaries = Canaries(outbox, self.clock, policies, every=DAY, limit=limit)

    async def say(self) -> list[Data]:
        """Let a minute pass, sweep; return what was announced."""
        self.clock.advance(MINUTE)
        await self.canaries.sweep(self.pool)
        return await self.sweep()

    async def answered(self, said: Sequence[Data]) -> list[Data]:
        """Return what the holders answer."""
        outbox = Outbox("//test/platform")
        desks = [PurgeDesk(name, self.holder, outbox, self.clock) for name in HOLDERS]
        for data in said:
            if not isinstance(data, PurgeCommand | CanaryCommand):
                continue
            for desk in desks:
                for _ in range(1 + self.twice):
                    told = event(data, self.clock.now())
                    if desk.wants(told):
                        async with transaction(self.platform) as tx:
                            await desk.take(tx, told)
        rows = await self.platform.fetch(
            "WITH sent AS (DELETE FROM outbox RETURNING *) SELECT * FROM sent ORDER BY position"
        )
        return [
            BY_TYPE[row["header_values"][3].decode()].model.model_validate_json(row["value"])
            for row in rows
        ]

    async def step(self) -> list[Data]:
        """Bring everything one word further; return what retention said."""
        said = [*await self.announced(), *await self.say()]
        for answer in await self.answered(said):
            for _ in range(1 + self.twice):
                await self.take(answer)
        return said

    async def steps(self, number: int = 6) -> list[Data]:
        return [data for _ in range(number) for data in await self.step()]

    async def until(self, state: str) -> None:
        """Go on until all canaries are in a state; their holders have not heard the last word."""
        for _ in range(10):
            said = [*await self.announced(), *await self.say()]
            if set((await self.states()).values()) == {state}:
                return
            await self.take(*await self.answered(said))
        pytest.fail(f"{await self.states()}, not all are {state}")

    async def states(self) -> dict[tuple[str, str], str]:
        async with self.pool.acquire() as tx:
            rows = await canary_store.newest(tx)
        return {(row["holder"], row["category"]): row["state"] for row in rows}

    async def kept(self, category: str) -> list[str]:
        rows = await self.platform.fetch(f"SELECT record_id FROM {TABLES[category]}")
        return [row["record_id"] for row in rows]


@pytest.fixture
async def world(retention_db: Database, platform_db: Database) -> AsyncIterator[World]:
    async with (
        open_pool(retention_db.service, "test") as pool,
        open_pool(platform_db.owner, "test") as platform,
    ):
        world = World(pool, platform)
        await world.start()
        await world.announced()
        yield world


def alerts(said: Sequence[Data], kind: str = "AlertRaised") -> list[tuple[str, str]]:
    return sorted((a.fingerprint, a.severity) for a in named(said, kind))


def measured(holder: str, category: str) -> float:
    labels = {"holder": holder, "category": category}
    return REGISTRY.get_sample_value("gallra_canary_seconds_count", labels) or 0


async def test_an_honest_holder_is_measured(world: World) -> None:
    before = {pair: measured(*pair) for pair in PAIRS}
    said = await world.steps()
    assert await world.states() == dict.fromkeys(PAIRS, "erased")
    assert len(named(said, "PurgeJobClosed")) == len(PAIRS)
    assert alerts(said) == []
    assert await world.records() == []
    assert [await world.kept(category) for category in TABLES] == [[]] * len(TABLES)
    async with world.pool.acquire() as tx:
        assert {row["seconds"] for row in await canary_store.newest(tx)} == {180.0}
    assert {pair: measured(*pair) - before[pair] for pair in PAIRS} == dict.fromkeys(PAIRS, 1)


async def test_one_a_day(world: World) -> None:
    await world.until("erased")
    assert named(await world.steps(), "CanaryPlant") == []
    world.clock.advance(DAY)
    assert len(named(await world.steps(), "CanaryPlant")) == len(PAIRS)
    assert await world.pool.fetchval("SELECT count(*) FROM canary") == 2 * len(PAIRS)


async def test_everything_twice_is_as_once(world: World) -> None:
    world.twice = True
    said = await world.steps()
    assert await world.states() == dict.fromkeys(PAIRS, "erased")
    assert alerts(said) == []
    assert await world.pool.fetchval("SELECT count(*) FROM canary") == len(PAIRS)


async def test_a_crash_in_between_changes_nothing(world: World) -> None:
    for _ in range(6):
        said = [*await world.announced(), *await world.say()]
        for answer in await world.answered(said):
            async with world.pool.acquire() as tx:
                dying = tx.transaction()
                await dying.start()
                await world.handlers.handle(tx, [event(answer, world.clock.now())])
                await dying.rollback()
            await world.take(answer)
    assert await world.states() == dict.fromkeys(PAIRS, "erased")


class Liar(TableHolder):
    """Confirms what it does not do."""

    async def erase(self, _tx: Connection, _of: PurgeCommand, refs: Sequence[str]) -> Outcome:
        return Outcome(refs)


async def test_who_confirms_without_erasing_is_caught(world: World) -> None:
    world.holder = Liar()
    said = await world.steps(7)
    assert await world.records() == [], "all of it is confirmed"
    told = [(f"canary-survived/{holder}/{category}", "critical") for holder, category in PAIRS]
    assert alerts(said) == told

    world.clock.advance(DAY)
    assert len(named(await world.steps(2), "CanaryLook")) == len(PAIRS), "it is asked again"
    assert await world.states() == dict.fromkeys(PAIRS, "survived")
    for table in TABLES.values():
        await world.platform.execute(f"DELETE FROM {table}")
    world.clock.advance(DAY)
    over = named(await world.steps(2), "AlertResolved")
    assert sorted(alert.fingerprint for alert in over) == [fingerprint for fingerprint, _ in told]
    world.holder = TableHolder()
    await world.until("erased")


async def test_what_a_liar_confirmed_is_ordered_again(world: World) -> None:
    """As the runbook says."""
    world.holder = Liar()
    await world.until("survived")
    world.holder = TableHolder()
    told = [HolderRestored(holder=holder, from_backup_at=NOON) for holder in HOLDERS]
    await world.take(*told)
    await Replay(world.loop).sweep(world.pool)
    await world.steps()
    world.clock.advance(DAY)
    await world.step()
    assert await world.states() == dict.fromkeys(PAIRS, "erased")


@pytest.mark.parametrize("state", ["planting", "due", "looking"])
async def test_who_is_silent_is_late(world: World, state: str) -> None:
    await world.until(state)
    world.clock.advance(GRACE - timedelta(hours=1))
    early = str(alerts(await world.say()))
    assert "canary-late" not in early
    assert "purge-overdue" not in early, "the law wants nothing of it"
    world.clock.advance(timedelta(hours=1))
    late = {f"canary-late/{holder}/{category}" for holder, category in PAIRS}
    raised = dict(alerts(await world.say()))
    assert late <= raised.keys()
    assert {raised[fingerprint] for fingerprint in late} == {"warning"}
    assert await world.pool.fetchval("SELECT count(*) FROM canary") == len(PAIRS), "one at a time"

    said: list[Data] = []
    for _ in range(3):  # what Kafka kept for a week is gone: they are asked again
        world.clock.advance(DAY)
        said += await world.steps()
    assert await world.states() == dict.fromkeys(PAIRS, "erased")
    assert late <= dict(alerts(said, "AlertResolved")).keys()


async def test_the_limit_may_be_set(world: World) -> None:
    world.asks_for(world.policies, limit=timedelta(hours=1))
    await world.say()
    world.clock.advance(timedelta(hours=1))
    assert len(alerts(await world.say())) == len(PAIRS)


async def test_who_does_not_find_what_it_was_to_store_is_late(world: World) -> None:
    class Forgetful(TableHolder):
        async def plant(self, tx: Connection, category: str, record_id: str) -> None:
            pass

    world.holder = Forgetful()
    await world.steps()
    assert await world.states() == dict.fromkeys(PAIRS, "planting")
    assert await world.records() == []
    world.clock.advance(GRACE)
    assert len(alerts(await world.say())) == len(PAIRS)


class Plain:
    """A holder that knows of no canaries."""

    def __init__(self) -> None:
        own = TableHolder()
        self.quarantine, self.erase, self.restore = own.quarantine, own.erase, own.restore


async def test_who_knows_of_none_is_left_alone(world: World) -> None:
    world.holder = Plain()
    [plant, *_] = named(await world.say(), "CanaryPlant")
    assert await world.answered([plant]) == []


async def test_an_answer_from_before_the_purge_is_no_survivor(world: World) -> None:
    await world.until("looking")
    rows = await world.pool.fetch("SELECT holder, category, record_id FROM canary")
    await world.take(*(CanarySeen(**row, phase="plant", found=True) for row in rows))
    assert await world.states() == dict.fromkeys(PAIRS, "looking")
    assert await world.records() == []


async def test_what_its_holder_deleted_itself_proves_nothing(world: World) -> None:
    await world.step()
    rows = await world.pool.fetch("SELECT holder, category, record_id FROM record")
    assert len(rows) == len(PAIRS)
    await world.take(*(RecordGone(**row, date=date(2032, 6, 15), why="cleaned up") for row in rows))
    assert named(await world.steps(), "CanaryLook") == []
    assert await world.states() == dict.fromkeys(PAIRS, "due")
    policies = world.policies
    world.asks_for(Policies(policies.by_category, {}))
    await world.steps()
    assert await world.states() == dict.fromkeys(PAIRS, "abandoned")
    world.asks_for(policies)
    world.clock.advance(DAY)
    await world.until("erased")


async def test_a_canary_that_nobody_planted_is_set_aside(world: World) -> None:
    with pytest.raises(Rejected) as rejected:
        await world.take(
            CanarySeen(
                holder="crm",
                category="lead.form",
                record_id=f"canary-{1:032x}",
                phase="plant",
                found=True,
            )
        )
    assert rejected.value.code == "unknown-reference"
    assert await world.records() == []


async def test_who_takes_canaries_no_more_is_not_waited_for(world: World) -> None:
    policies = world.policies
    await world.say()
    world.clock.advance(GRACE)
    assert len(alerts(await world.say())) == len(PAIRS)
    world.asks_for(Policies(policies.by_category, {}))
    assert len(alerts(await world.say(), "AlertResolved")) == len(PAIRS)
    world.asks_for(policies)
    await world.until("erased")


async def test_what_is_registered_goes_whoever_takes_canaries(world: World) -> None:
    await world.step()
    assert len(await world.records()) == len(PAIRS)
    world.asks_for(Policies(world.policies.by_category, {}))
    await world.steps()
    assert await world.records() == []
    assert await world.states() == dict.fromkeys(PAIRS, "abandoned")


async def test_under_a_hold_it_is_not_late(world: World) -> None:
    await world.hold(Scope(category="lead.form"))
    await world.steps()
    assert (await world.states())[LEADS] == "due"
    world.clock.advance(GRACE)
    assert alerts(await world.say()) == []


# What else counts records


async def test_the_guard_does_not_count_it(world: World) -> None:
    world.loop = type(world.loop)(
        *(getattr(world.loop, name) for name in world.loop.__slots__[:-1]), Limits(floor=0)
    )
    await world.sweep()  # makes the forecast of tomorrow: nothing
    world.clock.advance(DAY)
    said = await world.steps()
    assert named(said, "PurgeJobFrozen") == []
    assert await world.states() == dict.fromkeys(PAIRS, "erased")


async def test_an_inventory_agrees_at_any_time(world: World) -> None:
    for _ in range(6):
        for holder, category in PAIRS:
            has = await world.kept(category)
            await world.take(inventory(has, world.clock.now(), category, holder))
        assert not [a for a in alerts(await world.step()) if a[0].startswith("inventory/")]
    assert await world.states() == dict.fromkeys(PAIRS, "erased")


async def test_an_inventory_from_before_its_answer_was_taken_agrees(world: World) -> None:
    answers = await world.answered(await world.say())
    then = world.clock.now()
    world.clock.advance(MINUTE)
    async with transaction(world.pool) as tx:
        await world.handlers.handle(tx, [event(answer, then) for answer in answers])
    for holder, category in PAIRS:
        await world.take(inventory(await world.kept(category), then, category, holder))
    assert alerts(await world.sweep()) == []


async def counted(world: World) -> dict[str, Any]:
    """Return what the report says of leads."""
    day = date(2032, 6, 15)
    span = report.Span(date(2032, 1, 1), day, day)
    async with world.pool.acquire() as tx:
        policies = world.in_force.history.newest
        made = await report.make(tx, policies, span, world.clock.now(), {})
    [line] = [line for line in made.lines if line.policy.category == "lead.form"]
    return {
        "held": line.counts["held"],
        "awaiting": dict(line.awaiting),
        "purged": line.purged["erased"],
        "jobs": len(line.purges),
        "kept until": line.kept_until,
    }


async def test_the_report_counts_people(world: World) -> None:
    nobody = {"held": 0, "awaiting": {}, "purged": 0, "jobs": 0, "kept until": None}
    for _ in range(6):
        await world.step()
        assert await counted(world) == nobody


async def test_the_report_counts_people_beside_it(world: World) -> None:
    await world.step()
    await world.platform.execute(
        "INSERT INTO lead VALUES ('l-1', 'A', 'a@x.example', '2031-01-01')"
    )
    anchor = Anchor(anchor_id="a", kind="submitted", date=date(2031, 1, 1))
    fields = {"holder": "crm", "category": "lead.form", "record_id": "l-1", "entity": "ab"}
    await world.take(RecordRegistered(**fields, anchors=(anchor,)))
    before = await counted(world)
    assert (before["held"], before["purged"]) == (1, 0)
    said = await world.say()
    [order] = [p for p in named(said, "PurgePrepare") if p.holder == "crm"]
    assert len(order.refs) == 2
    assert (await counted(world))["awaiting"] == {"crm": 1}
    await world.take(*await world.answered(said))
    for _ in range(4):
        await world.step()
        after = {"held": 0, "awaiting": {}, "purged": 1, "jobs": 1, "kept until": None}
        assert await counted(world) == after
    assert await world.states() == dict.fromkeys(PAIRS, "erased")
