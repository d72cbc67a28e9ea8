"""A producer's trace goes on through consumer, outbox and relay into the next service."""

import json
import time
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer
from tests.conftest import PATIENCE

from gallra.stackfile import Stack

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_the_trace_goes_on(stack: Stack) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka})
    customer = f"trace-{uuid4()}"
    contact = {
        "customer_id": customer,
        "contact_id": "ct",
        "email": "ops@trace.example",
        "roles": ["technical"],
        "subject_token": "s",
    }
    span = "b7ad6b7169203331"
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_source": "//trace",
        "ce_type": "platform.contact.added.v1",
        "ce_time": "2026-11-01T00:00:00Z",
        "content-type": "application/json",
        "traceparent": f"00-{TRACE}-{span}-01",
    }
    producer.produce("platform.contacts.v1", json.dumps(contact), customer, headers=headers)
    assert producer.flush(PATIENCE) == 0

    consumer = Consumer(
        {
            "bootstrap.servers": stack.kafka,
            "group.id": str(uuid4()),
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["platform.records.v1"])
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            record = consumer.poll(0.2)
            if record is None or record.error():
                continue
            if customer.encode() in (record.value() or b""):
                sent = {name: value.decode() for name, value in record.headers() or []}
                version, trace, parent, _ = sent["traceparent"].split("-")
                assert (version, trace) == ("00", TRACE)
                assert parent != span
                assert customer not in (record.key() or b"").decode()
                return
        pytest.fail("the notifier registered nothing")
    finally:
        consumer.close()
