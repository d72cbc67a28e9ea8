"""One batch of a consumer on a real database: rejected, refused, interrupted, repeated."""

import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import asyncpg
import pytest
from aiokafka import ConsumerRecord

from shared import bus
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events import BY_TYPE
from shared.events.platform import RecordGone
from shared.outbox import Outbox
from shared.postgres import Connection, Pool

KIND = BY_TYPE["platform.record.gone.v1"]
PERSONAL = "Zebulon"


def record(offset: int, name: str, **changes: bytes) -> "ConsumerRecord[bytes, bytes]":
    body = f'{{"holder":"h","category":"c","record_id":"{name}","date":"2026-01-01","why":"w"}}'
    headers = {
        "ce_specversion": b"1.0",
        "ce_id": name.encode(),
        "ce_source": b"//p",
        "ce_type": KIND.name.encode(),
        "ce_time": b"2026-01-01T00:00:00Z",
        **changes,
    }
    listed = [*headers.items(), ("x-binary", b"\xff\x00")]
    return ConsumerRecord(
        KIND.topic.name, 0, offset, 1, 0, b"key", body.encode(), None, 3, len(body), tuple(listed)
    )


def consumer(check: Callable[[RecordGone], None], group: str = "retention") -> Consumer:
    async def handle(tx: Connection, events: Sequence[Event]) -> None:
        for event in events:
            assert isinstance(event.data, RecordGone)
            await tx.execute(
                "INSERT INTO lead VALUES ($1, 'n', 'e', '2026-01-01')", event.data.record_id
            )
            check(event.data)

    return Consumer(group, [KIND], handle, Outbox("//test"), SystemClock())


async def done(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT record_id FROM lead ORDER BY 1")
    return [row["record_id"] for row in rows]


async def letters(pool: Pool) -> Counter[tuple[str, str]]:
    rows = await pool.fetch(
        "SELECT header_names, header_values FROM outbox WHERE topic = $1", KIND.topic.dead_letters
    )
    said = [dict(zip(row["header_names"], row["header_values"], strict=True)) for row in rows]
    assert all(headers["x-binary"] == b"\xff\x00" for headers in said)
    assert not any(PERSONAL in headers["dlq_reason"].decode() for headers in said)
    return Counter((h["dlq_code"].decode(), h["dlq_offset"].decode()) for h in said)


async def test_one_rejected_event_costs_only_itself(platform_pool: Pool) -> None:
    def check(data: RecordGone) -> None:
        if data.record_id == "b":
            raise Rejected("b is not wanted", code="unwanted")

    batch = tuple(record(n, name) for n, name in enumerate("abc"))
    for _ in range(2):  # the second time as after a crash before the offsets were committed
        await consumer(check).take(platform_pool, batch)
        assert await done(platform_pool) == ["a", "c"]
        assert await letters(platform_pool) == {("unwanted", "1"): 1}


async def test_a_rejected_event_is_taken_when_it_is_sent_again(platform_pool: Pool) -> None:
    def refuse(_: RecordGone) -> None:
        raise Rejected("not yet", code="unwanted")

    await consumer(refuse).take(platform_pool, (record(0, "a"),))
    assert await done(platform_pool) == []
    await consumer(lambda _: None).take(platform_pool, (record(1, "a"),))
    assert await done(platform_pool) == ["a"]


async def test_what_the_database_refuses_is_set_aside_without_its_value(
    platform_pool: Pool,
) -> None:
    await platform_pool.execute("INSERT INTO lead VALUES ($1, 'n', 'e', '2026-01-01')", PERSONAL)
    batch = (record(0, "a"), record(1, PERSONAL), record(2, "c"))
    await consumer(lambda _: None).take(platform_pool, batch)
    assert await done(platform_pool) == [PERSONAL, "a", "c"]
    assert await letters(platform_pool) == {("refused", "1"): 1}


async def test_a_passing_fault_is_tried_again_and_sets_nothing_aside(
    platform_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    faults = [OSError("the network is away"), ConnectionError("still")]

    def check(_: RecordGone) -> None:
        if faults:
            raise faults.pop()

    await consumer(check).take(platform_pool, (record(0, "a"), record(1, "b")))
    assert await done(platform_pool) == ["a", "b"]
    assert await letters(platform_pool) == {}


async def test_a_lasting_fault_holds_the_partition(
    platform_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.0,))

    def check(_: RecordGone) -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await consumer(check).take(platform_pool, (record(0, "a"),))
    assert await done(platform_pool) == []
    assert await letters(platform_pool) == {}


OF_THE_EVENT = [
    KeyError(PERSONAL),
    ValueError(PERSONAL),
    OverflowError(PERSONAL),
    RecursionError(PERSONAL),
    UnicodeEncodeError("utf-8", PERSONAL, 0, 1, PERSONAL),
]


@pytest.mark.parametrize("error", OF_THE_EVENT, ids=lambda error: type(error).__name__)
async def test_an_event_that_cannot_be_handled_costs_only_itself(
    platform_pool: Pool, error: Exception
) -> None:
    def check(data: RecordGone) -> None:
        if data.record_id == "b":
            raise error

    batch = tuple(record(n, name) for n, name in enumerate("abc"))
    for _ in range(2):
        await consumer(check).take(platform_pool, batch)
        assert await done(platform_pool) == ["a", "c"]
        assert await letters(platform_pool) == {("cannot-be-handled", "1"): 1}


@pytest.mark.parametrize("group", ["retention", "somebody-else"])
async def test_so_does_one_that_cannot_be_prepared(platform_pool: Pool, group: str) -> None:
    def prepare(event: Event) -> None:
        if event.id == "b":
            raise KeyError(PERSONAL)

    taker = replace(consumer(lambda _: None, group), prepare=prepare)
    await taker.take(platform_pool, tuple(record(n, name) for n, name in enumerate("abc")))
    assert await done(platform_pool) == ["a", "c"]
    assert await letters(platform_pool) == {("cannot-be-handled", "1"): 1}


PASSING = [
    asyncpg.DeadlockDetectedError("x"),
    asyncpg.SerializationError("x"),
    asyncpg.LockNotAvailableError("x"),
    asyncpg.QueryCanceledError("x"),
    asyncpg.InterfaceError("connection is closed"),
    AttributeError("what asyncpg raises where a connection breaks"),
    ssl.SSLCertVerificationError("an OSError that is a ValueError too"),
    TimeoutError(),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda error: type(error).__name__)
async def test_no_fault_of_the_world_is_taken_for_one_of_the_event(
    platform_pool: Pool, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.0,))

    def check(data: RecordGone) -> None:
        if data.record_id == "b":
            raise fault

    with pytest.raises(type(fault)):
        await consumer(check).take(platform_pool, (record(0, "a"), record(1, "b")))
    assert await done(platform_pool) == []
    assert await letters(platform_pool) == {}


