"""How every service takes events from Kafka: in batches, once in effect, losing none.

One batch is one PostgreSQL transaction: the inbox notes, the work, what it announces and the dead
letters of what cannot be worked on all commit together, and the offsets after them.  Killed
anywhere in between, the batch is delivered again and the inbox absorbs it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, cast

import asyncpg
from aiokafka import ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

from shared import dead_letters, logs, telemetry
from shared.canonical import canonical, digest
from shared.clock import Clock
from shared.cloudevents import Event, check, decode
from shared.dead_letters import Letter
from shared.errors import Rejected
from shared.events import TOPICS, EventType, Topic
from shared.events.gallra import AlertRaised
from shared.ids import new_id
from shared.inbox import Note, Sight, note, sight
from shared.outbox import Message, Outbox, enqueue
from shared.postgres import Connection, Pool, transaction

RETRY_SECONDS: Final = (0.1, 0.5, 2.0, 10.0, 30.0)
LARGEST_BATCH: Final = 5000
_LONGEST_POLL: Final = 50  # ms; aiokafka asks a broker one thing at a time, so that busy partitions
# wait for what it asks about quiet ones while a batch is worked on (the default is 500)
_AT_A_TIME: Final = 20  # records between two looks at what else there is to do
LARGEST_LETTER: Final = 24 * 1024 * 1024  # bytes; its topic takes more, uncompressed
CLOCK_SKEW: Final = timedelta(hours=24)  # events from further ahead are not believed
UNHANDLED: Final = "cannot-be-handled"
MOST_UNHANDLED: Final = 100
"""So many events of a topic may fail with none handled between; more are a fault of ours."""

# What the event itself may be the cause of.  Not errors of connections and locks, which pass; nor
# those that drivers raise where a connection breaks under them, as AttributeError and TypeError.
_REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_OF_THE_EVENT: Final = (
    Rejected, *_REFUSED, ValueError, OverflowError, KeyError, RecursionError,
)  # fmt: skip

Records = tuple["ConsumerRecord[bytes | None, bytes | None]", ...]
Handle = Callable[[Connection, Sequence[Event]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Foreign:
    """A topic that does not speak CloudEvents.

    Attributes:
        read: Makes an event of a record, or says with :class:`Rejected` why not.
        stands_for: The topic of ours that its dead letters go with.
    """

    read: Callable[[Any], Event]
    stands_for: Topic


class Sighting(Protocol):
    """Says what is known of events, in order, as the transaction sees it."""

    async def __call__(
        self, tx: Connection, events: Sequence[Event], *, careful: bool
    ) -> list[Sight]:
        """Return what is known of each event."""
        ...


_TOPICS: Final = {topic.name: topic for topic in TOPICS}
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A record that cannot be handled, and why."""

    record: Any
    reason: Rejected
    where: str = ""  # in our code it failed, if nobody foresaw it


