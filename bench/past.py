"""What people have done in a retention registry before somebody looks: purges, holds, requests."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
from bench.registry import CUSTOMERS, PEOPLE, Parts
from bench.rig import Place

from retention.holds import Holds
from retention.override import Scope

JOBS: Final = 2000
CHUNKS: Final = 2  # of a job
REFS: Final = 500  # of a chunk
OPEN: Final = 40  # jobs that a holder has not answered
HELD: Final = 10  # customers, and as many people
CANARIES: Final = 2000
CASES: Final = 300
_RIGHTS: Final = ("access", "rectify", "erase", "restrict", "object", "portability")


async def purges(place: Place) -> None:
    """Lay out purge jobs of the past two years, and canaries; the newest jobs are open."""
    connection: Any = await asyncpg.connect(place.owner)
    await connection.execute(
        f"""
        INSERT INTO purge_job (id, category, reason, policy_version, records, must_purge_by,
                               opened_at)
             SELECT gen_random_uuid(), ($1::text[])[1 + n % 4], 'deadline', 1, {CHUNKS * REFS},
                    opened_at + interval '30 days', opened_at
               FROM (SELECT n, $2::timestamptz - n * interval '8 hours' AS opened_at
                       FROM generate_series(1, {JOBS}) AS n) AS numbered
        """,
        ["lead.form", "prospect.linkedin", "event.registration", "contact.delivery"],
        datetime.now(UTC),
    )
    await connection.execute(
        f"""
        INSERT INTO purge_chunk (id, job, holder, command, refs, state, sent_at, next_try_at,
                                 answered_at, erased, method)
             SELECT gen_random_uuid(), id,
                    CASE category WHEN 'contact.delivery' THEN 'notifier' ELSE 'crm' END,
                    jsonb_build_object('category', category, 'refs', to_jsonb(refs),
                                       'command_hash', md5(id::text)),
                    refs, CASE WHEN open THEN 'preparing' ELSE 'done' END, opened_at,
                    CASE WHEN open THEN now() + interval '1 day' END,
                    CASE WHEN NOT open THEN opened_at + interval '1 minute' END,
                    CASE WHEN open THEN 0 ELSE {REFS} END, CASE WHEN NOT open THEN 'clear' END
               FROM (SELECT *, row_number() OVER (ORDER BY opened_at DESC) <= {OPEN} AS open
                       FROM purge_job) AS job
              CROSS JOIN generate_series(1, {CHUNKS}) AS chunk
              CROSS JOIN LATERAL (
                    SELECT array_agg('P-' || left(md5(job.id::text || chunk), 12) || n) AS refs
                      FROM generate_series(1, {REFS}) AS n) AS named
        """
    )
    await connection.execute(
        """
        UPDATE purge_job
           SET closed_at = opened_at + interval '2 minutes',
               closed_event = gen_random_uuid()::text,
               statement = told.statement
          FROM (SELECT job, json_build_object('attestations', json_agg(json_build_object(
                           'chunk_id', id, 'holder', holder, 'method', method, 'erased', erased,
                           'answered_at', answered_at, 'residual_until', answered_at)))::text
                           AS statement
                  FROM purge_chunk
              GROUP BY job
                HAVING bool_and(state = 'done')) AS told
         WHERE told.job = purge_job.id
        """
    )
    await connection.execute(
        f"""
        INSERT INTO canary (holder, category, record_id, state, planted_at, asked_at, late_at,
                            due_at, chunk, erased_at)
             SELECT holder, category, 'canary-' || row_number() OVER (), 'erased', sent_at, sent_at,
                    sent_at, sent_at, purge_chunk.id, answered_at
               FROM purge_chunk
               JOIN purge_job ON purge_job.id = job
              WHERE state = 'done'
              LIMIT {CANARIES}
        """
    )
    await connection.execute("VACUUM ANALYZE purge_job, purge_chunk, canary")
    await connection.close()


async def holds(found: Parts) -> None:
    """Place legal holds: of customers, of people, and of a category's early days."""
    placing = Holds(found.outbox, found.clock)
    scopes = [Scope(category="lead.form", first_day=date(2019, 3, 1), last_day=date(2019, 3, 31))]
    for number in range(HELD):
        scopes.append(Scope(customer_id=f"c-{number * CUSTOMERS // HELD}"))
        scopes.append(Scope(subject=f"s-{number * PEOPLE // HELD}"))
    review = found.clock.now().date() + timedelta(days=90)
    for scope in scopes:
        await placing.place(found.pool, scope, reason="a dispute", review_on=review, by="bench")


def cases(url: str) -> None:
    """Have people ask for their rights, as somebody enters it."""
    chance = random.Random(4711)
    with httpx.Client(base_url=url, timeout=60) as client:
        for number in range(CASES):
            body = {
                "right": _RIGHTS[number % len(_RIGHTS)],
                "received_on": str(datetime.now(UTC).date() - timedelta(days=number % 20)),
                "subjects": [f"s-{chance.randrange(PEOPLE)}"],
                "email": f"kim-{number}@example.com",
                "name": "Kim Lind",
            }
            client.post("/api/v1/rights", json=body).raise_for_status()
