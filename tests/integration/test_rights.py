"""What a service may not do in the database even if its code tried, and how migrations behave."""

import asyncpg
import pytest
from tests.conftest import Database

from shared import migrate

FORBIDDEN = [
    "UPDATE seen SET event = event",
    "DELETE FROM seen",
    "DELETE FROM bundle",
    "UPDATE checkpoint SET root = root",
    "DELETE FROM checkpoint",
    "DELETE FROM tile",
    "UPDATE payload SET index = index",
    "UPDATE payload SET bucket = NULL",
    "TRUNCATE payload",
    "DROP TABLE inbox",
    "CREATE TABLE mine (x int)",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_audit_log_cannot_change_its_log(audit_db: Database, statement: str) -> None:
    connection = await asyncpg.connect(audit_db.service)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_no_service_reads_the_database_of_another(
    audit_db: Database, retention_db: Database
) -> None:
    place = retention_db.owner.rpartition("/")[2]
    foreign = audit_db.service.rpartition("/")[0] + f"/{place}"
    connection = await asyncpg.connect(foreign)  # a copy for tests lets everyone in
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM record")
    finally:
        await connection.close()


async def test_migrations_are_applied_once(audit_db: Database) -> None:
    assert await migrate.migrate(audit_db.owner, "audit_log") == []


async def test_a_changed_migration_is_refused(audit_db: Database) -> None:
    connection = await asyncpg.connect(audit_db.owner)
    await connection.execute("UPDATE schema_migration SET sha256 = 'x' WHERE name LIKE 'audit%'")
    await connection.close()
    with pytest.raises(migrate.MigrationError, match="was changed after it had been applied"):
        await migrate.migrate(audit_db.owner, "audit_log")
