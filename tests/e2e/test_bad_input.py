"""What a careless or hostile producer sends: set aside with a reason, and nothing stands still."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from tests.conftest import PATIENCE

from gallra.stackfile import Stack

PRIVATE = "Zebulon-Personal-Value"  # stands for a person's data; no reason may repeat it
ACTION = {
    "v": 1,
    "action": "compute.server.delete",
    "phase": "result",
    "outcome": "success",
    "actor": {"type": "user", "id": PRIVATE},
    "origin": {"channel": "portal"},
    "target": {"type": "compute.server"},
    "customer_id": "bad-input",
}
RECORD = {
    "holder": "billing",
    "category": "billing.invoice",
    "record_id": "bad-input",
    "entity": "nobody",
    "anchors": [{"anchor_id": "a", "kind": "booked", "date": "2024-03-15"}],
}
CONTACT = {
    "customer_id": "bad-input",
    "contact_id": "ct",
    "email": "ops@customer.example",
    "roles": ["technical"],
    "subject_token": "s",
}
MESSAGE = {
    "message_id": "bad-input",
    "message_type": "maintenance-window",
    "customers": ["bad-input"],
    "roles": ["technical"],
    "template": "maintenance-window",
    "params": {"service": "x", "starts": "y", "ends": "z"},
}

ACTIONS = ("platform.actions.v1", "platform.action.performed.v1")
RECORDS = ("platform.records.v1", "platform.record.registered.v1")
CONTACTS = ("platform.contacts.v1", "platform.contact.added.v1")
MESSAGES = ("platform.messages.v1", "platform.message.requested.v1")
YEARS = ("finance.fiscal-years.v1", "finance.fiscal-year.planned.v1")

CASES: dict[str, tuple[tuple[str, str], Any, dict[str, str | None], str]] = {
    "broken JSON": (ACTIONS, f'{{"v": 1, "actor": "{PRIVATE}'.encode(), {}, "invalid-content"),
    "not an object": (ACTIONS, [1, 2], {}, "invalid-content"),
    "empty body": (ACTIONS, b"", {}, "invalid-content"),
    "wrong type": (ACTIONS, {**ACTION, "v": "1"}, {}, "invalid-content"),
    "unknown field": (ACTIONS, {**ACTION, "password": PRIVATE}, {}, "invalid-content"),
    "NUL": (ACTIONS, {**ACTION, "customer_id": f"{PRIVATE}\x00"}, {}, "invalid-content"),
    "invalid UTF-8": (ACTIONS, b'{"v": 1, "action": "\xff\xfe"}', {}, "invalid-content"),
    "deep nesting": (ACTIONS, b"[" * 10_000, {}, "invalid-content"),
    "over 16 kB": (
        ACTIONS,
        {
            **ACTION,
            "reason": {"text": "x" * 4000},
            "changes": [{"field": "f", "new": "x" * 4000}] * 4,
        },
        {},
        "too-large",
    ),
    "unknown type": (ACTIONS, ACTION, {"ce_type": "platform.action.imagined.v1"}, "unknown-type"),
    "on the wrong topic": (ACTIONS, RECORD, {"ce_type": RECORDS[1]}, "wrong-topic"),
    "no id": (ACTIONS, ACTION, {"ce_id": None}, "missing-header"),
    "no time": (ACTIONS, ACTION, {"ce_time": None}, "missing-header"),
    "invalid time": (ACTIONS, ACTION, {"ce_time": "yesterday"}, "invalid-time"),
    "from the future": (ACTIONS, ACTION, {"ce_time": "2199-01-01T00:00:00Z"}, "from-the-future"),
    "not JSON by its own word": (ACTIONS, ACTION, {"content-type": "text/csv"}, "content-type"),
    "invalid date": (
        RECORDS,
        {**RECORD, "anchors": [{"anchor_id": "a", "kind": "booked", "date": "2024-02-30"}]},
        {},
        "invalid-content",
    ),
    "an occurrence before 1900": (
        RECORDS,
        {**RECORD, "anchors": [{"anchor_id": "a", "kind": "booked", "date": "1899-12-31"}]},
        {},
        "invalid-content",
    ),
    "an occurrence after 2200": (
        RECORDS,
        {**RECORD, "anchors": [{"anchor_id": "a", "kind": "booked", "date": "2201-01-01"}]},
        {},
        "invalid-content",
    ),
    "an instant before 1900": (
        RECORDS,
        {**RECORD, "anchors": [{"anchor_id": "a", "kind": "paid", "at": "1850-01-01T00:00:00Z"}]},
        {},
        "invalid",
    ),
    "unknown category": (RECORDS, {**RECORD, "category": "shoe.size"}, {}, "unknown-category"),
    "unknown holder": (RECORDS, {**RECORD, "holder": "attic"}, {}, "unknown-holder"),
    "never stored": (RECORDS, {**RECORD, "category": "cookie.popup"}, {}, "never-stored"),
    "year of 30 months": (
        YEARS,
        {"entity": "nobody", "start": "2024-01-01", "end": "2026-06-30"},
        {},
        "invalid",
    ),
    "header injection in an address": (
        CONTACTS,
        {**CONTACT, "email": f"{PRIVATE}@b.example\r\nBcc: evil@x.example"},
        {},
        "invalid-content",
    ),
    "not an address": (CONTACTS, {**CONTACT, "email": PRIVATE}, {}, "invalid-content"),
    "header injection in a parameter": (
        MESSAGES,
        {**MESSAGE, "params": {**MESSAGE["params"], "service": f"{PRIVATE}\r\nBcc: e@x.example"}},
        {},
        "header-injection",
    ),
    "encoded-word in a parameter": (
        MESSAGES,
        {**MESSAGE, "params": {**MESSAGE["params"], "service": "=?UTF-8?Q?A=0ABcc:_e@x.example?="}},
        {},
        "header-injection",
    ),
    "unknown template": (MESSAGES, {**MESSAGE, "template": PRIVATE}, {}, "unknown-template"),
    "missing parameter": (MESSAGES, {**MESSAGE, "params": {}}, {}, "missing-parameter"),
    "unknown message type": (
        MESSAGES,
        {**MESSAGE, "message_type": PRIVATE},
        {},
        "unknown-message-type",
    ),
}


@pytest.fixture
def producer(stack: Stack) -> Producer:
    return Producer(
        {
            "bootstrap.servers": stack.kafka,
            "compression.type": "gzip",
            "message.max.bytes": 16_000_000,
        }
    )


def send(
    producer: Producer, place: tuple[str, str], content: Any, changes: dict[str, str | None]
) -> dict[str, str]:
    """Publish an event; return the headers it went with."""
    topic, kind = place
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_source": "//bad-input",
        "ce_type": kind,
        "ce_time": "2026-11-01T00:00:00Z",
        "content-type": "application/json",
        "x-case": str(uuid4()),
        **changes,
    }
    sent = {name: value for name, value in headers.items() if value is not None}
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    producer.produce(topic, body, b"bad-input", headers=list(sent.items()))
    assert producer.flush(PATIENCE) == 0
    return sent


@pytest.fixture
def letters(stack: Stack) -> Iterator["Letters"]:
    reader = Letters(stack)
    yield reader
    reader.consumer.close()


class Letters:
    """Reads dead letters, from the beginning."""

    def __init__(self, stack: Stack) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": stack.kafka,
                "group.id": str(uuid4()),
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": 33_554_432,
            }
        )

    def of(self, topic: str, case: str) -> tuple[Message, dict[str, str]]:
        """Return the dead letter of the event that was marked *case*."""
        self.consumer.subscribe([f"{topic}.dlq"])
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.consumer.poll(0.2)
            if message is None or message.error():
                continue
            headers = {n: v.decode("utf-8", "replace") for n, v in message.headers() or []}
            if headers.get("x-case") == case:
                return message, headers
        pytest.fail("there is no dead letter")


def metric(stack: Stack, code: str) -> float:
    total = 0.0
    for service in ("audit_log", "retention", "notifier"):
        for line in httpx.get(f"{stack.urls[service]}/metrics", timeout=30).text.splitlines():
            if line.startswith("gallra_dead_letters_total{") and f'code="{code}"' in line:
                total += float(line.rpartition(" ")[2])
    return total


@pytest.mark.parametrize("case", CASES)
def test_set_aside_with_a_reason(
    stack: Stack, producer: Producer, letters: Letters, case: str
) -> None:
    place, content, changes, code = CASES[case]
    before = metric(stack, code)
    sent = send(producer, place, content, changes)
    behind = send(producer, ACTIONS, ACTION, {})
    message, headers = letters.of(place[0], sent["x-case"])
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert message.value() == body
    assert message.key() == b"bad-input"
    assert headers.items() >= sent.items()
    assert headers["dlq_code"] == code
    assert PRIVATE not in headers["dlq_reason"]
    assert metric(stack, code) == before + 1
    assert entry_of(stack, behind)["content"]["type"] == ACTIONS[1]


def entry_of(stack: Stack, headers: dict[str, str]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        event = {"source": headers["ce_source"], "event_id": headers["ce_id"]}
        found = httpx.get(f"{stack.urls['audit_log']}/api/v1/events", params=event, timeout=30)
        if found.is_success:
            url = stack.urls["audit_log"] + found.json()["entry"]
            entry: dict[str, Any] = httpx.get(url, timeout=30).raise_for_status().json()
            return entry
        time.sleep(0.05)
    pytest.fail("the event is not in the log")


def test_ten_megabytes_are_refused_by_the_broker_or_set_aside(
    stack: Stack, producer: Producer, letters: Letters
) -> None:
    huge = {**ACTION, "reason": {"text": "x" * 10_000_000}}
    sent = send(producer, ACTIONS, huge, {})  # compressed it is small enough for the broker
    message, headers = letters.of(ACTIONS[0], sent["x-case"])
    assert headers["dlq_code"] == "too-large"
    assert message.value() == json.dumps(huge).encode()

    plain = Producer({"bootstrap.servers": stack.kafka, "message.max.bytes": 16_000_000})
    refused: list[KafkaError] = []
    plain.produce(ACTIONS[0], json.dumps(huge).encode(), on_delivery=lambda e, _: refused.append(e))
    plain.flush(PATIENCE)
    assert [error.code() for error in refused] == [KafkaError.MSG_SIZE_TOO_LARGE]
    with pytest.raises((BufferError, KafkaException)):
        Producer({"bootstrap.servers": stack.kafka}).produce(ACTIONS[0], json.dumps(huge).encode())


def test_the_same_id_again(stack: Stack, producer: Producer, letters: Letters) -> None:
    first = send(producer, ACTIONS, ACTION, {})
    index = entry_of(stack, first)["index"]
    same = {"ce_id": first["ce_id"]}
    send(producer, ACTIONS, dict(reversed(ACTION.items())), same)  # other spelling, same content
    other = send(producer, ACTIONS, {**ACTION, "outcome": "denied"}, same)
    _, headers = letters.of(ACTIONS[0], other["x-case"])
    assert headers["dlq_code"] == "conflict"
    assert entry_of(stack, first)["index"] == index
    assert alarmed(stack)


def alarmed(stack: Stack) -> bool:
    """Wait for the alert about the conflict: on-call's mail and the entry in the log."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        mails = httpx.get(f"{stack.mail_api}/api/v1/mails", timeout=30).json()
        if any("same id with other content" in mail["subject"] for mail in mails):
            return True
        time.sleep(0.2)
    return False
