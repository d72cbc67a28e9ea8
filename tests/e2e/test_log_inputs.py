"""What comes into a running log: over HTTP, from OpenStack, numbered, and from the careless."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.conftest import PATIENCE, Database, copy_of, new_prefix
from tests.live import SOURCE, Live, action, eventually, headers_of_one, live

from audit_log.checkpoint import Verifier
from audit_log.proof import Proof
from gallra.stack.infrastructure import Infrastructure
from shared.cloudevents import LARGEST_ACTION
from shared.events.platform import ActionPerformed
from shared.outbox import Outbox, make_producer, relay
from shared.postgres import open_pool, transaction

LOST = 37
MANY = 100_000


@pytest.fixture(scope="module")
def cadf_topic(infra: Infrastructure) -> str:
    name = f"notifications-{uuid4().hex[:8]}.info"
    admin = AdminClient({"bootstrap.servers": infra.kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    return name


@pytest.fixture(scope="module")
def log(infra: Infrastructure, cadf_topic: str) -> Iterator[Live]:
    settings = {"GALLRA_CADF_TOPICS": f" {cadf_topic},"}
    with (
        copy_of(infra, "audit_log") as database,
        live(infra, database, new_prefix(infra), **settings) as running,
    ):
        yield running


def post(log: Live, body: Any, headers: Mapping[str, str | None]) -> httpx.Response:
    given = {name.replace("_", "-"): v for name, v in (headers_of_one() | headers).items() if v}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{log.service.url}/api/v1/actions"
    return httpx.post(url, content=content, headers=given, timeout=PATIENCE)


def entry_of(log: Live, event_id: str, source: str = SOURCE) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        answer = log.service.get("/api/v1/events", source=source, event_id=event_id)
        return log.service.get(answer.json()["entry"]).json() if answer.is_success else None

    return eventually(look)


def test_a_caller_without_kafka_gets_a_proof(log: Live) -> None:
    event_id = str(uuid4())
    answer = post(log, action(1), {"ce_id": event_id})
    assert answer.status_code == 200, answer.text
    proof = Proof.parse(answer.text)
    assert proof.check(Verifier.parse(log.vkey)).size > proof.index
    entry = entry_of(log, event_id)
    assert (entry["index"], entry["leaf"]) == (proof.index, proof.leaf.hex())

    again = post(log, action(1), {"ce_id": event_id})
    assert Proof.parse(again.text).index == proof.index
    other = post(log, action(2), {"ce_id": event_id})
    assert (other.status_code, "same" in other.text or "other content" in other.text) == (409, True)


def test_a_structured_event_is_taken_too(log: Live) -> None:
    event = {name.removeprefix("ce_"): v for name, v in headers_of_one().items() if "ce_" in name}
    body = json.dumps({**event, "data": action(3)}).encode()
    url = f"{log.service.url}/api/v1/actions"
    kind = {"content-type": "application/cloudevents+json"}
    answer = httpx.post(url, content=body, headers=kind, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert entry_of(log, str(event["id"]))["index"] == Proof.parse(answer.text).index


def test_callers_at_once_each_get_their_own_proof(log: Live) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: post(log, action(n), {}), range(64)))
    assert {a.status_code for a in answers} == {200}
    assert len({Proof.parse(a.text).index for a in answers}) == 64


FUTURE = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@pytest.mark.parametrize(
    ("body", "headers", "named"),
    [
        (b"\xff\xfe", {}, ""),
        (b'{"v": 1', {}, ""),
        ({"v": 1}, {}, "actor"),
        (action(1) | {"secret": "Zebulon"}, {}, "secret"),
        (action(1, customer_id="a\0b"), {}, "customer_id"),
        (action(1), {"ce_time": None}, "time"),
        (action(1), {"ce_time": FUTURE}, "time"),
        (action(1), {"ce_type": "platform.action.imagined.v1"}, "type"),
        (action(1), {"ce_sequence": "-1"}, "sequence"),
        (action(1), {"ce_sequence": "9" * 40}, "sequence"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    log: Live, body: Any, headers: dict[str, str | None], named: str
) -> None:
    answer = post(log, body, headers)
    assert answer.status_code == 400, answer.text
    assert named in answer.text
    assert "Zebulon" not in answer.text


def sized(size: int) -> bytes:
    """Return an action of exactly so many bytes."""
    base = action(1, changes=[{"field": f"f{n}", "new": ""} for n in range(8)])
    room = size - len(json.dumps(base))
    for change in base["changes"]:
        taken = min(room, 2000)
        change["new"], room = "x" * taken, room - taken
    body = json.dumps(base).encode()
    assert len(body) == size
    return body


def test_sixteen_kilobytes_fit_and_one_byte_more_does_not(log: Live) -> None:
    assert post(log, sized(LARGEST_ACTION), {}).status_code == 200
    refused = post(log, sized(LARGEST_ACTION + 1), {})
    assert refused.status_code == 400
    assert str(LARGEST_ACTION) in refused.text
    fits, too_large = str(uuid4()), str(uuid4())
    log.publish([(sized(LARGEST_ACTION), {"ce_id": fits})])
    log.publish([(sized(LARGEST_ACTION + 1), {"ce_id": too_large})])
    entry_of(log, fits)
    headers, _ = log.read("platform.actions.v1.dlq", lambda h, _: h.get("ce_id") == too_large)
    assert headers["dlq_code"] == "too-large"


def test_a_clock_that_is_a_day_off_is_believed_and_filed_under_its_day(log: Live) -> None:
    for days in (-1, 0.99):
        at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        event_id = str(uuid4())
        assert post(log, action(1), {"ce_id": event_id, "ce_time": at}).status_code == 200
        assert entry_of(log, event_id)["content"]["at"][:19] == at[:19]


def test_ten_thousand_actors(log: Live) -> None:
    before = log.service.size()
    actors = [{"type": "user", "id": f"actor-{n}"} for n in range(10_000)]
    log.publish([(action(n, actor=actor), {}) for n, actor in enumerate(actors)])
    log.service.reaches(before + 10_000)
    for number in (0, 5_000, 9_999):
        found = log.service.get("/api/v1/entries", actor=f"actor-{number}").json()["entries"]
        assert len(found) == 1


def test_openstack_notifications_become_entries(log: Live, cadf_topic: str) -> None:
    payload = {
        "id": f"openstack:{uuid4()}",
        "eventTime": "2026-11-02T12:00:00.123456+0000",
        "action": "delete",
        "outcome": "success",
        "initiator": {
            "id": "u-1",
            "name": "kim",
            "project_id": "c-os",
            "credential": {"token": "gAAAA-secret"},
        },
        "target": {"typeURI": "service/compute/servers/server", "id": "nova"},
    }
    producer = Producer({"bootstrap.servers": log.infra.kafka})
    for event_type in ("audit.http.request", "audit.http.response", "compute.instance.update"):
        message = {"publisher_id": "nova-api", "event_type": event_type, "payload": payload}
        value = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})
        producer.produce(cadf_topic, value)
    assert producer.flush(PATIENCE) == 0
    for kind, phase in (("request", "attempt"), ("response", "result")):
        entry = entry_of(log, f"{payload['id']}:audit.http.{kind}", "//openstack/nova-api")
        parts = entry["content"]["parts"]
        assert parts["what"]["value"]["data"]["phase"] == phase
        assert parts["who"]["value"]["actor"]["name"] == "kim"
        assert "secret" not in json.dumps(entry)
    headers, _ = log.read("platform.actions.v1.dlq", lambda h, _: h.get("dlq_topic") == cadf_topic)
    assert headers["dlq_code"] == "not-cadf"


def test_the_producer_helper_numbers_what_it_announces(
    infra: Infrastructure, log: Live, platform_db: Database
) -> None:
    source = f"//helper/{uuid4()}"

    async def announce() -> None:
        async with open_pool(platform_db.owner, "test") as pool:
            for number in range(5):
                done = ActionPerformed.model_validate(action(number))
                async with transaction(pool) as tx:
                    await Outbox(source).announce(tx, datetime.now(UTC), [done])
            producer = make_producer(infra.kafka, "test")
            await producer.start()
            await relay(pool, producer, log.prefix)
            await producer.stop()

    asyncio.run(announce())
    counted = eventually(lambda: producer_of(log, source))
    assert (counted["low"], counted["high"], counted["missing"]) == (1, 5, "")


def producer_of(log: Live, source: str, high: int = 5) -> dict[str, Any] | None:
    for row in log.service.get("/api/v1/producers").json()["producers"]:
        if row["source"] == source and row["high"] >= high:
            return row
    return None


def test_forged_and_replayed_numbers_are_told_and_do_no_harm(log: Live) -> None:
    source = f"//forger/{uuid4()}"

    def send(*numbers: int) -> None:
        log.publish([(action(n), {"ce_source": source, "ce_sequence": str(n)}) for n in numbers])

    send(1, 2, 3)
    eventually(lambda: producer_of(log, source, 3))
    send(2, 10**17)
    send(4)
    row = eventually(lambda: producer_of(log, source, 4))
    assert (row["high"], row["missing"], row["reused"], row["implausible"]) == (4, "", 1, 1)
    _, alert = log.read(
        "ops.alerts.v1", lambda _, a: a["fingerprint"].startswith("sequence/broken///forger")
    )
    assert "out of all order" in alert["summary"]


def test_exactly_what_was_lost_is_named_and_what_comes_late_heals_it(log: Live) -> None:
    source = f"//loser/{uuid4()}"
    # Spread as losses are: some alone, some in a row, on all partitions.
    lost = {7 + n * 2_654 for n in range(LOST - 3)} | {50_001, 50_002, 50_003}
    assert len(lost) == LOST

    def numbered(number: int) -> tuple[Any, Mapping[str, str | None]]:
        headers = {"ce_source": source, "ce_sequence": str(number)}
        return action(number, f"c-{number % 97}"), headers

    log.publish([numbered(n) for n in range(1, MANY + 1) if n not in lost])
    fingerprint = f"sequence/lost/{source}"
    # Raised anew as more are called lost, where a hundred thousand take more than a minute.
    told = f"{LOST} event(s) of {source} never arrived: 7, 2661, "
    log.read("ops.alerts.v1", lambda _, a: a["summary"].startswith(told), 300)
    row = eventually(lambda: producer_of(log, source, MANY))
    assert spelled(row["missing"]) == spelled(row["lost"]) == lost
    assert "NOT COMPLETE" in log.gallra("verify", code=4)

    late = sorted(lost)
    log.publish([numbered(n) for n in late])
    eventually(lambda: "complete" in log.service.get("/api/v1/producers").text)
    healed = eventually(lambda: (row := producer_of(log, source, MANY)) and not row["missing"])
    assert healed
    log.read(
        "ops.alerts.v1",
        lambda h, a: a["fingerprint"] == fingerprint and "resolved" in h["ce_type"],
    )
    assert "\ncomplete" in log.gallra("verify")


def spelled(named: str) -> set[int]:
    """Return the numbers that people read as ``1-3, 7``."""
    found: set[int] = set()
    for run in named.split(", "):
        first, _, last = run.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
