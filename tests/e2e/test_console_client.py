"""Events typed into a console client, in structured CloudEvents mode."""

import asyncio
import json
import shutil
import subprocess
import time
from uuid import uuid4

import asyncpg
import pytest
from confluent_kafka import Producer
from tests.conftest import PATIENCE

from audit_log.leaf import identity
from gallra.stackfile import Stack


def structured(event_id: str) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": "//console",
            "type": "platform.action.performed.v1",
            "time": "2026-11-23T10:15:30Z",
            "datacontenttype": "application/json",
            "data": {
                "v": 1,
                "action": "compute.server.delete",
                "phase": "result",
                "outcome": "success",
                "actor": {"type": "user", "id": "u-4711"},
                "origin": {"channel": "cli"},
                "target": {"type": "compute.server", "id": "srv-1"},
                "customer_id": "console",
            },
        }
    ).encode()


def wait_until_logged(stack: Stack, event_id: str) -> None:
    async def logged() -> int:
        connection = await asyncpg.connect(stack.databases["audit_log"])
        try:
            query = "SELECT count(*) FROM seen WHERE event = $1"
            return int(await connection.fetchval(query, identity("//console", event_id)))
        finally:
            await connection.close()

    deadline = time.monotonic() + PATIENCE
    while (found := asyncio.run(logged())) == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == 1


@pytest.mark.parametrize("headers", [[], ["-H", "content-type=application/cloudevents+json"]])
def test_console_client(stack: Stack, headers: list[str]) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed")
    event_id = str(uuid4())
    command = [kcat, "-P", "-b", stack.kafka, "-t", "platform.actions.v1", *headers]
    subprocess.run(command, input=structured(event_id), check=True, timeout=PATIENCE)
    wait_until_logged(stack, event_id)


@pytest.mark.parametrize(
    "headers", [[], [("content-type", "application/cloudevents+json; charset=utf-8")]]
)
def test_plain_client(stack: Stack, headers: list[tuple[str, str]]) -> None:
    event_id = str(uuid4())
    producer = Producer({"bootstrap.servers": stack.kafka})
    producer.produce("platform.actions.v1", structured(event_id), headers=headers)
    assert producer.flush(PATIENCE) == 0
    wait_until_logged(stack, event_id)
