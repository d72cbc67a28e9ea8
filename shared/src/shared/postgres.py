"""Connections to PostgreSQL."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared import telemetry

if TYPE_CHECKING:  # generic in the stubs only
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = Connection = object


beginning: ContextVar[Callable[[Connection], Awaitable[None]] | None] = ContextVar(
    "beginning", default=None
)
"""What each transaction of a task does first: so a request notes its key with its work."""


@asynccontextmanager
async def open_pool(dsn: str, application: str) -> AsyncGenerator[Pool]:
    """Lend a pool of connections that name themselves *application* on the server.

    A transaction of a process that stands still is given up by the server after half a minute: it
    must not keep others from their turn, and cannot go on when it wakes up.
    """
    settings = {
        "application_name": application,
        "idle_in_transaction_session_timeout": "30s",
    }
    async with asyncpg.create_pool(
        dsn,
        min_size=2,
        max_size=10,
        server_settings=settings,
        # Both set timers, which keep what was worked on when they were set for five minutes.
        max_inactive_connection_lifetime=0,
        max_cached_statement_lifetime=0,
        reset=_as_it_is,
    ) as pool:
        yield pool


async def _as_it_is(_: Connection) -> None:
    """Undo nothing when a connection is given back: to ask the server for that takes a turn to it.

    A transaction that was left open is rolled back before, and nobody sets what outlasts one.
    """


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncGenerator[Connection]:
    """Lend a connection whose transaction commits if the block ends without an exception."""
    async with pool.acquire() as connection, connection.transaction():
        if begin := beginning.get():
            await begin(connection)
        yield connection


async def sole(tx: Connection, duty: str) -> bool:
    """Return True if this transaction alone may do *duty* until it ends.

    The lock lives and dies with the transaction that does the work, so a leader that lost its
    connection has lost its writes too: no fencing token is needed (docs/adr/0003).
    """
    granted_at: datetime | None = await tx.fetchval(
        """
        SELECT CASE WHEN pg_try_advisory_xact_lock(hashtextextended($1, 0))
                    THEN clock_timestamp() END
        """,
        duty,
    )
    if granted_at is not None:
        telemetry.DUTY_DONE.labels(duty).set(granted_at.timestamp())
    return granted_at is not None
