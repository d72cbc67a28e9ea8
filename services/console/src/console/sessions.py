"""SQL of the sessions: opened at sign-in under a fresh id, found by its hash, ended."""

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from console.person import Person
from shared.canonical import digest
from shared.clock import Clock
from shared.postgres import Pool

_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of all people.

    Attributes:
        lasts: From the sign-in to the end, whatever happens.
        idles: How long one may lie unused.
    """

    clock: Clock
    lasts: timedelta
    idles: timedelta

    async def open(self, pool: Pool, person: Person) -> str:
        """Return the id of a new session of *person*, and forget sessions that are over."""
        now = self.clock.now()
        made = secrets.token_urlsafe(_ID_BYTES)
        async with pool.acquire() as tx, tx.transaction():
            await tx.execute("DELETE FROM session WHERE least(ends_at, idle_until) <= $1", now)
            await tx.execute(
                "INSERT INTO session (id, person, ends_at, idle_until) VALUES ($1, $2, $3, $4)",
                digest(made.encode()),
                json.dumps(asdict(person)),
                now + self.lasts,
                now + self.idles,
            )
        return made

    async def find(self, pool: Pool, id_: str) -> Person | None:
        """Return whose session it is, as long as it is not over; it is in use again."""
        now: datetime = self.clock.now()
        found: str | None = await pool.fetchval(
            """
            UPDATE session
               SET idle_until = $3
             WHERE id = $1 AND ends_at > $2 AND idle_until > $2
         RETURNING person
            """,
            digest(id_.encode()),
            now,
            now + self.idles,
        )
        if found is None:
            return None
        content = json.loads(found)
        return Person(content["sub"], content["name"], tuple(content["groups"]))

    async def close(self, pool: Pool, id_: str) -> None:
        """End a session."""
        await pool.execute("DELETE FROM session WHERE id = $1", digest(id_.encode()))
