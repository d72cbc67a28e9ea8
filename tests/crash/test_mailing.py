"""Ten thousand mails from a notifier that is killed every other second, to a relay with moods."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from email import message_from_bytes
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from tests.conftest import Database
from tests.crash import victims
from tests.integration.relays import CLOSE, BadRelay, Behaviour
from tests.integration.test_sending import AGREEMENT, PACE, Notifier, message

from notifier.reconciling import reconcile
from shared.clock import SystemClock
from shared.postgres import Pool, open_pool

LIVES = 2.0  # seconds between two kills


class Moods:
    """Greylists a tenth, refuses a fiftieth, hangs up on a hundredth after it took the mail."""

    def __init__(self) -> None:
        self.greylisted: set[str] = set()
        self.cut: set[str] = set()

    def __call__(self, verb: str, recipient: str) -> Behaviour | None:
        lot = crc32(recipient.encode()) % 100
        if verb == "RCPT" and lot < 2:
            return b"550 5.7.1 not welcome\r\n"
        if verb == "RCPT" and 2 <= lot < 12 and recipient not in self.greylisted:
            self.greylisted.add(recipient)
            return b"450 4.2.0 greylisted\r\n"
        if verb == "taken" and lot == 12 and recipient not in self.cut:
            self.cut.add(recipient)
            return CLOSE
        return None

    def refuses(self, number: int) -> bool:
        return crc32(f"ops{number}@customer.example".encode()) % 100 < 2


@pytest.fixture
async def pool(notifier_db: Database) -> AsyncIterator[Pool]:
    async with open_pool(notifier_db.service, "test") as pool:
        yield pool


async def contacts(pool: Pool, count: int) -> None:
    """Let there be so many contacts whose addresses are confirmed."""
    await pool.execute(
        """
        INSERT INTO recipient (token, lookup, email)
             SELECT 'r-' || n, sha256(n::text::bytea), 'ops' || n || '@customer.example'
               FROM generate_series(1, $1::int) AS n
        """,
        count,
    )
    await pool.execute(
        """
        INSERT INTO contact (customer_id, contact_id, record_id, recipient, roles, locale, kind,
                             subject_token, verified)
             SELECT 'c-' || n, 'ct', 'rec-' || n, 'r-' || n, '{technical}', 'sv', 'group', 's', true
               FROM generate_series(1, $1::int) AS n
        """,
        count,
    )


async def kill_until_done(pool: Pool, dsn: str, relay: BadRelay) -> int:
    """Start a notifier again and again until everything is settled; return how often it died."""
    kills = 0
    async with asyncio.timeout(400):
        while await pool.fetchval(
            "SELECT EXISTS (SELECT FROM delivery WHERE state IN ('queued', 'deferred'))"
        ):
            victim = victims.start(victims.send, dsn, relay.port)
            before = len(relay.taken)
            while len(relay.taken) == before and victim.is_alive():
                if not await _open(pool):
                    break
                await asyncio.sleep(0.05)
            await asyncio.to_thread(victim.join, LIVES)
            assert victim.is_alive()
            victim.kill()
            await asyncio.to_thread(victim.join)
            kills += 1
    return kills


async def _open(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT FROM delivery WHERE state IN ('queued', 'deferred'))"
        )
    )


async def changes(pool: Pool, state: str) -> dict[UUID, list[str | None]]:
    """Return the deliveries that were ever in *state*, each with why."""
    rows = await pool.fetch(
        "SELECT delivery, reason FROM delivery_change WHERE state = $1 ORDER BY position", state
    )
    found: dict[UUID, list[str | None]] = {}
    for row in rows:
        found.setdefault(row["delivery"], []).append(row["reason"])
    return found


def copies(relay: BadRelay) -> Counter[UUID]:
    """Return how many copies of each delivery the relay took, by its own record."""
    ids = (message_from_bytes(taken.content)["Message-ID"] for taken in relay.taken)
    return Counter(UUID(id_[1:].partition("@")[0]) for id_ in ids)


def log_of(relay: BadRelay) -> str:
    """Return what the relay would have noted of all that it took."""
    return "\n".join(f"cleanup[1]: 4711: message-id=<{i}@provider.example>" for i in copies(relay))


async def states(pool: Pool) -> dict[str, set[UUID]]:
    rows = await pool.fetch("SELECT state, array_agg(id) AS ids FROM delivery GROUP BY state")
    return {row["state"]: set(row["ids"]) for row in rows}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "changed"),
    [
        pytest.param(10_000, {}, id="sent again in doubt"),
        pytest.param(3_000, {"message_type": "agreement-change", **AGREEMENT}, id="left in doubt"),
    ],
)
async def test_every_mail_is_accounted_for(
    pool: Pool, notifier_db: Database, count: int, changed: dict[str, Any]
) -> None:
    moods = Moods()
    async with BadRelay(mood=moods, delay=0.008).running() as relay:
        notifier = Notifier(pool, relay.relay, clock=SystemClock())
        await notifier.library.stock(pool, notifier.clock.now())
        await contacts(pool, count)
        await notifier.take(message(**changed))
        kills = await kill_until_done(pool, notifier_db.service, relay)
        assert kills >= 2

        await notifier.sender.report_broken(pool)
        ended = await states(pool)
        sent = copies(relay)
        doubted = await changes(pool, "unknown")
        refused = sum(moods.refuses(n) for n in range(1, count + 1))

        assert sum(map(len, ended.values())) == count
        assert ended.keys() <= {"accepted", "bounced", "unknown"}
        assert len(ended["bounced"]) <= refused  # the others are in doubt
        # By the relay's own record: nothing that was accepted is missing, nothing else is there.
        assert ended["accepted"] <= sent.keys() <= ended["accepted"] | ended.get("unknown", set())
        assert not ended["bounced"] & sent.keys()
        twice = {id_ for id_, times in sent.items() if times > 1}
        assert twice <= doubted.keys(), "only what was in doubt was sent again"
        lost = sum(reasons.count("lost-sender") for reasons in doubted.values())
        assert lost <= kills * PACE.doubtful
        unanswered = sum(reasons.count("lost-answer") for reasons in doubted.values())
        assert unanswered <= len(moods.cut)

        if changed:
            assert not twice, "what may not be sent again was not"
            now = notifier.clock.now()
            done = await reconcile(pool, log_of(relay), now, now)
            assert done.accepted == len(ended.get("unknown", set()) & sent.keys())
            while await _open(pool):
                await notifier.send()
            # Whom the relay hangs up on only now stands in its log as well.
            now = notifier.clock.now()
            last = await reconcile(pool, log_of(relay), now, now)
            assert (last.sent_again, last.left) == (0, 0)
            ended = await states(pool)
            assert set(copies(relay).values()) == {1}
        assert ended.keys() == {"accepted", "bounced"}
        assert len(ended["bounced"]) == refused
        assert ended["accepted"] == copies(relay).keys()