@dataclass(frozen=True, slots=True)
class Consumer:
    """Takes the events of some types for one service.

    Attributes:
        group: The Kafka consumer group; the service's name.
        types: What is consumed; other types on the same topics are passed over.
        handle: The work, given a transaction and events in the order of their partitions.  It may
            raise :class:`Rejected` about the first event it cannot accept; the batch is then
            rolled back and done again event by event, so that one bad event costs only itself.
        outbox: Where alarms about the events themselves are announced.
        wants: Says of an event on a topic for many whether it is for us.
        prefix: Stands before the name of the group and of every topic.
        sight: Says what is known of each event.  It may leave to the database to refuse what came
            before, unless asked to be careful: it is, once the database has.
        instance: Names this process among those of its group, also after a restart: the broker
            then gives it back its partitions at once (KIP-345).  Empty for none.
        lanes: How many batches are in hand at once; one is prepared while another is written.
        prepare: Makes of each event, as soon as it is read, what can be made without a transaction.
        foreign: Reads the records of topics that do not speak CloudEvents, by topic; these stand
            outside the prefix.
        on_dead_letters: Told of the records that were set aside, in their transaction.
    """

    group: str
    types: Collection[EventType]
    handle: Handle
    outbox: Outbox
    clock: Clock
    prefix: str = ""
    wants: Callable[[Event], bool] = lambda _event: True
    sight: Sighting = sight
    instance: str = ""
    lanes: int = 1
    prepare: Callable[[Event], object] = lambda _event: None
    foreign: Mapping[str, Foreign] = field(default_factory=dict[str, Foreign])
    on_dead_letters: Callable[[Connection, Sequence[Any]], Awaitable[None]] | None = None
    _failing: dict[str, int] = field(default_factory=dict[str, int], init=False)

    @property
    def topics(self) -> list[str]:
        """The topics to subscribe to, with the prefix."""
        own = {self.prefix + event_type.topic.name for event_type in self.types}
        return sorted(own | set(self.foreign))

    def subscribe(self, broker: KafkaBroker, pool: Pool) -> None:
        """Subscribe so that no event is lost, skipped or answered.

        FastStream's defaults suit other work; each one overridden here says why.
        """

        async def take(records: list[Any]) -> None:
            taken = tuple(records)
            records.clear()  # timers keep the message that they were set under, for a minute
            await self.take(pool, taken)

        # Who comes back under its name gets what it had, even if it now subscribes to other topics:
        # so what it subscribes to is part of the name.
        subscribed = digest(canonical(self.topics)).hex()[:8]
        for lane in range(self.lanes):
            member = f"{self.instance}-{lane}-{subscribed}" if self.instance else None
            subscriber: Any = broker.subscriber(
                *self.topics,
                group_id=self.prefix + self.group,
                group_instance_id=member,
                batch=True,
                max_records=LARGEST_BATCH,
                fetch_max_wait_ms=_LONGEST_POLL,
                ack_policy=AckPolicy.NACK_ON_ERROR,  # the default commits before the work is done
                auto_offset_reset="earliest",  # the default skips what came before the first start
                isolation_level="read_committed",  # the default shows what a producer took back
                no_reply=True,  # the default answers to any topic that the sender names
                parser=_unparsed,  # the default skips a record that has a binary header
                decoder=_records,  # the default reports a bad event as it does a bad deployment
            )
            subscriber(take)

    async def take(self, pool: Pool, records: Records) -> None:
        """Handle *records* in one transaction, trying again while the world is at fault.

        Trying again in place holds the partitions back, which keeps their order and shows a
        broken dependency as consumer lag instead of as lost work.
        """
        for delay in (*RETRY_SECONDS, None):
            try:
                with telemetry.BATCH_SECONDS.time():
                    await self._take(pool, records)
            except Exception as error:
                telemetry.RETRIES.labels(type(error).__name__).inc()
                if delay is None:
                    raise  # nacked: Kafka redelivers, and learns that this consumer lives
                _log.exception("batch failed", group=self.group, count=len(records), delay=delay)
                await asyncio.sleep(delay)
            else:
                return

    async def _take(self, pool: Pool, records: Records) -> None:
        pairs, unreadable = await self._read(records)
        if not pairs and not unreadable:
            return
        events = [event for _, event in pairs]
        with telemetry.processing({record.topic for record in records}, events):
            failing = self._count_failing(pairs, unreadable)
            try:
                try:
                    async with transaction(pool) as tx:
                        await self._work(tx, pairs, unreadable, careful=False)
                except asyncpg.UniqueViolationError:  # something in it came before
                    async with transaction(pool) as tx:
                        await self._work(tx, pairs, unreadable, careful=True)
            except _OF_THE_EVENT:
                failing = await self._one_by_one(pool, pairs, unreadable)
        self._failing.update(failing)

    async def _read(self, records: Records) -> tuple[list[tuple[Any, Event]], list[_Unreadable]]:
        readable: list[tuple[Any, Event]] = []
        unreadable: list[_Unreadable] = []
        latest = self.clock.now() + CLOCK_SKEW
        for number, record in enumerate(records, 1):
            event = None
            try:
                event = self._decode(record, latest)
                if event.type in self.types and self.wants(event):
                    event.prepared = self.prepare(event)
                    readable.append((record, event))
            except _OF_THE_EVENT as error:
                # What nobody can read one group sets aside; what it cannot prepare, each.
                if event is not None or self._sets_aside(record.topic):
                    unreadable.append(_refusal(record, error))
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        return readable, unreadable

    def _decode(self, record: Any, latest: datetime) -> Event:
        if foreign := self.foreign.get(record.topic):
            event = foreign.read(record)
            check(event, latest)
            return event
        return decode(record, prefix=self.prefix, latest=latest)

    def _sets_aside(self, topic: str) -> bool:
        """Return True if this group answers for the topic's malformed events."""
        return self._declared(topic).readers[:1] == (self.group,)

    def _declared(self, topic: str) -> Topic:
        if foreign := self.foreign.get(topic):
            return foreign.stands_for
        return _TOPICS[topic.removeprefix(self.prefix)]

    async def _work(
        self,
        tx: Connection,
        pairs: Sequence[tuple[Any, Event]],
        unreadable: Sequence[_Unreadable],
        *,
        careful: bool,
    ) -> None:
        sights = await self.sight(tx, [event for _, event in pairs], careful=careful)
        first = [e for (_, e), seen in zip(pairs, sights, strict=True) if seen is Sight.FIRST]
        if first:
            await self.handle(tx, first)
        conflicts = [
            _Unreadable(record, Rejected("this id came before with other content", code="conflict"))
            for (record, _), seen in zip(pairs, sights, strict=True)
            if seen is Sight.CONFLICT
        ]
        await self._set_aside(tx, [*unreadable, *conflicts])
        outcomes = Counter((r.topic, s.value) for (r, _), s in zip(pairs, sights, strict=True))
        for (topic, outcome), count in outcomes.items():
            telemetry.EVENTS.labels(topic, outcome).inc(count)

    async def _one_by_one(
        self, pool: Pool, pairs: Sequence[tuple[Any, Event]], unreadable: Sequence[_Unreadable]
    ) -> dict[str, int]:
        """Do the batch again with a savepoint for each event, setting aside those that fail.

        Returns what :meth:`_count_failing` does.
        """
        async with transaction(pool) as tx:
            refused = [*unreadable]
            handled: list[tuple[Any, Event]] = []
            for record, event in pairs:
                try:
                    async with tx.transaction():
                        await self._work(tx, [(record, event)], [], careful=True)
                    handled.append((record, event))
                except OSError:  # a ValueError as well, where a certificate is at fault
                    raise
                except _OF_THE_EVENT as error:
                    refused.append(_refusal(record, error))
            failing = self._count_failing(handled, refused)
            await self._set_aside(tx, refused)
        return failing

    def _count_failing(
        self, handled: Sequence[tuple[Any, Event]], refused: Sequence[_Unreadable]
    ) -> dict[str, int]:
        """Return, by topic, how many events failed for no known reason since one did not.

        Raises:
            TooManyFailuresError: it is more than :data:`MOST_UNHANDLED`.
        """
        failed = Counter(r.record.topic for r in refused if r.reason.code == UNHANDLED)
        if not failed and not any(self._failing.values()):
            return {}
        alive = {record.topic for record, _ in handled}
        counts = {topic: failed[topic] for topic in alive | failed.keys()}
        for topic in counts.keys() - alive:
            counts[topic] += self._failing.get(topic, 0)
        if max(counts.values(), default=0) > MOST_UNHANDLED:
            raise TooManyFailuresError
        return counts

    async def _set_aside(self, tx: Connection, refused: Sequence[_Unreadable]) -> None:
        if not refused:
            return
        places = [
            Note(f"kafka:{r.record.topic}/{r.record.partition}", _place(r.record), digest(b""))
            for r in refused
        ]
        sights = await note(tx, places)
        fresh = [r for r, seen in zip(refused, sights, strict=True) if seen is Sight.FIRST]
        await enqueue(tx, [self._dead_letter(r) for r in fresh])
        await dead_letters.keep(tx, [self._letter(r) for r in fresh])
        if self.on_dead_letters is not None:
            await self.on_dead_letters(tx, [r.record for r in fresh])
        if conflicting := [r.record.topic for r in fresh if r.reason.code == "conflict"]:
            alert = conflict_alert(len(conflicting), min(conflicting), self.group)
            await self.outbox.announce(tx, self.clock.now(), [alert])
        for r in fresh:
            telemetry.EVENTS.labels(r.record.topic, "set-aside").inc()
            telemetry.DEAD_LETTERS.labels(r.record.topic, r.reason.code).inc()
            _log.warning(
                "set aside",
                topic=r.record.topic,
                partition=r.record.partition,
                offset=r.record.offset,
                group=self.group,
                code=r.reason.code,
                reason=str(r.reason),
                **({"where": r.where} if r.where else {}),
            )

    def _dead_letter(self, refused: _Unreadable) -> Message:
        record = refused.record
        why = {
            "dlq_code": refused.reason.code,
            "dlq_reason": str(refused.reason),
            "dlq_consumer": self.group,
            "dlq_topic": record.topic,
            "dlq_partition": str(record.partition),
            "dlq_offset": str(record.offset),
            "dlq_time": self.clock.now().isoformat(),
        }
        body = record.value or b""
        if len(body) > LARGEST_LETTER:  # what no topic would take must not block all others
            why["dlq_cut_from"] = str(len(body))
        named = [(_storable(name), value) for name, value in record.headers]
        original = [(name, value) for name, value in named if not name.startswith("dlq_")]
        headers = [*original, *((name, value.encode()) for name, value in why.items())]
        topic = self._declared(record.topic).dead_letters
        return Message(topic, record.key, headers, body[:LARGEST_LETTER])

    def _letter(self, refused: _Unreadable) -> Letter:
        record = refused.record
        return Letter(
            id=new_id(),
            kept_on=self._declared(record.topic).dead_letters,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=refused.reason.code,
            reason=_storable(str(refused.reason)),
            set_aside_at=self.clock.now(),
        )


