"""The audit-log killed every three seconds while two of it append: each event once, no fork."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from confluent_kafka import Producer
from tests.conftest import Database
from tests.live import ORIGIN, TOPIC, Service, new_seed

from audit_log.checkpoint import Signer, open_checkpoint
from audit_log.leaf import SALT
from audit_log.proof import Proof
from audit_log.verify import verify
from gallra.stack.infrastructure import Infrastructure
from shared.postgres import open_pool

EVENTS = 100_000
EVERY = 3.0  # seconds between two kills, or as long as it takes that one of them appends
OFFERED = 2500.0  # events a second, so that many kills fall into the run
KILLS = int(EVENTS / OFFERED / EVERY * 0.75)
REBALANCE = 2  # kills before a third process joins
PROVEN = 200  # entries whose proofs are asked for in the end
PATIENCE = 500.0


@contextmanager
def two(infra: Infrastructure, database: Database, prefix: str, key: str) -> Iterator[Any]:
    services = [Service(infra, database, prefix, key, {"GALLRA_INSTANCE": n}) for n in "ab"]
    try:
        yield services
    finally:
        for service in services:
            service.kill()


def publish(infra: Infrastructure, prefix: str, ids: list[str]) -> None:
    began = time.monotonic()
    producer = Producer({"bootstrap.servers": infra.kafka, "linger.ms": 20})
    chance = random.Random(7)  # noqa: S311 - the same at every run
    for number, event_id in enumerate(ids):
        customer = f"c-{chance.randrange(40)}"
        body = {
            "v": 1,
            "action": "compute.server.update",
            "phase": "result",
            "outcome": "success",
            "actor": {"type": "user", "id": f"u-{chance.randrange(10_000)}", "name": "Kim Lind"},
            "origin": {"channel": "api", "ip": "192.0.2.1", "agent": "curl/8"},
            "target": {"type": "compute.server", "id": f"srv-{number}"},
            "customer_id": customer,
            "request": {"id": f"req-{number}", "path": f"/v2.1/servers/{number:032x}"},
        }
        headers = {
            "ce_specversion": "1.0",
            "ce_id": event_id,
            "ce_source": "//portal/crash",
            "ce_type": "platform.action.performed.v1",
            "ce_time": f"2026-11-{1 + number % 20:02}T12:00:00Z",
            "ce_sequence": str(number + 1),
        }
        producer.produce(prefix + TOPIC, json.dumps(body), customer, headers=list(headers.items()))
        while number % 250 == 0 and (early := began + number / OFFERED - time.monotonic()) > 0:
            producer.poll(early)
    assert producer.flush(60) == 0


async def size_of(database: Database) -> int:
    connection = await asyncpg.connect(database.owner)
    try:
        return int(await connection.fetchval("SELECT size FROM tree"))
    finally:
        await connection.close()


@pytest.mark.timeout(600)
def test_each_event_once_whatever_is_killed(
    infra: Infrastructure, audit_db: Database, topic_prefix: str
) -> None:
    key = new_seed()
    verifier = Signer(ORIGIN, key).verifier
    seen: dict[int, bytes] = {}
    deadline = time.monotonic() + PATIENCE
    with two(infra, audit_db, topic_prefix, key) as services:
        ids = [str(uuid4()) for _ in range(EVENTS)]
        publishing = Thread(target=publish, args=(infra, topic_prefix, ids), daemon=True)
        publishing.start()
        victim, killed, size_then = 0, 0, 0
        next_kill = time.monotonic() + EVERY
        while (size := asyncio.run(size_of(audit_db))) < EVENTS:
            assert time.monotonic() < deadline, "the log does not get on"
            note = checkpoint(services)
            if note is not None:
                opened = open_checkpoint(note, verifier)
                assert seen.setdefault(opened.size, opened.root) == opened.root, "a fork"
            if time.monotonic() >= next_kill and size > size_then:
                services[victim].kill()
                services[victim].start()
                victim, killed = 1 - victim, killed + 1
                if killed == REBALANCE:  # all partitions are dealt out anew
                    services.append(
                        Service(infra, audit_db, topic_prefix, key, {"GALLRA_INSTANCE": "c"})
                    )
                next_kill, size_then = time.monotonic() + EVERY, size
            time.sleep(0.1)
        publishing.join(PATIENCE)
        wait_until_signed(audit_db, deadline)
        services[-1].wait()
        check_proofs(services[-1], verifier)
    assert killed >= KILLS
    asyncio.run(check(audit_db, verifier, ids, seen))


def check_proofs(service: Service, verifier: Any) -> None:
    for index in random.Random(8).sample(range(EVENTS), PROVEN):  # noqa: S311 - as above
        proof = Proof.parse(service.get(f"/api/v1/entries/{index}/proof").text)
        assert proof.index == index
        assert proof.check(verifier).size >= EVENTS


def checkpoint(services: list[Service]) -> str | None:
    for service in services:
        try:
            answer = httpx.get(f"{service.url}/log/checkpoint", timeout=2)
            if answer.is_success:
                return answer.text
        except httpx.TransportError:
            continue
    return None


def wait_until_signed(database: Database, deadline: float) -> None:
    async def unsigned() -> int:
        connection = await asyncpg.connect(database.owner)
        try:
            query = "SELECT (SELECT size FROM tree) - (SELECT max(size) FROM checkpoint)"
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    while asyncio.run(unsigned()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def check(database: Database, verifier: Any, ids: list[str], seen: dict[int, bytes]) -> None:
    async with open_pool(database.owner, "test") as pool:
        rows = await pool.fetch("SELECT what FROM payload WHERE channel IS NOT NULL")
        logged = [json.loads(row["what"][SALT:])["id"] for row in rows]
        assert len(logged) == len(ids)
        assert set(logged) == set(ids)
        roots = await pool.fetch("SELECT size, root FROM checkpoint")
        kept = {row["size"]: row["root"] for row in roots}
        assert all(kept[size] == root for size, root in seen.items())
        verdict = await verify(pool, [verifier])
        assert verdict.problems == []
        missing = await pool.fetchval("SELECT missing FROM producer")
        assert len(missing) < 20, "an empty bitmap: every number was counted"
