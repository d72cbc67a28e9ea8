"""Announcing an event if, and only if, the work that caused it commits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from shared import telemetry
from shared.cloudevents import Event, Headers, encode
from shared.events import Data, event_type_of
from shared.events.catalogue import ACTIONS
from shared.ids import new_id
from shared.postgres import Connection, Pool, sole, transaction

LARGEST_REQUEST: Final = 40 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published as it stands; *topic* without the prefix of the environment."""

    topic: str
    key: bytes | None
    headers: Headers
    value: bytes


@dataclass(frozen=True, slots=True)
class Outbox:
    """Queues the events of one service; a service of the platform logs its actions with it.

    Actions are numbered (``ce_sequence``), from 1 without gaps for each source, so that the
    master log can say which of them never arrived.

    Attributes:
        source: The ``ce_source`` of what it announces.
    """

    source: str

    async def announce(
        self,
        tx: Connection,
        time: datetime,
        events: Sequence[Data],
        *,
        cause: Event | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Queue *events* for publication after *tx* commits; return their ids.

        They happened at *time*.  They get new ids, unless *ids* are given.  Events of one key are
        published in the order of their transactions.  The trace of *cause* goes on in them.
        Transactions with actions of one source wait for one another from here on: announce last.
        """
        ids = [str(new_id()) for _ in events] if ids is None else list(ids)
        messages = [self._message(d, i, time, cause) for d, i in zip(events, ids, strict=True)]
        actions = [place for place, m in enumerate(messages) if m.topic == ACTIONS.name]
        if actions:
            first = await self._numbers(tx, len(actions))
            for number, place in enumerate(actions, first):
                messages[place] = _numbered(messages[place], number)
        await enqueue(tx, messages)
        return ids

    async def _numbers(self, tx: Connection, count: int) -> int:
        """Return the first of *count* numbers that follow one another."""
        last: int = await tx.fetchval(
            """
            INSERT INTO numbered (source, last) VALUES ($1, $2)
            ON CONFLICT (source) DO UPDATE SET last = numbered.last + $2
              RETURNING last
            """,
            self.source,
            count,
        )
        return last - count + 1

    def _message(self, data: Data, id_: str, time: datetime, cause: Event | None) -> Message:
        event_type = event_type_of(data)
        headers, value = encode(event_type, source=self.source, id_=id_, time=time, data=data)
        key = event_type.key(data).encode()
        return Message(event_type.topic.name, key, [*headers, *telemetry.carry(cause)], value)


def _numbered(message: Message, number: int) -> Message:
    return replace(message, headers=[*message.headers, ("ce_sequence", str(number).encode())])


async def enqueue(tx: Connection, messages: Sequence[Message]) -> None:
    """Queue *messages* as they are."""
    await tx.copy_records_to_table(
        "outbox",
        columns=["topic", "key", "header_names", "header_values", "value"],
        records=[
            (m.topic, m.key, [n for n, _ in m.headers], [v for _, v in m.headers], m.value)
            for m in messages
        ],
    )


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many events wait to be published, and for how many seconds the oldest has."""

    waiting: int
    oldest_seconds: float


async def backlog(tx: Connection) -> Backlog:
    """Return what waits in the outbox."""
    row = await tx.fetchrow(
        """
        SELECT count(*) AS waiting,
               coalesce(extract(epoch FROM now() - min(queued_at)), 0)::float AS oldest_seconds
          FROM outbox
        """
    )
    return Backlog(**(row or {}))


def make_producer(bootstrap: str, client_id: str) -> Any:
    """Return an ``AIOKafkaProducer`` that neither loses, repeats nor reorders what it sends."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        compression_type="gzip",  # so that a dead letter fits wherever its original did
        max_request_size=LARGEST_REQUEST,
    )


async def relay(pool: Pool, producer: Any, prefix: str, limit: int = 1000) -> int:
    """Publish up to *limit* queued events in order; return how many.

    A crash after publishing repeats events, which every reader's inbox absorbs.  The lock keeps
    a second relay from overtaking the first.
    """
    # Asked many times a second: one turn to the server where nothing waits, as mostly.
    if await pool.fetchval("SELECT min(position) FROM outbox") is None:
        return 0
    async with transaction(pool) as tx:
        if not await sole(tx, "outbox"):
            return 0
        rows = await tx.fetch("SELECT * FROM outbox ORDER BY position LIMIT $1", limit)
        sent: list[Any] = [
            await producer.send(
                prefix + row["topic"],
                row["value"],
                row["key"],
                headers=telemetry.publishing(
                    row["topic"], zip(row["header_names"], row["header_values"], strict=True)
                ),
            )
            for row in rows
        ]
        for acknowledged in sent:
            await acknowledged
        # By position, not up to a position: a slower transaction may just have filled a gap.
        await tx.execute(
            "DELETE FROM outbox WHERE position = ANY($1)", [row["position"] for row in rows]
        )
    return len(rows)
