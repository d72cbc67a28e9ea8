"""Every SQL statement of the notifier; no rule is decided here."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Addressee:
    """A contact that a message goes to."""

    customer_id: str | None
    recipient: str
    locale: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail to one recipient."""

    id: UUID
    message_id: str
    message_type: str
    customer_id: str | None
    recipient: str
    locale: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Mail:
    """A delivery with what is needed to send it."""

    delivery: Delivery
    email: str | None
    template: str
    params: str | None
    send_before: datetime | None


async def put_recipient(tx: Connection, token: str, lookup: bytes, email: str) -> str:
    """Return the token of an address, which is *token* if it was not known before."""
    found: str = await tx.fetchval(
        """
        INSERT INTO recipient (token, lookup, email)
             VALUES ($1, $2, $3)
        ON CONFLICT (lookup) DO UPDATE SET lookup = EXCLUDED.lookup
          RETURNING token
        """,
        token,
        lookup,
        email,
    )
    return found


async def put_contact(tx: Connection, row: Sequence[Any]) -> str:
    """Add or replace a contact; return the id that retention knows it by.

    *row*: customer, contact, record id if new, recipient, roles, locale, kind, subject token.
    """
    found: str = await tx.fetchval(
        """
        INSERT INTO contact (customer_id, contact_id, record_id, recipient, roles, locale, kind,
                             subject_token)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (customer_id, contact_id) DO UPDATE
                SET recipient = EXCLUDED.recipient,
                    roles = EXCLUDED.roles,
                    locale = EXCLUDED.locale,
                    kind = EXCLUDED.kind,
                    subject_token = EXCLUDED.subject_token,
                    verified = contact.verified AND contact.recipient = EXCLUDED.recipient,
                    removed = false
          RETURNING record_id
        """,
        *row,
    )
    return found


async def verify_contact(tx: Connection, customer_id: str, contact_id: str) -> bool:
    """Note that the address was confirmed; return False if there is no such contact."""
    status = await tx.execute(
        "UPDATE contact SET verified = true WHERE (customer_id, contact_id) = ($1, $2)",
        customer_id,
        contact_id,
    )
    return status == "UPDATE 1"


async def remove_contact(tx: Connection, customer_id: str, contact_id: str) -> str | None:
    """Write to a contact no more; return its record id, or None if there is no such contact."""
    found: str | None = await tx.fetchval(
        """
        UPDATE contact SET removed = true
         WHERE (customer_id, contact_id) = ($1, $2)
     RETURNING record_id
        """,
        customer_id,
        contact_id,
    )
    return found


async def drop_idle_recipients(tx: Connection) -> None:
    """Delete addresses that no contact has and no mail waits for."""
    await tx.execute(
        """
        DELETE FROM recipient
         WHERE NOT EXISTS (SELECT FROM contact WHERE recipient = token)
           AND NOT EXISTS (SELECT FROM delivery WHERE recipient = token AND NOT anonymised)
        """
    )


async def put_service(
    tx: Connection, customer_id: str, service_id: str, *, running: bool, since: datetime
) -> None:
    """Note whether a service runs, unless something later is known of it."""
    await tx.execute(
        """
        INSERT INTO service (customer_id, service_id, running, since)
             VALUES ($1, $2, $3, $4)
        ON CONFLICT (customer_id, service_id) DO UPDATE
                SET running = EXCLUDED.running, since = EXCLUDED.since
              WHERE service.since <= EXCLUDED.since
        """,
        customer_id,
        service_id,
        running,
        since,
    )


async def audience(
    tx: Connection, *, customers: Sequence[str] | None, service: str | None, roles: Sequence[str]
) -> list[Addressee]:
    """Return the contacts in any of *roles*, one for each address.

    Of all customers where *customers* is None; only those that use *service* where it is given.
    """
    rows = await tx.fetch(
        """
        SELECT DISTINCT ON (recipient) customer_id, recipient, locale
          FROM contact
         WHERE NOT removed
           AND NOT quarantined
           AND roles && $2
           AND ($1::text[] IS NULL OR customer_id = ANY($1))
           AND ($3::text IS NULL OR EXISTS (
                   SELECT FROM service
                    WHERE service.customer_id = contact.customer_id
                      AND service_id = $3 AND running))
      ORDER BY recipient, customer_id, contact_id
        """,
        customers,
        list(roles),
        service,
    )
    return [Addressee(**row) for row in rows]


