"""Every SQL statement of the notifier but those of alerts; no rule is decided here."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from typing import Any, Final
from uuid import UUID

from notifier.audience import Candidate, Suppression
from notifier.delivery import State
from notifier.template import Version
from shared.postgres import Connection

# --- templates -----------------------------------------------------------------------------------


async def templates(tx: Connection) -> list[Version]:
    """Return every version of a template that was ever in use."""
    rows = await tx.fetch("SELECT name, version, content FROM template")
    return [Version.of(row["name"], row["version"], row["content"]) for row in rows]


async def add_templates(tx: Connection, versions: Sequence[Version], now: datetime) -> None:
    """Keep versions that are not kept yet."""
    await tx.executemany(
        """
        INSERT INTO template (name, version, content, since)
             VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        [(v.name, v.number, v.content, now) for v in versions],
    )


# --- contacts ------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Kept:
    """A contact as it is kept now."""

    record_id: str
    recipient: str
    verified: bool


async def put_contact(tx: Connection, row: Sequence[Any]) -> Kept:
    """Add or replace a contact; return it.

    *row*: customer, contact, record id if new, recipient, roles, locale, kind, subject token.
    """
    [found] = await tx.fetch(
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
          RETURNING record_id, recipient, verified
        """,
        *row,
    )
    return Kept(**found)


async def set_bases(
    tx: Connection, customer_id: str, contact_id: str, bases: Sequence[tuple[str, str, datetime]]
) -> None:
    """Keep why a contact may get optional messages: (type, basis, since), and no others."""
    await tx.execute(
        "DELETE FROM basis WHERE (customer_id, contact_id) = ($1, $2)", customer_id, contact_id
    )
    await tx.executemany(
        "INSERT INTO basis VALUES ($1, $2, $3, $4, $5)",
        [(customer_id, contact_id, *basis) for basis in bases],
    )


async def verify_contact(tx: Connection, customer_id: str, contact_id: str) -> str | None:
    """Note that the address was confirmed; return its token, None if there is no such contact."""
    found: str | None = await tx.fetchval(
        """
        UPDATE contact SET verified = true WHERE (customer_id, contact_id) = ($1, $2)
     RETURNING recipient
        """,
        customer_id,
        contact_id,
    )
    return found


async def verify_address(tx: Connection, recipient: str) -> bool:
    """Note that an address was confirmed, whoever has it; return False if nobody has."""
    status = await tx.execute(
        "UPDATE contact SET verified = true WHERE recipient = $1 AND NOT removed", recipient
    )
    return status != "UPDATE 0"


async def release_verified(tx: Connection, recipient: str, question: str, now: datetime) -> None:
    """Let mails go that waited for an address to be confirmed; its *question* need not be asked."""
    await tx.execute(
        """
        WITH verified AS (
            UPDATE delivery SET reason = NULL, changed_at = $2
             WHERE recipient = $1 AND state = 'queued' AND reason = 'unverified'
         RETURNING id
        )
        UPDATE waiting SET next_try_at = $2 FROM verified WHERE delivery = verified.id
        """,
        recipient,
        now,
    )
    await tx.execute(
        _held_back("recipient = $3 AND message_type = $4"), "superseded", now, recipient, question
    )


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


async def put_service(
    tx: Connection,
    customer_id: str,
    service_id: str,
    *,
    running: bool,
    since: datetime,
    region: str | None,
) -> None:
    """Note whether a service runs and, if told, where; unless something later is known of it."""
    await tx.execute(
        """
        INSERT INTO service (customer_id, service_id, running, since, region)
             VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (customer_id, service_id) DO UPDATE
                SET running = EXCLUDED.running,
                    since = EXCLUDED.since,
                    region = coalesce(EXCLUDED.region, service.region)
              WHERE service.since <= EXCLUDED.since
        """,
        customer_id,
        service_id,
        running,
        since,
        region,
    )


async def without_technical_contact(tx: Connection, limit: int) -> list[str]:
    """Return customers with a running service whom no technical contact's address works for.

    One works that is confirmed and does not bounce.
    """
    rows = await tx.fetch(
        """
        SELECT DISTINCT customer_id
          FROM service
         WHERE running
           AND NOT EXISTS (
                   SELECT FROM contact
                     JOIN recipient ON token = recipient
                    WHERE contact.customer_id = service.customer_id
                      AND 'technical' = ANY(roles) AND verified AND NOT removed
                      AND NOT EXISTS (SELECT FROM suppression
                                       WHERE suppression.lookup = recipient.lookup
                                         AND scope = 'all'))
      ORDER BY customer_id
         LIMIT $1
        """,
        limit,
    )
    return [row["customer_id"] for row in rows]


# --- suppression ---------------------------------------------------------------------------------


async def suppress(
    tx: Connection, lookup: bytes, scope: str, reason: str, now: datetime, record_id: UUID
) -> bool:
    """Send an address no more mail of *scope*; return True if that is news.

    The last time that somebody objected counts: a basis of an earlier day does not overrule it.
    """
    kept = await tx.fetchval(
        """
        INSERT INTO suppression (lookup, scope, reason, since, record_id)
             VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (lookup, scope) DO UPDATE
                SET reason = EXCLUDED.reason, since = greatest(suppression.since, EXCLUDED.since)
          RETURNING record_id
        """,
        lookup,
        scope,
        reason,
        now,
        record_id,
    )
    return bool(kept == record_id)


async def stop_suppressed(
    tx: Connection, lookup: bytes, types: Collection[str], reason: str, now: datetime
) -> None:
    """Hold back what waits for an address, of some message types."""
    theirs = "recipient = (SELECT token FROM recipient WHERE lookup = $3)"
    await tx.execute(
        _held_back(f"{theirs} AND message_type = ANY($4)"), reason, now, lookup, list(types)
    )


async def lookup_of(tx: Connection, recipient: str) -> bytes | None:
    """Return the keyed hash of an address by its token; None if it was purged."""
    found: bytes | None = await tx.fetchval(
        "SELECT lookup FROM recipient WHERE token = $1", recipient
    )
    return found


# --- planning ------------------------------------------------------------------------------------

_CANDIDATES = """
    SELECT contact.customer_id, contact.recipient, contact.locale, verified, domain,
           CASE WHEN NOT restricted THEN basis.since END AS basis_since, scopes, reasons, sinces
      FROM contact
      JOIN recipient ON token = contact.recipient
 LEFT JOIN basis ON (basis.customer_id, basis.contact_id, message_type)
                  = (contact.customer_id, contact.contact_id, $1)
 CROSS JOIN LATERAL (
           SELECT array_agg(scope ORDER BY scope) AS scopes,
                  array_agg(reason ORDER BY scope) AS reasons,
                  array_agg(since ORDER BY scope) AS sinces
             FROM suppression WHERE suppression.lookup = recipient.lookup) AS held
     WHERE NOT removed AND NOT contact.quarantined
"""


async def audience(
    tx: Connection,
    *,
    customers: Collection[str] | None,
    roles: Sequence[str],
    message_type: str,
) -> list[tuple[Candidate, str]]:
    """Return the contacts in any of *roles*, each with the domain of its address.

    Of all customers where *customers* is None.
    """
    rows = await tx.fetch(
        f"""
        {_CANDIDATES}
           AND ($2::text[] IS NULL OR contact.customer_id = ANY($2))
           AND roles && $3
      ORDER BY contact.customer_id, contact.contact_id
        """,
        message_type,
        None if customers is None else list(customers),
        list(roles),
    )
    return [(_candidate(row), row["domain"]) for row in rows]


async def candidate(tx: Connection, recipient: str, message_type: str) -> list[Candidate]:
    """Return the contacts who have an address, by its token."""
    rows = await tx.fetch(f"{_CANDIDATES} AND contact.recipient = $2", message_type, recipient)
    return [_candidate(row) for row in rows]


def _candidate(row: Any) -> Candidate:
    held = zip(row["scopes"] or (), row["reasons"] or (), row["sinces"] or (), strict=True)
    return Candidate(
        row["customer_id"],
        row["recipient"],
        row["locale"],
        row["verified"],
        row["basis_since"],
        tuple(starmap(Suppression, held)),
    )


async def suppressions(
    tx: Connection, recipients: Collection[str]
) -> dict[str, tuple[Suppression, ...]]:
    """Return what is not sent to addresses, by their tokens; those left out get all."""
    rows = await tx.fetch(
        """
        SELECT token, scope, reason, since
          FROM recipient JOIN suppression USING (lookup)
         WHERE token = ANY($1)
      ORDER BY token, scope
        """,
        list(recipients),
    )
    held: dict[str, tuple[Suppression, ...]] = {}
    for token, *suppression in rows:
        held[token] = (*held.get(token, ()), Suppression(*suppression))
    return held


async def customers(tx: Connection) -> list[str]:
    """Return all customers who use a service or have a contact."""
    rows = await tx.fetch(
        """
        SELECT customer_id FROM service WHERE running
         UNION
        SELECT customer_id FROM contact WHERE NOT removed
        """
    )
    return [row["customer_id"] for row in rows]


async def customers_of(tx: Connection, service: str | None, region: str | None) -> list[str]:
    """Return the customers who use a service, in a region; None where it does not matter."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT customer_id
          FROM service
         WHERE running
           AND ($1::text IS NULL OR service_id = $1)
           AND ($2::text IS NULL OR region = $2)
        """,
        service,
        region,
    )
    return [row["customer_id"] for row in rows]


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said, and until when; its parameters are None once they were purged."""

    message_id: str
    type: str
    template: str
    template_version: int
    params: str | None
    requested_at: datetime
    send_after: datetime | None = None
    send_before: datetime | None = None
    supersedes: str | None = None
    thread: str | None = None
    calendar: str | None = None


async def add_message(tx: Connection, message: Message) -> bool:
    """Add a message; return False if one of its id is known."""
    status = await tx.execute(
        """
        INSERT INTO message
                    (message_id, type, template, template_version, params, requested_at,
                     send_after, send_before, supersedes, thread, calendar)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT DO NOTHING
        """,
        message.message_id,
        message.type,
        message.template,
        message.template_version,
        message.params,
        message.requested_at,
        message.send_after,
        message.send_before,
        message.supersedes,
        message.thread,
        message.calendar,
    )
    return status == "INSERT 0 1"


async def message(tx: Connection, message_id: str) -> Message | None:
    """Return a message by its id."""
    row = await tx.fetchrow(
        """
        SELECT message_id, type, template, template_version, params, requested_at, send_after,
               send_before, supersedes, thread, calendar
          FROM message WHERE message_id = $1
        """,
        message_id,
    )
    return None if row is None else Message(**row)


async def address_customers(tx: Connection, message_id: str, customers: Collection[str]) -> None:
    """Note which customers a message is meant for."""
    await tx.execute(
        "INSERT INTO message_customer SELECT $1, unnest($2::text[])",
        message_id,
        sorted(customers),  # as they lie in its index
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """A delivery to be."""

    id: UUID
    customer_id: str | None
    recipient: str
    locale: str
    state: str
    reason: str | None
    next_try: datetime | None


async def add_deliveries(
    tx: Connection,
    message_id: str,
    message_type: str,
    priority: int,
    planned: Sequence[Planned],
    now: datetime,
) -> None:
    """Plan a mail to each recipient, or note why there is none."""
    await tx.execute(
        """
        WITH planned AS (
            SELECT *
              FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
                          $10::text[], $11::timestamptz[])
                   AS planned (id, customer_id, recipient, locale, state, reason, next_try)
        ), waits AS (
            INSERT INTO waiting (message_id, delivery, priority, next_try_at)
                 SELECT $1, id, $3, next_try FROM planned WHERE next_try IS NOT NULL
        )
        INSERT INTO delivery
                    (id, message_id, message_type, priority, customer_id, recipient, locale, state,
                     reason, changed_at, registered)
             SELECT id, $1, $2, $3, customer_id, recipient, locale, state, reason, $4,
                    state = 'suppressed'
               FROM planned
        """,
        message_id,
        message_type,
        priority,
        now,
        *([getattr(p, name) for p in planned] for name in Planned.__slots__),
    )


def _held_back(which: str, earlier: str = "") -> str:
    """Return the statement that lets mails that wait not be sent: $1 has why, $2 the time.

    One that somebody has taken to be sent waits no more.
    """
    return f"""
        WITH RECURSIVE {earlier} stopped AS (
            DELETE FROM waiting USING delivery
             WHERE (waiting.message_id, waiting.delivery) = (delivery.message_id, id) AND {which}
         RETURNING waiting.delivery
        )
        UPDATE delivery
           SET state = 'suppressed', reason = $1, changed_at = $2, registered = true
          FROM stopped
         WHERE id = stopped.delivery
    """  # noqa: S608 - conditions of ours


def _earlier(message_id: str) -> str:
    """Return what finds a message, and all that it superseded in turn."""
    return f"""
        earlier AS (
            SELECT message_id, supersedes FROM message WHERE message_id = {message_id}
             UNION
            SELECT message.message_id, message.supersedes
              FROM message JOIN earlier ON message.message_id = earlier.supersedes
        )
    """  # noqa: S608 - the place of a value


async def supersede(tx: Connection, message_id: str, reason: str, now: datetime) -> None:
    """Hold back what has not left of a message and of those that it superseded itself."""
    theirs = "waiting.message_id IN (SELECT message_id FROM earlier)"
    await tx.execute(_held_back(theirs, f"{_earlier('$3')},"), reason, now, message_id)


async def told_before(tx: Connection, message_id: str) -> set[str]:
    """Return the recipients who have, or may have, a message or one that it superseded."""
    rows = await tx.fetch(
        f"""
        WITH RECURSIVE {_earlier("$1")}
        SELECT DISTINCT recipient
          FROM delivery JOIN earlier USING (message_id)
         WHERE state IN ('accepted', 'complained', 'unknown')
            OR EXISTS (SELECT FROM sending WHERE sending.delivery = delivery.id)
        """,  # noqa: S608 - the place of a value
        message_id,
    )
    return {row["recipient"] for row in rows}


async def reserve(
    tx: Connection, domains: Mapping[str, float], start: datetime
) -> dict[str, datetime]:
    """Reserve so many seconds of each domain's pace; return from when on they are free."""
    rows = await tx.fetch(
        """
        INSERT INTO pace (domain, next_free)
             SELECT domain, $1::timestamptz + seconds * interval '1 second'
               FROM unnest($2::text[], $3::float8[]) AS wanted (domain, seconds)
           ORDER BY domain
        ON CONFLICT (domain) DO UPDATE
                SET next_free = greatest(pace.next_free, $1)
                              + (EXCLUDED.next_free - $1::timestamptz)
          RETURNING domain, next_free
        """,
        start,
        list(domains),
        list(domains.values()),
    )
    return {row["domain"]: row["next_free"] for row in rows}


# --- sending -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery whose intent to be sent is on record.

    Attributes:
        email: None once the address was purged.
        held: Something is not to be sent to the address.
    """

    id: UUID
    message_id: str
    message_type: str
    recipient: str
    locale: str
    attempts: int
    reason: str | None
    email: str | None
    domain: str | None
    held: bool


async def anything_due(tx: Connection, now: datetime) -> bool:
    """Return whether a mail's time has come."""
    due: bool = await tx.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM generate_series(0, 9) AS level
             WHERE EXISTS (SELECT FROM waiting
                            WHERE priority = level AND next_try_at <= $1 LIMIT 1))
        """,
        now,
    )
    return due


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt.

    Attributes:
        counts: False if nothing was tried: it is no attempt.
        dead: The recipient, if there turned out to be no such address.
    """

    id: UUID
    state: str
    reason: str | None = None
    reply: str | None = None
    next_try: datetime | None = None
    counts: bool = True
    dead: str | None = None


_SETTLED: Final = ("id", "state", "reason", "reply", "next_try", "counts")


async def turn(
    tx: Connection,
    outcomes: Sequence[Outcome],
    now: datetime,
    worker: int,
    limit: int,
    busy: Collection[str] = (),
) -> list[Claimed]:
    """Note what became of attempts, and take what comes next: all in one statement.

    What is taken are up to *limit* mails whose time has come, the most urgent first, and none of
    domains that are *busy*.  They are marked as being sent by *worker*; the mark is the intent: it
    must be committed before the mail server is spoken to.

    An outcome that comes after *worker* was given up settles what is still in doubt, and nothing
    that was decided or begun since.
    """
    rows = await tx.fetch(
        f"""
        WITH sent AS (
            DELETE FROM sending WHERE delivery = ANY($4) AND worker = $2 RETURNING delivery
        ), outcome AS MATERIALIZED (
            SELECT *, id IN (SELECT delivery FROM sent) AS sent
              FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                          $9::boolean[]) AS outcome (id, state, reason, reply, next_try, counts)
        ), again AS (
            INSERT INTO waiting (message_id, delivery, priority, next_try_at)
                 SELECT message_id, id, priority, next_try
                   FROM outcome JOIN delivery USING (id)
                  WHERE next_try IS NOT NULL AND sent
        ), settled AS (
            UPDATE delivery
               SET state = outcome.state, reason = outcome.reason, reply = outcome.reply,
                   changed_at = $1, attempts = attempts + (counts AND sent)::int,
                   registered = registered OR outcome.state NOT IN ('queued', 'deferred'),
                   doubt_told = false
              FROM outcome
             WHERE delivery.id = outcome.id
               AND (sent
                    OR delivery.state = 'unknown' AND outcome.state IN ('accepted', 'bounced'))
        ), due AS (
            DELETE FROM waiting
             WHERE ctid = ANY(ARRAY(
                       SELECT due.ctid
                         FROM generate_series(0, 9) AS level
                        CROSS JOIN LATERAL (
                                  SELECT ctid
                                    FROM waiting
                                   WHERE priority = level AND next_try_at <= $1
                                     AND ($3::text[] = '{{}}' OR NOT EXISTS (
                                             SELECT
                                               FROM delivery JOIN recipient ON token = recipient
                                              WHERE delivery.id = waiting.delivery
                                                AND domain = ANY($3)))
                                ORDER BY next_try_at
                                   LIMIT {limit:d}
                                     FOR UPDATE SKIP LOCKED) AS due
                        LIMIT {limit:d}))
         RETURNING delivery
        ), taken AS (
            INSERT INTO sending (delivery, worker) SELECT delivery, $2 FROM due
        )
        SELECT id, message_id, message_type, recipient, delivery.locale, attempts + 1 AS attempts,
               reason, email, domain,
               EXISTS (SELECT FROM suppression WHERE suppression.lookup = recipient.lookup) AS held
          FROM due
          JOIN delivery ON delivery.id = due.delivery
     LEFT JOIN recipient ON token = delivery.recipient
      ORDER BY priority, id
        """,  # noqa: S608 - a number, by which less is known to be wanted when this is planned
        now,
        worker,
        list(busy),
        *([getattr(outcome, name) for outcome in outcomes] for name in _SETTLED),
    )
    return [Claimed(*row) for row in rows]


@asynccontextmanager
async def working(connection: Connection, worker: int) -> AsyncGenerator[None]:
    """Show, until the block ends or the process dies, that *worker* lives."""
    await connection.execute("SELECT pg_advisory_lock($1)", worker)
    try:
        yield
        await connection.execute("SELECT pg_advisory_unlock($1)", worker)
    except BaseException:
        connection.terminate()  # a connection that is given back keeps its locks
        raise


async def give_up_broken(tx: Connection, now: datetime, limit: int) -> None:
    """Mark ``unknown`` what lost senders were at: their locks are free."""
    await tx.execute(
        """
        WITH lost AS (
            DELETE FROM sending
             WHERE delivery IN (
                       SELECT delivery
                         FROM sending
                        WHERE worker IN (
                                  SELECT worker
                                    FROM (SELECT DISTINCT worker FROM sending) AS seen
                                   WHERE pg_try_advisory_xact_lock(worker))
                        LIMIT $2
                          FOR UPDATE SKIP LOCKED)
         RETURNING delivery
        )
        UPDATE delivery
           SET state = 'unknown', reason = 'lost-sender', changed_at = $1, attempts = attempts + 1,
               registered = true, doubt_told = false
          FROM lost
         WHERE id = lost.delivery
        """,
        now,
        limit,
    )


@dataclass(frozen=True, slots=True)
class Doubt:
    """A delivery of which nobody knows if the relay took it."""

    id: UUID
    message_type: str
    attempts: int


async def new_doubts(tx: Connection, limit: int) -> list[Doubt]:
    """Return deliveries in doubt that were not returned before."""
    rows = await tx.fetch(
        """
        UPDATE delivery SET doubt_told = true
         WHERE id IN (SELECT id
                        FROM amiss JOIN delivery ON delivery.id = amiss.delivery
                       WHERE amiss.state = 'unknown' AND delivery.state = 'unknown'
                         AND NOT doubt_told
                       LIMIT $1 FOR UPDATE OF delivery SKIP LOCKED)
     RETURNING id, message_type, attempts
        """,
        limit,
    )
    return [Doubt(**row) for row in rows]


async def note_relay(tx: Connection, *, away: bool) -> bool:
    """Note whether the relay is away; return True if that is news."""
    status = await tx.execute("UPDATE relay SET away = $1 WHERE away <> $1", away)
    return status == "UPDATE 1"


async def send_again(tx: Connection, deliveries: Collection[UUID], at: datetime) -> list[UUID]:
    """Queue deliveries in doubt once more, under the same Message-ID; return those that were."""
    rows = await tx.fetch(
        """
        WITH again AS (
            UPDATE delivery SET state = 'queued', reason = NULL, reply = NULL, changed_at = $2
             WHERE id = ANY($1) AND state = 'unknown'
         RETURNING message_id, id, priority
        )
        INSERT INTO waiting (message_id, delivery, priority, next_try_at)
             SELECT message_id, id, priority, $2 FROM again
          RETURNING delivery AS id
        """,
        list(deliveries),
        at,
    )
    return [row["id"] for row in rows]


async def conclude(
    tx: Connection,
    deliveries: Collection[UUID],
    states: Collection[str],
    outcome: tuple[str, str, str | None],
    now: datetime,
) -> list[UUID]:
    """Put deliveries that are in one of *states* into another: (state, reason, reply)."""
    state, reason, reply = outcome
    rows = await tx.fetch(
        """
        UPDATE delivery
           SET state = $3, reason = $4, reply = coalesce($5, reply), changed_at = $6
         WHERE id = ANY($1) AND state = ANY($2)
     RETURNING id
        """,
        list(deliveries),
        list(states),
        state,
        reason,
        reply,
        now,
    )
    return [row["id"] for row in rows]


async def resend(tx: Connection, delivery: UUID, fresh: UUID, now: datetime) -> bool:
    """Plan a delivery anew, linked to the first; return False if that cannot be.

    One that is still on its way cannot, nor one that was sent anew before, nor whose recipient was
    purged.
    """
    status = await tx.execute(
        """
        WITH fresh AS (
            INSERT INTO delivery (id, message_id, message_type, priority, customer_id, recipient,
                                  locale, state, changed_at, resends)
                 SELECT $2, message_id, message_type, priority, customer_id, recipient, locale,
                        'queued', $3, id
                   FROM delivery
                  WHERE id = $1 AND NOT anonymised AND state NOT IN ('queued', 'deferred')
            ON CONFLICT DO NOTHING
              RETURNING message_id, id, priority
        )
        INSERT INTO waiting (message_id, delivery, priority, next_try_at)
             SELECT message_id, id, priority, $3 FROM fresh
        """,
        delivery,
        fresh,
        now,
    )
    return status == "INSERT 0 1"


async def in_doubt(tx: Connection) -> dict[UUID, datetime]:
    """Return deliveries of which nobody knows if they were taken, and since when."""
    rows = await tx.fetch(
        """
        SELECT id, changed_at
          FROM amiss JOIN delivery ON delivery.id = amiss.delivery
         WHERE amiss.state = 'unknown' AND delivery.state = 'unknown'
           FOR UPDATE OF delivery
        """
    )
    return {row["id"]: row["changed_at"] for row in rows}


async def finish_messages(tx: Connection, now: datetime) -> list[str]:
    """Mark messages done whose every delivery is settled; return their ids."""
    rows = await tx.fetch(
        """
        UPDATE message SET done_at = $1
         WHERE done_at IS NULL
           AND NOT EXISTS (
                   SELECT FROM waiting WHERE waiting.message_id = message.message_id)
           AND NOT EXISTS (
                   SELECT FROM sending JOIN delivery ON delivery.id = sending.delivery
                    WHERE delivery.message_id = message.message_id)
     RETURNING message_id
        """,
        now,
    )
    return [row["message_id"] for row in rows]


async def count_states(tx: Connection, limit: int) -> None:
    """Keep how many deliveries are in each state, of messages that are done and were not counted.

    A message is locked before its deliveries are looked at: who changes one of them meanwhile waits
    for the lock, and then has it counted anew.
    """
    rows = await tx.fetch(
        """
        SELECT message_id
          FROM message
         WHERE done_at IS NOT NULL AND states IS NULL
         LIMIT $1
           FOR UPDATE SKIP LOCKED
        """,
        limit,
    )
    if rows:
        await tx.execute(
            """
            UPDATE message
               SET states = coalesce((SELECT states
                                        FROM message_states
                                       WHERE message_states.message_id = message.message_id), '{}')
             WHERE message_id = ANY($1)
            """,
            [row["message_id"] for row in rows],
        )


# --- announcing ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A step that a delivery took."""

    position: int
    delivery: UUID
    message_id: str
    message_type: str
    customer_id: str | None
    recipient: str
    state: State
    registers: bool
    at: datetime


async def untold(tx: Connection, limit: int) -> tuple[list[Change], bool]:
    """Return the next steps that were not announced, in order, and note that they now are.

    Also returns whether there may be more.  Those of transactions that still run come later, so
    none is passed over.
    """
    rows = await _next_steps(tx, limit)
    if not rows and await _look_further(tx):
        rows = await _next_steps(tx, limit)
    if rows:
        await tx.execute("UPDATE announced SET position = $1", rows[-1]["position"])
    names = Change.__slots__
    return [Change(*(row[n] for n in names)) for row in rows if row["ended"]], bool(rows)


async def _next_steps(tx: Connection, limit: int) -> list[Any]:
    """Return what follows in the ledger; some may be of a transaction that is not looked at yet."""
    return await tx.fetch(
        """
        WITH following AS MATERIALIZED (  -- by position alone: sorting all that waits takes long
            SELECT change.*, xact >= told_before AND xact < up_to AS ended
              FROM announced, LATERAL (
                       SELECT *
                         FROM delivery_change
                        WHERE delivery_change.position > announced.position
                     ORDER BY position
                        LIMIT $1) AS change
        )
        SELECT position, delivery, message_id, message_type, customer_id, recipient,
               following.state, registers, at, ended
          FROM following
         CROSS JOIN LATERAL (
               SELECT message_id, message_type, customer_id, recipient
                 FROM delivery
                WHERE delivery.id = following.delivery
               OFFSET 0) AS its  -- or all deliveries may be read for a thousand of them
      ORDER BY position
        """,
        limit,
    )


async def _look_further(tx: Connection) -> bool:
    """Go on to the transactions that have ended since; return False if none took a step."""
    status = await tx.execute(
        """
        UPDATE announced
           SET told_before = up_to,
               up_to = pg_snapshot_xmin(pg_current_snapshot()),
               position = fresh.first - 1
          FROM (SELECT min(change.position) AS first
                  FROM delivery_change AS change, announced
                 WHERE xact >= up_to
                   AND xact < pg_snapshot_xmin(pg_current_snapshot())) AS fresh
         WHERE fresh.first IS NOT NULL
        """
    )
    return status == "UPDATE 1"


# --- purging -------------------------------------------------------------------------------------


def _named(type_: str) -> str:
    """Return the array of the keys in $1 that are of a type: no others are anything's key."""
    return f"""ARRAY(SELECT ref::{type_} FROM unnest($1::text[]) AS ref
                      WHERE pg_input_is_valid(ref, '{type_}'))"""  # noqa: S608 - a type's name


async def hide(
    tx: Connection, table: str, key: tuple[str, str], refs: Sequence[str], *, hidden: bool
) -> list[str]:
    """Set or lift the quarantine of rows of *table*; return those that exist.

    *key* is the name and the type of the column that *refs* are of.
    """
    column, type_ = key
    rows = await tx.fetch(
        f"""
        UPDATE {table} SET quarantined = $2
         WHERE {column} = ANY({_named(type_)})
     RETURNING {column}::text AS ref
        """,  # noqa: S608 - names from the holder's own table
        list(refs),
        hidden,
    )
    return [row["ref"] for row in rows]


async def restrict(
    tx: Connection, table: str, key: tuple[str, str], refs: Sequence[str], *, restricted: bool
) -> None:
    """Set or lift the restriction of rows of *table*, named as for :func:`hide`."""
    column, type_ = key
    await tx.execute(
        f"UPDATE {table} SET restricted = $2 WHERE {column} = ANY({_named(type_)})",  # noqa: S608 - as above
        list(refs),
        restricted,
    )


async def recipients_of(tx: Connection, refs: Sequence[str]) -> list[str]:
    """Return the tokens of the addresses of contacts."""
    rows = await tx.fetch(
        "SELECT DISTINCT recipient FROM contact WHERE record_id = ANY($1) ORDER BY recipient",
        list(refs),
    )
    return [row["recipient"] for row in rows]


async def copy_contacts(tx: Connection, refs: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is stored of contacts."""
    rows = await tx.fetch(
        """
        SELECT record_id, customer_id, email, roles, locale, kind, verified, removed
          FROM contact JOIN recipient ON token = contact.recipient
         WHERE record_id = ANY($1)
      ORDER BY record_id
        """,
        list(refs),
    )
    return [dict(row) for row in rows]


async def copy_deliveries(tx: Connection, refs: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is stored of deliveries that still tell whom they went to."""
    rows = await tx.fetch(
        f"""
        SELECT id::text, message_id, message_type, customer_id, email, locale, state, reason,
               changed_at
          FROM delivery LEFT JOIN recipient ON token = delivery.recipient
         WHERE id = ANY({_named("uuid")}) AND NOT anonymised
      ORDER BY id
        """,  # noqa: S608 - a constant
        list(refs),
    )
    return [dict(row) for row in rows]


async def erase_contacts(tx: Connection, refs: Sequence[str]) -> list[tuple[str, str]]:
    """Delete contacts; return those that existed, each with the token of its address."""
    rows = await tx.fetch(
        "DELETE FROM contact WHERE record_id = ANY($1) RETURNING record_id, recipient", list(refs)
    )
    return [(row["record_id"], row["recipient"]) for row in rows]


async def erase_suppressions(tx: Connection, refs: Sequence[str]) -> list[str]:
    """Forget what is not sent to addresses; return those that existed."""
    rows = await tx.fetch(
        f"""
        DELETE FROM suppression WHERE record_id = ANY({_named("uuid")})
     RETURNING record_id::text AS ref
        """,  # noqa: S608 - a constant
        list(refs),
    )
    return [row["ref"] for row in rows]


async def erase_bodies(tx: Connection, refs: Sequence[str]) -> list[str]:
    """Empty messages of their content; return those that existed."""
    rows = await tx.fetch(
        """
        UPDATE message SET params = NULL, calendar = NULL, thread = NULL, quarantined = false
         WHERE message_id = ANY($1)
     RETURNING message_id
        """,
        list(refs),
    )
    return [row["message_id"] for row in rows]


async def anonymise_deliveries(
    tx: Connection, fresh: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Part deliveries from their recipients: (delivery, new token that leads nowhere).

    Return those that existed, each with the token of the address that it went to.
    """
    rows = await tx.fetch(
        """
        WITH fresh AS (
            SELECT ref::uuid AS id, token FROM unnest($1::text[], $2::text[]) AS given (ref, token)
        ), gone AS (
            SELECT id, recipient FROM delivery JOIN fresh USING (id) FOR UPDATE OF delivery
        ), emptied AS (
            UPDATE delivery_change SET reply = NULL FROM fresh WHERE delivery = fresh.id
        )
        UPDATE delivery
           SET recipient = fresh.token, customer_id = NULL, reply = NULL, anonymised = true,
               quarantined = false
          FROM fresh JOIN gone USING (id)
         WHERE delivery.id = fresh.id
     RETURNING delivery.id::text AS ref, gone.recipient
        """,
        [ref for ref, _ in fresh],
        [token for _, token in fresh],
    )
    return [(row["ref"], row["recipient"]) for row in rows]


async def drop_idle_recipients(tx: Connection, tokens: Collection[str]) -> None:
    """Delete those of some addresses that no contact has and no mail went to."""
    await tx.execute(
        """
        DELETE FROM recipient
         WHERE token = ANY($1)
           AND NOT EXISTS (SELECT FROM contact WHERE recipient = token)
           AND NOT EXISTS (SELECT FROM delivery WHERE recipient = token AND NOT anonymised)
        """,
        list(tokens),
    )
