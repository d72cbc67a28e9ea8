"""On-call hears of a quorum that stays away, and that it is back; the log does not wait for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.conftest import Database
from tests.live import new_seed

from audit_log.alerts import Alerts
from audit_log.appender import Appender
from audit_log.checkpoint import Signer, Verifier
from audit_log.cosigning import PATIENCE, Cosigning
from audit_log.sequencer import Sequencer
from audit_log.witness import Policy
from shared.clock import VirtualClock
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool

NOBODY = "http://127.0.0.1:9/"  # the discard port, where nothing listens


@pytest.fixture
async def pool(audit_db: Database) -> AsyncIterator[Pool]:
    async with open_pool(audit_db.service, "test") as pool:
        yield pool


def witness() -> Verifier:
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return Verifier("witness.test/w", key, b"\x04")


async def announced(pool: Pool) -> list[str]:
    """Return the types of the alerts that wait to be published."""
    rows = await pool.fetch(
        "SELECT header_values, header_names FROM outbox WHERE topic = 'ops.alerts.v1'"
    )
    return [row["header_values"][row["header_names"].index("ce_type")].decode() for row in rows]


async def test_a_quorum_that_stays_away_is_told_and_taken_back(pool: Pool) -> None:
    clock = VirtualClock(datetime(2026, 11, 24, 12, tzinfo=UTC))
    outbox = Outbox("//test")
    signer = Signer("log.test/master", new_seed())
    size = await Sequencer(signer, Appender(outbox, clock, "provider-ab"), outbox, clock).publish(
        pool
    )
    assert size == 0
    log = f"log {signer.verifier.vkey}\nwitness w {witness().vkey} {NOBODY}\n"
    lacking = Cosigning(Policy.parse(f"{log}quorum w\n"), Alerts(outbox, clock), clock)
    await lacking.run(pool)
    assert await announced(pool) == [], "a moment is nothing"
    clock.advance(PATIENCE + timedelta(seconds=1))
    await asyncio.gather(lacking.run(pool), lacking.run(pool))
    told = ["ops.alert.raised.v1"] * 2  # of the witness, and of the quorum
    assert await announced(pool) == told
    content = Cosigning(Policy.parse(f"{log}quorum none\n"), Alerts(outbox, clock), clock)
    await content.run(pool)
    assert await announced(pool) == [*told, *["ops.alert.resolved.v1"] * 2]
