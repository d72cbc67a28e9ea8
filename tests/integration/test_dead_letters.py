"""Dead letters on a real broker: each is sent again or let go once, and somebody answers for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from tests.integration.served import client
from tests.unit.test_routes import KEYS, bearer

from gallra.stack.infrastructure import Infrastructure
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.cloudevents import Event
from shared.dead_letters import Choice, DeadLetters, Letter, keep
from shared.errors import Rejected
from shared.events import BY_TYPE
from shared.ids import new_id
from shared.outbox import Outbox, make_producer, relay
from shared.postgres import Connection, Pool, transaction

KIND = BY_TYPE["platform.record.gone.v1"]
PERSONAL = "Zebulon"
OUTBOX = Outbox("//test")
CLOCK = SystemClock()


def event(offset: int, topic: str, record_id: str = PERSONAL) -> "ConsumerRecord[bytes, bytes]":
    body = (
        f'{{"holder":"h","category":"c","record_id":"{record_id}","date":"2026-01-01","why":"w"}}'
    )
    headers = (
        ("ce_specversion", b"1.0"), ("ce_id", str(offset).encode()), ("ce_source", b"//p"),
        ("ce_type", KIND.name.encode()), ("ce_time", b"2026-01-01T00:00:00Z"),
        ("x-binary", b"\xff\x00"),
    )  # fmt: skip
    return ConsumerRecord(
        topic, 1, offset, 1, 0, b"key", body.encode(), None, 3, len(body), headers
    )


async def refuse(_tx: Connection, events: Sequence[Event]) -> None:
    raise Rejected("the record is \x00 not wanted", code=f"code-{int(events[0].id) % 2}")


class Set:
    """A service that sets everything aside, and what deals with it."""

    def __init__(self, pool: Pool, kafka: str, prefix: str, producer: Any) -> None:
        self.pool, self.kafka, self.prefix, self.producer = pool, kafka, prefix, producer
        self.topic = prefix + KIND.topic.name
        self.desk = DeadLetters("retention", kafka, OUTBOX, CLOCK, prefix)

    async def aside(self, count: int, *, relayed: bool = True) -> list[UUID]:
        """Set so many events aside; return their letters, oldest first."""
        consumer = Consumer("retention", [KIND], refuse, OUTBOX, CLOCK, prefix=self.prefix)
        await consumer.take(self.pool, tuple(event(n, self.topic) for n in range(count)))
        if relayed:
            await self.relay()
        rows = await self.pool.fetch("SELECT id FROM dead_letter ORDER BY id")
        return [row["id"] for row in rows]

    async def relay(self) -> None:
        while await relay(self.pool, self.producer, self.prefix):
            pass

    async def stand(self) -> dict[str, int]:
        rows = await self.pool.fetch(
            "SELECT coalesce(settled, 'waiting') AS s, count(*) AS n FROM dead_letter GROUP BY s"
        )
        return {row["s"]: row["n"] for row in rows}

    async def sent_again(self) -> list[Any]:
        """Return what lies on the topic that the events came from."""
        reader = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await reader.start()
        try:
            places = [TopicPartition(self.topic, n) for n in range(KIND.topic.partitions)]
            reader.assign(places)
            await reader.seek_to_beginning()
            ends = await reader.end_offsets(places)
            found: list[Any] = []
            while len(found) < sum(ends.values()):
                for records in (await reader.getmany(timeout_ms=500)).values():
                    found += records
            return sorted(found, key=lambda record: int(dict(record.headers)["ce_id"]))
        finally:
            await reader.stop()

    async def decisions(self) -> list[dict[str, Any]]:
        rows = await self.pool.fetch(
            "SELECT value FROM outbox WHERE topic = 'ops.decisions.v1' ORDER BY position"
        )
        return [json.loads(row["value"]) for row in rows]


@asynccontextmanager
async def publishing(kafka: str) -> AsyncIterator[Any]:
    producer = make_producer(kafka, "test")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@pytest.fixture
async def set_(platform_pool: Pool, infra: Infrastructure, topic_prefix: str) -> AsyncIterator[Set]:
    async with publishing(infra.kafka) as producer:
        yield Set(platform_pool, infra.kafka, topic_prefix, producer)


async def test_a_letter_is_noted_without_what_it_says(set_: Set) -> None:
    await set_.aside(2)
    rows = [dict(row) for row in await set_.pool.fetch("SELECT * FROM dead_letter ORDER BY id")]
    assert [(r["topic"], r["partition"], r["position"], r["code"]) for r in rows] == [
        (set_.topic, 1, 0, "code-0"), (set_.topic, 1, 1, "code-1")
    ]  # fmt: skip
    assert rows[0]["kept_on"] == KIND.topic.dead_letters
    assert rows[0]["reason"] == "the record is \ufffd not wanted"
    assert PERSONAL not in str(rows)


async def test_letters_are_sent_again_as_they_were_and_once(set_: Set) -> None:
    await set_.aside(3)
    done = await set_.desk.redrive(
        set_.pool, set_.producer, Choice(topic=set_.topic, code="code-0"), "ops-1"
    )
    assert (done.settled, done.missing, done.refused, done.left) == (2, 0, 0, 0)
    again = await set_.desk.redrive(set_.pool, set_.producer, Choice(topic=set_.topic), "ops-2")
    assert (again.settled, again.left) == (1, 0)
    for _ in range(2):
        none = await set_.desk.redrive(set_.pool, set_.producer, Choice(topic=set_.topic), "ops-3")
        assert none.settled == 0
    records = await set_.sent_again()
    assert [record.value for record in records] == [event(n, set_.topic).value for n in range(3)]
    assert {record.key for record in records} == {b"key"}
    assert {record.headers for record in records} == {
        event(n, set_.topic).headers for n in range(3)
    }
    assert await set_.decisions() == [
        {"topic": set_.topic, "consumer": "retention", "settled": "redriven",
         "letters": ["1/0", "1/2"], "by": "ops-1"},
        {"topic": set_.topic, "consumer": "retention", "settled": "redriven",
         "letters": ["1/1"], "by": "ops-2"},
    ]  # fmt: skip


async def test_one_letter_may_be_settled_without_those_before(set_: Set) -> None:
    _, _, last = await set_.aside(3)
    done = await set_.desk.redrive(set_.pool, set_.producer, Choice((last,)), "ops-1")
    assert (done.settled, done.left) == (1, 0)
    assert await set_.stand() == {"redriven": 1, "waiting": 2}


async def test_what_was_let_go_is_not_sent_again(set_: Set) -> None:
    first, *_ = await set_.aside(2)
    done = await set_.desk.drop(set_.pool, Choice((first,)), "ops-1")
    assert (done.settled, done.left) == (1, 0)
    for choice in (Choice((first,)), Choice(topic=set_.topic)):
        await set_.desk.redrive(set_.pool, set_.producer, choice, "ops-2")
    assert len(await set_.sent_again()) == 1
    assert await set_.stand() == {"dropped": 1, "redriven": 1}
    assert [d["settled"] for d in await set_.decisions()] == ["dropped", "redriven"]


async def test_two_at_once_share_the_work(set_: Set) -> None:
    await set_.aside(40)
    done = await asyncio.gather(
        *(
            set_.desk.redrive(set_.pool, set_.producer, Choice(topic=set_.topic), f"ops-{n}")
            for n in range(4)
        )
    )
    assert sum(each.settled for each in done) == 40
    assert len(await set_.sent_again()) == 40


async def test_one_that_is_not_on_its_topic_keeps_no_other_back(set_: Set) -> None:
    *_, early = await set_.aside(1, relayed=False)  # still on its way to its topic
    aged = [
        Letter(new_id(), KIND.topic.dead_letters, set_.topic, 0, n, "old", "r", CLOCK.now())
        for n in range(600)
    ]
    async with transaction(set_.pool) as tx:
        await keep(tx, aged)
        await tx.execute("UPDATE dead_letter SET set_aside_at = set_aside_at - interval '9 days'")
    done = await set_.desk.redrive(set_.pool, set_.producer, Choice(topic=set_.topic), "ops-1")
    assert (done.settled, done.missing, done.left) == (0, 601, 601)
    assert await set_.decisions() == []
    await set_.relay()
    await set_.pool.execute("DELETE FROM dead_letter WHERE id = $1", early)
    fresh = Letter(new_id(), KIND.topic.dead_letters, set_.topic, 1, 0, "code-0", "r", CLOCK.now())
    async with transaction(set_.pool) as tx:
        await keep(tx, [fresh])
    done = await set_.desk.redrive(set_.pool, set_.producer, Choice(topic=set_.topic), "ops-1")
    assert (done.settled, done.left) == (1, 600)


class Refusing:
    """A producer whose broker does not let it write."""

    async def send(self, *_: Any, **__: Any) -> Any:
        raise TopicAuthorizationFailedError


async def test_what_the_broker_does_not_take_still_waits(set_: Set) -> None:
    await set_.aside(2)
    done = await set_.desk.redrive(set_.pool, Refusing(), Choice(topic=set_.topic), "ops-1")
    assert (done.settled, done.refused, done.left) == (0, 2, 2)
    assert await set_.stand() == {"waiting": 2}
    assert await set_.decisions() == []


async def test_who_dies_before_the_note_commits_sends_twice_and_loses_nothing(set_: Set) -> None:
    await set_.aside(1)

    class Dying:
        async def send(self, *what: Any, **how: Any) -> Any:
            await (await set_.producer.send(*what, **how))
            raise SystemExit

    with pytest.raises(SystemExit):
        await set_.desk.redrive(set_.pool, Dying(), Choice(topic=set_.topic), "ops-1")
    assert await set_.stand() == {"waiting": 1}
    await set_.desk.redrive(set_.pool, set_.producer, Choice(topic=set_.topic), "ops-1")
    assert await set_.stand() == {"redriven": 1}
    records = await set_.sent_again()
    assert len(records) == 2
    assert records[0].headers == records[1].headers  # the same event: the inbox knows it


# Over HTTP


@asynccontextmanager
async def served(
    set_: Set, role: str = "operator", producer: Any = None
) -> AsyncIterator[httpx.AsyncClient]:
    state = {"dead_letters": set_.desk, "producer": producer or set_.producer}
    async with client(
        "gallra.demo", [], set_.pool, "http://x", {"token_keys": KEYS}, **state
    ) as http:
        http.headers.update(bearer(role))
        yield http


async def test_letters_are_listed_by_page_and_filter(set_: Set) -> None:
    ids = [str(id_) for id_ in reversed(await set_.aside(120))]
    async with served(set_, "auditor") as http:
        first = (await http.get("/api/v1/dead-letters")).json()
        rest = (await http.get("/api/v1/dead-letters", params={"cursor": first["cursor"]})).json()
        odd = (await http.get("/api/v1/dead-letters", params={"code": "code-1"})).json()
        other = (await http.get("/api/v1/dead-letters", params={"topic": "other"})).json()
        done = (await http.get("/api/v1/dead-letters", params={"state": "dropped"})).json()
    assert [x["id"] for x in first["letters"] + rest["letters"]] == ids
    assert rest["cursor"] is None
    assert {x["offset"] % 2 for x in odd["letters"]} == {1}
    assert other["letters"] == done["letters"] == []
    assert [(row["code"], row["letters"]) for row in other["waiting"]] == [
        ("code-0", 60), ("code-1", 60)
    ]  # fmt: skip
    assert {x["consumer"] for x in first["letters"]} == {"retention"}


async def test_letters_are_dealt_with_in_the_name_of_who_asks(set_: Set) -> None:
    first, second = map(str, await set_.aside(2))
    async with served(set_) as http:
        sent = await http.post("/api/v1/dead-letters/redrive", json={"letters": [first]})
        gone = await http.post("/api/v1/dead-letters/drop", json={"letters": [second], "by": "x"})
        again = await http.post("/api/v1/dead-letters/drop", json={"letters": [second]})
        unknown = await http.post("/api/v1/dead-letters/drop", json={"letters": [str(uuid4())]})
        nothing = await http.post("/api/v1/dead-letters/drop", json={"topic": set_.topic})
        settled = await http.get("/api/v1/dead-letters", params={"state": "redriven"})
    assert (sent.json()["settled"], gone.json()["settled"]) == (1, 1)
    assert (again.status_code, unknown.status_code) == (409, 409)
    assert nothing.json()["settled"] == 0
    assert [x["settled_by"] for x in settled.json()["letters"]] == ["u-1"]
    assert {d["by"] for d in await set_.decisions()} == {"u-1"}


@pytest.mark.parametrize(
    "unclear",
    [
        {},
        {"letters": []},
        {"letters": [str(uuid4())], "topic": "t"},
        {"letters": [str(uuid4())], "code": "c"},
        {"letters": [str(uuid4())] * 501},
        {"code": "c"},
    ],
)
async def test_an_unclear_choice_does_nothing(set_: Set, unclear: dict[str, Any]) -> None:
    await set_.aside(1)
    async with served(set_) as http:
        for deed in ("redrive", "drop"):
            answer = await http.post(f"/api/v1/dead-letters/{deed}", json=unclear)
            assert answer.status_code == 400
            assert answer.json()["title"] == "unclear-choice"
    assert await set_.stand() == {"waiting": 1}


async def test_why_letters_were_not_sent_is_told(set_: Set) -> None:
    [letter] = await set_.aside(1, relayed=False)
    wanted = {"letters": [str(letter)]}
    async with served(set_) as http:
        early = await http.post("/api/v1/dead-letters/redrive", json=wanted)
    await set_.relay()
    async with served(set_, producer=Refusing()) as http:
        refused = await http.post("/api/v1/dead-letters/redrive", json=wanted)
    assert (early.status_code, refused.status_code) == (409, 503)
    assert "not on their dead-letter topic" in early.json()["detail"]
    assert "may this service write" in refused.json()["detail"]
