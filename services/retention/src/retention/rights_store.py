"""SQL of requests about the rights of persons; no rule is decided here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from retention.purge_store import HELD
from retention.rights_matrix import Decision, Held
from retention.rights_rules import UNANSWERED, Clock, Right, State
from shared.postgres import Connection
from shared.wording import Language


@dataclass(frozen=True, slots=True)
class Case:
    """A request, as it stands.

    Attributes:
        unseal: Opens what holders sealed; gone once the answer is out.
        fetch_by: The digest of what the link to the copy says.
    """

    id: str
    claim: Right
    subjects: list[str]
    received_on: date
    channel: str
    email: str | None
    name: str | None
    locale: Language
    details: str | None
    state: State = "received"
    asked_on: date | None = None
    shown_on: date | None = None
    extended_on: date | None = None
    due_on: date | None = None
    four_eyes: bool = False
    decided_by: str | None = None
    approved_by: str | None = None
    answered_on: date | None = None
    unseal: bytes | None = None
    seal_to: str | None = None
    package: str | None = None
    fetch_by: bytes | None = None
    fetch_until: datetime | None = None
    quarantined: bool = False

    @property
    def clock(self) -> Clock:
        """The clock of the request."""
        return Clock(self.received_on, self.asked_on, self.shown_on, self.extended_on)


@dataclass(frozen=True, slots=True)
class Task:
    """What a holder was asked to do."""

    id: UUID
    case_id: str
    holder: str
    category: str
    action: str
    refs: list[str]
    state: str
    attempts: int = 1
    next_try_at: datetime | None = None
    records: int | None = None
    object: str | None = None
    done_by: str | None = None


_CASE: Final = [field.name for field in fields(Case)]
_CASE_COLUMNS: Final = ", ".join(_CASE)
_TASK: Final = [field.name for field in fields(Task)]
_TASK_COLUMNS: Final = ", ".join(_TASK)
_DECISION: Final = [field.name for field in fields(Decision)]


async def add(tx: Connection, case: Case) -> bool:
    """Keep a new case; return False if there is one of that id."""
    places = ", ".join(f"${n}" for n in range(1, len(_CASE) + 1))
    status = await tx.execute(
        f"INSERT INTO rights_case ({_CASE_COLUMNS}) VALUES ({places}) ON CONFLICT DO NOTHING",  # noqa: S608 - columns
        *(getattr(case, name) for name in _CASE),
    )
    return status == "INSERT 0 1"


async def keep(tx: Connection, case: Case) -> None:
    """Keep a case as it stands now."""
    sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(_CASE, 1) if name != "id")
    await tx.execute(
        f"UPDATE rights_case SET {sets} WHERE id = $1",  # noqa: S608 - names of columns
        *(getattr(case, name) for name in _CASE),
    )


async def lock(tx: Connection, case_id: str) -> Case | None:
    """Return a case, which nobody else changes until *tx* ends."""
    row = await tx.fetchrow(
        f"SELECT {_CASE_COLUMNS} FROM rights_case WHERE id = $1 AND NOT quarantined FOR UPDATE",  # noqa: S608 - columns
        case_id,
    )
    return None if row is None else Case(**row)


async def case(tx: Connection, case_id: str) -> Case | None:
    """Return a case."""
    row = await tx.fetchrow(
        f"SELECT {_CASE_COLUMNS} FROM rights_case WHERE id = $1 AND NOT quarantined",  # noqa: S608 - columns
        case_id,
    )
    return None if row is None else Case(**row)


async def fetchable(tx: Connection, fetch_by: bytes, now: datetime) -> Case | None:
    """Return the case whose copy a link leads to, if it has not run out."""
    row = await tx.fetchrow(
        f"SELECT {_CASE_COLUMNS} FROM rights_case"  # noqa: S608 - names of columns
        " WHERE fetch_by = $1 AND fetch_until > $2 AND NOT quarantined",
        fetch_by,
        now,
    )
    return None if row is None else Case(**row)


async def cases(
    tx: Connection, states: Collection[str], after: tuple[date, str], limit: int
) -> list[Case]:
    """Return up to *limit* cases in *states* that come after a due day and an id, soonest first.

    Those whose clock stands still come last.
    """
    rows = await tx.fetch(
        f"""
        SELECT {_CASE_COLUMNS}
          FROM rights_case
         WHERE state = ANY($1)
           AND NOT quarantined
           AND (coalesce(due_on, 'infinity'::date), id) > ($2, $3)
      ORDER BY coalesce(due_on, 'infinity'::date), id
         LIMIT $4
        """,  # noqa: S608 - names of columns
        list(states),
        *after,
        limit,
    )
    return [Case(**row) for row in rows]


async def due(tx: Connection) -> list[tuple[str, Clock]]:
    """Return the cases that are not answered and whose clock runs."""
    rows = await tx.fetch(
        """
        SELECT id, received_on, asked_on, shown_on, extended_on
          FROM rights_case
         WHERE state = ANY($1) AND due_on IS NOT NULL
      ORDER BY due_on, id
        """,
        list(UNANSWERED),
    )
    return [(row["id"], Clock(*tuple(row)[1:])) for row in rows]


async def held_about(tx: Connection, subjects: Collection[str], now: datetime) -> list[Held]:
    """Return the records that tell of a person, known by tokens."""
    rows = await tx.fetch(
        f"""
        SELECT record.id, holder, record.category, record_id, status, keep_through, statutory,
               floor, {HELD} AS held
          FROM record
          JOIN deadline_key ON deadline_key.id = record.key
         WHERE record.id IN (SELECT record FROM record_subject WHERE token = ANY($2))
      ORDER BY record.id
        """,  # noqa: S608 - a constant condition
        now,
        list(subjects),
    )
    return [Held(**row) for row in rows]


async def put_decisions(tx: Connection, case_id: str, decisions: Sequence[Decision]) -> None:
    """Keep what was decided, in the place of what was decided before."""
    await tx.execute("DELETE FROM rights_decision WHERE case_id = $1", case_id)
    await tx.copy_records_to_table(
        "rights_decision",
        columns=["case_id", *_DECISION],
        records=[(case_id, *(getattr(d, name) for name in _DECISION)) for d in decisions],
    )


async def decisions(tx: Connection, case_id: str) -> list[Decision]:
    """Return what was decided."""
    rows = await tx.fetch(
        f"SELECT {', '.join(_DECISION)} FROM rights_decision"  # noqa: S608 - names of columns
        " WHERE case_id = $1 ORDER BY category",
        case_id,
    )
    return [Decision(**row) for row in rows]


async def add_tasks(tx: Connection, tasks: Sequence[Task]) -> None:
    """Keep what holders are asked to do."""
    await tx.copy_records_to_table(
        "rights_task",
        columns=_TASK,
        records=[tuple(getattr(task, name) for name in _TASK) for task in tasks],
    )


async def tasks(tx: Connection, case_id: str) -> list[Task]:
    """Return what holders were asked to do for a case."""
    rows = await tx.fetch(
        f"SELECT {_TASK_COLUMNS} FROM rights_task WHERE case_id = $1 ORDER BY id",  # noqa: S608
        case_id,
    )
    return [Task(**row) for row in rows]


async def case_of_task(tx: Connection, task: UUID, holder: str | None = None) -> str | None:
    """Return the case that a task is for, if it is that holder's."""
    found: str | None = await tx.fetchval(
        "SELECT case_id FROM rights_task WHERE id = $1 AND holder = coalesce($2, holder)",
        task,
        holder,
    )
    return found