def _storable(name: str) -> str:
    """Return *name* without the one character that PostgreSQL cannot keep in a text."""
    return name.replace("\x00", "\ufffd")


class TooManyFailuresError(Exception):
    """Nothing of a topic can be handled any more: it stops, instead of all being set aside."""


def _refusal(record: Any, error: Exception) -> _Unreadable:
    """Return what is said of a record that alone was at work on when *error* came up.

    The text of an error may quote a value: its type does not.
    """
    if isinstance(error, Rejected):
        return _Unreadable(record, error)
    if isinstance(error, _REFUSED):
        what = error.constraint_name or type(error).__name__
        return _Unreadable(record, Rejected(f"the database refuses it: {what}", code="refused"))
    reason = Rejected(f"to handle it ends in {type(error).__name__}", code=UNHANDLED)
    return _Unreadable(record, reason, logs.describe(error).get("where", ""))


def conflict_alert(count: int, topic: str, group: str) -> AlertRaised:
    """Return the alert about *count* events that came again with other content."""
    return AlertRaised(
        fingerprint=f"conflicting-event/{group}/{topic}",
        severity="critical",
        summary=f"{count} event(s) on {topic} came again under the same id with other content",
        labels={"topic": topic, "consumer": group},
        runbook="conflicting-event",
    )


def _place(record: Any) -> str:
    """Return where *record* lies; with its timestamp, as a topic may be made anew."""
    return f"{record.offset}@{record.timestamp}"


async def _unparsed(
    records: Records, original: Callable[[Records], Awaitable[KafkaMessage]]
) -> KafkaMessage:
    """Wrap *records* as they are: reading them is :func:`decode`'s business."""
    message: Any = await original((replace(records[0], headers=()),))
    message.records = list(records)
    # What a nack rewinds to: the first of each partition.
    message.raw_message = tuple({(r.topic, r.partition): r for r in reversed(records)}.values())
    return message


async def _records(message: KafkaMessage) -> list[Any]:
    return cast("Any", message).records


def make_broker(bootstrap: str, client_id: str) -> KafkaBroker:
    """Return a broker to consume from; publishing is the outbox relay's work."""
    return KafkaBroker(
        bootstrap,
        client_id=client_id,
        consumer_only=True,
        apply_types=False,  # FastStream's validation writes what it was given into the log
        logger=logging.getLogger(__name__),
        log_level=logging.DEBUG,  # by default two lines for each message
    )
