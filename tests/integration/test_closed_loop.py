"""The purge loop on a real database: what is ordered, answered, refused, held, silent."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration.events import event

from retention import policy, store
from retention.activation import Activation
from retention.calendar import civil_day, day_after, start_of
from retention.erasures import Erasures
from retention.handlers import Handlers
from retention.holds import Holds
from retention.in_force import InForce
from retention.limits import Limits
from retention.override import Scope
from retention.purge import PurgeLoop
from retention.registry import Registry
from retention.rights import Rights
from retention.rights_answers import Answers
from retention.rights_book import Book
from retention.rights_holder import CaseHolder
from shared.clock import VirtualClock
from shared.errors import Rejected
from shared.events import BY_TYPE, Data
from shared.events.gallra import Counts, PurgeCommand, PurgeException, PurgeResult
from shared.events.platform import (
    Anchor,
    FiscalYearClosed,
    RecordRegistered,
    ServiceReactivated,
    ServiceStarted,
    ServiceTerminated,
)
from shared.exports import Exports
from shared.holder import PurgeDesk, command_hash
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool, transaction

POLICIES = Path(__file__).parents[2] / "policies"
MIDNIGHT = datetime(2031, 12, 31, 23, tzinfo=UTC)  # 2032-01-01 00:00 in Stockholm
ANSWER_WITHIN = timedelta(minutes=2)
ALERT_AFTER = timedelta(minutes=15)
NO_LIMITS = Limits(floor=10**9)


class Retention:
    """The service's parts on a virtual clock, and what they announced."""

    def __init__(
        self, pool: Pool, limits: Limits = NO_LIMITS, exports: Exports | None = None
    ) -> None:
        self.pool = pool
        self.clock = VirtualClock(MIDNIGHT - timedelta(seconds=1))
        self.outbox = Outbox("//test/retention")
        self.policies = policy.load(POLICIES)
        self.in_force = InForce(self.policies.holders)
        self.loop = PurgeLoop(
            self.outbox, self.clock, self.in_force, ANSWER_WITHIN, ALERT_AFTER, 10_000, limits
        )
        self.registry = Registry(self.in_force)
        self.holds = Holds(self.outbox, self.clock)
        self.erasures = Erasures(self.registry, self.outbox, self.clock)
        book = Book(self.registry, self.outbox, self.clock, "https://answers.example")
        self.rights = Rights(book, self.erasures, "ab", by_hand=exports is None)
        self.answers = Answers(book, self.erasures, exports)
        desk = PurgeDesk("retention", CaseHolder(), self.outbox, self.clock, exports=exports)
        self.handlers = Handlers(self.registry, self.loop, self.rights, desk)

    @classmethod
    async def on(
        cls, pool: Pool, limits: Limits = NO_LIMITS, exports: Exports | None = None
    ) -> Self:
        """Return the parts as they are once the service has started."""
        made = cls(pool, limits, exports)
        await made.start()
        await made.announced()
        return made

    async def start(self) -> None:
        await Activation(self.registry, self.policies, self.outbox, self.clock).run(self.pool)

    async def take(self, *facts: Data) -> None:
        async with transaction(self.pool) as tx:
            await self.handlers.handle(tx, [event(fact, self.clock.now()) for fact in facts])

    async def invoices(self, *numbers: str) -> None:
        """Register invoices of the financial year 2024: due on 2032-01-01."""
        await self.take(
            FiscalYearClosed(entity="ab", start=date(2024, 1, 1), end=date(2024, 12, 31)),
            *(invoice(number) for number in numbers),
        )

    async def hold(self, scope: Scope) -> UUID:
        review = civil_day(self.clock.now() + timedelta(days=150))
        placed = await self.holds.place(
            self.pool, scope, reason="a dispute", review_on=review, by="u-1"
        )
        return placed.id

    async def sweep(self) -> list[Data]:
        """Sweep once; return what was announced since the last look."""
        await self.loop.sweep(self.pool)
        return await self.announced()

    async def announced(self) -> list[Data]:
        rows = await self.pool.fetch("DELETE FROM outbox RETURNING position, header_values, value")
        return [
            BY_TYPE[row["header_values"][3].decode()].model.model_validate_json(row["value"])
            for row in sorted(rows, key=lambda row: row["position"])
        ]

    async def records(self) -> list[str]:
        rows = await self.pool.fetch("SELECT record_id FROM record ORDER BY record_id")
        return [row["record_id"] for row in rows]


