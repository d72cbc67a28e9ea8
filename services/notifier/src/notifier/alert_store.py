"""Every SQL statement about alerts; no rule is decided here."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from notifier.alert_policy import Matchers
from notifier.alerting import Acknowledgement, Alert, Mark, Notice, Silence, State, Track
from shared.postgres import Connection

_matchers: TypeAdapter[Matchers] = TypeAdapter(Matchers)


# --- alerts --------------------------------------------------------------------------------------

_ALERT = """
    fingerprint, severity, summary, labels, runbook, raised_at, heard_at, seen_at, resolved_at,
    gone_at, fresh, acked_by, acked_at, acked_until
"""


async def alert(tx: Connection, fingerprint: str) -> Alert | None:
    """Return an alert; nobody else changes it before the transaction ends."""
    row = await tx.fetchrow(
        f"SELECT {_ALERT} FROM alert WHERE fingerprint = $1 FOR UPDATE",  # noqa: S608
        fingerprint,
    )
    return None if row is None else _alert(row)


async def standing(tx: Connection) -> list[Alert]:
    """Return the alerts that stand."""
    rows = await tx.fetch(
        f"SELECT {_ALERT} FROM alert WHERE resolved_at IS NULL"  # noqa: S608 - a constant
    )
    return [_alert(row) for row in rows]


async def standing_of(tx: Connection, fingerprints: Collection[str]) -> list[Alert]:
    """Return those of some alerts that stand."""
    rows = await tx.fetch(
        f"""
        SELECT {_ALERT} FROM alert
         WHERE fingerprint = ANY($1) AND resolved_at IS NULL
      ORDER BY raised_at, fingerprint
        """,  # noqa: S608 - a constant
        list(fingerprints),
    )
    return [_alert(row) for row in rows]


async def standing_to_change(tx: Connection, fingerprints: Collection[str]) -> list[Alert]:
    """Return those of some alerts that stand; nobody else changes them meanwhile."""
    rows = await tx.fetch(
        f"""
        SELECT {_ALERT} FROM alert
         WHERE fingerprint = ANY($1) AND resolved_at IS NULL
      ORDER BY fingerprint
           FOR UPDATE
        """,  # noqa: S608 - a constant
        list(fingerprints),
    )
    return [_alert(row) for row in rows]


def _alert(row: Any) -> Alert:
    fields = dict(row)
    by, at, until = (fields.pop(name) for name in ("acked_by", "acked_at", "acked_until"))
    fields["labels"] = json.loads(fields["labels"])
    return Alert(**fields, acknowledged=None if by is None else Acknowledgement(by, at, until))


async def add(tx: Connection, new: Alert) -> bool:
    """Add an alert; return False if one of its fingerprint is known."""
    status = await tx.execute(
        f"""
        INSERT INTO alert ({_ALERT})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT DO NOTHING
        """,  # noqa: S608 - a constant
        *_values(new),
    )
    return status == "INSERT 0 1"


async def put(tx: Connection, changed: Alert) -> None:
    """Keep an alert as it is now."""
    await tx.execute(
        """
        UPDATE alert
           SET severity = $2, summary = $3, labels = $4, runbook = $5, raised_at = $6,
               heard_at = $7, seen_at = $8, resolved_at = $9, gone_at = $10, fresh = $11,
               acked_by = $12, acked_at = $13, acked_until = $14,
               rounds = rounds + (resolved_at IS NOT NULL AND $9::timestamptz IS NULL)::int
         WHERE fingerprint = $1
        """,
        *_values(changed),
    )


def _values(alert: Alert) -> tuple[Any, ...]:
    ack = alert.acknowledged
    return (
        alert.fingerprint,
        alert.severity,
        alert.summary,
        json.dumps(dict(alert.labels)),
        alert.runbook,
        alert.raised_at,
        alert.heard_at,
        alert.seen_at,
        alert.resolved_at,
        alert.gone_at,
        alert.fresh,
        None if ack is None else ack.by,
        None if ack is None else ack.at,
        None if ack is None else ack.until,
    )


# --- what the engine looks at --------------------------------------------------------------------


async def state(tx: Connection, now: datetime, since: datetime) -> State:
    """Return all that decides what is due at *now*; of mails that count, those *since*."""
    tracks = [_track(row) for row in await tx.fetch("SELECT * FROM alert_track")]
    marked = sorted({fingerprint for track in tracks for fingerprint in track.marks})
    rows = await tx.fetch(
        f"""
        SELECT {_ALERT}
          FROM alert
         WHERE resolved_at IS NULL OR fresh OR fingerprint = ANY($1)
      ORDER BY fingerprint
        """,  # noqa: S608 - a constant
        marked,
    )
    counted = await tx.fetch(
        "SELECT receiver, at FROM alert_notice WHERE counts AND at > $1 ORDER BY at", since
    )
    sent: dict[str, list[datetime]] = {}
    for row in counted:
        sent.setdefault(row["receiver"], []).append(row["at"])
    return State([_alert(row) for row in rows], tracks, await silences(tx, now), sent)


def _track(row: Any) -> Track:
    marks = {
        fingerprint: Mark(severity, datetime.fromisoformat(first), datetime.fromisoformat(last))
        for fingerprint, (severity, first, last) in json.loads(row["marks"]).items()
    }
    return Track(
        row["group_id"],
        row["receiver"],
        json.loads(row["labels"]),
        row["number"],
        row["told_at"],
        row["held_at"],
        row["thread"],
        marks,
    )


async def put_tracks(tx: Connection, tracks: Iterable[Track]) -> None:
    """Keep what receivers were told of groups."""
    await tx.executemany(
        """
        INSERT INTO alert_track
                    (group_id, receiver, labels, number, told_at, held_at, thread, marks)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (group_id, receiver) DO UPDATE
                SET number = EXCLUDED.number, told_at = EXCLUDED.told_at,
                    held_at = EXCLUDED.held_at, thread = EXCLUDED.thread, marks = EXCLUDED.marks
        """,
        [
            (
                track.group,
                track.receiver,
                json.dumps(dict(track.labels)),
                track.number,
                track.told_at,
                track.held_at,
                track.thread,
                json.dumps({f: _mark(mark) for f, mark in track.marks.items()}),
            )
            for track in tracks
        ],
    )


def _mark(mark: Mark) -> list[str | None]:
    return [mark.severity, mark.first_at.isoformat(), mark.at.isoformat()]


async def looked_at(tx: Connection, alerts: Iterable[Alert]) -> None:
    """Note that alerts are no longer fresh, but for those raised again since."""
    await tx.executemany(
        "UPDATE alert SET fresh = false WHERE fingerprint = $1 AND seen_at = $2 AND fresh",
        [(alert.fingerprint, alert.seen_at) for alert in alerts],
    )


async def end(tx: Connection, alerts: Iterable[Alert], now: datetime) -> None:
    """Note that alerts are over by themselves, but for those that were heard of since."""
    await tx.executemany(
        """
        UPDATE alert
           SET resolved_at = $3, gone_at = $3, fresh = false,
               acked_by = NULL, acked_at = NULL, acked_until = NULL
         WHERE fingerprint = $1 AND heard_at = $2 AND resolved_at IS NULL
        """,
        [(alert.fingerprint, alert.heard_at, now) for alert in alerts],
    )


# --- silences ------------------------------------------------------------------------------------


async def silences(tx: Connection, now: datetime) -> list[Silence]:
    """Return the silences that have not ended."""
    rows = await tx.fetch(
        """
        SELECT id, matchers, by, reason, starts_at, ends_at
          FROM alert_silence WHERE ends_at > $1
      ORDER BY starts_at, id
        """,
        now,
    )
    return [_silence(dict(row)) for row in rows]


def _silence(row: dict[str, Any]) -> Silence:
    row["matchers"] = _matchers.validate_json(row["matchers"])
    return Silence(**row)


async def add_silence(tx: Connection, silence: Silence, now: datetime) -> None:
    """Keep a silence."""
    await tx.execute(
        """
        INSERT INTO alert_silence (id, matchers, by, reason, starts_at, ends_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        silence.id,
        _matchers.dump_json(silence.matchers).decode(),
        silence.by,
        silence.reason,
        silence.starts_at,
        silence.ends_at,
        now,
    )