@pytest.mark.parametrize("at_once", [1, 7, 1000])
async def test_a_broken_deployment_does_not_drain_the_topic(
    platform_pool: Pool, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.0,))
    broken = True

    def check(_: RecordGone) -> None:
        if broken:
            raise KeyError("a setting that is not there")

    taker = consumer(check)
    sent = [record(n, f"r{n:03}") for n in range(bus.MOST_UNHANDLED + 20)]
    taken = 0
    with pytest.raises(bus.TooManyFailuresError):  # noqa: PT012 - not the first batch need do it
        for taken in range(0, len(sent), at_once):
            await taker.take(platform_pool, tuple(sent[taken : taken + at_once]))
    assert sum((await letters(platform_pool)).values()) == taken <= bus.MOST_UNHANDLED
    broken = False
    await taker.take(platform_pool, tuple(sent[taken:]))
    assert len(await done(platform_pool)) == len(sent) - taken


async def test_one_that_is_handled_begins_the_count_anew(platform_pool: Pool) -> None:
    def check(data: RecordGone) -> None:
        if data.record_id.startswith("bad"):
            raise KeyError(PERSONAL)

    taker = consumer(check)
    most = bus.MOST_UNHANDLED
    for turn in (0, 1000):
        bad = [record(turn + n, f"bad-{turn + n}") for n in range(most)]
        await taker.take(platform_pool, tuple(bad))
        await taker.take(platform_pool, (record(turn + most, f"good-{turn}"),))
    assert len(await letters(platform_pool)) == 2 * most


async def test_only_the_first_reader_sets_malformed_events_aside(platform_pool: Pool) -> None:
    broken = (record(0, "a", ce_time=b"yesterday"),)
    await consumer(lambda _: None, group="somebody-else").take(platform_pool, broken)
    assert await letters(platform_pool) == {}
    await consumer(lambda _: None).take(platform_pool, broken)
    assert await letters(platform_pool) == {("invalid-time", "0"): 1}