def invoice(number: str) -> RecordRegistered:
    return RecordRegistered(
        holder="billing",
        category="billing.invoice",
        record_id=number,
        entity="ab",
        customer_id="c-1",
        anchors=(Anchor(anchor_id=f"{number}-b", kind="booked", date=date(2024, 3, 15)),),
    )


def answer(
    command: PurgeCommand, at: datetime, exceptions: Sequence[PurgeException] = (), **changes: Any
) -> PurgeResult:
    phase = type(command).__name__.removeprefix("Purge").lower()
    erased = len(command.refs) - len(exceptions) if phase == "commit" else 0
    fields: dict[str, Any] = {
        "chunk_id": command.chunk_id,
        "holder": command.holder,
        "phase": phase,
        "command_hash": command.command_hash,
        "hold_epoch": command.hold_epoch,
        "counts": Counts(erased=erased, refused=len(exceptions)),
        "exceptions": tuple(exceptions),
        "method": "clear",
        "completed_at": at,
    }
    return PurgeResult(**{**fields, **changes})


def named(announced: Sequence[Data], kind: str) -> list[Any]:
    return [data for data in announced if type(data).__name__ == kind]


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)


async def prepared(retention: Retention, exceptions: Sequence[PurgeException] = ()) -> list[Data]:
    """Bring what is due through its first phase; return what was announced then."""
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await retention.take(answer(prepare, retention.clock.now(), exceptions))
    return await retention.announced()


async def test_nothing_before_midnight_in_stockholm(retention: Retention) -> None:
    await retention.invoices("i-1")
    assert await retention.sweep() == []
    retention.clock.advance(timedelta(seconds=1))
    announced = await retention.sweep()
    [opened] = named(announced, "PurgeJobOpened")
    [prepare] = named(announced, "PurgePrepare")
    assert (opened.records, opened.holders) == (1, ["billing"])
    assert prepare.command_hash == command_hash(prepare)
    assert prepare.purge_from == MIDNIGHT
    assert await retention.sweep() == []


async def test_confirmed_in_two_phases_then_closed(retention: Retention) -> None:
    await retention.invoices(*(f"i-{n:04}" for n in range(1001)))
    retention.clock.advance(timedelta(hours=1))
    prepares = named(await retention.sweep(), "PurgePrepare")
    assert sorted(len(p.refs) for p in prepares) == [1, 500, 500]
    for prepare in prepares:
        await retention.take(answer(prepare, retention.clock.now()))
    commits = named(await retention.announced(), "PurgeCommit")
    assert {c.command_hash for c in commits} == {p.command_hash for p in prepares}
    assert len(await retention.records()) == 1001
    for commit in commits:
        await retention.take(answer(commit, retention.clock.now()))
        await retention.take(answer(commit, retention.clock.now()))  # said twice
    assert await retention.records() == []
    assert await retention.pool.fetchval("SELECT count(*) FROM anchor") == 0
    [closed] = named(await retention.sweep(), "PurgeJobClosed")
    assert closed.counts == Counts(erased=1001)
    assert named(await retention.sweep(), "PurgeJobClosed") == []


async def test_two_sweeps_at_once_order_nothing_twice(retention: Retention) -> None:
    await retention.invoices("i-1", "i-2")
    retention.clock.advance(timedelta(hours=1))

    await asyncio.gather(*(retention.loop.sweep(retention.pool) for _ in range(4)))
    prepares = named(await retention.announced(), "PurgePrepare")
    assert sorted(ref for p in prepares for ref in p.refs) == ["i-1", "i-2"]


async def test_refused_until_a_day(retention: Retention) -> None:
    await retention.invoices("i-1", "i-2")
    retention.clock.advance(timedelta(hours=1))
    refusal = PurgeException(ref="i-1", code="dispute", until=date(2032, 2, 29))
    [commit] = named(await prepared(retention, [refusal]), "PurgeCommit")
    await retention.take(answer(commit, retention.clock.now(), counts=Counts(erased=1)))
    assert await retention.records() == ["i-1"]
    [closed] = named(await retention.sweep(), "PurgeJobClosed")
    assert (closed.counts.erased, closed.counts.refused) == (1, 1)
    retention.clock.advance(datetime(2032, 2, 29, 22, 59, tzinfo=UTC) - retention.clock.now())
    assert named(await retention.sweep(), "PurgePrepare") == []
    retention.clock.advance(timedelta(minutes=1))
    [again] = named(await retention.sweep(), "PurgePrepare")
    assert again.refs == ["i-1"]


