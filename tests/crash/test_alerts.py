"""Kill the notifier after every statement of a look at alerts: no mail is lost or doubled."""

import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration.test_alerts import raised
from tests.integration.test_sending import NOW, Notifier

from notifier.smtp import Relay
from shared.postgres import open_pool

ROOT = Path(__file__).parents[2]

# One look, a minute after three alerts of two groups were raised, with a webhook; dies at the n-th
# statement.
LOOK = """
import asyncio, itertools, os, signal, sys
from datetime import timedelta
import asyncpg
from tests.integration.test_alerts import replaced
from tests.integration.test_sending import Notifier
from notifier.oncall import OnCall
from notifier.smtp import Relay

async def main(dsn, last):
    statements = itertools.count(1)
    def die(query):
        if next(statements) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    async def watch(connection):
        connection.add_query_logger(die)
    async with asyncpg.create_pool(dsn, init=watch, min_size=1) as pool:
        notifier = Notifier(pool, Relay("127.0.0.1", 9))
        kept = {name: getattr(notifier.oncall, name) for name in OnCall.__slots__}
        oncall = replaced(notifier, **{**kept, "webhook": True})
        notifier.clock.advance(timedelta(minutes=1))
        await oncall.look(pool)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def look(dsn: str, last: int) -> int:
    command = [sys.executable, "-c", LOOK, dsn, str(last)]
    return subprocess.run(command, check=False, timeout=60, cwd=ROOT).returncode


async def effects(dsn: str) -> tuple[int, int, int, int, int]:
    """Return how many mails, deliveries, notices, announced bodies and told marks there are."""
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(
            """
            SELECT (SELECT count(*) FROM message WHERE type = 'ops-alert'),
                   (SELECT count(*) FROM delivery WHERE message_type = 'ops-alert'),
                   (SELECT count(*) FROM alert_notice),
                   (SELECT count(*) FROM outbox WHERE topic = 'platform.records.v1'),
                   (SELECT count(*) FROM alert_track WHERE told_at IS NOT NULL
                                                       AND group_id <> '(heartbeat)')
            """
        )
    finally:
        await connection.close()
    assert row is not None
    return tuple(row)


NOTHING = (0, 0, 0, 0, 0)
ALL = (2, 2, 4, 2, 4)  # a mail for each of two groups, and each passed on
STATEMENTS = 40  # at most; those beyond the last one kill nobody


@pytest.mark.parametrize("last", range(1, STATEMENTS + 1))
async def test_killed_at_any_statement(notifier_db: Database, last: int) -> None:
    async with open_pool(notifier_db.service, "test") as pool:
        notifier = Notifier(pool, Relay("127.0.0.1", 9))
        await notifier.library.stock(pool, NOW)
        await notifier.take(raised("a/1"), raised("a/2", "critical"), raised("b/1"))
    code = look(notifier_db.service, last)
    assert code in (-9, 0)
    seen = await effects(notifier_db.owner)
    assert seen == (ALL if code == 0 else seen)
    assert seen in (NOTHING, ALL)
    for _ in range(2):  # another process looks, and once more
        assert look(notifier_db.service, 0) == 0
        assert await effects(notifier_db.owner) == ALL


async def test_the_statements_counted_are_all_there_are(notifier_db: Database) -> None:
    async with open_pool(notifier_db.service, "test") as pool:
        notifier = Notifier(pool, Relay("127.0.0.1", 9))
        await notifier.library.stock(pool, NOW)
        await notifier.take(raised("a/1"), raised("a/2", "critical"), raised("b/1"))
    assert look(notifier_db.service, STATEMENTS + 1) == 0
