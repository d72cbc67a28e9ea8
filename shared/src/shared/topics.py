"""The topics of the catalogue, as they must exist on the broker."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from shared.broker import places
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


Verdict = Literal["as-declared", "wider", "differs", "missing"]
"""How a topic is beside its declaration; ``wider`` keeps events otherwise, and so maybe longer."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A setting of a topic on the broker beside what is declared; None if there is no topic."""

    topic: str
    setting: str
    declared: str
    found: str | None
    verdict: Verdict


async def compare(bootstrap: str, prefix: str = "") -> list[Compared]:
    """Return how each declared topic is on the broker, by name.

    Raises:
        KafkaError: the broker is away, or does not let this client look.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        wanted = {prefix + name: settings for name, settings in declared().items()}
        present = sorted(set(await admin.list_topics()) & wanted.keys())
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in present]
        answers: list[Any] = await admin.describe_configs(asked) if asked else []
        partitions = Counter(place.topic for place in await places(admin, present))
    finally:
        await admin.close()
    found: dict[str, dict[str, str]] = {}
    for code, text, _, name, settings in (r for answer in answers for r in answer.resources):
        if code == UnknownTopicOrPartitionError.errno:
            continue  # it went a moment ago
        if code:
            raise for_code(code)(text)
        found[name] = {setting: value for setting, value, *_ in settings}
        found[name]["partitions"] = str(partitions[name])
    counts = _partitions(prefix)
    return [
        _compared(name, setting, value, found.get(name, {}).get(setting))
        for name in sorted(wanted)
        for setting, value in {**wanted[name], "partitions": str(counts[name])}.items()
    ]


def _compared(topic: str, setting: str, wanted: str, found: str | None) -> Compared:
    verdict: Verdict = "as-declared"
    if found is None:
        verdict = "missing"
    elif setting in _WIDER and _WIDER[setting](found, wanted):
        verdict = "wider"
    elif found != wanted:
        verdict = "differs"
    return Compared(topic, setting, wanted, found, verdict)


async def wider(bootstrap: str, prefix: str = "") -> list[Compared]:
    """Return where topics on the broker keep events for longer than declared.

    Raises:
        KafkaError: the broker is away, or does not let this client look.
    """
    return [each for each in await compare(bootstrap, prefix) if each.verdict == "wider"]


def _longer(found: str, wanted: str) -> bool:
    return int(found) < 0 or int(found) > int(wanted)


_WIDER: Final[dict[str, Callable[[str, str], bool]]] = {
    "cleanup.policy": lambda found, wanted: found != wanted,
    "retention.ms": _longer,  # -1 is for ever
}


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
