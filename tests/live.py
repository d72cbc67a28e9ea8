"""The audit-log as its users meet it: processes of its own, on a database and topics of its own."""

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from confluent_kafka import Consumer, Producer
from tests.conftest import PATIENCE, Database

from gallra.stack.infrastructure import Infrastructure
from shared.events import event_type_of
from shared.events.catalogue import RESULTS
from shared.events.gallra import PurgeCommand, PurgeCommit, PurgePrepare
from shared.holder import command_hash
from shared.web.access import ROLES

TOPIC = "platform.actions.v1"
TYPE = "platform.action.performed.v1"
ORIGIN = "test.example/log"
SOURCE = "//portal/live"

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def new_seed() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def eventually(look: Callable[[], T | None], patience: float = PATIENCE) -> T:
    """Return what *look* returns as soon as that is something."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {patience} s")


class Service:
    """One process of the audit-log, that can be killed and started again."""

    def __init__(
        self,
        infra: Infrastructure,
        database: Database,
        prefix: str,
        key: str,
        settings: Mapping[str, str],
    ) -> None:
        self.port = free_port()
        self.log = Path(infra.folder) / "logs" / f"live-{self.port}.log"
        self.environment = {
            **os.environ,
            "GALLRA_DATABASE": database.service,
            "GALLRA_KAFKA": infra.kafka,
            "GALLRA_TOPIC_PREFIX": prefix,
            "GALLRA_LOG_ORIGIN": ORIGIN,
            "GALLRA_LOG_KEY": key,
            "GALLRA_HTTP_PORT": str(self.port),
            "GALLRA_INSTANCE": "live",
            "GALLRA_WITHOUT_TOKEN": ",".join(ROLES),
            **settings,
        }
        self.start()

    def start(self, **settings: str) -> None:
        """Start it (again), with *settings* changed."""
        self.environment |= settings
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "audit_log"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def kill(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def wait(self) -> None:
        """Return when it answers."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                return httpx.get(f"{self.url}/readyz").is_success
            except httpx.TransportError:
                return False

        eventually(ready)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **params: str) -> httpx.Response:
        return httpx.get(self.url + path, params=params, timeout=PATIENCE)

    def size(self) -> int:
        """Return how many entries are signed."""
        answer = self.get("/log/checkpoint")
        return int(answer.text.splitlines()[1]) if answer.is_success else 0

    def reaches(self, size: int, patience: float = PATIENCE) -> None:
        """Return when *size* entries are signed."""
        eventually(lambda: self.size() >= size, patience)


class Live:
    """A log of its own, and the one process that keeps it."""

    def __init__(
        self, infra: Infrastructure, database: Database, prefix: str, settings: Mapping[str, str]
    ) -> None:
        self.infra, self.database, self.prefix = infra, database, prefix
        self.seed = new_seed()
        self.service = Service(infra, database, prefix, self.seed, settings)
        self.service.wait()

    @property
    def vkey(self) -> str:
        return self.service.get("/log/vkey").text.splitlines()[0]

    def gallra(self, *arguments: str, code: int = 0) -> str:
        """Return what the command line prints about this log; it must exit with *code*."""
        folder = self.infra.folder / self.prefix
        folder.mkdir(exist_ok=True)
        stack = {
            "kafka": self.infra.kafka,
            "databases": {"audit_log": self.database.owner},
            "smtp": "",
            "mail_api": "",
            "urls": {"audit_log": self.service.url},
            "pids": {},
        }
        (folder / "stack.json").write_text(json.dumps(stack))
        command = [sys.executable, "-m", "gallra", "log", *arguments]
        if arguments[0] != "my-entries" and "--offline" not in arguments:
            command += ["--data", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def publish(self, made: Sequence[tuple[Any, Mapping[str, str | None]]], topic: str = TOPIC):
        """Put bodies with headers on a topic, as a producer of any kind does."""
        producer = Producer({"bootstrap.servers": self.infra.kafka, "linger.ms": 20})
        for number, (body, headers) in enumerate(made):
            value = body if isinstance(body, bytes) else json.dumps(body).encode()
            given = [(n, v) for n, v in (headers_of_one() | headers).items() if v is not None]
            key = body.get("customer_id", "none") if isinstance(body, dict) else "none"
            producer.produce(self.prefix + topic, value, key, headers=given)
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(PATIENCE) == 0

    def purge(self, record: str, action: str = "erase") -> None:
        """Order what retention would; return when the log has purged the record."""
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "job_id": "j",
            "chunk_id": f"ch-{record}-{action}",
            "holder": "audit-log",
            "category": "logs.action",
            "action": action,
            "refs": [record],
            "reason": "deadline",
            "policy_version": 1,
            "purge_from": now - timedelta(days=1),
            "hold_epoch": 0,
            "not_after": now + timedelta(days=1),
        }
        for kind in (PurgePrepare, PurgeCommit):
            blank = kind(**fields, command_hash="0" * 64)
            command = kind(**fields, command_hash=command_hash(blank))
            named = event_type_of(command)
            headers = {"ce_type": named.name, "ce_time": now.isoformat()}
            self.publish([(command.model_dump(mode="json"), headers)], named.topic.name)
            self.read(RESULTS.name, partial(_answers, command))

    def read(
        self, topic: str, accept: Callable[[dict[str, str], Any], bool], patience: float = PATIENCE
    ) -> tuple[dict[str, str], Any]:
        """Return headers and content of the first record on *topic* that is accepted."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.infra.kafka,
                "group.id": str(uuid4()),
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([self.prefix + topic])
        deadline = time.monotonic() + patience
        try:
            while time.monotonic() < deadline:
                record = consumer.poll(0.2)
                if record is None or record.error():
                    continue
                headers = {
                    name: value.decode() if isinstance(value, bytes) else str(value)
                    for name, value in record.headers() or []
                }
                try:
                    content = json.loads(record.value() or b"null")
                except ValueError:
                    content = record.value()
                if accept(headers, content):
                    return headers, content
        finally:
            consumer.close()
        raise AssertionError(f"nothing of the kind on {topic} within {patience} s")


def _answers(command: PurgeCommand, _: dict[str, str], content: Any) -> bool:
    """Return True if *content* answers *command*; what it says must be that all was done."""
    phase = type(command).__name__.removeprefix("Purge").lower()
    if (content["chunk_id"], content["phase"]) != (command.chunk_id, phase):
        return False
    assert not content.get("exceptions"), content
    return True


def headers_of_one() -> dict[str, str | None]:
    return {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_source": SOURCE,
        "ce_type": TYPE,
        "ce_time": "2026-11-02T12:00:00Z",
        "content-type": "application/json",
    }


def action(number: int = 0, customer: str = "c-1", **changed: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "action": "compute.server.update",
        "phase": "result",
        "outcome": "success",
        "actor": {"type": "user", "id": f"u-{number % 7}", "name": "Kim Lind"},
        "origin": {"channel": "api", "ip": "192.0.2.1", "agent": "curl/8"},
        "target": {"type": "compute.server", "id": f"srv-{number}"},
        "customer_id": customer,
        "request": {"id": f"req-{number}", "path": f"/v2.1/servers/{number:032x}"},
    } | changed


@contextmanager
def live(infra: Infrastructure, database: Database, prefix: str, **settings: str) -> Iterator[Live]:
    """Run the audit-log for a while."""
    running = Live(infra, database, prefix, settings)
    try:
        yield running
    finally:
        if running.service.process.poll() is None:
            running.service.kill()
