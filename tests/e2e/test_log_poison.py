"""One message that nothing can be done with: it has one dead letter, and what lies behind goes on.

Over a real broker, as what stops a lane for ever does so between our code and Kafka's.
"""

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.conftest import PATIENCE, copy_of, new_prefix
from tests.live import SOURCE, TOPIC, Live, action, eventually, headers_of_one, live

from gallra.stack.infrastructure import Infrastructure

ALERT = {"fingerprint": "poison", "severity": "warning", "summary": "s"}
LONG = secrets.token_hex(10_000)  # that no database can make short
RAISED, ALERTS = "ops.alert.raised.v1", "ops.alerts.v1"


@pytest.fixture(scope="module")
def cadf_topic(infra: Infrastructure) -> str:
    name = f"notifications-{uuid4().hex[:8]}.info"
    admin = AdminClient({"bootstrap.servers": infra.kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    return name


@pytest.fixture(scope="module")
def log(infra: Infrastructure, cadf_topic: str) -> Iterator[Live]:
    with (
        copy_of(infra, "audit_log") as database,
        live(infra, database, new_prefix(infra), GALLRA_CADF_TOPICS=cadf_topic) as running,
    ):
        yield running


PILLS: dict[str, tuple[dict[str, Any], str]] = {
    "a negative sequence": ({"ce_sequence": "-5"}, "missing-header"),
    "a sequence of 40 digits": ({"ce_sequence": "9" * 40}, "missing-header"),
    "a NUL in the source": ({"ce_source": b"//a\0b", "ce_sequence": "1"}, "missing-header"),
    "a line break in the source": ({"ce_source": "//a\nb"}, "missing-header"),
    "a source of 20 kB": ({"ce_source": LONG, "ce_sequence": "1"}, "missing-header"),
    "a control character in the id": ({"ce_id": "a\x1bb"}, "missing-header"),
    "a time before all that is logged": ({"ce_time": "1899-12-31T23:59:59Z"}, "invalid-time"),
}  # fmt: skip


def behind(log: Live, topic: str = TOPIC, **headers: str) -> str:
    """Send a good event into the same partition; return its id."""
    event_id = str(uuid4())
    body = ALERT if topic == ALERTS else action(1)
    log.publish([(body, {**headers, "ce_id": event_id})], topic)
    return event_id


def is_logged(log: Live, event_id: str, source: str = SOURCE) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        answer = log.service.get("/api/v1/events", source=source, event_id=event_id)
        return log.service.get(answer.json()["entry"]).json() if answer.is_success else None

    return eventually(look)


@pytest.mark.parametrize("name", PILLS)
def test_it_is_set_aside_and_the_next_one_is_handled(log: Live, name: str) -> None:
    given, code = PILLS[name]
    case = str(uuid4())
    log.publish([(action(1), {**given, "x-case": case})])
    is_logged(log, behind(log))
    headers, letter = log.read(f"{TOPIC}.dlq", lambda h, _: h.get("x-case") == case)
    assert (headers["dlq_code"], letter) == (code, action(1))


def notification(**changed: Any) -> tuple[str, bytes]:
    """Return the id of a CADF event as an entry has it, and the message it is in."""
    payload = {
        "id": f"openstack:{uuid4()}",
        "eventTime": "2026-11-02T12:00:00.123456+0000",
        "action": "delete",
        "outcome": "success",
        "initiator": {"id": "u-1", "name": "kim", "project_id": "c-os"},
        "target": {"typeURI": "service/compute/servers/server", "id": "nova"},
    } | changed
    message = {"publisher_id": "nova", "event_type": "audit.http.request", "payload": payload}
    body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})
    return f"{payload['id']}:audit.http.request", body.encode()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"eventTime": "2201-01-01T00:00:00Z"}, "from-the-future"),
        ({"eventTime": "9999-12-31T23:30:00Z"}, "from-the-future"),
        ({"eventTime": "0001-01-01T00:00:00Z"}, "invalid-time"),
        ({"id": "a\0b"}, "missing-header"),
        ({"id": "x" * 20_000}, "missing-header"),
    ],
)
def test_so_is_what_openstack_sends(
    log: Live, cadf_topic: str, changed: dict[str, Any], code: str
) -> None:
    _, bad = notification(**changed)
    good_id, good = notification()
    producer = Producer({"bootstrap.servers": log.infra.kafka})
    case = str(uuid4())
    producer.produce(cadf_topic, bad, headers={"x-case": case})
    producer.produce(cadf_topic, good)
    assert producer.flush(PATIENCE) == 0
    is_logged(log, good_id, "//openstack/nova")
    headers, _ = log.read(f"{TOPIC}.dlq", lambda h, _: h.get("x-case") == case)
    assert (headers["dlq_code"], headers["dlq_topic"]) == (code, cadf_topic)


def test_another_kind_of_event_under_the_id_of_an_action_is_a_conflict(log: Live) -> None:
    taken = str(uuid4())
    log.publish([(action(1), {"ce_id": taken})])
    before = is_logged(log, taken)
    case = str(uuid4())
    log.publish([(ALERT, {"ce_type": RAISED, "ce_id": taken, "x-case": case})], ALERTS)
    is_logged(log, behind(log, ALERTS, ce_type=RAISED))
    headers, _ = log.read(f"{ALERTS}.dlq", lambda h, _: h.get("x-case") == case)
    assert headers["dlq_code"] == "conflict"
    assert is_logged(log, taken)["index"] == before["index"]


