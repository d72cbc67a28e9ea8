"""Kill a consumer after every statement it makes; nothing is ever lost, doubled or forgotten."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import Database

ROOT = Path(__file__).parents[2]

# Takes a batch of three good events (one of them twice) and one that nobody can read, in a service
# that writes a row and announces an event for each; dies after the n-th statement.
TAKE = """
import asyncio, itertools, os, signal, sys
import asyncpg
from aiokafka import ConsumerRecord
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.events import BY_TYPE
from shared.events.platform import RecordGone
from shared.outbox import Outbox

KIND = BY_TYPE["platform.record.gone.v1"]
OUTBOX = Outbox("//test")

def record(offset, name):
    body = b"{" if name is None else (
        b'{"holder":"h","category":"c","record_id":"%s","date":"2026-01-01","why":"w"}' % name)
    headers = (("ce_specversion", b"1.0"), ("ce_id", name or b"x"), ("ce_source", b"//p"),
               ("ce_type", KIND.name.encode()), ("ce_time", b"2026-01-01T00:00:00Z"))
    return ConsumerRecord("platform.records.v1", 0, offset, 1, 0, None, body, None, 0, 0, headers)

async def handle(tx, events):
    for event in events:
        name = event.data.record_id
        await tx.execute("INSERT INTO lead VALUES ($1, 'n', 'e', '2026-01-01')", name)
        await OUTBOX.announce(tx, event.time, [event.data], cause=event)

async def main(dsn, last):
    statements = itertools.count(1)
    def die(query):
        if next(statements) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    async def watch(connection):
        connection.add_query_logger(die)
    consumer = Consumer("retention", [KIND], handle, OUTBOX, SystemClock())
    batch = [record(n, name) for n, name in enumerate([b"a", b"b", None, b"a", b"c"])]
    async with asyncpg.create_pool(dsn, init=watch, min_size=1) as pool:
        await consumer.take(pool, tuple(batch))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def take(dsn: str, last: int) -> int:
    command = [sys.executable, "-c", TAKE, dsn, str(last)]
    return subprocess.run(command, check=False, timeout=60, cwd=ROOT).returncode


async def effects(dsn: str) -> tuple[list[str], Counter[str]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT record_id FROM lead ORDER BY 1")
        topics = await connection.fetch("SELECT topic FROM outbox")
        return [row["record_id"] for row in rows], Counter(row["topic"] for row in topics)
    finally:
        await connection.close()


ALL = (["a", "b", "c"], Counter({"platform.records.v1": 3, "platform.records.v1.dlq": 1}))


STATEMENTS = 19  # with those of the pool before and after


@pytest.mark.parametrize("last", range(1, STATEMENTS + 1))
async def test_killed_after_any_statement(platform_db: Database, last: int) -> None:
    code = take(platform_db.owner, last)
    assert code in (-9, 0)
    assert await effects(platform_db.owner) in (([], Counter()), ALL)
    assert take(platform_db.owner, 0) == 0  # delivered again, to the end
    assert await effects(platform_db.owner) == ALL
    assert take(platform_db.owner, 0) == 0  # and once more
    assert await effects(platform_db.owner) == ALL


def test_the_statements_counted_are_all_there_are(platform_db: Database) -> None:
    assert take(platform_db.owner, STATEMENTS + 1) == 0
