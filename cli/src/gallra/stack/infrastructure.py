"""Kafka, PostgreSQL and the mail sink, started together; the tests start the same."""

import asyncio
import fcntl
import os
import random
import socket
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import httpx

from gallra.stack import kafka, postgres
from gallra.stack.processes import Part, StackError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, on the loopback interface."""

    audit_log: int
    retention: int
    notifier: int
    mail: int
    console: int
    provider: int
    smtp: int
    postgres: int
    kafka: int
    controller: int

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Return the ports that belong to *base*; free ones, whichever, for 0."""
        if base == 0:
            return cls(*_free_ports(len(cls.__slots__)))
        return cls(*(base + offset for offset in (1, 2, 3, 4, 5, 6, 25, 32, 92, 93)))


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, from below those that systems give to clients."""
    found: list[int] = []
    for port in random.sample(range(15_000, 32_000), 1000):
        try:
            check_free(port, "this")
        except StackError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise StackError("no free ports were found: name some with --port BASE")


@dataclass(frozen=True, slots=True)
class External:
    """Parts that are there already and are used instead of ours."""

    kafka: str | None = None
    postgres: str | None = None
    smtp: str | None = None


@dataclass(slots=True)
class Infrastructure:
    """The running parts, and how to reach them.

    Attributes:
        admin: Superuser's address of the database server.
        mail_api: Of the mail sink; empty where an external mail server is used.
    """

    folder: Path
    ports: Ports
    external: External
    parts: list[Part] = field(default_factory=list[Part])

    @property
    def kafka(self) -> str:
        """The bootstrap server."""
        return self.external.kafka or f"127.0.0.1:{self.ports.kafka}"

    @property
    def admin(self) -> str:
        """The superuser's address of the database server."""
        return self.external.postgres or postgres.address(self.folder, self.ports.postgres)

    @property
    def smtp(self) -> str:
        """The mail server."""
        return self.external.smtp or f"127.0.0.1:{self.ports.smtp}"

    @property
    def mail_api(self) -> str:
        """The mail sink's pages and API."""
        return "" if self.external.smtp else f"http://127.0.0.1:{self.ports.mail}"

    def stop(self) -> None:
        """Stop everything, last started first."""
        for part in reversed(self.parts):
            part.stop()


@contextmanager
def holding(folder: Path) -> Generator[None]:
    """Hold *folder* for this process alone.

    Raises:
        StackError: another process holds it; the text says which, and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"{folder} is held by {_holder(lock)}: stop it first") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        yield


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read() or "another process"


@contextmanager
def infrastructure(
    folder: Path,
    ports: Ports,
    external: External | None = None,
    *,
    say: Say = lambda _: None,
    durable: bool = True,
) -> Generator[Infrastructure]:
    """Run what the services need until the block ends; all of it is ready when it begins.

    All state lies in *folder*.  PostgreSQL waits for the disk unless *durable* is off, as it is in
    tests alone.

    Raises:
        StackError: a port is taken, a part cannot be fetched or does not start.
    """
    infra = Infrastructure(folder.absolute(), ports, external or External())
    try:
        _start(infra, say, durable=durable)
        yield infra
    finally:
        infra.stop()


def _start(infra: Infrastructure, say: Say, *, durable: bool) -> None:
    folder, ports, external = infra.folder, infra.ports, infra.external
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    prepare: list[Callable[[], Part]] = []
    if external.kafka is None:
        check_free(ports.kafka, "Kafka")
        check_free(ports.controller, "Kafka's controller")
        prepare.append(lambda: kafka.prepare(folder / "kafka", ports.kafka, ports.controller, say))
    if external.postgres is None:
        check_free(ports.postgres, "PostgreSQL")
        prepare.append(lambda: postgres.prepare(folder, ports.postgres, durable=durable))
    if external.smtp is None:
        check_free(ports.smtp, "the mail sink")
        check_free(ports.mail, "the mail sink's pages")
        prepare.append(lambda: _mail(folder, ports))
    with ThreadPoolExecutor(len(prepare) or 1) as pool:
        for prepared in as_completed([pool.submit(make) for make in prepare]):
            part = prepared.result()
            infra.parts.append(part)
            part.start()
        list(pool.map(Part.wait_ready, infra.parts))
    # The bus is needed longest, and then the database.
    infra.parts.sort(key=lambda part: ("kafka", "postgres", "mail").index(part.name))


def _mail(folder: Path, ports: Ports) -> Part:
    command = [sys.executable, "-m", "gallra.stack.mail", str(folder / "mail")]
    command += [str(ports.smtp), str(ports.mail)]
    log = folder / "logs" / "mail.log"
    return Part("mail", command, log, answers(f"http://127.0.0.1:{ports.mail}/readyz"))


def answers(url: str) -> Callable[[], bool]:
    """Return a check whether *url* answers with success."""

    def check() -> bool:
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.HTTPError:
            return False

    return check


def check_free(port: int, what: str) -> None:
    """Check that nobody listens on *port*.

    Raises:
        StackError: somebody does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StackError(
                f"port {port}, meant for {what}, is taken: choose others with --port BASE"
            ) from None


def make_ready(infra: Infrastructure, say: Say) -> dict[str, str]:
    """Make databases, roles, tables and topics; return the owner's address of each database."""
    from shared import topics  # noqa: PLC0415 - slow to import
    from shared.migrate import migrate  # noqa: PLC0415

    owners = {s: _in_database(infra.admin, s) for s in postgres.PROCESSES}

    async def make() -> None:
        await postgres.make_databases(infra.folder, infra.admin)
        say("migrating the databases and declaring the topics")
        await asyncio.gather(
            *(migrate(dsn, service) for service, dsn in owners.items()),
            topics.apply(infra.kafka),
        )

    asyncio.run(make())
    return owners


def _in_database(admin: str, database: str, role: str | None = None, password: str = "") -> str:
    parts = urlsplit(admin)
    place = parts.netloc.rpartition("@")[2]
    netloc = parts.netloc if role is None else f"{role}:{password}@{place}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


def service_address(infra: Infrastructure, service: str) -> str:
    """Return the address at which a service, by package name, reaches its database."""
    role = postgres.role_of(service)
    return _in_database(infra.admin, service, role, postgres.secret(infra.folder, role))