async def answered(tx: Connection, task: UUID, state: str, records: int) -> None:
    """Note the first answer of a holder."""
    await tx.execute(
        """
        UPDATE rights_task
           SET state = $2, next_try_at = NULL, records = $3
         WHERE id = $1 AND state = 'asked'
        """,
        task,
        state,
        records,
    )


async def done_by_hand(tx: Connection, task: UUID, by: str) -> bool:
    """Note that somebody did a task; return False if it is not left to people."""
    status = await tx.execute(
        "UPDATE rights_task SET state = 'done', done_by = $2 WHERE id = $1 AND state = 'by-hand'",
        task,
        by,
    )
    return status == "UPDATE 1"


async def silent(tx: Connection, now: datetime, limit: int) -> list[Task]:
    """Return tasks to which holders have not answered in time."""
    rows = await tx.fetch(
        f"""
        SELECT {_TASK_COLUMNS}
          FROM rights_task
         WHERE state = 'asked' AND next_try_at <= $1
      ORDER BY next_try_at, id
         LIMIT $2
           FOR UPDATE
        """,  # noqa: S608 - names of columns
        now,
        limit,
    )
    return [Task(**row) for row in rows]


async def asked_again(tx: Connection, task: UUID, next_try_at: datetime) -> None:
    """Note that a holder was asked once more."""
    await tx.execute(
        "UPDATE rights_task SET attempts = attempts + 1, next_try_at = $2 WHERE id = $1",
        task,
        next_try_at,
    )


