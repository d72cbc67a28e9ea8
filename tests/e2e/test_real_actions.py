"""Real API requests of an OpenStack deployment, sent by a client that knows nothing of our code."""

import asyncio
import base64
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from confluent_kafka import Producer
from tests.conftest import PATIENCE

from audit_log import merkle
from audit_log.checkpoint import Verifier, open_checkpoint
from audit_log.leaf import SALT
from gallra.stackfile import Stack

LOG = Path(__file__).parents[3] / "shared" / "data" / "openstack-nova-api-2k.log"
LINE = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d) (?P<time>[\d:.]+) \d+ INFO \S+"
    r" \[(?:req-(?P<request>\S+) (?P<user>\S+) (?P<project>\S+) [^\]]*|-)\] (?P<ip>\S+)"
    r" \"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/1.1\" status: (?P<status>\d+)"
)
VERBS = {"GET": "read", "POST": "create", "PUT": "update", "DELETE": "delete"}


def requests() -> list[dict[str, Any]]:
    """Return each API request in the log as an event, in plain JSON."""
    events: list[dict[str, Any]] = []
    for number, line in enumerate(LOG.read_text(encoding="utf-8").splitlines()):
        found = LINE.search(line)
        if found is None:
            continue
        ok = found["status"].startswith("2")
        # An instance that asks for its own metadata is no account, and its request has no id.
        person = {"type": "api_user", "id": found["user"]}
        request = {"path": found["path"]} | ({"id": found["request"]} if found["request"] else {})
        events.append(
            {
                "id": f"nova-{number}",
                "time": f"{found['day']}T{found['time']}Z",
                "data": {
                    "v": 1,
                    "action": f"compute.server.{VERBS[found['method']]}",
                    "phase": "result",
                    "outcome": "success" if ok else "failure",
                    "actor": person if found["user"] else {"type": "service", "id": "instance"},
                    "origin": {"channel": "api", "ip": found["ip"]},
                    "target": {"type": "compute.server"},
                    "customer_id": f"nova-{found['project'] or 'metadata'}",
                    "request": request,
                },
            }
        )
    return events


def send(stack: Stack, events: list[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka, "enable.idempotence": True})
    for event in events:
        headers = {
            "ce_specversion": "1.0",
            "ce_id": event["id"],
            "ce_source": "//openstack/nova",
            "ce_type": "platform.action.performed.v1",
            "ce_time": event["time"],
            "content-type": "application/json",
        }
        producer.produce(
            "platform.actions.v1",
            json.dumps(event["data"]).encode(),
            event["data"]["customer_id"].encode(),
            headers=list(headers.items()),
        )
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0


def logged(stack: Stack) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return index and content of every entry that came from this source, by event id."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(stack.databases["audit_log"])
        try:
            return await connection.fetch(
                "SELECT index, who, what FROM payload WHERE starts_with(customer_id, 'nova-')"
            )
        finally:
            await connection.close()

    contents = [
        (row["index"], json.loads(row["what"][SALT:]) | json.loads(row["who"][SALT:]))
        for row in asyncio.run(ask())
    ]
    entries = {content["id"]: (index, content) for index, content in contents}
    assert len(entries) == len(contents), "an event is in the log twice"
    return entries


def wait_for(stack: Stack, wanted: int) -> dict[str, tuple[int, dict[str, Any]]]:
    deadline = time.monotonic() + PATIENCE
    while len(found := logged(stack)) < wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def test_each_real_request_is_in_the_log_once_and_provable(stack: Stack) -> None:
    if not LOG.exists():
        pytest.skip("openstack-nova-api-2k.log is not beside the checkout")
    events = requests()
    assert len(events) == 1017
    send(stack, events)
    entries = wait_for(stack, len(events))
    assert set(entries) == {event["id"] for event in events}
    for event in events:
        _, content = entries[event["id"]]
        assert content["actor"] == event["data"]["actor"]
        assert content["data"]["request"] == event["data"]["request"]
        assert content["data"]["origin"] == {"channel": "api"}, "the notice lists no IP address"

    url = stack.urls["audit_log"]
    verifier = Verifier.parse(httpx.get(f"{url}/log/vkey").text)
    with httpx.Client(base_url=url, timeout=30) as http:
        for index, _ in entries.values():
            verify_proof(wait_for_proof(http, index), index, verifier)

    send(stack, events)
    marker = {**events[0], "id": "nova-marker"}
    send(stack, [marker])
    again = wait_for(stack, len(events) + 1)
    assert again == entries | {"nova-marker": again["nova-marker"]}


def wait_for_proof(http: httpx.Client, index: int) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = http.get(f"/api/v1/entries/{index}/proof")
        if answer.is_success or time.monotonic() > deadline:
            return answer.raise_for_status().text
        time.sleep(0.1)


def verify_proof(text: str, index: int, verifier: Verifier) -> None:
    """Check a ``.tlog-proof`` as its specification says, up to the signature of the log."""
    proof, _, note = text.partition("\n\n")
    version, extra, position, *hashes = proof.splitlines()
    assert version == "c2sp.org/tlog-proof@v1"
    assert position == f"index {index}"
    leaf = base64.b64decode(extra.removeprefix("extra "))
    checkpoint = open_checkpoint(note, verifier)
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    path = [base64.b64decode(line) for line in hashes]
    merkle.verify_inclusion(leaf_hash, index, checkpoint.size, path, checkpoint.root)
