"""Dead letters: listed, sent again, or dropped, by whoever may read and write their topics.

Kafka keeps no state for one record, so a letter that was dealt with is noted by committing offsets
of the group ``gallra-dlq``: what lies before is dealt with, what lies after waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from gallra.broker import places
from shared.events import TOPICS
from shared.outbox import make_producer

GROUP: Final = "gallra-dlq"


@dataclass(frozen=True, slots=True)
class Letter:
    """An event that was set aside, without its content: that may be personal."""

    topic: str
    partition: int
    offset: int
    code: str
    reason: str
    consumer: str
    at: str
    origin: str


async def waiting(kafka: str, topics: Sequence[str]) -> list[Letter]:
    """Return the letters in the dead-letter topics of *topics* that nobody dealt with yet."""
    return [_letter(record) for record in await _read(kafka, topics)]


async def redrive(kafka: str, topics: Sequence[str]) -> int:
    """Publish what waits to where it came from, as it was; return how many."""
    records = await _read(kafka, topics)
    producer: AIOKafkaProducer = make_producer(kafka, GROUP)
    await producer.start()
    try:
        for record in records:
            headers = [(n, v) for n, v in record.headers if not n.startswith("dlq_")]
            topic = _header(record, "dlq_topic")
            await producer.send_and_wait(topic, record.value, record.key, headers=headers)
    finally:
        await producer.stop()
    await _settle(kafka, records)
    return len(records)


async def drop(kafka: str, topics: Sequence[str]) -> int:
    """Note that what waits will not be sent again; return how many."""
    records = await _read(kafka, topics)
    await _settle(kafka, records)
    return len(records)


def all_topics() -> list[str]:
    """Return every topic that has dead letters."""
    return [topic.name for topic in TOPICS if topic.readers]


async def _read(kafka: str, topics: Sequence[str]) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        wanted = await _places(kafka, topics)
        consumer.assign(wanted)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
        starts: dict[TopicPartition, int] = await consumer.beginning_offsets(wanted)
        open_: set[TopicPartition] = set()
        for place in wanted:
            begin = max(await consumer.committed(place) or 0, starts[place])
            consumer.seek(place, begin)
            if begin < ends[place]:
                open_.add(place)
        found: list[Any] = []
        while open_:
            for place, records in (await consumer.getmany(*open_, timeout_ms=1000)).items():
                found += [record for record in records if record.offset < ends[place]]
                if await consumer.position(place) >= ends[place]:
                    open_.discard(place)
        return found
    finally:
        await consumer.stop()


async def _places(kafka: str, topics: Sequence[str]) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        return await places(admin, [f"{topic}.dlq" for topic in topics])
    finally:
        await admin.close()


async def _settle(kafka: str, records: Sequence[Any]) -> None:
    done: dict[TopicPartition, int] = {}
    for record in records:
        place = TopicPartition(record.topic, record.partition)
        done[place] = max(done.get(place, 0), record.offset + 1)
    if not done:
        return
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(done))
        await consumer.commit(done)
    finally:
        await consumer.stop()


def _header(record: Any, name: str) -> str:
    return next((v.decode("utf-8", "replace") for n, v in record.headers if n == name), "")


def _letter(record: Any) -> Letter:
    origin = ("dlq_topic", "dlq_partition", "dlq_offset")
    return Letter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        code=_header(record, "dlq_code"),
        reason=_header(record, "dlq_reason"),
        consumer=_header(record, "dlq_consumer"),
        at=_header(record, "dlq_time"),
        origin="/".join(_header(record, name) for name in origin),
    )
