"""Events that were set aside: noted here, kept on their topics, sent again or let go by people.

The note commits with the dead letter, and says what became of it.  What the event says lies on the
dead-letter topic alone, for as long as that keeps it: it may be personal.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, Literal
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared import logs
from shared.clock import Clock
from shared.events.gallra import DeadLettersSettled
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, transaction

AT_ONCE: Final = 500
"""So many letters are dealt with at once; an event of the master log names them all."""

_LARGEST: Final = 64 * 1024 * 1024  # bytes of letters in memory
_EARLIER: Final = timedelta(hours=1)  # by which the clock of who published a letter may be behind
_log = logs.get(__name__)

Settled = Literal["redriven", "dropped"]
Stands = Literal["waiting", "redriven", "dropped"]
Record = ConsumerRecord[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Letter:
    """An event that was set aside, without what it says.

    Attributes:
        kept_on: Its dead-letter topic, without the prefix.
        topic: Where it lay, with the prefix; and its partition and offset there.
        reason: Names fields and rules, never values.
    """

    id: UUID
    kept_on: str
    topic: str
    partition: int
    offset: int
    code: str
    reason: str
    set_aside_at: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant: those that are named, or all that wait of a topic and a code."""

    letters: tuple[UUID, ...] = ()
    topic: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of dealing with letters.

    Attributes:
        missing: So many are not on their dead-letter topic: not yet, or no more.
        refused: So many the broker did not take.
        left: So many of the choice still wait.
    """

    settled: int
    missing: int = 0
    refused: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Deals with the dead letters of one consumer.

    Attributes:
        group: The consumer's.
        prefix: Stands before the name of every topic.
    """

    group: str
    kafka: str
    outbox: Outbox
    clock: Clock
    prefix: str = ""

    async def redrive(self, pool: Pool, producer: Any, choice: Choice, by: str) -> Outcome:
        """Publish letters to where they came from, as they were.

        Who dies in between has sent what still waits: sent again, the readers' inboxes absorb it.

        Raises:
            KafkaError: the broker does not give the letters out.
        """
        found: dict[UUID, Record] = {}
        missing, after = 0, UUID(int=0)
        while not found:
            async with pool.acquire() as tx:
                wanted = await waiting(tx, choice, after, AT_ONCE)
            if not wanted:
                break
            found, looked_at_all = await self._kept(wanted)
            missing += len(wanted) - len(found) if looked_at_all else 0
            after = wanted[-1].id
        async with transaction(pool) as tx:
            open_ = await hold(tx, list(found))
            sent = await _publish(producer, {letter: found[letter.id] for letter in open_})
            await self._settle(tx, sent, "redriven", by)
            left = await count_waiting(tx, choice)
        return Outcome(len(sent), missing, len(open_) - len(sent), left)

    async def drop(self, pool: Pool, choice: Choice, by: str) -> Outcome:
        """Note that letters will not be sent again; they age out of their topics."""
        async with transaction(pool) as tx:
            wanted = await waiting(tx, choice, UUID(int=0), AT_ONCE)
            open_ = await hold(tx, [letter.id for letter in wanted])
            await self._settle(tx, open_, "dropped", by)
            return Outcome(len(open_), left=await count_waiting(tx, choice))

    async def _settle(
        self, tx: Connection, letters: Sequence[Letter], settled: Settled, by: str
    ) -> None:
        now = self.clock.now()
        await settle(tx, [letter.id for letter in letters], settled, now, by)
        told = [
            DeadLettersSettled(
                topic=topic,
                consumer=self.group,
                settled=settled,
                letters=tuple(f"{each.partition}/{each.offset}" for each in of_topic),
                by=by,
            )
            for topic, of_topic in groupby(letters, lambda letter: letter.topic)
        ]
        await self.outbox.announce(tx, now, told)

    async def _kept(self, letters: Sequence[Letter]) -> tuple[dict[UUID, Record], bool]:
        """Return what lies on the dead-letter topics for *letters*, and True if that is all."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, enable_auto_commit=False)
        await consumer.start()
        found: dict[UUID, Record] = {}
        room = _LARGEST
        try:
            for topic, of_topic in groupby(sorted(letters, key=_kept_on), _kept_on):
                wanted = {_origin(self.group, letter): letter.id for letter in of_topic}
                since = min(letter.set_aside_at for letter in letters) - _EARLIER
                async for record in _since(consumer, self.prefix + topic, since):
                    id_ = wanted.pop(_origin_of(record), None)
                    if id_ is not None:
                        found[id_] = record
                        room -= len(record.value or b"")
                    if room < 0:
                        return found, False
                    if not wanted:
                        break
        finally:
            await consumer.stop()
        return found, True


def _kept_on(letter: Letter) -> str:
    return letter.kept_on


def _origin(group: str, letter: Letter) -> tuple[str, ...]:
    return group, letter.topic, str(letter.partition), str(letter.offset)


def _origin_of(record: Record) -> tuple[str, ...]:
    said = {name: value for name, value in record.headers if name.startswith("dlq_")}
    names = ("dlq_consumer", "dlq_topic", "dlq_partition", "dlq_offset")
    return tuple(said.get(name, b"").decode("utf-8", "replace") for name in names)


async def _since(consumer: Any, topic: str, since: datetime) -> AsyncGenerator[Record]:
    """Yield what was published on a dead-letter topic from an instant until now.

    Such a topic is declared with one partition.
    """
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    end: int = (await consumer.end_offsets([place]))[place]
    first = (await consumer.offsets_for_times({place: int(since.timestamp() * 1000)}))[place]
    if first is None:
        return
    consumer.seek(place, first.offset)
    while await consumer.position(place) < end:
        for records in (await consumer.getmany(place, timeout_ms=1000)).values():
            for record in records:
                yield record


async def _publish(producer: Any, records: Mapping[Letter, Record]) -> list[Letter]:
    """Publish letters to where they came from, in order; return those that the broker took."""
    sent: list[Letter] = []
    on_their_way: list[tuple[Letter, Any]] = []
    for letter, record in records.items():
        headers = [(name, value) for name, value in record.headers if not name.startswith("dlq_")]
        try:
            answer = await producer.send(letter.topic, record.value, record.key, headers=headers)
            on_their_way.append((letter, answer))
        except KafkaError as error:
            _not_taken(letter, error)
    for letter, answer in on_their_way:
        try:
            await answer
            sent.append(letter)
        except KafkaError as error:
            _not_taken(letter, error)
    return sent


def _not_taken(letter: Letter, error: KafkaError) -> None:
    _log.warning("not sent again", topic=letter.topic, error=type(error).__name__)


# --- SQL -----------------------------------------------------------------------------------------

_COLUMNS: Final = 'id, kept_on, topic, partition, position AS "offset", code, reason, set_aside_at'


async def keep(tx: Connection, letters: Sequence[Letter]) -> None:
    """Note letters, in the transaction that sets them aside."""
    await tx.copy_records_to_table(
        "dead_letter",
        columns=[
            "id", "kept_on", "topic", "partition", "position", "code", "reason", "set_aside_at",
        ],
        records=[tuple(asdict(letter).values()) for letter in letters],
    )  # fmt: skip


async def listed(
    tx: Connection,
    *,
    stands: Stands,
    topic: str | None,
    code: str | None,
    before: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return letters that match, newest first, with what became of them."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS}, settled, settled_at, settled_by
          FROM dead_letter
         WHERE settled IS NOT DISTINCT FROM $1
           AND ($2::text IS NULL OR topic = $2)
           AND ($3::text IS NULL OR code = $3)
           AND ($4::uuid IS NULL OR id < $4)
      ORDER BY id DESC
         LIMIT $5
        """,  # noqa: S608 - a constant
        None if stands == "waiting" else stands,
        topic,
        code,
        before,
        limit,
    )
    return [dict(row) for row in rows]


