"""Which process did work that one of them does at a time, and when: nobody leads by name."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.postgres import Connection, Pool


async def note(pool: Pool, process: str, done: Mapping[str, datetime]) -> None:
    """Note when *process* last did its duties; who did one later stays."""
    await pool.execute(
        """
        INSERT INTO duty (name, process, done_at)
             SELECT name, $1, done_at
               FROM unnest($2::text[], $3::timestamptz[]) AS done (name, done_at)
           ORDER BY name
        ON CONFLICT (name) DO UPDATE
                SET process = EXCLUDED.process, done_at = EXCLUDED.done_at
              WHERE duty.done_at < EXCLUDED.done_at
        """,
        process,
        list(done),
        list(done.values()),
    )


async def listed(tx: Connection) -> list[dict[str, Any]]:
    """Return each duty with who did it last."""
    rows = await tx.fetch("SELECT name, process, done_at FROM duty ORDER BY name")
    return [dict(row) for row in rows]
