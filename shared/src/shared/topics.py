"""The topics of the catalogue, as they must exist on the broker."""

from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.events import TOPICS, Topic

COPIES: Final = 3  # fewer where the cluster has fewer brokers
LARGEST_EVENT: Final = 1024 * 1024
LARGEST_DEAD_LETTER: Final = 32 * LARGEST_EVENT  # what compression smuggled past the first limit


def declared() -> dict[str, dict[str, str]]:
    """Return the settings that each topic must have, by its name without a prefix."""
    settings: dict[str, dict[str, str]] = {}
    for topic in TOPICS:
        settings[topic.name] = _settings(topic, LARGEST_EVENT)
        if topic.readers:
            settings[topic.dead_letters] = _settings(topic, LARGEST_DEAD_LETTER)
    return settings


def _settings(topic: Topic, largest: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(largest),
    }


async def apply(bootstrap: str, prefix: str = "") -> list[str]:
    """Create what is missing and set what differs; return the names of the created topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        wanted = {prefix + name: settings for name, settings in declared().items()}
        missing = [name for name in wanted if name not in existing]
        if missing:
            cluster: Any = await admin.describe_cluster()
            copies = min(COPIES, len(cluster["brokers"]))
            partitions = _partitions(prefix)
            new = [NewTopic(n, partitions[n], copies, topic_configs=wanted[n]) for n in missing]
            response: Any = await admin.create_topics(new)
            _check(response.topic_errors)
        present = [name for name in wanted if name in existing]
        if present:
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, n, configs=wanted[n]) for n in present]
            )
        return missing
    finally:
        await admin.close()


def _partitions(prefix: str) -> dict[str, int]:
    """Return how many partitions each topic has; a single consumer reads its dead letters."""
    count: dict[str, int] = {}
    for topic in TOPICS:
        count[prefix + topic.name] = topic.partitions
        count[prefix + topic.dead_letters] = 1
    return count


def _check(errors: list[tuple[str, int, str | None]]) -> None:
    for name, code, text in errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise RuntimeError(f"the broker refused topic {name}: {for_code(code).__name__} {text}")