def test_headers_that_only_kafka_allows_harm_nobody(log: Live) -> None:
    """A header without a value, and one with a NUL in its name, on a good event and a bad one."""
    case, good = str(uuid4()), str(uuid4())
    odd: list[Any] = [("x-nothing", None), ("x-\0", b"v"), ("x-case", case.encode())]

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=log.infra.kafka)  # others cut names at a NUL
        async with producer:
            for given in ({"ce_id": good}, {"ce_time": None}):
                named = headers_of_one() | given
                headers = [*odd, *((n, v.encode()) for n, v in named.items() if v is not None)]
                body = json.dumps(action(1)).encode()
                await producer.send_and_wait(log.prefix + TOPIC, body, b"c-1", headers=headers)

    asyncio.run(send())
    is_logged(log, behind(log))
    is_logged(log, good)
    headers, _ = log.read(f"{TOPIC}.dlq", lambda h, _: h.get("x-case") == case)
    assert headers["dlq_code"] == "missing-header"
    assert {"x-nothing", "x-\ufffd"} <= headers.keys()


def test_a_dead_letter_in_structured_mode_is_not_reported_as_lost(log: Live) -> None:
    source = f"//structured/{uuid4()}"
    for number, content in ((1, action(1)), (2, {"v": 1}), (3, action(3))):
        attributes = {n.removeprefix("ce_"): v for n, v in headers_of_one().items() if "ce_" in n}
        event = {**attributes, "source": source, "sequence": str(number), "data": content}
        producer = Producer({"bootstrap.servers": log.infra.kafka})
        kind = {"content-type": "application/cloudevents+json"}
        producer.produce(log.prefix + TOPIC, json.dumps(event), b"c-1", headers=kind)
        assert producer.flush(PATIENCE) == 0

    def row() -> dict[str, Any] | None:
        rows = log.service.get("/api/v1/producers").json()["producers"]
        return next((r for r in rows if r["source"] == source and r["high"] == 3), None)

    assert eventually(row)["missing"] == ""


def test_a_conflict_over_http_raises_the_alert_too(log: Live) -> None:
    event_id = str(uuid4())

    def post(number: int) -> int:
        given = {n.replace("_", "-"): v for n, v in headers_of_one().items() if v}
        headers = {**given, "ce-id": event_id, "ce-source": "//portal/http"}
        url = f"{log.service.url}/api/v1/actions"
        return httpx.post(url, json=action(number), headers=headers, timeout=PATIENCE).status_code

    assert [post(1), post(1), post(2)] == [200, 200, 409]
    fingerprint = f"conflicting-event/audit-log/{TOPIC}"
    headers, alert = log.read(ALERTS, lambda _, a: a.get("fingerprint") == fingerprint)
    assert alert["severity"] == "critical"
    is_logged(log, headers["ce_id"], headers["ce_source"])


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        *(("/api/v1/entries", {n: "a\0b"}) for n in ("customer", "actor", "action", "target")),
        ("/api/v1/exports", {"format": "csv", "outcome": "a\0b"}),
        ("/api/v1/entries", {"from": "0001-01-01T00:00:00+14:00"}),
        ("/api/v1/entries", {"to": "9999-12-31T23:59:59-14:00"}),
    ],
)
def test_a_search_that_no_database_can_make_is_refused(
    log: Live, path: str, parameters: dict[str, str]
) -> None:
    answer = log.service.get(path, **parameters)
    assert (answer.status_code, bool(answer.json()["title"])) == (400, True), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "wrong", [{"by": "a\0b"}, {"note": "a\0b"}, {"by": "é" * 201}, {"note": "é" * 4001}]
)
def test_a_correction_that_cannot_be_stored_is_refused(log: Live, wrong: dict[str, str]) -> None:
    event_id = str(uuid4())
    log.publish([(action(1), {"ce_id": event_id})])
    index = is_logged(log, event_id)["index"]
    url = f"{log.service.url}/api/v1/entries/{index}/corrections"
    body = {"by": "kim", "note": "n"} | wrong
    answer = httpx.post(url, json=body, timeout=PATIENCE)
    assert (answer.status_code, answer.json().get("title")) == (400, "bad-correction"), answer.text


def test_the_public_paths_answer_to_head(log: Live) -> None:
    log.publish([(action(1), {})])
    log.service.reaches(1)
    for path in ("/log/checkpoint", "/log/vkey", "/log/policy", "/log/tile/entries/000.p/1"):
        whole = log.service.get(path)
        head = httpx.head(log.service.url + path, timeout=PATIENCE)
        assert (head.status_code, head.content) == (200, b""), path
        if path != "/log/checkpoint":  # that one may have grown meanwhile
            assert head.headers["content-length"] == str(len(whole.content))
            assert head.headers["etag"] == whole.headers["etag"]
    assert httpx.head(f"{log.service.url}/log/tile/9/000").status_code == 404
    assert httpx.head(f"{log.service.url}/log/statements/000.p/1").status_code == 200
