"""Peers of the audit-log: other ways to append 500-byte events durably on this machine.

Every function appends its events once, checks that all of them are there, and returns a Figure.
Events are made before the clock starts.  Rates compare only with rates of the same run.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import asyncpg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from pydantic import BaseModel

GO = Path(__file__).parent / "go"
SIZE = 500
PATIENCE = 300.0  # seconds that any one run may take


@dataclass(frozen=True, slots=True)
class Figure:
    """What one run measured.

    Attributes:
        p50_ms: Of one batch, or of one event where events go one by one; settings says which.
    """

    name: str
    per_second: float
    p50_ms: float
    p99_ms: float
    settings: str


class Event(BaseModel):
    """An event as the naive consumer declares it."""

    id: UUID
    number: int
    action: str
    pad: str


def make_events(count: int) -> list[tuple[UUID, bytes]]:
    """Return the ids and the JSON bodies, SIZE bytes each, of *count* different events."""
    made: list[tuple[UUID, bytes]] = []
    for number in range(count):
        event = uuid4()
        head = f'{{"id":"{event}","number":{number},"action":"compute.server.update","pad":"'
        room = SIZE - len(head) - 2
        made.append((event, f'{head}{os.urandom(room // 2 + 1).hex()[:room]}"}}'.encode()))
    return made


def percentile(took: Sequence[float], percent: float) -> float:
    """Return the percentile (nearest rank) of seconds, in milliseconds."""
    ordered = sorted(took)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1] * 1000


def figure(name: str, rate: float, took: Sequence[float], settings: str) -> Figure:
    return Figure(name, rate, percentile(took, 50), percentile(took, 99), settings)


def build_go(name: str) -> Path | None:
    """Return the program *name* of the Go module, built once for these sources.

    None, with the reason printed, where there is no Go or the module does not build.
    """
    digest = hashlib.sha256()
    for source in sorted([*GO.rglob("*.go"), GO / "go.mod", GO / "go.sum"]):
        digest.update(str(source.relative_to(GO)).encode() + b"\0" + source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = cache / "gallra" / f"bench-{digest.hexdigest()[:16]}" / name
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        print(f"{name}: left out, Go is not installed", file=sys.stderr)
        return None
    print(f"{name}: building, once; this takes a minute or two", file=sys.stderr)
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_name(f"{name}.{os.getpid()}")
    command = [go, "build", "-trimpath", "-o", str(fresh), f"./cmd/{name}"]
    built = subprocess.run(command, cwd=GO, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        print(f"{name}: left out, it does not build: {built.stderr.strip()}", file=sys.stderr)
        return None
    return fresh.replace(program)


def _run(name: str, label: str, folder: Path, flags: dict[str, int]) -> Figure | None:
    """Run a built program in a folder of its own below *folder*; read the line that it prints."""
    program = build_go(name)
    if program is None:
        return None
    with TemporaryDirectory(prefix=f"{name}-", dir=folder) as data:
        command = [str(program), f"-dir={data}", *(f"-{k}={v}" for k, v in flags.items())]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{name} failed: {ran.stderr.strip()[-2000:]}")
    line = json.loads(ran.stdout)
    return Figure(label, line["per_second"], line["p50_ms"], line["p99_ms"], line["settings"])


def immudb(folder: Path, events: int, batch: int, workers: int) -> Figure | None:
    """Append to an immudb server that waits for the disk; None where it cannot be built.

    immudb takes at most 1,024 events a batch and, by default, 30 workers.  Runs of less than some
    seconds flatter it: its index follows in the background.
    """
    label = f"immudb, {batch:,} x {workers}"
    return _run("immudb", label, folder, {"n": events, "batch": batch, "workers": workers})


def tessera(folder: Path, events: int, batch: int) -> Figure | None:
    """Append to a Tessera log on the file system; None where it cannot be built."""
    flags = {"n": events, "batch": batch, "inflight": 16_384}
    return _run("tessera", f"Tessera POSIX, {batch:,}", folder, flags)


def hash_chain(dsn: str, events: int, batch: int) -> Figure:
    """Append to a table in which each row carries the hash of the row before it.

    One INSERT a transaction where *batch* is 1, else one binary COPY a transaction.
    """
    return asyncio.run(_hash_chain(dsn, events, batch))


async def _hash_chain(dsn: str, events: int, batch: int) -> Figure:
    made = make_events(events)
    table = f"chain_{uuid4().hex[:12]}"
    insert = f"INSERT INTO {table} VALUES ($1, $2, $3, $4)"
    connection = await asyncpg.connect(dsn)
    try:
        await _require_durable(connection)
        await connection.execute(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, event_id uuid NOT NULL UNIQUE, "
            "body bytea NOT NULL, hash bytea NOT NULL)"
        )
        took: list[float] = []
        head = bytes(32)
        began = time.perf_counter()
        for start in range(0, events, batch):
            sent = time.perf_counter()
            rows: list[tuple[int, UUID, bytes, bytes]] = []
            for number, (event, body) in enumerate(made[start : start + batch], start + 1):
                head = hashlib.sha256(head + body).digest()
                rows.append((number, event, body, head))
            if batch == 1:
                await connection.execute(insert, *rows[0])
            else:
                await connection.copy_records_to_table(table, records=rows)
            took.append(time.perf_counter() - sent)
        seconds = time.perf_counter() - began
        await _require_chain(connection, table, events)
    finally:
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await connection.close()
    how = "one INSERT" if batch == 1 else f"one binary COPY of {batch:,}"
    settings = (
        f"{how} a transaction, one connection; primary key, unique event id; hashed in Python; "
        f"fsync and synchronous_commit on; times per {'event' if batch == 1 else 'batch'}"
    )
    return figure(f"hash chain, {batch:,}", events / seconds, took, settings)


async def _require_durable(connection: asyncpg.Connection | asyncpg.Pool) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        if await connection.fetchval(f"SHOW {setting}") != "on":
            raise RuntimeError(f"{setting} is off: the figures would mean nothing")


async def _require_chain(connection: asyncpg.Connection, table: str, events: int) -> None:
    """Check that all rows are there and that the database finds the same hashes."""
    good = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT hash = sha256(lag(hash, 1, decode(repeat('00', 32), 'hex')) "
        f"OVER (ORDER BY id) || body) AS good FROM {table}) WHERE good"
    )
    if good != events:
        raise RuntimeError(f"{good} of {events} rows are linked as they should be")


def naive(kafka: str, dsn: str, events: int, *, ack_first: bool = False) -> Figure:
    """Consume event by event: a FastStream subscriber, a Pydantic model, one INSERT each.

    The offset is committed after each event; with *ack_first*, which is FastStream's default, in
    the background every 5 seconds whether or not an event was stored.
    """
    return asyncio.run(_naive(kafka, dsn, events, ack_first=ack_first))


async def _naive(kafka: str, dsn: str, events: int, *, ack_first: bool) -> Figure:
    topic = f"bench.{uuid4().hex[:12]}"
    table = f"naive_{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka})
    pool = await asyncpg.create_pool(dsn, min_size=1)
    try:
        await _require_durable(pool)
        await pool.execute(
            f"CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "event_id uuid NOT NULL UNIQUE, body bytea NOT NULL)"
        )
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)  # pyright: ignore[reportUnknownMemberType]
        _produce(kafka, topic, events)
        insert = f"INSERT INTO {table} (event_id, body) VALUES ($1, $2)"
        marks = await _consume(kafka, topic, pool, insert, events, ack_first=ack_first)
        found = await pool.fetchval(f"SELECT count(*) FROM {table}")
        if found != events:
            raise RuntimeError(f"{found} of {events} events were stored")
    finally:
        await pool.execute(f"DROP TABLE IF EXISTS {table}")
        await pool.close()
        admin.delete_topics([topic])[topic].result(30)  # pyright: ignore[reportUnknownMemberType]
    took = [after - before for before, after in pairwise(marks)]
    acked = (
        "committed every 5 s in the background (default)" if ack_first else "committed after each"
    )
    settings = (
        f"FastStream per message, Pydantic model, one INSERT a transaction; offset {acked}; "
        "message logging off; fsync and synchronous_commit on; times from insert to insert"
    )
    name = f"naive, ack {'first' if ack_first else 'after'}"
    return figure(name, (events - 1) / (marks[-1] - marks[0]), took, settings)


def _produce(kafka: str, topic: str, events: int) -> None:
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 50, "acks": "all"})
    for event, body in make_events(events):
        while True:
            try:
                producer.produce(topic, body, str(event))
                break
            except BufferError:
                producer.poll(0.1)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} events were not produced")


async def _consume(
    kafka: str, topic: str, pool: asyncpg.Pool, insert: str, events: int, *, ack_first: bool
) -> list[float]:
    """Store *events* events; return when each was committed."""
    marks: list[float] = []
    done = asyncio.Event()
    broker = KafkaBroker(kafka, logger=None)

    @broker.subscriber(
        topic,
        group_id=topic,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK_FIRST if ack_first else AckPolicy.NACK_ON_ERROR,
    )
    async def store(event: Event) -> None:
        await pool.execute(insert, event.id, event.model_dump_json().encode())
        marks.append(time.perf_counter())
        if len(marks) == events:
            done.set()

    async with broker:
        await broker.start()
        await asyncio.wait_for(done.wait(), PATIENCE)
    return marks
