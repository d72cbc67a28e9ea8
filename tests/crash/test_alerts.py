"""Kill the notifier after every statement of a look at alerts: no mail is lost or doubled."""

import asyncpg
import pytest
from tests.conftest import Database
from tests.crash import victims
from tests.integration.test_alerts import raised
from tests.integration.test_sending import NOW, Notifier

from notifier.smtp import Relay
from shared.postgres import open_pool


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
    code = victims.ends(victims.look, notifier_db.service, last)
    assert code in (-9, 0)
    seen = await effects(notifier_db.owner)
    assert seen == (ALL if code == 0 else seen)
    assert seen in (NOTHING, ALL)
    for _ in range(2):  # another process looks, and once more
        assert victims.ends(victims.look, notifier_db.service, 0) == 0
        assert await effects(notifier_db.owner) == ALL


async def test_the_statements_counted_are_all_there_are(notifier_db: Database) -> None:
    async with open_pool(notifier_db.service, "test") as pool:
        notifier = Notifier(pool, Relay("127.0.0.1", 9))
        await notifier.library.stock(pool, NOW)
        await notifier.take(raised("a/1"), raised("a/2", "critical"), raised("b/1"))
    assert victims.ends(victims.look, notifier_db.service, STATEMENTS + 1) == 0
