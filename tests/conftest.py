"""Real Kafka, real PostgreSQL, real SMTP for every test that asks; one set for each worker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, settings

from gallra.stack import postgres
from gallra.stack.infrastructure import Infrastructure, Ports, infrastructure, make_ready
from gallra.stack.postgres import role_of, secret
from gallra.stackfile import Stack, read
from shared import topics
from shared.migrate import migrate
from shared.postgres import Pool, open_pool

PATIENCE = 120.0  # seconds that any wait in a test may take

# How fast the machine is fails no test.
settings.register_profile("gallra", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gallra")


@dataclass(frozen=True, slots=True)
class Database:
    """A fresh, migrated database: its address as its owner, and as the service itself."""

    owner: str
    service: str


@contextmanager
def new_folder() -> Iterator[Path]:
    """Lend a folder for a stack.

    Not one of pytest's: those lie below a folder that every session of pytest closes to all other
    users, and PostgreSQL is another user where the tests run as root.
    """
    with TemporaryDirectory(prefix="gallra-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    with new_folder() as path:
        yield path


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop that services run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def infra() -> Iterator[Infrastructure]:
    """Run Kafka, PostgreSQL and the mail sink, with a migrated template of every database."""
    with (
        new_folder() as folder,
        infrastructure(folder, Ports.from_base(0), durable=False) as running,
    ):
        make_ready(running, lambda _: None)
        asyncio.run(_platform_template(running))
        yield running


async def _platform_template(infra: Infrastructure) -> None:
    connection = await asyncpg.connect(infra.admin)
    await connection.execute("CREATE DATABASE platform")
    await connection.close()
    await migrate(_at(infra, "platform"), "gallra.demo")


def _at(infra: Infrastructure, database: str) -> str:
    return infra.admin.rpartition("/")[0] + f"/{database}"


@contextmanager
def copy_of(infra: Infrastructure, template: str) -> Iterator[Database]:
    """Lend a copy of a service's migrated, empty database."""
    name = f"t_{uuid4().hex}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(infra.admin)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name} TEMPLATE {template}"))
    owner = _at(infra, name)
    service = owner
    if template in postgres.PROCESSES:
        role = role_of(template)
        place = owner.partition("@")[2]
        service = f"postgresql://{role}:{secret(infra.folder, role)}@{place}"
    yield Database(owner, service)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def audit_db(infra: Infrastructure) -> Iterator[Database]:
    with copy_of(infra, "audit_log") as database:
        yield database


@pytest.fixture
def retention_db(infra: Infrastructure) -> Iterator[Database]:
    with copy_of(infra, "retention") as database:
        yield database


@pytest.fixture
def notifier_db(infra: Infrastructure) -> Iterator[Database]:
    with copy_of(infra, "notifier") as database:
        yield database


@pytest.fixture
def console_db(infra: Infrastructure) -> Iterator[Database]:
    with copy_of(infra, "console") as database:
        yield database


@pytest.fixture
def platform_db(infra: Infrastructure) -> Iterator[Database]:
    """A database with the shared tables and those of the simulated platform, as its owner."""
    with copy_of(infra, "platform") as database:
        yield database


@pytest.fixture
async def platform_pool(platform_db: Database) -> AsyncIterator[Pool]:
    async with open_pool(platform_db.owner, "test") as pool:
        yield pool


@pytest.fixture
def topic_prefix(infra: Infrastructure) -> str:
    return new_prefix(infra)


def new_prefix(infra: Infrastructure) -> str:
    """Return a prefix under which all topics exist and are empty."""
    prefix = f"t{uuid4().hex[:8]}."
    asyncio.run(topics.apply(infra.kafka, prefix))
    return prefix


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """Run the whole of Gallra, as `make run` does; return its folder."""
    with new_folder() as folder:
        yield from running(folder)


def running(folder: Path) -> Iterator[Path]:
    """Run the whole of Gallra on *folder* until it is asked for more."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("GALLRA_")}
    command = [sys.executable, "-m", "gallra", "up", "--data", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "All addresses" in line:
                break
        else:
            pytest.fail(f"the stack did not come up: exit {up.wait()}")
        yield folder
        up.send_signal(signal.SIGINT)
        up.stdout.read()
        assert up.wait(PATIENCE) == 0


@pytest.fixture(scope="session")
def stack(stack_folder: Path) -> Stack:
    """Return where the parts of the running stack are."""
    return read(stack_folder)
