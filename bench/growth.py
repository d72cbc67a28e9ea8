"""A log of ten million entries: appending, memory, disk, search, verification, purge."""

import asyncio
import itertools
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from bench.append import burst
from bench.peers import peers
from bench.results import Section
from bench.rig import Place, Running, audit_log, events, new_place, publish, rig
from confluent_kafka import Consumer, Producer

from shared.events import event_type_of
from shared.events.catalogue import RESULTS
from shared.events.gallra import PurgeCommand, PurgeCommit, PurgePrepare
from shared.holder import command_hash

LARGEST = "c-largest"  # the customer whose entries are purged
QUERIES = 2000
STEP = 250_000


def fill(log: Place, first: int, count: int, of: int) -> None:
    """Publish *count* events, of *of*, while the log takes them; return when all are in."""
    began = time.perf_counter()
    size = asyncio.run(log.ask("SELECT size FROM tree"))
    for start in range(0, count, STEP):
        step = min(STEP, count - start)
        publish(log, events(step, first=first + start, of=of, largest=LARGEST))
        print(f"  {first + start + step:,} published", flush=True)
        behind = step if start + step < count else 0
        while asyncio.run(log.ask("SELECT size FROM tree")) < size + start + step - behind:
            time.sleep(0.2)
    print(f"  taken, {count / (time.perf_counter() - began):,.0f}/s", flush=True)


async def sizes(log: Place) -> dict[str, float]:
    """Return the bytes on disk per entry, in all and by what takes them."""
    connection = await asyncpg.connect(log.owner)
    await connection.execute("VACUUM ANALYZE")
    rows = await connection.fetch(
        """
        SELECT regexp_replace(relname, '_.*', '') AS name,
               sum(pg_table_size(oid)) AS data, sum(pg_indexes_size(oid)) AS indexes
          FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      GROUP BY 1
        """
    )
    count = await connection.fetchval("SELECT size FROM tree")
    found = {"all": await connection.fetchval("SELECT pg_database_size(current_database())")}
    for row in rows:
        found[row["name"]] = row["data"]
        found[f"{row['name']} indexes"] = row["indexes"]
    await connection.close()
    return {name: float(value) / count for name, value in found.items()}


Question = dict[str, str]


def questions(since: datetime) -> dict[str, Callable[[random.Random], Question]]:
    """Return what people ask, by name."""

    def day(chance: random.Random) -> Question:
        start = since + timedelta(hours=chance.randrange(216))
        return {"from": start.isoformat(), "to": (start + timedelta(days=1)).isoformat()}

    def customer(chance: random.Random) -> Question:
        return {"customer": f"c-{chance.randrange(500)}"}

    def account(chance: random.Random) -> Question:
        return {"actor": f"u-{chance.randrange(20_000)}"}

    return {
        "newest of all": lambda _: {},
        "customer": customer,
        "customer, action prefix": lambda c: customer(c) | {"action": "compute.server"},
        "customer, denied": lambda c: customer(c) | {"outcome": "denied"},
        "customer, a day": lambda c: customer(c) | day(c),
        "account": account,
        "account, action": lambda c: account(c) | {"action": "compute.server.delete"},
        "target": lambda c: {"target": f"srv-{c.randrange(200_000)}"},
        "action, a day": lambda c: {"action": "compute.server.delete"} | day(c),
        "channel and outcome, a day": lambda c: {"channel": "portal", "outcome": "denied"} | day(c),
    }


def search(running: Running) -> dict[str, list[float]]:
    """Return the seconds that questions took, by kind; three pages of each."""
    took: dict[str, list[float]] = {}
    chance = random.Random(815)
    kinds = questions(datetime.now(UTC) - timedelta(days=9, hours=12))
    with httpx.Client(base_url=f"http://127.0.0.1:{running.ports[0]}", timeout=60) as client:
        for name, kind in itertools.islice(itertools.cycle(kinds.items()), QUERIES):
            question = kind(chance)
            for _ in range(3):
                began = time.perf_counter()
                answer = client.get("/api/v1/entries", params=question).raise_for_status().json()
                took.setdefault(name, []).append(time.perf_counter() - began)
                if answer["cursor"] is None:
                    break
                question |= {"cursor": answer["cursor"]}
    return took