async def ask_anew(tx: Connection, task: UUID, now: datetime) -> None:
    """Have a holder asked again for a copy that cannot be used."""
    await tx.execute(
        "UPDATE rights_task SET state = 'asked', next_try_at = $2 WHERE id = $1", task, now
    )


async def need_no_copies(tx: Connection, case_id: str, by: str) -> None:
    """Ask for copies no more."""
    await tx.execute(
        """
        UPDATE rights_task
           SET state = 'done', next_try_at = NULL, done_by = $2
         WHERE case_id = $1 AND state <> 'done' AND action IN ('collect', 'export')
        """,
        case_id,
        by,
    )


async def useless_objects(tx: Connection) -> list[str]:
    """Return the names of objects that nobody can open any more."""
    rows = await tx.fetch(
        """
        SELECT object
          FROM rights_task
          JOIN rights_case ON rights_case.id = case_id
         WHERE object IS NOT NULL AND unseal IS NULL
         UNION ALL
        SELECT package FROM rights_case WHERE package IS NOT NULL AND fetch_by IS NULL
        """
    )
    return [row[0] for row in rows]


async def objects_gone(tx: Connection, names: Sequence[str]) -> None:
    """Note that objects were deleted."""
    await tx.execute("UPDATE rights_task SET object = NULL WHERE object = ANY($1)", names)
    await tx.execute("UPDATE rights_case SET package = NULL WHERE package = ANY($1)", names)


async def to_answer(tx: Connection) -> list[str]:
    """Return the approved cases for which every holder has done what it was asked to."""
    rows = await tx.fetch(
        """
        SELECT id
          FROM rights_case
         WHERE state = 'approved'
           AND NOT EXISTS (SELECT FROM rights_task WHERE case_id = rights_case.id
                                                     AND rights_task.state <> 'done')
      ORDER BY due_on, id
        """
    )
    return [row["id"] for row in rows]


async def run_out(tx: Connection, now: datetime) -> list[str]:
    """Return the answered cases whose copy can be fetched no more."""
    rows = await tx.fetch(
        "SELECT id FROM rights_case WHERE state = 'answered' AND fetch_until <= $1 ORDER BY id", now
    )
    return [row["id"] for row in rows]


async def wait_to_erase(tx: Connection, case_id: str, records: Collection[int], by: str) -> None:
    """Note that records are to be erased once no service needs them."""
    await tx.execute(
        """
        INSERT INTO rights_erasure (record, case_id, by)
             SELECT record, $2, $3 FROM unnest($1::bigint[]) AS record
        ON CONFLICT DO NOTHING
        """,
        list(records),
        case_id,
        by,
    )


async def needed_no_more(tx: Connection) -> list[tuple[tuple[str, str, str], str]]:
    """Take the records that waited for the end of services out, with who approved their erasure.

    Those that are gone are forgotten.
    """
    rows = await tx.fetch(
        """
        WITH over AS (
            DELETE FROM rights_erasure
             WHERE NOT EXISTS (SELECT
                                 FROM record
                                 JOIN deadline_key ON deadline_key.id = record.key
                                WHERE record.id = rights_erasure.record AND status = 'open')
         RETURNING record, by
        )
        SELECT holder, category, record_id, by
          FROM over
          JOIN record ON record.id = over.record
      ORDER BY record.id
        """
    )
    return [((row[0], row[1], row[2]), row[3]) for row in rows]


async def hide(tx: Connection, refs: Sequence[str], *, hidden: bool) -> list[str]:
    """Hide cases, or show them again; return those that there are."""
    rows = await tx.fetch(
        "UPDATE rights_case SET quarantined = $2 WHERE id = ANY($1) RETURNING id",
        list(refs),
        hidden,
    )
    return [row["id"] for row in rows]


async def forget(tx: Connection, refs: Sequence[str]) -> list[str]:
    """Delete cases with all that belongs to them; return those that there were."""
    rows = await tx.fetch("DELETE FROM rights_case WHERE id = ANY($1) RETURNING id", list(refs))
    return [row["id"] for row in rows]


async def files(tx: Connection, refs: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the files of cases say of who asked."""
    rows = await tx.fetch(
        """
        SELECT id, claim, received_on, channel, email, name, details, state, answered_on,
               (SELECT coalesce(json_agg(json_build_object('category', category, 'decision',
                                decision, 'article', article, 'reason', reason)
                                ORDER BY category), '[]')
                  FROM rights_decision WHERE case_id = rights_case.id)::text AS decisions
          FROM rights_case
         WHERE id = ANY($1)
      ORDER BY id
        """,
        list(refs),
    )
    return [dict(row) for row in rows]
