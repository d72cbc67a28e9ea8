"""Asking a broker what partitions there are, how far they reach, and who reads them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code


@dataclass(frozen=True, slots=True)
class Reading:
    """A partition as a consumer group reads it.

    Attributes:
        behind: Records that the group has not committed yet.
        member: Who of the group reads it; None for nobody.
    """

    topic: str
    partition: int
    behind: int
    member: str | None


async def places(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    """Return all partitions of *topics*."""
    described: list[dict[str, Any]] = await admin.describe_topics(list(topics))
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]


async def readings(kafka: str, group: str, topics: Sequence[str]) -> list[Reading]:
    """Return how far *group* is with *topics*, by topic and partition.

    Raises:
        KafkaError: the broker is away, or does not let this client look.
    """
    async with _asking(kafka) as (admin, consumer):
        wanted = await places(admin, topics)
        committed: Mapping[Any, Any] = await admin.list_consumer_group_offsets(group)
        consumer.assign(wanted)  # it asks for the leaders of what is assigned, and waits for others
        starts = await consumer.beginning_offsets(wanted)
        ends = await consumer.end_offsets(wanted)
        members = await _members(admin, group)
    found: list[Reading] = []
    for place in sorted(wanted):
        taken = committed[place].offset if place in committed else -1
        behind = ends[place] - max(taken, starts[place])
        found.append(Reading(place.topic, place.partition, behind, members.get(place)))
    return found


@asynccontextmanager
async def _asking(kafka: str) -> AsyncGenerator[tuple[AIOKafkaAdminClient, Any]]:
    admin, consumer = (
        AIOKafkaAdminClient(bootstrap_servers=kafka),
        AIOKafkaConsumer(bootstrap_servers=kafka),
    )
    try:
        await admin.start()
        await consumer.start()
        yield admin, consumer
    finally:
        await consumer.stop()
        await admin.close()


async def _members(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, str]:
    """Return who of a group reads each partition."""
    answers: list[Any] = await admin.describe_consumer_groups([group])
    found: dict[TopicPartition, str] = {}
    for code, _, _, _, _, members, *_ in (g for answer in answers for g in answer.groups):
        if code:
            raise for_code(code)(group)
        for id_, _, _, _, assignment in members:
            if assignment:
                read = ConsumerProtocolMemberAssignment.decode(assignment)
                found |= dict.fromkeys(read.partitions(), str(id_))
    return found
