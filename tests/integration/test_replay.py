"""A holder was restored from a backup: what it was told to purge since is purged again."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from tests.conftest import Database
from tests.integration.events import event
from tests.integration.test_closed_loop import (
    ALERT_AFTER,
    ANSWER_WITHIN,
    NO_LIMITS,
    Retention,
    answer,
    invoice,
    named,
)

from retention import report
from retention.limits import Limits
from retention.override import Scope
from retention.replay import Replay
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import Counts, HolderRestored, PurgeException, PurgePrepare
from shared.exports import Exports
from shared.holder import command_hash
from shared.inbox import Sight, sight
from shared.postgres import Pool, open_pool, transaction

HOUR = timedelta(hours=1)
INVOICES = ("i-1", "i-2")


class Restorable(Retention):
    """The service with its replays."""

    def __init__(
        self, pool: Pool, limits: Limits = NO_LIMITS, exports: Exports | None = None
    ) -> None:
        super().__init__(pool, limits, exports)
        self.replay = Replay(self.loop)

    async def sweep(self) -> list[Data]:
        await self.replay.sweep(self.pool)
        return await super().sweep()

    async def purge(self, prepare: PurgePrepare, **changes: Any) -> None:
        """Answer both phases; *changes* are of the last answer."""
        await self.take(answer(prepare, self.clock.now()))
        [commit] = named(await self.announced(), "PurgeCommit")
        await self.take(answer(commit, self.clock.now(), **changes))

    async def restored(self, backup: datetime) -> Sequence[Any]:
        """Tell of a restore; return the purges that are ordered then."""
        await self.take(HolderRestored(holder="billing", from_backup_at=backup))
        return named(await self.sweep(), "PurgePrepare")


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Restorable]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Restorable.on(pool)


@pytest.fixture
async def purged(retention: Restorable) -> datetime:
    """Purge two invoices; return when, an hour ago."""
    await retention.invoices(*INVOICES)
    retention.clock.advance(HOUR)
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await retention.purge(prepare)
    await retention.sweep()
    done = retention.clock.now()
    retention.clock.advance(HOUR)
    return done


async def test_what_was_purged_since_the_backup_is_purged_again(
    retention: Restorable, purged: datetime
) -> None:
    await retention.take(HolderRestored(holder="billing", from_backup_at=purged))
    announced = await retention.sweep()
    [opened] = named(announced, "PurgeJobOpened")
    [prepare] = named(announced, "PurgePrepare")
    assert (opened.reason, opened.records, opened.holders) == ("restore-replay", 2, ["billing"])
    assert (prepare.reason, sorted(prepare.refs)) == ("restore-replay", ["i-1", "i-2"])
    assert prepare.command_hash == command_hash(prepare)
    assert named(await retention.sweep(), "PurgePrepare") == []

    await retention.purge(prepare)
    [closed] = named(await retention.sweep(), "PurgeJobClosed")
    assert (closed.job_id, closed.counts) == (opened.job_id, Counts(erased=2))
    statement = "SELECT statement::json ->> 'reason' FROM purge_job WHERE id = $1::text::uuid"
    assert await retention.pool.fetchval(statement, closed.job_id) == "restore-replay"
    assert closed.statement is not None


async def test_nothing_is_opened_where_nothing_was_purged_since(
    retention: Restorable, purged: datetime
) -> None:
    assert await retention.restored(purged + timedelta(seconds=1)) == []
    await retention.take(HolderRestored(holder="crm", from_backup_at=purged))
    assert await retention.sweep() == []


async def test_a_restore_told_twice_is_one(retention: Restorable, purged: datetime) -> None:
    told = event(HolderRestored(holder="billing", from_backup_at=purged), retention.clock.now())
    for _ in range(2):
        async with transaction(retention.pool) as tx:
            if await sight(tx, [told]) == [Sight.FIRST]:
                await retention.handlers.handle(tx, [told])
        for prepare in named(await retention.sweep(), "PurgePrepare"):
            await retention.purge(prepare)
    assert await retention.pool.fetchval("SELECT count(*) FROM purge_job") == 2


async def test_a_replay_is_itself_a_purge_that_a_restore_undoes(
    retention: Restorable, purged: datetime
) -> None:
    [first] = await retention.restored(purged)
    await retention.purge(first)
    replayed = retention.clock.now()
    retention.clock.advance(HOUR)
    [again] = await retention.restored(replayed)
    assert (sorted(again.refs), again.reason) == (["i-1", "i-2"], "restore-replay")
    assert again.chunk_id != first.chunk_id
    await retention.purge(again)
    retention.clock.advance(HOUR)
    [third] = await retention.restored(purged)
    assert sorted(third.refs) == ["i-1", "i-2"], "each record once, however often it was purged"


async def test_two_restores_before_an_answer_are_one_replay(
    retention: Restorable, purged: datetime
) -> None:
    [prepare] = await retention.restored(purged)
    assert await retention.restored(purged) == []
    await retention.purge(prepare)
    assert named(await retention.sweep(), "PurgePrepare") == []


async def test_a_holder_that_finds_nothing_of_it_is_done(
    retention: Restorable, purged: datetime
) -> None:
    [prepare] = await retention.restored(purged)
    await retention.purge(prepare, counts=Counts(not_found=2))
    [closed] = named(await retention.sweep(), "PurgeJobClosed")
    assert closed.counts == Counts(not_found=2)
    retention.clock.advance(timedelta(days=30))
    assert await retention.sweep() == []


async def test_silence_about_a_replay_is_chased(retention: Restorable, purged: datetime) -> None:
    [prepare] = await retention.restored(purged)
    retention.clock.advance(ANSWER_WITHIN)
    assert named(await retention.sweep(), "PurgePrepare") == [prepare]
    retention.clock.advance(ALERT_AFTER + timedelta(days=8))
    alerts = {alert.fingerprint for alert in named(await retention.sweep(), "AlertRaised")}
    assert alerts == {"purge-unconfirmed/billing", "purge-overdue/billing.invoice"}
    await retention.purge(prepare)
    over = {alert.fingerprint for alert in named(await retention.sweep(), "AlertResolved")}
    assert over == alerts


async def test_what_a_holder_refuses_is_tried_again(
    retention: Restorable, purged: datetime
) -> None:
    [prepare] = await retention.restored(purged)
    refused = [PurgeException(ref=ref, code="busy") for ref in prepare.refs]
    await retention.take(answer(prepare, retention.clock.now(), refused))
    assert named(await retention.sweep(), "PurgePrepare") == []
    retention.clock.advance(timedelta(days=1))
    [again] = named(await retention.sweep(), "PurgePrepare")
    assert sorted(again.refs) == ["i-1", "i-2"]


async def test_a_change_of_holds_between_the_phases_does_not_lose_a_replay(
    retention: Restorable, purged: datetime
) -> None:
    [prepare] = await retention.restored(purged)
    await retention.hold(Scope(customer_id="c-7"))
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    await retention.take(answer(cancel, retention.clock.now()))
    [again] = named(await retention.sweep(), "PurgePrepare")
    assert again.hold_epoch == prepare.hold_epoch + 1
    await retention.purge(again)
    closed = named(await retention.sweep(), "PurgeJobClosed")
    assert [job.counts.erased for job in closed] == [2]


@pytest.mark.parametrize("scope", [Scope(category="billing.invoice"), None])
async def test_a_hold_that_names_it_keeps_what_was_restored(
    retention: Restorable, purged: datetime, scope: Scope | None
) -> None:
    one = Scope(holder="billing", category="billing.invoice", record_id="i-1")
    hold = await retention.hold(scope or one)
    ordered = [ref for prepare in await retention.restored(purged) for ref in prepare.refs]
    assert ordered == ([] if scope else ["i-2"])
    for person in ("u-2", "u-3"):
        await retention.holds.release(retention.pool, hold, by=person)
    retention.clock.advance(timedelta(days=16))
    left = named(await retention.sweep(), "PurgePrepare")
    assert {ref for prepare in left for ref in prepare.refs} >= {"i-1"}


async def test_a_hold_on_what_is_ordered_again_tells_what_is_beyond_recall(
    retention: Restorable, purged: datetime
) -> None:
    [prepare] = await retention.restored(purged)
    await retention.take(answer(prepare, retention.clock.now()))
    await retention.announced()
    await retention.hold(Scope(category="billing.invoice"))
    [told] = named(await retention.announced(), "HoldPlaced")
    assert told.beyond_recall == 2


async def test_a_record_that_is_there_anew_has_a_deadline_of_its_own(
    retention: Restorable, purged: datetime
) -> None:
    await retention.take(invoice("i-1"))
    await retention.hold(Scope(customer_id="c-1"))
    [prepare] = await retention.restored(purged)
    assert prepare.refs == ["i-2"]
    await retention.take(invoice("i-2"))  # between the phases
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    await retention.take(answer(cancel, retention.clock.now()))
    retention.clock.advance(timedelta(days=2))
    assert named(await retention.sweep(), "PurgePrepare") == []
    assert await retention.records() == ["i-1", "i-2"]


async def test_an_answer_from_before_the_restore_that_comes_after_it(
    retention: Restorable,
) -> None:
    await retention.invoices(*INVOICES)
    retention.clock.advance(HOUR)
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await retention.take(answer(prepare, retention.clock.now()))
    [commit] = named(await retention.announced(), "PurgeCommit")
    done = answer(commit, retention.clock.now())
    retention.clock.advance(timedelta(minutes=1))
    assert await retention.restored(done.completed_at) == []
    await retention.take(done)
    [again] = named(await retention.sweep(), "PurgePrepare")
    assert (again.reason, sorted(again.refs)) == ("restore-replay", ["i-1", "i-2"])
    retention.clock.advance(timedelta(minutes=1))
    await retention.purge(again)
    assert named(await retention.sweep(), "PurgePrepare") == [], "done after the restore: it stays"


async def test_a_replay_does_not_wait_for_ordinary_work(
    retention: Restorable, purged: datetime
) -> None:
    await retention.take(*(invoice(f"o-{n}") for n in range(600)))
    object.__setattr__(retention.loop, "limit", 1)
    await retention.take(HolderRestored(holder="billing", from_backup_at=purged))
    prepares = named(await retention.sweep(), "PurgePrepare")
    assert sorted(prepare.reason for prepare in prepares) == ["deadline", "restore-replay"]


async def test_many_are_replayed_in_chunks(retention: Restorable) -> None:
    await retention.invoices(*(f"i-{n:04}" for n in range(1001)))
    retention.clock.advance(HOUR)
    done = retention.clock.now()
    for prepare in named(await retention.sweep(), "PurgePrepare"):
        await retention.purge(prepare)
    again = await retention.restored(done)
    assert sorted(len(prepare.refs) for prepare in again) == [1, 500, 500]
    assert len({prepare.job_id for prepare in again}) == 1


@pytest.mark.parametrize(
    ("holder", "ahead", "code"),
    [("nobody", timedelta(0), "unknown-holder"), ("billing", HOUR, "invalid")],
)
async def test_a_restore_that_cannot_be_is_rejected(
    retention: Restorable, holder: str, ahead: timedelta, code: str
) -> None:
    backup = retention.clock.now() + ahead
    with pytest.raises(Rejected) as rejected:
        await retention.take(HolderRestored(holder=holder, from_backup_at=backup))
    assert rejected.value.code == code


async def test_the_report_counts_what_was_replayed_once(
    retention: Restorable, purged: datetime
) -> None:
    [prepare] = await retention.restored(purged)
    await retention.purge(prepare)
    await retention.sweep()
    async with retention.pool.acquire() as tx:
        period = report.Span(date(2032, 1, 1), date(2032, 1, 2), date(2032, 1, 2))
        policies = retention.in_force.history.newest
        made = await report.make(tx, policies, period, retention.clock.now(), {})
    assert made.purged == 2
    [line] = [line for line in made.lines if line.policy.category == "billing.invoice"]
    assert sorted(p.reason for p in line.purges) == ["deadline", "restore-replay"]
