"""What is rare in the master log, on a real database: mails to nobody's, sources of any kind."""

from datetime import timedelta
from typing import Any

import pytest
from tests.integration.events import event
from tests.integration.test_master_log import NOW, Log, action, log

from audit_log import producers
from audit_log.alerts import Alerts
from audit_log.producers import LossWatch
from shared.events import Data
from shared.events.gallra import (
    AlertRaised,
    DeadLettersSettled,
    DeliveryChanged,
    HoldReleased,
    PurgeCommand,
    PurgeCommit,
    PurgePrepare,
    SuppressionLifted,
)
from shared.holder import command_hash
from shared.inbox import Sight
from shared.outbox import Outbox
from shared.postgres import transaction

__all__ = ["log"]  # the fixture


def delivery() -> DeliveryChanged:
    return DeliveryChanged(
        delivery_id="d",
        message_id="m",
        message_type="maintenance-window",
        customer_id=None,
        recipient_token="s-1",  # noqa: S106 - no password
        state="accepted",
        at=NOW,
    )


def order(kind: type[PurgeCommand], record: str) -> PurgeCommand:
    fields: dict[str, Any] = {
        "job_id": "j",
        "chunk_id": "ch",
        "holder": "audit-log",
        "category": "contact.delivery",
        "action": "erase",
        "refs": [record],
        "reason": "deadline",
        "policy_version": 1,
        "purge_from": NOW - timedelta(days=1),
        "hold_epoch": 0,
        "not_after": NOW + timedelta(days=1),
    }
    return kind(**fields, command_hash=command_hash(kind(**fields, command_hash="0" * 64)))


async def test_a_mail_to_no_customer_is_registered_purged_and_verified(log: Log) -> None:
    await log.take(delivery(), action(1))
    await log.sign()
    assert (await log.verdict()).problems == []
    bodies = await log.pool.fetch("SELECT value FROM outbox WHERE topic = 'platform.records.v1'")
    [registered] = [b["value"] for b in bodies if b"contact.delivery" in b["value"]]
    assert b'"customer_id":null' in registered
    record: str = await log.pool.fetchval(
        "SELECT record_id FROM bucket WHERE category = 'contact.delivery'"
    )
    for kind in (PurgePrepare, PurgeCommit):
        await log.take(order(kind, record))
    await log.sign()
    verdict = await log.verdict()
    assert (verdict.purged, verdict.problems) == (1, [])
    assert await log.pool.fetchval("SELECT count(*) FROM payload WHERE index = 0") == 0
    assert await log.pool.fetchval("SELECT array_agg(customer_id) FROM tenant") == ["c-1"]


async def test_what_operators_decide_is_found_by_who_and_what(log: Log) -> None:
    await log.take(
        DeadLettersSettled(
            topic="t", consumer="retention", settled="dropped", letters=("0/1",), by="ops-1"
        ),
        SuppressionLifted(record_id="r-1", scope="all", reason="hard-bounce", by="ops-2"),
    )
    await log.sign()
    assert (await log.verdict()).problems == []
    rows = await log.pool.fetch("SELECT actor, target FROM payload ORDER BY index")
    assert [tuple(row) for row in rows] == [("ops-1", "t"), ("ops-2", "r-1")]


@pytest.mark.parametrize("twice_in_one_batch", [True, False])
@pytest.mark.parametrize("turned", [True, False])
async def test_another_kind_of_event_under_a_known_id_is_a_conflict(
    log: Log, twice_in_one_batch: bool, turned: bool
) -> None:
    facts: list[Data] = [
        action(1),
        AlertRaised(fingerprint="f", severity="info", summary="s"),
        HoldReleased(hold_id="h", by="kim", epoch=1),
    ]
    if turned:
        facts.reverse()
    events = [event(fact, NOW) for fact in facts]
    for each in events:
        each.id = "one"
        each.prepared = log.handlers.prepare(each)
    if not twice_in_one_batch:
        async with transaction(log.pool) as tx:
            await log.handlers.handle(tx, events[:1])
    async with transaction(log.pool) as tx:
        sights = await log.handlers.sight(tx, events, careful=True)
    first = Sight.FIRST if twice_in_one_batch else Sight.DUPLICATE
    assert sights == [first, Sight.CONFLICT, Sight.CONFLICT]


SOURCES = ["//a\nb", "//a\x1bb", "é" * 2000, "//good"]


async def test_no_source_keeps_the_losses_of_others_from_being_told(log: Log) -> None:
    """Such a source is refused now; one may be in the table from before."""
    watch = LossWatch(Alerts(Outbox("//test"), log.clock), log.clock)
    for source in SOURCES:
        numbered = []
        for number in (1, 3):
            one = event(action(number), NOW)
            one.source, one.sequence = source, number
            numbered.append(one)
        async with transaction(log.pool) as tx:
            await producers.count(tx, numbered, log.clock.now())
    for _ in range(9):
        await watch.look(log.pool)
        log.clock.advance(timedelta(seconds=10))
    assert await log.pool.fetchval("SELECT count(*) FROM standing_alert") == len(SOURCES)
    raised = await log.pool.fetch("SELECT value FROM outbox WHERE topic = 'ops.alerts.v1'")
    assert any(b'"sequence/lost///good"' in row["value"] for row in raised)