async def tally(tx: Connection) -> list[dict[str, Any]]:
    """Return how many letters wait, by topic and code."""
    rows = await tx.fetch(
        """
        SELECT topic, code, count(*) AS letters, min(set_aside_at) AS since
          FROM dead_letter WHERE settled IS NULL
      GROUP BY topic, code ORDER BY topic, code
        """
    )
    return [dict(row) for row in rows]


async def waiting(tx: Connection, choice: Choice, after: UUID, limit: int) -> list[Letter]:
    """Return the letters of *choice* that wait and were set aside after another, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS}
          FROM dead_letter
         WHERE settled IS NULL
           AND (id = ANY($1) OR topic = $2 AND ($3::text IS NULL OR code = $3))
           AND id > $4
      ORDER BY id
         LIMIT $5
        """,  # noqa: S608 - a constant
        *_values(choice),
        after,
        limit,
    )
    return [Letter(**row) for row in rows]


async def count_waiting(tx: Connection, choice: Choice) -> int:
    """Return how many letters of *choice* wait."""
    count: int = await tx.fetchval(
        """
        SELECT count(*)
          FROM dead_letter
         WHERE settled IS NULL
           AND (id = ANY($1) OR topic = $2 AND ($3::text IS NULL OR code = $3))
        """,
        *_values(choice),
    )
    return count


def _values(choice: Choice) -> tuple[list[UUID], str | None, str | None]:
    return list(choice.letters), choice.topic, choice.code


async def hold(tx: Connection, letters: Sequence[UUID]) -> list[Letter]:
    """Return those of *letters* that wait, and keep everybody else from them until *tx* ends."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS}
          FROM dead_letter
         WHERE id = ANY($1) AND settled IS NULL
      ORDER BY topic, id
           FOR UPDATE SKIP LOCKED
        """,  # noqa: S608 - a constant
        list(letters),
    )
    return [Letter(**row) for row in rows]


async def settle(
    tx: Connection, letters: Sequence[UUID], settled: Settled, at: datetime, by: str
) -> None:
    """Note what became of letters, and who decided it."""
    await tx.execute(
        """
        UPDATE dead_letter
           SET settled = $2, settled_at = $3, settled_by = $4
         WHERE id = ANY($1)
        """,
        list(letters),
        settled,
        at,
        by,
    )
