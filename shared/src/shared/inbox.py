"""Handling an event once, although Kafka delivers it at least once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from shared.cloudevents import Event
from shared.postgres import Connection


class Sight(Enum):
    """What the inbox knows of an event."""

    FIRST = "first"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"  # the same id with other content: somebody's error, or worse


@dataclass(frozen=True, slots=True)
class Note:
    """The identity of an event and the digest of its content."""

    source: str
    id: str
    digest: bytes


async def sight(tx: Connection, events: Sequence[Event], *, careful: bool = True) -> list[Sight]:
    """Note *events*, in order; return what was known of each before.

    Nearly always nothing was.  Who is not *careful* takes that for granted.

    Raises:
        asyncpg.UniqueViolationError: one came before, or twice here; ask again, carefully.
    """
    notes = [Note(e.source, e.id, e.digest) for e in events]
    if careful:
        return await note(tx, notes)
    await tx.copy_records_to_table(
        "inbox",
        columns=["source", "id", "digest"],
        # In one order, so that two processes cannot wait for each other.
        records=sorted((n.source, n.id, n.digest) for n in notes),
    )
    return [Sight.FIRST] * len(notes)


async def note(tx: Connection, notes: Sequence[Note]) -> list[Sight]:
    """Note events, in order; return what was known of each before.

    The notes commit with the work, so that a redelivery after a crash finds both or neither.
    """
    known: dict[tuple[str, str], bytes] = {}
    rows = await tx.fetch(
        """
        INSERT INTO inbox (source, id, digest)
             SELECT DISTINCT ON (source, id) source, id, digest
               FROM unnest($1::text[], $2::text[], $3::bytea[])
                    WITH ORDINALITY AS seen (source, id, digest, nth)
           ORDER BY source, id, nth
        ON CONFLICT DO NOTHING
          RETURNING source, id
        """,
        [n.source for n in notes],
        [n.id for n in notes],
        [n.digest for n in notes],
    )
    fresh = {(row["source"], row["id"]) for row in rows}
    if len(fresh) < len(notes):
        stored = await tx.fetch(
            """
            SELECT source, id, digest
              FROM inbox
              JOIN unnest($1::text[], $2::text[]) AS seen (source, id) USING (source, id)
            """,
            [n.source for n in notes],
            [n.id for n in notes],
        )
        known = {(row["source"], row["id"]): row["digest"] for row in stored}
    return [_sight(n, fresh, known) for n in notes]


def _sight(n: Note, fresh: set[tuple[str, str]], known: dict[tuple[str, str], bytes]) -> Sight:
    identity = (n.source, n.id)
    if identity in fresh:
        fresh.discard(identity)  # a twin later in the same batch is no first sight
        return Sight.FIRST
    return Sight.DUPLICATE if known[identity] == n.digest else Sight.CONFLICT