async def end_silence(tx: Connection, id_: UUID, by: str, now: datetime) -> bool:
    """End a silence before its time; return False if there is none that lasts."""
    status = await tx.execute(
        """
        UPDATE alert_silence SET ends_at = greatest($3, starts_at), expired_by = $2
         WHERE id = $1 AND ends_at > $3
        """,
        id_,
        by,
        now,
    )
    return status == "UPDATE 1"


# --- notices -------------------------------------------------------------------------------------


async def add_notice(
    tx: Connection, notice: Notice, channel: str, now: datetime, body: str | None = None
) -> bool:
    """Note that somebody is told; return False if it was noted before.

    What has a *body* waits to be passed on.
    """
    state = None if body is None else "queued"
    status = await tx.execute(
        """
        INSERT INTO alert_notice
                    (id, channel, receiver, kind, at, counts, alerts, body, state, next_try_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT DO NOTHING
        """,
        notice.id,
        channel,
        notice.receiver,
        notice.kind,
        now,
        notice.counts,
        [alert.fingerprint for alert in notice.standing],
        body,
        state,
        None if body is None else now,
    )
    return status == "INSERT 0 1"


async def told_by(tx: Connection, notice_id: str) -> tuple[list[str], datetime] | None:
    """Return the fingerprints of what a notice said stands, and when; None if there is none."""
    row = await tx.fetchrow("SELECT alerts, at FROM alert_notice WHERE id = $1", notice_id)
    return None if row is None else (row["alerts"], row["at"])


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that is to be passed on."""

    id: str
    body: str
    attempts: int
    at: datetime


async def take_waiting(tx: Connection, now: datetime) -> Waiting | None:
    """Return the notice that has waited longest; no other transaction gets it meanwhile.

    Of those about one group none overtakes another while all goes well.
    """
    row = await tx.fetchrow(
        """
        SELECT id, body, attempts, at
          FROM alert_notice WHERE next_try_at <= $1
      ORDER BY next_try_at, at, id
         LIMIT 1
           FOR UPDATE SKIP LOCKED
        """,
        now,
    )
    return None if row is None else Waiting(**row)


async def passed_on(
    tx: Connection, id_: str, state: str, answer: str, next_try_at: datetime | None
) -> None:
    """Note what became of an attempt to pass a notice on."""
    await tx.execute(
        """
        UPDATE alert_notice
           SET state = $2, answer = $3, next_try_at = $4, attempts = attempts + 1
         WHERE id = $1
        """,
        id_,
        state,
        answer,
        next_try_at,
    )


async def notices(tx: Connection, limit: int) -> list[dict[str, Any]]:
    """Return what was told, newest first."""
    rows = await tx.fetch(
        """
        SELECT id, channel, receiver, kind, at, alerts, state, attempts, next_try_at, answer
          FROM alert_notice ORDER BY at DESC, id LIMIT $1
        """,
        limit,
    )
    return [dict(row) for row in rows]


# --- signs of life -------------------------------------------------------------------------------


async def pulses(tx: Connection) -> dict[str, datetime]:
    """Return when each part of the way last gave a sign of life."""
    rows = await tx.fetch("SELECT name, at FROM alert_pulse")
    return {row["name"]: row["at"] for row in rows}


async def beat(tx: Connection, name: str, now: datetime, since: datetime) -> None:
    """Note a sign of life, unless there was one *since*: all would wait for one row otherwise."""
    await tx.execute(
        """
        INSERT INTO alert_pulse (name, at)
             SELECT $1, $2
              WHERE NOT EXISTS (SELECT FROM alert_pulse WHERE name = $1 AND at >= $3)
        ON CONFLICT (name) DO UPDATE SET at = greatest(alert_pulse.at, EXCLUDED.at)
        """,
        name,
        now,
        since,
    )


async def unsent_since(tx: Connection, message_type: str, priority: int, at: datetime) -> bool:
    """Return whether a mail of a type has waited to be sent since *at*, and nobody has tried."""
    found: bool = await tx.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM waiting JOIN delivery ON delivery.id = waiting.delivery
             WHERE waiting.priority = $2 AND next_try_at <= $3
               AND message_type = $1 AND state = 'queued')
        """,
        message_type,
        priority,
        at,
    )
    return found


def silences_as_rows(found: Sequence[Silence]) -> list[dict[str, Any]]:
    """Return silences as they are shown."""
    return [
        {
            "id": str(silence.id),
            "matchers": [matcher.model_dump() for matcher in silence.matchers],
            "by": silence.by,
            "reason": silence.reason,
            "starts_at": silence.starts_at,
            "ends_at": silence.ends_at,
        }
        for silence in found
    ]
