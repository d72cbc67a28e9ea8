"""How fast the ledger answers when it holds ten million deliveries."""

import asyncio
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from bench.results import Section
from bench.rig import Place, new_place, rig

from notifier import ledger
from notifier.ledger import Wanted
from shared.postgres import open_pool

RECIPIENTS: Final = 200_000
CUSTOMERS: Final = 50_000
MESSAGES: Final = 500
STEP: Final = 500_000
QUESTIONS: Final = 300  # of each kind
DAYS: Final = 730
BEGAN: Final = datetime(2024, 11, 1, tzinfo=UTC)
TYPES: Final = ("security-breach", "maintenance-window", "service-disruption", "news")
PAGE: Final = 100


def measure(folder: Path, deliveries: int) -> Section:
    """Fill a ledger and ask it."""
    with rig(folder) as infra:
        place = asyncio.run(new_place(infra, "notifier"))
        asyncio.run(fill(place, deliveries))
        rows = asyncio.run(_ask(place))
    return Section(
        title="Notifier: asking the ledger",
        command=f"python -m bench.notifier ledger --count {deliveries}",
        text=(
            f"{deliveries:,} deliveries of {MESSAGES} messages to {RECIPIENTS:,} recipients of"
            f" {CUSTOMERS:,} customers over two years; 95 % were accepted. {QUESTIONS} questions of"
            f" each kind, each for a page of {PAGE}; milliseconds."
        ),
        columns=("question", "p50", "p95", "wanted"),
        rows=rows,
    )


async def fill(place: Place, count: int) -> None:
    """Lay out *count* deliveries, without the steps that they took."""
    connection: Any = await asyncpg.connect(place.owner)
    await connection.execute("SET session_replication_role = replica")  # no step is noted
    await connection.execute(
        """
        INSERT INTO message (message_id, type, template, params, requested_at)
             SELECT 'm-' || n, ($2::text[])[1 + n % 4], 'news', '{}',
                    $3::timestamptz + n * interval '1 day'
               FROM generate_series(0, $1 - 1) AS n
        """,
        MESSAGES,
        list(TYPES),
        BEGAN,
    )
    for first in range(0, count, STEP):
        await connection.execute(
            """
            INSERT INTO delivery (id, message_id, message_type, customer_id, recipient, locale,
                                  state, attempts, reply, changed_at)
                 SELECT (lpad(to_hex(milliseconds), 12, '0') || '7000' || '8000'
                         || lpad(to_hex(n), 12, '0'))::uuid,
                        'm-' || n / $4, ($5::text[])[1 + (n / $4) % 4], 'c-' || (n % $6) % $7,
                        'r-' || n % $6, 'sv',
                        CASE WHEN n % 20 > 0 THEN 'accepted'
                             ELSE ('{bounced,unknown,expired,suppressed}'::text[])[1 + (n / 20) % 4]
                        END,
                        1, '250 2.0.0 taken as ' || n, to_timestamp(milliseconds / 1000.0)
                   FROM (SELECT n, $3::bigint + n * $8::bigint / 1000 AS milliseconds
                           FROM generate_series($1::bigint, $2::bigint) AS n) AS numbered
            """,
            first,
            min(first + STEP, count) - 1,
            int(BEGAN.timestamp() * 1000),
            count // MESSAGES,
            list(TYPES),
            RECIPIENTS,
            CUSTOMERS,
            DAYS * 86_400_000 * 1000 // count,
        )
        print(f"\r{min(first + STEP, count):,} of {count:,} deliveries", end="", flush=True)
    print()
    await connection.execute(
        "INSERT INTO amiss SELECT id, message_id, state FROM delivery WHERE state <> 'accepted'"
    )
    await connection.execute("VACUUM ANALYZE delivery, amiss")
    await connection.close()


def _questions(chance: random.Random) -> Iterator[tuple[str, Wanted]]:
    day = BEGAN + timedelta(days=chance.randrange(DAYS))
    recipient = f"r-{chance.randrange(RECIPIENTS)}"
    customer = f"c-{chance.randrange(CUSTOMERS)}"
    message = f"m-{chance.randrange(MESSAGES)}"
    yield "what did this address get?", Wanted(recipient=recipient)
    yield "what did this customer get?", Wanted(customer=customer)
    yield "who got this message?", Wanted(message_id=message, state="accepted")
    yield "who did not get this message?", Wanted(message_id=message, state="bounced")
    yield (
        "of this type on this day",
        Wanted(message_type=chance.choice(TYPES), since=day, until=day + timedelta(days=1)),
    )
    yield (
        "in doubt in this month",
        Wanted(state="unknown", since=day, until=day + timedelta(days=30)),
    )
    yield (
        "bounces of one type, of a customer",
        Wanted(message_type=chance.choice(TYPES), state="bounced", customer=customer),
    )
    yield "the next page of all", Wanted(before=ledger.first_id(day))


async def _ask(place: Place) -> list[list[str]]:
    chance = random.Random(4711)
    took: dict[str, list[float]] = {}
    async with open_pool(place.service, "bench") as pool, pool.acquire() as tx:
        for _ in range(QUESTIONS):
            for name, wanted in _questions(chance):
                began = time.perf_counter()
                await ledger.search(tx, wanted, PAGE)
                took.setdefault(name, []).append(time.perf_counter() - began)
        for number in range(QUESTIONS):
            began = time.perf_counter()
            await ledger.counts(tx, [f"m-{number}"])
            took.setdefault("how far is this message? (counts of its 20,000)", []).append(
                time.perf_counter() - began
            )
    return [[name, *_percentiles(times), "≤ 50"] for name, times in took.items()]


def _percentiles(times: list[float]) -> tuple[str, str]:
    ordered = sorted(times)
    at = (ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100])
    return f"{at[0] * 1000:.1f}", f"{at[1] * 1000:.1f}"
