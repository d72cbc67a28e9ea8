"""The outbox and its relay on a real database and a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from gallra.stack.infrastructure import Infrastructure
from shared.events.catalogue import ACTIONS, RECORDS
from shared.events.platform import ActionPerformed, Actor, Origin, RecordGone, Target
from shared.outbox import Message, Outbox, enqueue, make_producer, relay
from shared.postgres import Connection, Pool, transaction

NOW = datetime(2026, 11, 23, tzinfo=UTC)
TOPIC = RECORDS.name
OUTBOX = Outbox("//test")


def gone(record: str, why: int) -> RecordGone:
    return RecordGone(holder="h", category="c", record_id=record, at=NOW, why=str(why))


@pytest.fixture
async def producer(infra: Infrastructure) -> AsyncIterator[Any]:
    producer = make_producer(infra.kafka, "test")
    await producer.start()
    yield producer
    await producer.stop()


def arrived(infra: Infrastructure, prefix: str) -> list[Any]:
    """Return all records of the topic, in the order of their partitions."""
    consumer = Consumer({"bootstrap.servers": infra.kafka, "group.id": str(uuid4())})
    try:
        found: list[Any] = []
        for number in range(RECORDS.partitions):
            place = TopicPartition(prefix + TOPIC, number, 0)
            end = _end(consumer, place)
            consumer.assign([place])
            for _ in range(end):
                record = consumer.poll(30)
                assert record is not None
                found.append(record)
        return found
    finally:
        consumer.close()


def _end(consumer: Consumer, place: TopicPartition) -> int:
    """Return where a partition ends; the broker may still be taking up a topic just made."""
    deadline = time.monotonic() + 30
    while True:
        try:
            _, end = consumer.get_watermark_offsets(place, timeout=30)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
        else:
            return end


async def announce(tx: Connection, record: str, why: int) -> None:
    await OUTBOX.announce(tx, NOW, [gone(record, why)])


async def drain(pool: Pool, producer: Any, prefix: str) -> int:
    published = 0
    while fresh := await relay(pool, producer, prefix, limit=7):
        published += fresh
    return published


async def test_events_of_a_key_keep_their_order(
    infra: Infrastructure, platform_pool: Pool, producer: Any, topic_prefix: str
) -> None:
    for why in range(20):
        async with transaction(platform_pool) as tx:
            for record in "abc":
                await announce(tx, record, why)
    assert await drain(platform_pool, producer, topic_prefix) == 60
    said: dict[bytes, list[str]] = {}
    for record in await asyncio.to_thread(arrived, infra, topic_prefix):
        content = RecordGone.model_validate_json(record.value())
        said.setdefault(record.key(), []).append(content.why)
    assert said == {f"h/c/{r}".encode(): [str(n) for n in range(20)] for r in "abc"}


async def test_relays_at_once_publish_each_event_once(
    infra: Infrastructure, platform_pool: Pool, producer: Any, topic_prefix: str
) -> None:
    async with transaction(platform_pool) as tx:
        for why in range(100):
            await announce(tx, "a", why)
    await asyncio.gather(*(drain(platform_pool, producer, topic_prefix) for _ in range(4)))
    records = await asyncio.to_thread(arrived, infra, topic_prefix)
    order = [RecordGone.model_validate_json(r.value()).why for r in records]
    assert order == [str(n) for n in range(100)]


async def test_only_what_is_committed_leaves_and_late_commits_are_not_lost(
    platform_pool: Pool, producer: Any, topic_prefix: str
) -> None:
    async with platform_pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        await announce(slow, "late", 1)  # takes the lower position
        async with transaction(platform_pool) as fast:
            await announce(fast, "early", 1)
        assert await drain(platform_pool, producer, topic_prefix) == 1
        await late.commit()
    async with platform_pool.acquire() as tx:
        undone = tx.transaction()
        await undone.start()
        await announce(tx, "never", 1)
        await undone.rollback()
    assert await drain(platform_pool, producer, topic_prefix) == 1
    assert await drain(platform_pool, producer, topic_prefix) == 0


async def test_headers_go_as_they_are(
    infra: Infrastructure, platform_pool: Pool, producer: Any, topic_prefix: str
) -> None:
    headers = [("a", b"\xff\x00"), ("a", b"2"), ("b", b"")]
    async with transaction(platform_pool) as tx:
        await enqueue(tx, [Message(TOPIC, None, headers, b"\x00\x01")])
    await drain(platform_pool, producer, topic_prefix)
    [record] = await asyncio.to_thread(arrived, infra, topic_prefix)
    assert (record.key(), record.value(), record.headers()) == (None, b"\x00\x01", headers)


async def test_actions_are_numbered_without_gaps(platform_pool: Pool) -> None:
    """Also where transactions overlap, or come to nothing."""

    async def act(number: int) -> None:
        with suppress(ZeroDivisionError):
            async with transaction(platform_pool) as tx:
                done = [performed(number) for _ in range(number % 3 + 1)]
                await OUTBOX.announce(tx, NOW, [gone(str(number), 0), *done])
                if number % 4 == 0:
                    _ = 1 / 0

    await asyncio.gather(*(act(number) for number in range(40)))
    rows = await platform_pool.fetch("SELECT topic, header_names, header_values FROM outbox")
    numbers: list[int] = []
    for row in rows:
        headers = dict(zip(row["header_names"], row["header_values"], strict=True))
        assert ("ce_sequence" in headers) == (row["topic"] == ACTIONS.name)
        if "ce_sequence" in headers:
            numbers.append(int(headers["ce_sequence"]))
    expected = sum(number % 3 + 1 for number in range(40) if number % 4)
    assert sorted(numbers) == list(range(1, expected + 1))


def performed(number: int) -> ActionPerformed:
    return ActionPerformed(
        v=1,
        action="portal.user.invite",
        phase="result",
        outcome="success",
        actor=Actor(type="user", id=f"u-{number}"),
        origin=Origin(channel="portal"),
        target=Target(type="portal.user"),
        customer_id="c-1",
    )
