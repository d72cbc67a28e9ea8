"""Kill a consumer after every statement it makes; nothing is ever lost, doubled or forgotten."""

from collections import Counter

import asyncpg
import pytest
from tests.conftest import Database
from tests.crash import victims


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
    code = victims.ends(victims.take, platform_db.owner, last)
    assert code in (-9, 0)
    assert await effects(platform_db.owner) in (([], Counter()), ALL)
    assert victims.ends(victims.take, platform_db.owner, 0) == 0  # delivered again, to the end
    assert await effects(platform_db.owner) == ALL
    assert victims.ends(victims.take, platform_db.owner, 0) == 0  # and once more
    assert await effects(platform_db.owner) == ALL


def test_the_statements_counted_are_all_there_are(platform_db: Database) -> None:
    assert victims.ends(victims.take, platform_db.owner, STATEMENTS + 1) == 0