async def test_all_refused_without_a_day_is_tried_tomorrow(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    assert await prepared(retention, [PurgeException(ref="i-1", code="busy")]) == []
    assert named(await retention.sweep(), "PurgePrepare") == []
    retention.clock.advance(timedelta(days=1))
    assert len(named(await retention.sweep(), "PurgePrepare")) == 1


async def test_silence_is_chased_and_told_once(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    retention.clock.advance(ANSWER_WITHIN)
    assert named(await retention.sweep(), "PurgePrepare") == [prepare]
    assert named(await retention.sweep(), "PurgePrepare") == []
    retention.clock.advance(ANSWER_WITHIN)
    assert named(await retention.sweep(), "PurgePrepare") == [], "it waits longer each time"
    retention.clock.advance(ANSWER_WITHIN)
    assert named(await retention.sweep(), "PurgePrepare") == [prepare]
    retention.clock.advance(ALERT_AFTER)
    told = await retention.sweep()
    [alert] = named(told, "AlertRaised")
    assert alert.fingerprint == "purge-unconfirmed/billing"
    [notice] = named(told, "MessageRequested")
    assert notice.message_type == notice.template == "holder-notice"
    assert [person.email for person in notice.to] == ["billing-systems@gallra.example"]
    later = await retention.sweep()
    assert named(later, "AlertRaised") + named(later, "MessageRequested") == []
    await retention.take(answer(prepare, retention.clock.now()))
    [commit] = named(await retention.announced(), "PurgeCommit")
    await retention.take(answer(commit, retention.clock.now()))
    [over] = named(await retention.sweep(), "AlertResolved")
    assert (over.fingerprint, over.summary) == (alert.fingerprint, alert.summary)


async def test_overdue_is_told(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    retention.clock.advance(timedelta(days=8))
    alerts = named(await retention.sweep(), "AlertRaised")
    assert "purge-overdue/billing.invoice" in {alert.fingerprint for alert in alerts}
    await retention.take(answer(prepare, retention.clock.now()))
    [commit] = named(await retention.announced(), "PurgeCommit")
    await retention.take(answer(commit, retention.clock.now()))
    assert len(named(await retention.sweep(), "AlertResolved")) == 2


async def test_a_hold_between_the_phases_cancels(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    hold = await retention.hold(Scope(customer_id="c-1"))
    await retention.take(answer(prepare, retention.clock.now()))
    [cancel] = named(await retention.announced(), "PurgeCancel")
    assert cancel.command_hash == prepare.command_hash
    await retention.take(answer(cancel, retention.clock.now()))
    retention.clock.advance(timedelta(days=100))
    assert named(await retention.sweep(), "PurgePrepare") == []
    assert await retention.records() == ["i-1"]

    assert not await retention.holds.release(retention.pool, hold, by="u-2")
    with pytest.raises(Rejected, match="another person"):
        await retention.holds.release(retention.pool, hold, by="u-2")
    assert named(await retention.sweep(), "PurgePrepare") == []
    released = civil_day(retention.clock.now())
    assert await retention.holds.release(retention.pool, hold, by="u-3")
    with pytest.raises(Rejected, match="no such hold"):
        await retention.holds.release(retention.pool, hold, by="u-2")
    grace_ends = start_of(day_after(released, 15))
    retention.clock.advance(grace_ends - retention.clock.now() - timedelta(seconds=1))
    assert named(await retention.sweep(), "PurgePrepare") == []
    retention.clock.advance(timedelta(seconds=1))
    [again] = named(await retention.sweep(), "PurgePrepare")
    assert again.hold_epoch == prepare.hold_epoch + 2
    assert again.chunk_id != prepare.chunk_id


@pytest.mark.parametrize("carried_out", [False, True])
async def test_an_unanswered_order_to_erase_is_recalled_under_a_hold(
    retention: Retention, carried_out: bool
) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [commit] = named(await prepared(retention), "PurgeCommit")
    placed = await retention.holds.place(
        retention.pool,
        Scope(customer_id="c-1"),
        reason="a dispute",
        review_on=date(2032, 6, 1),
        by="u-1",
    )
    assert placed.beyond_recall == 1
    [told] = named(await retention.announced(), "HoldPlaced")
    assert told.beyond_recall == 1
    retention.clock.advance(ANSWER_WITHIN)
    announced = await retention.sweep()
    assert named(announced, "PurgeCommit") == [], "it is held now"
    [cancel] = named(announced, "PurgeCancel")
    if carried_out:  # the answer to the order was lost: the recall is answered with what was done
        await retention.take(answer(commit, retention.clock.now()))
        assert await retention.records() == []
    else:
        await retention.take(answer(cancel, retention.clock.now()))
        assert await retention.records() == ["i-1"]
    [closed] = named(await retention.sweep(), "PurgeJobClosed")
    assert closed.counts.erased == int(carried_out)


async def test_a_customer_who_came_back_between_the_phases_is_spared(
    retention: Retention,
) -> None:
    service = {"customer_id": "c-9", "service_id": "s-1"}
    await retention.take(
        ServiceStarted(**service, date=date(2020, 1, 1)),
        ServiceTerminated(**service, date=date(2030, 1, 31)),
        RecordRegistered(
            holder="portal",
            category="account.master",
            record_id="acc-9",
            entity="ab",
            customer_id="c-9",
        ),
    )
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    await retention.take(ServiceReactivated(**service, date=date(2031, 12, 1)))
    await retention.take(answer(prepare, retention.clock.now()))
    assert len(named(await retention.announced(), "PurgeCancel")) == 1
    assert await retention.records() == ["acc-9"]
    assert (
        await retention.pool.fetchval(
            "SELECT status FROM deadline_key JOIN record ON key = deadline_key.id"
        )
        == "open"
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"command_hash": "0" * 64}, "mismatched-result"),
        ({"hold_epoch": 7}, "mismatched-result"),
        ({"holder": "crm"}, "mismatched-result"),
        ({"chunk_id": "01a20aae-0446-76ff-bbb1-1669ec58adb2"}, "unknown-reference"),
        ({"chunk_id": "what?"}, "unknown-reference"),
    ],
)
async def test_a_forged_answer_is_rejected(
    retention: Retention, changes: dict[str, Any], code: str
) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    with pytest.raises(Rejected) as rejected:
        await retention.take(answer(prepare, retention.clock.now(), **changes))
    assert rejected.value.code == code
    assert await retention.announced() == []


HOLD: dict[str, Any] = {
    **dict.fromkeys(Scope.__slots__),
    "id": UUID("01a20aae-0446-76ff-bbb1-1669ec58adb2"),
    "reason": "x",
    "review_on": date(2032, 1, 1),
    "placed_by": "u",
    "placed_at": MIDNIGHT,
}


@pytest.mark.parametrize(
    "named", [{}, {"holder": "billing", "category": "x"}, {"record_id": "i-1", "category": "x"}]
)
async def test_the_database_itself_forbids_a_hold_on_everything(
    retention: Retention, named: dict[str, str]
) -> None:
    async with retention.pool.acquire() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await store.place_hold(connection, HOLD | named)


async def test_the_database_itself_forbids_one_person_to_lift_a_hold(retention: Retention) -> None:
    hold = await retention.hold(Scope(customer_id="c-1"))
    await retention.holds.release(retention.pool, hold, by="u-2")
    async with retention.pool.acquire() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await store.release_hold(connection, hold, "u-2", MIDNIGHT, MIDNIGHT)


async def test_a_review_that_is_due_is_told(retention: Retention) -> None:
    hold = await retention.hold(Scope(customer_id="c-1"))
    retention.clock.advance(timedelta(days=149))
    assert named(await retention.sweep(), "AlertRaised") == []
    retention.clock.advance(timedelta(days=1))
    [alert] = named(await retention.sweep(), "AlertRaised")
    assert (alert.fingerprint, alert.runbook) == (f"hold-review/{hold}", "hold-review")
    await retention.holds.release(retention.pool, hold, by="u-2")
    await retention.holds.release(retention.pool, hold, by="u-3")
    assert len(named(await retention.sweep(), "AlertResolved")) == 1


async def test_years_that_overlap_are_refused_and_what_was_known_stays(
    retention: Retention,
) -> None:
    await retention.invoices("i-1")
    for start, end in (
        (date(2024, 7, 1), date(2025, 6, 30)),
        (date(2023, 7, 1), date(2024, 1, 1)),
    ):
        with pytest.raises(Rejected, match="overlaps"):
            await retention.take(FiscalYearClosed(entity="ab", start=start, end=end))
    retention.clock.advance(timedelta(seconds=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    assert prepare.refs == ["i-1"]
