"""Numbered SQL files, applied once each and in order."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import asyncpg

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migration (
    name        text        PRIMARY KEY,
    sha256      bytea       NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database and the migrations of this version do not fit together."""


_OFF_THE_BUS: Final = frozenset({"console"})
"""Packages that neither consume nor publish: they need none of the shared tables."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name with its package in front, and the statements in it."""

    name: str
    sql: str

    @property
    def sha256(self) -> bytes:
        """The digest by which a later change of the file is noticed."""
        return hashlib.sha256(self.sql.encode()).digest()


def migrations(package: str) -> list[Migration]:
    """Return what *package* needs, in order: the shared tables first, then its own."""
    found: list[Migration] = []
    shared = [] if package in _OFF_THE_BUS else [("shared", "schema")]
    for owner, folder in (*shared, (package, "migrations")):
        directory = files(owner).joinpath(folder)
        names = sorted(f.name for f in directory.iterdir() if f.name[:4].isdigit())
        found += [Migration(f"{owner}/{n}", directory.joinpath(n).read_text()) for n in names]
    return found


async def migrate(dsn: str, package: str) -> list[str]:
    """Bring the database of *package* up to date; return the names of what was applied.

    Forward only, under an advisory lock, each file in a transaction of its own.  The rights of
    the service's role (``migrations/grants.sql``) are granted anew every time.

    Raises:
        MigrationError: an applied file was changed since, or the service's role is missing.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended('migrate', 0))")
        await connection.execute(_LEDGER)
        rows = await connection.fetch("SELECT name, sha256 FROM schema_migration")
        applied = {row["name"]: row["sha256"] for row in rows}
        fresh: list[str] = []
        for migration in migrations(package):
            if migration.name in applied:
                if applied[migration.name] != migration.sha256:
                    raise MigrationError(
                        f"{migration.name} was changed after it had been applied;"
                        " restore the file and put the change into a new one"
                    )
                continue
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migration (name, sha256) VALUES ($1, $2)",
                    migration.name,
                    migration.sha256,
                )
            fresh.append(migration.name)
        await _grant(connection, package)
    finally:
        await connection.close()
    return fresh


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]", package: str) -> None:
    grants = files(package).joinpath("migrations", "grants.sql")
    if not grants.is_file():  # the owner is the only user
        return
    try:
        await connection.execute(grants.read_text())
    except asyncpg.UndefinedObjectError as error:
        raise MigrationError(
            f"{error.args[0]}: create the login role of the service first (docs/operations.md)"
        ) from error


async def pending(
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", package: str
) -> list[str]:
    """Return the names of the migrations of *package* that the database still lacks."""
    rows = await connection.fetch("SELECT name FROM schema_migration")
    applied = {row["name"] for row in rows}
    return [m.name for m in migrations(package) if m.name not in applied]
