"""A holder says what it holds: the same as the registry knows, or on-call is told."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import Retention, answer, named, prepared

from retention import report
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import AlertRaised, HolderInventory, HolderRestored, Inventory
from shared.holder import inventory_digest
from shared.postgres import open_pool

FINGERPRINT = "inventory/billing/billing.invoice"


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)


def inventory(
    ids: Sequence[str], as_of: datetime, category: str = "billing.invoice", holder: str = "billing"
) -> HolderInventory:
    line = Inventory(category=category, count=len(ids), digest=inventory_digest(ids))
    return HolderInventory(holder=holder, as_of=as_of, categories=[line])


async def compared(
    retention: Retention, *ids: str, as_of: datetime | None = None
) -> Sequence[AlertRaised]:
    """Take an inventory; return what on-call is told then."""
    await retention.take(inventory(ids, as_of or retention.clock.now()))
    return _alerts(await retention.sweep())


def _alerts(announced: Sequence[Data]) -> list[AlertRaised]:
    raised = named(announced, "AlertRaised")
    return [alert for alert in raised if alert.fingerprint == FINGERPRINT]


@pytest.mark.parametrize("ids", [("i-1",), ("i-1", "i-2", "i-3"), ("i-1", "i-9"), ()])
async def test_a_difference_is_told_until_there_is_none(
    retention: Retention, ids: Sequence[str]
) -> None:
    await retention.invoices("i-1", "i-2")
    [alert] = await compared(retention, *ids)
    assert (alert.severity, alert.runbook) == ("warning", "inventory-differs")
    assert alert.labels == {"holder": "billing", "category": "billing.invoice"}
    retention.clock.advance(timedelta(hours=-1))
    assert await compared(retention, "i-2", "i-1") == [], "an older one says nothing any more"
    retention.clock.advance(timedelta(hours=1))
    await retention.take(inventory(["i-2", "i-1"], retention.clock.now()))
    assert len(named(await retention.sweep(), "AlertResolved")) == 1


async def test_a_count_that_does_not_fit_its_digest_is_a_difference(retention: Retention) -> None:
    line = Inventory(category="billing.invoice", count=1, digest=inventory_digest([]))
    now = retention.clock.now()
    await retention.take(HolderInventory(holder="billing", as_of=now, categories=[line]))
    assert len(_alerts(await retention.sweep())) == 1


async def test_what_is_equal_is_not_told(retention: Retention) -> None:
    assert await compared(retention) == []
    await retention.invoices("i-1", "i-2")
    assert await compared(retention, "i-2", "i-1") == []


async def test_what_was_registered_after_it_is_not_missed(retention: Retention) -> None:
    await retention.invoices("i-1")
    taken_at = retention.clock.now()
    retention.clock.advance(timedelta(milliseconds=1))
    await retention.invoices("i-2")
    assert await compared(retention, "i-1", as_of=taken_at) == []


@pytest.mark.parametrize("told", [(), ("i-1", "i-2")])
async def test_what_is_being_purged_may_be_there_or_not(
    retention: Retention, told: Sequence[str]
) -> None:
    await retention.invoices("i-1", "i-2")
    retention.clock.advance(timedelta(hours=1))
    taken_at = retention.clock.now()
    [commit] = named(await prepared(retention), "PurgeCommit")
    assert await compared(retention, *told) == []
    assert len(await compared(retention, *told, "i-3")) == 1
    await retention.take(answer(commit, retention.clock.now()))
    later = taken_at + timedelta(seconds=1)
    retention.clock.advance(timedelta(seconds=1))
    assert await compared(retention, "i-1", "i-2", as_of=taken_at) == [], "purged only since"
    assert len(await compared(retention, "i-1", "i-2", as_of=later)) == 1, "it should be gone"


async def test_what_a_backup_brought_back_is_being_purged(retention: Retention) -> None:
    await retention.invoices("i-1")
    retention.clock.advance(timedelta(hours=1))
    [commit] = named(await prepared(retention), "PurgeCommit")
    done = retention.clock.now()
    await retention.take(answer(commit, done))
    retention.clock.advance(timedelta(hours=1))
    await retention.take(HolderRestored(holder="billing", from_backup_at=done))
    assert await compared(retention, "i-1") == []


async def test_the_report_tells_when_it_was_compared(retention: Retention) -> None:
    await retention.invoices("i-1", "i-2")
    await compared(retention, "i-1")
    async with retention.pool.acquire() as tx:
        policies = retention.in_force.history.newest
        day = date(2031, 12, 31)
        span = report.Span(day, day, day)
        made = await report.make(tx, policies, span, datetime(2032, 1, 1, tzinfo=UTC), {})
    [line] = [line for line in made.lines if line.inventories]
    [told] = line.inventories
    assert (told.holder, told.count, told.known, told.agrees) == ("billing", 1, 2, False)


@pytest.mark.parametrize(
    ("category", "holder", "ahead", "code"),
    [
        ("what.ever", "billing", 0, "unknown-category"),
        ("billing.invoice", "nobody", 0, "unknown-holder"),
        ("billing.invoice", "billing", 1, "invalid"),
    ],
)
async def test_an_inventory_that_cannot_be_is_rejected(
    retention: Retention, category: str, holder: str, ahead: int, code: str
) -> None:
    as_of = retention.clock.now() + timedelta(hours=ahead)
    with pytest.raises(Rejected) as rejected:
        await retention.take(inventory([], as_of, category, holder))
    assert rejected.value.code == code


def test_the_digest_is_of_the_sorted_ids_one_a_line() -> None:
    expected = "523e3fbc769338be56339891176e5744b7b751ae711107bb4c40bd1feb22c4f9"
    assert inventory_digest(["b", "a", "é", "Z"]) == expected  # printf 'Z\na\nb\né' | sha256sum
    assert inventory_digest([]) == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
