"""How a service does, on a real broker and database: lag and readers, outbox, who led last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from tests.conftest import PATIENCE
from tests.integration.served import client

from gallra.stack.infrastructure import Infrastructure
from shared import duties, telemetry, topics
from shared.broker import Reading, readings
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.dead_letters import DeadLetters
from shared.events import BY_TYPE
from shared.outbox import Message, Outbox, enqueue, make_producer
from shared.postgres import Pool, sole, transaction

KIND = BY_TYPE["platform.record.gone.v1"]
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
OUTBOX = Outbox("//test")


async def known(kafka: str, group: str, topic: str) -> list[Reading]:
    """Return how far a group is, once a broker that is new knows of groups at all."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(GroupCoordinatorNotAvailableError):
                return await readings(kafka, group, [topic])
            await asyncio.sleep(0.1)


async def test_how_far_behind_a_group_is_and_who_reads(
    infra: Infrastructure, topic_prefix: str
) -> None:
    topic, group = topic_prefix + KIND.topic.name, f"{topic_prefix}retention"
    producer = make_producer(infra.kafka, "test")
    await producer.start()
    for number in range(5):
        await producer.send_and_wait(topic, b"x", partition=number % 2)
    await producer.stop()
    assert await known(infra.kafka, group, topic) == [
        Reading(topic, 0, 3, None), Reading(topic, 1, 2, None), Reading(topic, 2, 0, None)
    ]  # fmt: skip
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=infra.kafka, group_id=group, group_instance_id="r-1",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    await reader.start()
    await reader.getmany(timeout_ms=5000, max_records=5)
    await reader.commit({TopicPartition(topic, 0): 2})
    found = await readings(infra.kafka, group, [topic])
    await reader.stop()
    assert [each.behind for each in found] == [1, 2, 0]
    assert all(each.member and each.member.startswith("r-1") for each in found)


async def test_who_did_a_duty_last_is_noted(platform_pool: Pool) -> None:
    later, latest = NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)
    await duties.note(platform_pool, "a", {"purge": later, "outbox": NOON})
    await duties.note(platform_pool, "b", {"purge": NOON, "outbox": latest})
    await duties.note(platform_pool, "a", {})
    async with platform_pool.acquire() as tx:
        assert await duties.listed(tx) == [
            {"name": "outbox", "process": "b", "done_at": latest},
            {"name": "purge", "process": "a", "done_at": later},
        ]


async def test_only_who_gets_the_lock_has_done_its_duty(platform_pool: Pool) -> None:
    async with transaction(platform_pool) as first, transaction(platform_pool) as second:
        assert await sole(first, "test-duty")
        done = telemetry.duties_done()["test-duty"]
        assert abs(done - datetime.now(UTC)) < timedelta(seconds=30)
        assert not await sole(second, "test-duty")
        assert telemetry.duties_done()["test-duty"] == done


@asynccontextmanager
async def served(pool: Pool, kafka: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    async def nothing(*_: Any) -> None:
        pass

    clock = SystemClock()
    state = {
        "consumer": Consumer("retention", [KIND], nothing, OUTBOX, clock, prefix=prefix),
        "dead_letters": DeadLetters("retention", kafka, OUTBOX, clock, prefix),
    }
    access = {"without_token": ("operator",)}
    async with client("gallra.demo", [], pool, "http://x", access, **state) as http:
        yield http


async def test_the_vitals_of_a_service(
    platform_pool: Pool, infra: Infrastructure, topic_prefix: str
) -> None:
    await duties.note(platform_pool, "a", {"outbox": NOON})
    async with transaction(platform_pool) as tx:
        await enqueue(tx, [Message("t", b"k", [], b"v")])
    async with served(platform_pool, infra.kafka, topic_prefix) as http:
        found = (await http.get("/api/v1/vitals")).json()
    assert found["outbox"]["waiting"] == 1
    assert found["outbox"]["oldest_seconds"] >= 0
    assert [duty["name"] for duty in found["duties"]] == ["outbox"]
    assert {each["topic"] for each in found["partitions"]} == {topic_prefix + KIND.topic.name}


async def test_without_a_broker_the_rest_is_told(platform_pool: Pool) -> None:
    async with served(platform_pool, "127.0.0.1:1", "") as http:
        found = (await http.get("/api/v1/vitals")).json()
    assert found["partitions"] is None
    assert found["outbox"] == {"waiting": 0, "oldest_seconds": 0}


@pytest.mark.parametrize(
    ("setting", "value", "verdict"),
    [
        ("retention.ms", "-1", "wider"),
        ("retention.ms", "1000", "differs"),
        ("cleanup.policy", "compact", "wider"),
        ("max.message.bytes", "2000000", "differs"),
    ],
)
async def test_a_topic_beside_its_declaration(
    infra: Infrastructure, topic_prefix: str, setting: str, value: str, verdict: str
) -> None:
    assert {x.verdict for x in await topics.compare(infra.kafka, topic_prefix)} == {"as-declared"}
    name = topic_prefix + KIND.topic.name
    admin = AIOKafkaAdminClient(bootstrap_servers=infra.kafka)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {setting: value})])
    await admin.delete_topics([f"{name}.dlq"])
    await admin.close()
    odd: list[topics.Compared] = []
    for _ in range(200):  # the broker takes a moment to have it
        found = await topics.compare(infra.kafka, topic_prefix)
        odd = [each for each in found if each.topic.startswith(name)]
        if len({each.verdict for each in odd}) == 3:
            break
    told = {(each.topic, each.setting): each for each in odd}
    assert (told[name, setting].verdict, told[name, setting].found) == (verdict, value)
    assert told[name, "partitions"].verdict == "as-declared"
    assert told[f"{name}.dlq", "partitions"].verdict == "missing"
