"""Asking a broker what partitions there are and how far they reach."""

from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def places(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    """Return all partitions of *topics*."""
    described: list[dict[str, Any]] = await admin.describe_topics(list(topics))
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]