async def add_message(tx: Connection, row: Sequence[Any]) -> bool:
    """Add a message (id, type, template, params, requested, after, before); False if known."""
    status = await tx.execute(
        """
        INSERT INTO message
                    (message_id, type, template, params, requested_at, send_after, send_before)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT DO NOTHING
        """,
        *row,
    )
    return status == "INSERT 0 1"


async def add_deliveries(
    tx: Connection,
    message_id: str,
    people: Sequence[tuple[UUID, Addressee]],
    state: str,
    now: datetime,
    next_try: datetime | None,
) -> None:
    """Plan a mail to each of *people*, or note why there is none."""
    await tx.execute(
        """
        INSERT INTO delivery
                    (id, message_id, customer_id, recipient, locale, state, changed_at, next_try_at)
             SELECT id, $1, customer_id, recipient, locale, $6, $7, $8
               FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[])
                    AS planned (id, customer_id, recipient, locale)
        """,
        message_id,
        [id_ for id_, _ in people],
        [p.customer_id for _, p in people],
        [p.recipient for _, p in people],
        [p.locale for _, p in people],
        state,
        now,
        next_try,
    )


async def claim(tx: Connection, now: datetime, worker: int) -> Mail | None:
    """Take the next mail to send and mark it ``sending``; None if nothing waits.

    The mark is the intent: it must be committed before the mail server is spoken to.
    """
    row = await tx.fetchrow(
        """
        WITH taken AS (
            UPDATE delivery
               SET state = 'sending', attempts = attempts + 1, next_try_at = NULL, worker = $2,
                   changed_at = $1
             WHERE id = (
                       SELECT id
                         FROM delivery
                        WHERE state IN ('queued', 'deferred') AND next_try_at <= $1
                     ORDER BY next_try_at
                        LIMIT 1
                          FOR UPDATE SKIP LOCKED)
         RETURNING *
        )
        SELECT taken.id, taken.message_id, message.type AS message_type, taken.customer_id,
               taken.recipient, taken.locale, taken.attempts, email, template, params, send_before
          FROM taken
          JOIN message USING (message_id)
     LEFT JOIN recipient ON token = taken.recipient
        """,
        now,
        worker,
    )
    return None if row is None else _mail(row)


@asynccontextmanager
async def working(connection: Connection, worker: int) -> AsyncGenerator[None]:
    """Show, until the block ends or the process dies, that *worker* lives."""
    await connection.execute("SELECT pg_advisory_lock($1)", worker)
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", worker)


async def claim_broken(tx: Connection, limit: int) -> list[Delivery]:
    """Return mails whose sender died while it was sending: nobody knows if they went out."""
    rows = await tx.fetch(
        """
        SELECT delivery.id, message_id, type AS message_type, customer_id, recipient, locale,
               attempts
          FROM delivery
          JOIN message USING (message_id)
         WHERE worker IN (
                   SELECT worker
                     FROM (SELECT DISTINCT worker FROM delivery WHERE worker IS NOT NULL) AS seen
                    WHERE pg_try_advisory_xact_lock(worker))
         LIMIT $1
           FOR UPDATE OF delivery SKIP LOCKED
        """,
        limit,
    )
    return [Delivery(**row) for row in rows]


def _mail(row: Any) -> Mail:
    names = ("id", "message_id", "message_type", "customer_id", "recipient", "locale", "attempts")
    delivery = Delivery(**{name: row[name] for name in names})
    return Mail(delivery, row["email"], row["template"], row["params"], row["send_before"])


async def settle(
    tx: Connection,
    delivery: UUID,
    state: str,
    now: datetime,
    *,
    reply: str | None,
    next_try: datetime | None,
) -> None:
    """Note what became of an attempt."""
    await tx.execute(
        """
        UPDATE delivery
           SET state = $2, changed_at = $3, reply = $4, next_try_at = $5, worker = NULL
         WHERE id = $1
        """,
        delivery,
        state,
        now,
        reply,
        next_try,
    )


async def finish_messages(tx: Connection, now: datetime) -> list[str]:
    """Mark messages done whose every delivery is in a final state; return their ids."""
    rows = await tx.fetch(
        """
        UPDATE message SET done_at = $1
         WHERE done_at IS NULL
           AND NOT EXISTS (
                   SELECT FROM delivery
                    WHERE delivery.message_id = message.message_id
                      AND state IN ('queued', 'sending', 'deferred'))
     RETURNING message_id
        """,
        now,
    )
    return [row["message_id"] for row in rows]


