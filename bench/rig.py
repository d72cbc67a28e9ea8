"""What the benchmarks stand on: servers that wait for the disk, events, processes."""

import asyncio
import base64
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from confluent_kafka import Producer
from uuid_utils import uuid7

from gallra.stack.infrastructure import Infrastructure, Ports, infrastructure, make_ready
from gallra.stack.postgres import role_of, secret
from shared import topics
from shared.web.access import ROLES

ACTIONS = "platform.actions.v1"
VERBS = ("create", "read", "update", "delete")


@contextmanager
def rig(folder: Path) -> Iterator[Infrastructure]:
    """Run what a service needs; fsync and synchronous_commit are on."""
    with infrastructure(folder, Ports.from_base(0)) as infra:
        make_ready(infra, lambda _: None)
        asyncio.run(_tune(infra))
        [server] = [part for part in infra.parts if part.name == "postgres"]
        server.stop()
        server.start()
        server.wait_ready()
        yield infra


TUNED = {"max_wal_size": "16GB", "checkpoint_timeout": "15min", "shared_buffers": "4GB"}
"""PostgreSQL as on a server of its own, where others would use what it leaves: for all measured."""


async def _tune(infra: Infrastructure) -> None:
    connection = await asyncpg.connect(infra.admin)
    for name, value in TUNED.items():
        await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.close()


@dataclass(frozen=True, slots=True)
class Place:
    """What one service has of its own: its database and its topics."""

    infra: Infrastructure
    package: str
    name: str
    prefix: str

    @property
    def owner(self) -> str:
        return f"{self.infra.admin.rpartition('/')[0]}/{self.name}"

    @property
    def service(self) -> str:
        role = role_of(self.package)
        place = self.owner.partition("@")[2]
        return f"postgresql://{role}:{secret(self.infra.folder, role)}@{place}"

    async def ask(self, question: str, *values: Any) -> Any:
        connection = await asyncpg.connect(self.owner)
        try:
            return await connection.fetchval(question, *values)
        finally:
            await connection.close()


async def new_place(infra: Infrastructure, package: str = "audit_log") -> Place:
    """Return a place for a service, with nothing in it."""
    name = f"bench_{uuid4().hex[:8]}"
    connection = await asyncpg.connect(infra.admin)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {package}")
    await connection.close()
    await topics.apply(infra.kafka, f"{name}.")
    return Place(infra, package, name, f"{name}.")


Made = tuple[bytes, list[tuple[str, bytes]], bytes]


def events(
    count: int, *, first: int = 0, of: int | None = None, largest: str | None = None
) -> Iterator[Made]:
    """Yield key, headers and body of *count* actions of about 500 bytes.

    They are number *first* and on *of* so many (by default, all) that happened one after another
    over the last ten days.  They are of 500 customers; every tenth is of the *largest*, if there
    is one.
    """
    chance = random.Random(4711 + first)
    began = datetime.now(UTC) - timedelta(days=10)
    for number in range(first, first + count):
        customer = f"c-{chance.randrange(500)}"
        if largest and number % 10 == 0:
            customer = largest
        at = began + timedelta(days=10) * number / (of or first + count)
        body = {
            "v": 1,
            "action": f"compute.server.{VERBS[number % 4]}",
            "phase": "result",
            "outcome": "success" if number % 20 else "denied",
            "actor": {"type": "user", "id": f"u-{chance.randrange(20_000)}", "name": "Kim Lind"},
            "origin": {
                "channel": "portal",
                "ip": f"192.0.2.{number % 256}",
                "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            },
            "target": {"type": "compute.server", "id": f"srv-{chance.randrange(200_000)}"},
            "customer_id": customer,
            "request": {"id": f"req-{number:012}", "path": f"/v2.1/servers/{number:032x}"},
            "changes": [{"field": "status", "old": "ACTIVE", "new": "SHUTOFF"}],
        }
        headers = {
            "ce_specversion": "1.0",
            "ce_id": str(uuid7()),
            "ce_source": "//portal/sto2",
            "ce_type": "platform.action.performed.v1",
            "ce_time": at.isoformat().replace("+00:00", "Z"),
            "ce_sequence": str(number + 1),
            "content-type": "application/json",
        }
        yield (
            customer.encode(),
            [(n, v.encode()) for n, v in headers.items()],
            json.dumps(body).encode(),
        )


def publish(place: Place, made: Iterable[Made], topic: str = ACTIONS) -> None:
    """Put events on a topic."""
    producer = Producer(
        {
            "bootstrap.servers": place.infra.kafka,
            "linger.ms": 50,
            "acks": "all",
        }
    )
    for key, headers, body in made:
        while True:
            try:
                producer.produce(place.prefix + topic, body, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} events were not published")


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of a service, and where each answers."""

    processes: list[subprocess.Popen[bytes]]
    ports: list[int]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop them for a few seconds, so that what they will do can be laid out first."""
        for process in self.processes:
            process.send_signal(signal.SIGSTOP)
        yield
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    def peak_memory(self) -> float:
        """Return the most memory that any of them ever had, in MB."""
        return max(_peak(process.pid) for process in self.processes)


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def audit_log(log: Place, processes: int = 1, **settings: str) -> Iterator[Running]:
    """Run the audit-log as its users do."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    own = {
        "GALLRA_LOG_ORIGIN": "bench.example/log",
        "GALLRA_LOG_KEY": key,
        "GALLRA_KEEP_NETWORK": "true",  # entries in all three parts
    }
    with serving(log, processes, **own, **settings) as running:
        yield running


@contextmanager
def serving(place: Place, processes: int = 1, **settings: str) -> Iterator[Running]:
    """Run a service as its users do, in *processes* processes; all are ready."""
    environment = {
        "GALLRA_DATABASE": place.service,
        "GALLRA_KAFKA": place.infra.kafka,
        "GALLRA_TOPIC_PREFIX": place.prefix,
        "GALLRA_LOG_LEVEL": "WARNING",
        "GALLRA_WITHOUT_TOKEN": ",".join(ROLES),
        **settings,
    }
    with started(place.package, [_free_port() for _ in range(processes)], environment) as running:
        yield running


@contextmanager
def started(package: str, ports: list[int], environment: Mapping[str, str]) -> Iterator[Running]:
    """Run a process of *package* at each of *ports*; all are ready."""
    with ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        for port in ports:
            its = {**os.environ, **environment, "GALLRA_HTTP_PORT": str(port)}
            process = subprocess.Popen([sys.executable, "-m", package], env=its)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running.append(process)
        for port in ports:
            _wait(port)
        yield Running(running, ports)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError("the service did not start")