def verify(log: Place, folder: Path, running: Running) -> tuple[float, float]:
    """Verify the whole log with the command; return wall and own processor seconds."""
    stack = {
        "kafka": log.infra.kafka,
        "databases": {"audit_log": log.owner},
        "smtp": "",
        "mail_api": "",
        "urls": {"audit_log": f"http://127.0.0.1:{running.ports[0]}"},
        "pids": {},
    }
    folder.mkdir()
    (folder / "stack.json").write_text(json.dumps(stack))
    command = [sys.executable, "-m", "gallra", "log", "verify", "--json", "--data", str(folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"the log does not verify: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, used


def purge(log: Place, records: list[str]) -> tuple[float, float]:
    """Have *records* purged in one chunk; return the seconds from order to answer, by phase."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "job_id": "bench",
        "chunk_id": "bench-1",
        "holder": "audit-log",
        "category": "logs.action",
        "action": "erase",
        "refs": records,
        "reason": "deadline",
        "policy_version": 1,
        "purge_from": now - timedelta(days=1),
        "hold_epoch": 0,
        "not_after": now + timedelta(days=1),
    }
    consumer = Consumer(
        {
            "bootstrap.servers": log.infra.kafka,
            "group.id": "bench",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([log.prefix + RESULTS.name])
    answers = _answers(consumer)
    prepared = _order(log, PurgePrepare, fields, answers)
    committed = _order(log, PurgeCommit, fields, answers)
    consumer.close()
    return prepared, committed


def _order(
    log: Place, kind: type[PurgeCommand], fields: dict[str, Any], answers: Iterator[dict[str, Any]]
) -> float:
    blank = kind(**fields, command_hash="0" * 64)
    command = kind(**fields, command_hash=command_hash(blank))
    named = event_type_of(command)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"bench-{named.name}",
        "ce_source": "//bench",
        "ce_type": named.name,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    producer = Producer({"bootstrap.servers": log.infra.kafka, "linger.ms": 0})
    began = time.perf_counter()
    body = command.model_dump_json().encode()
    producer.produce(log.prefix + named.topic.name, body, "bench", headers=list(headers.items()))
    producer.flush(30)
    answer = next(answers)
    took = time.perf_counter() - began
    if answer.get("exceptions") or answer["chunk_id"] != command.chunk_id:
        raise RuntimeError(f"not purged: {answer}")
    return took


def _answers(consumer: Consumer) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        record = consumer.poll(0.05)
        if record is not None and not record.error():
            yield json.loads(record.value() or b"{}")
    raise TimeoutError("no answer to the purge")


def _spread(took: Sequence[float]) -> str:
    return f"p50 {peers.percentile(took, 50):.0f} ms, p95 {peers.percentile(took, 95):.0f} ms"


def measure(folder: Path, count: int) -> Section:
    """Grow a log to *count* entries, measuring at a tenth of it and at the end."""
    rows: list[list[str]] = []

    def row(what: str, measured: str, wanted: str = "") -> None:
        rows.append([what, measured, wanted])
        print(f"{what}: {measured}", flush=True)

    with rig(folder) as infra:
        log = asyncio.run(new_place(infra))
        with audit_log(log, 2) as running:
            tenth, many = count // 10, count // 25
            fill(log, 0, tenth, count)
            early = burst(log, running, tenth, many, count)
            fill(log, tenth + many, count - tenth - 2 * many, count)
            late = burst(log, running, count - many, many, count)
            row(f"append at {tenth:,} entries, two processes", f"{early:,.0f}/s")
            row(
                f"append at {count - many:,} entries",
                f"{late:,.0f}/s, {late / early:.2f} of that",
                "flat",
            )
            row("largest memory of a process", f"{running.peak_memory():.0f} MB", "≤ 250 MB")
            per = asyncio.run(sizes(log))
            row("bytes per entry on disk, everything", f"{per.pop('all'):,.0f}")
            for name, value in sorted(per.items(), key=lambda item: -item[1]):
                if value >= 1:
                    row(f"of these, {name}", f"{value:,.0f}")
            took = search(running)
            everything = [t for times in took.values() for t in times]
            row(f"search, {len(everything):,} pages of 100", _spread(everything), "p95 ≤ 50 ms")
            for name, times in took.items():
                row(f"of these, {name}", _spread(times))
            size = asyncio.run(log.ask("SELECT size FROM tree"))
            wall, used = verify(log, folder / "verify", running)
            row(
                f"gallra log verify, {size:,} entries with their content",
                f"{size / wall:,.0f}/s; {size / used:,.0f} per processor second of its own",
                "≥ 100,000/s per core",
            )
            records = asyncio.run(
                log.ask("SELECT array_agg(record_id) FROM bucket WHERE customer_id = $1", LARGEST)
            )
            held = asyncio.run(
                log.ask("SELECT count(*) FROM payload WHERE customer_id = $1", LARGEST)
            )
            _, committed = purge(log, records)
            left = asyncio.run(
                log.ask("SELECT count(*) FROM payload WHERE customer_id = $1", LARGEST)
            )
            if left:
                raise RuntimeError(f"{left} entries are still there")
            row(
                f"purge of a customer's {held:,} entries, from order to answer",
                f"{committed:.1f} s, {held / committed:,.0f}/s",
                "≥ 50,000/s",
            )
            row("largest memory of a process, after that", f"{running.peak_memory():.0f} MB")
    text = (
        f"{count:,} events of 500 customers, every tenth of one more, in the order in which they "
        "happened over ten days, so that all lie in one partition or two. Rates of "
        f"append are those of {count // 25:,} events that wait on the topic. Search is over HTTP, "
        "three pages of a hundred entries for each question, each noted in the log as access; "
        "nothing else runs meanwhile."
    )
    return Section(
        f"A log of {count:,} entries",
        f"python -m bench.audit_log growth --events {count}",
        text,
        ("", "measured", "wanted"),
        rows,
    )