async def raise_alert(
    tx: Connection, fingerprint: str, severity: str, summary: str, now: datetime
) -> int | None:
    """Note an alert; return its round if it is news, None if it stands already."""
    rounds: int | None = await tx.fetchval(
        """
        INSERT INTO alert (fingerprint, severity, summary, raised_at)
             VALUES ($1, $2, $3, $4)
        ON CONFLICT (fingerprint) DO UPDATE
                SET severity = EXCLUDED.severity, summary = EXCLUDED.summary,
                    raised_at = EXCLUDED.raised_at, resolved_at = NULL, rounds = alert.rounds + 1
              WHERE alert.resolved_at IS NOT NULL
          RETURNING rounds
        """,
        fingerprint,
        severity,
        summary,
        now,
    )
    return rounds


async def resolve_alert(tx: Connection, fingerprint: str, now: datetime) -> int | None:
    """Note that an alert is over; return its round, None if it did not stand."""
    rounds: int | None = await tx.fetchval(
        """
        UPDATE alert SET resolved_at = $2
         WHERE fingerprint = $1 AND resolved_at IS NULL
     RETURNING rounds
        """,
        fingerprint,
        now,
    )
    return rounds


async def hide(
    tx: Connection, table: str, column: str, refs: Sequence[str], *, hidden: bool
) -> list[str]:
    """Set or lift the quarantine of rows of *table*; return those that exist."""
    rows = await tx.fetch(
        f"""
        UPDATE {table} SET quarantined = $2
         WHERE {column}::text = ANY($1)
     RETURNING {column}::text AS ref
        """,  # noqa: S608 - names from the holder's own table
        list(refs),
        hidden,
    )
    return [row["ref"] for row in rows]


async def erase_contacts(tx: Connection, refs: Sequence[str]) -> list[str]:
    """Delete contacts; return those that existed."""
    rows = await tx.fetch(
        "DELETE FROM contact WHERE record_id = ANY($1) RETURNING record_id", list(refs)
    )
    return [row["record_id"] for row in rows]


async def erase_bodies(tx: Connection, refs: Sequence[str]) -> list[str]:
    """Empty messages of their content; return those that existed."""
    rows = await tx.fetch(
        """
        UPDATE message SET params = NULL, quarantined = false
         WHERE message_id = ANY($1)
     RETURNING message_id
        """,
        list(refs),
    )
    return [row["message_id"] for row in rows]


async def anonymise_deliveries(tx: Connection, fresh: Sequence[tuple[str, str]]) -> list[str]:
    """Part deliveries from their recipients: (delivery, new token that leads nowhere)."""
    rows = await tx.fetch(
        """
        UPDATE delivery
           SET recipient = fresh.token, customer_id = NULL, reply = NULL, anonymised = true,
               quarantined = false
          FROM unnest($1::text[], $2::text[]) AS fresh (ref, token)
         WHERE delivery.id::text = fresh.ref
     RETURNING fresh.ref
        """,
        [ref for ref, _ in fresh],
        [token for _, token in fresh],
    )
    return [row["ref"] for row in rows]


async def messages(tx: Connection, before: datetime, limit: int) -> list[dict[str, Any]]:
    """Return messages asked for before an instant, newest first, with their counts by state."""
    rows = await tx.fetch(
        """
        SELECT message_id, type, template, requested_at, done_at,
               (SELECT coalesce(json_object_agg(state, n), '{}') FROM (
                    SELECT state, count(*) AS n FROM delivery
                     WHERE delivery.message_id = message.message_id GROUP BY state) AS counted
               )::text AS states
          FROM message
         WHERE requested_at < $1
      ORDER BY requested_at DESC
         LIMIT $2
        """,
        before,
        limit,
    )
    return [dict(row) for row in rows]


async def deliveries(
    tx: Connection,
    *,
    message_id: str | None,
    customer: str | None,
    state: str | None,
    after: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return deliveries that match, in the order they were planned, recipients as tokens."""
    rows = await tx.fetch(
        """
        SELECT id, message_id, type AS message_type, customer_id, recipient, state, attempts,
               reply, changed_at
          FROM delivery
          JOIN message USING (message_id)
         WHERE NOT delivery.quarantined
           AND ($1::text IS NULL OR message_id = $1)
           AND ($2::text IS NULL OR customer_id = $2)
           AND ($3::text IS NULL OR state = $3)
           AND ($4::uuid IS NULL OR delivery.id > $4)
      ORDER BY delivery.id
         LIMIT $5
        """,
        message_id,
        customer,
        state,
        after,
        limit,
    )
    return [dict(row) for row in rows]
