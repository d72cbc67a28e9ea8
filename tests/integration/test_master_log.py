"""The master log on a real database: appended, signed, purged, and tampered with."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration.events import event

from audit_log import merkle, store
from audit_log.appender import Appender
from audit_log.checkpoint import Signer, open_checkpoint
from audit_log.handlers import Handlers
from audit_log.leaf import Kind
from audit_log.purge import LogHolder
from audit_log.sequencer import Sequencer
from audit_log.verify import Verdict, verify
from shared.clock import VirtualClock
from shared.events import Data
from shared.events.gallra import PurgeCancel, PurgeCommand, PurgeCommit, PurgePrepare
from shared.events.platform import ActionPerformed, Actor, Origin, Target
from shared.holder import PurgeDesk, command_hash
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool, transaction

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Log:
    """The service's parts on a virtual clock."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clock = VirtualClock(NOW)
        outbox = Outbox("//test/audit-log")
        appender = Appender(outbox, self.clock, "ab")
        desk = PurgeDesk("audit-log", LogHolder(appender, self.clock), outbox, self.clock)
        self.handlers = Handlers(appender, desk)
        seed = base64.b64encode(secrets.token_bytes(32)).decode()
        self.signer = Signer("test.example/log", seed)
        self.sequencer = Sequencer(self.signer, outbox, self.clock)

    async def take(self, *facts: Data, at: datetime | None = None) -> None:
        async with transaction(self.pool) as tx:
            await self.handlers.handle(tx, [event(f, at or self.clock.now()) for f in facts])

    async def sign(self) -> int | None:
        return await self.sequencer.publish(self.pool)

    async def verdict(self) -> Verdict:
        return await verify(self.pool, self.signer.verifier)

    async def proof(self, index: int) -> tuple[bytes, list[bytes], str]:
        """Return leaf hash, inclusion proof and checkpoint of an entry."""
        async with self.pool.acquire() as tx:
            latest = await store.latest_checkpoint(tx)
            assert latest is not None
            size, note = latest

            def prove(read: merkle.ReadTile) -> list[bytes]:
                return merkle.inclusion_proof(read, index, size)

            tiles = await store.read_tiles(tx, merkle.tiles_needed(prove))
            [leaf] = await store.leaves(tx, index, index + 1)
        path = prove(lambda level, number: tiles[level, number])
        return merkle.leaf_hash(leaf), path, note

    def check(self, index: int, proof: tuple[bytes, list[bytes], str]) -> None:
        leaf_hash, path, note = proof
        checkpoint = open_checkpoint(note, self.signer.verifier)
        merkle.verify_inclusion(leaf_hash, index, checkpoint.size, path, checkpoint.root)

    async def purge(self, *kinds: type[PurgeCommand]) -> str:
        """Send commands about the oldest bucket; return its record id."""
        record: str = await self.pool.fetchval(
            "SELECT record_id FROM bucket WHERE state <> 'purged' ORDER BY id LIMIT 1"
        )
        fields: dict[str, Any] = {
            "job_id": "j",
            "chunk_id": f"ch-{record}",
            "holder": "audit-log",
            "category": "logs.action",
            "action": "erase",
            "refs": [record],
            "reason": "deadline",
            "policy_version": 1,
            "purge_from": NOW - timedelta(days=1),
            "hold_epoch": 0,
            "not_after": NOW + timedelta(days=1),
        }
        for kind in kinds:
            blank = kind(**fields, command_hash="0" * 64)
            await self.take(kind(**fields, command_hash=command_hash(blank)))
        return record


def action(number: int, customer: str = "c-1") -> ActionPerformed:
    return ActionPerformed(
        v=1,
        action="compute.server.delete",
        phase="result",
        outcome="success",
        actor=Actor(type="user", id=f"user-{number}"),
        origin=Origin(channel="portal", ip="192.0.2.77", agent="Browser/1.0"),
        target=Target(type="compute.server", id=f"srv-{number}"),
        customer_id=customer,
    )


@pytest.fixture
async def log(audit_db: Database) -> AsyncIterator[Log]:
    async with open_pool(audit_db.service, "test") as pool:
        yield Log(pool)


async def test_every_entry_is_proven_whatever_the_batches(log: Log) -> None:
    assert await log.sign() == 0
    size = 0
    for batch in (1, 254, 1, 1, 511, 3, 300):
        await log.take(*(action(size + n) for n in range(batch)))
        size += batch
        assert await log.sign() == size
        assert await log.sign() is None
    for index in (0, 254, 255, 256, 257, 511, 512, 768, size - 1):
        log.check(index, await log.proof(index))
    verdict = await log.verdict()
    assert (verdict.size, verdict.present, verdict.problems) == (size, size, [])


async def test_any_number_of_appenders_and_signers(log: Log) -> None:
    async def append(who: int) -> None:
        for n in range(10):
            await log.take(*(action(who * 1000 + n * 10 + i) for i in range(7)))
            with suppress(asyncpg.SerializationError):  # another one signed at the same time
                await log.sign()

    await asyncio.gather(*(append(who) for who in range(4)))
    await log.sign()
    verdict = await log.verdict()
    assert (verdict.size, verdict.problems) == (280, [])


async def test_the_purged_entry_stays_proven_and_the_rest_opens(log: Log) -> None:
    await log.take(*(action(n) for n in range(5)), at=NOW - timedelta(days=900))
    await log.take(*(action(n) for n in range(5, 10)))
    await log.sign()
    before = [await log.proof(index) for index in range(10)]
    record = await log.purge(PurgePrepare, PurgeCommit, PurgeCommit)
    await log.sign()
    for index, proof in enumerate(before):
        log.check(index, proof)
        log.check(index, await log.proof(index))
    verdict = await log.verdict()
    assert (verdict.purged, verdict.present, verdict.problems) == (5, 6, [])
    kinds = [leaf[3] for leaf in await _leaves(log)]
    assert kinds == [Kind.EVENT] * 10 + [Kind.PURGE_RECEIPT]

    await log.take(action(99), at=NOW - timedelta(days=900))
    again = await log.pool.fetchval(
        "SELECT record_id FROM bucket WHERE state = 'open' AND day < $1",
        (NOW - timedelta(days=800)).date(),
    )
    assert again != record, "an entry that comes late has a record of its own"


async def _leaves(log: Log) -> list[bytes]:
    async with log.pool.acquire() as tx:
        return await store.leaves(tx, 0, 1000)


async def test_quarantine_hides_and_cancel_shows(log: Log) -> None:
    await log.take(action(1))
    await log.purge(PurgePrepare)
    async with log.pool.acquire() as tx:
        found = await store.entry(tx, 0)
        assert found is not None
        assert found[1] is None
        assert await store.find(tx, customer="c-1", event_id=None, below=9, limit=9) == []
    await log.purge(PurgeCancel)
    async with log.pool.acquire() as tx:
        found = await store.entry(tx, 0)
        assert found is not None
        assert found[1] is not None
    await log.sign()
    assert (await log.verdict()).problems == []


async def test_what_the_notice_does_not_list_is_nowhere(log: Log, audit_db: Database) -> None:
    await log.take(action(1))
    connection = await asyncpg.connect(audit_db.owner)
    try:
        rows = await connection.fetch("SELECT who, what FROM payload")
        kept = b"".join(part for row in rows for part in row)
        assert b"user-1" in kept
        assert b"192.0.2.77" not in kept
        assert b"Browser" not in kept
    finally:
        await connection.close()


TAMPERINGS = {
    "a leaf": "UPDATE entry SET leaf = set_byte(leaf, 40, get_byte(leaf, 40) # 1) WHERE index = 3",
    "a day": "UPDATE entry SET leaf = set_byte(leaf, 11, get_byte(leaf, 11) # 1) WHERE index = 3",
    "a digest": "UPDATE entry SET what_digest = sha256('x') WHERE index = 3",
    "a value": "UPDATE payload SET what = '{}' WHERE index = 3",
    "a salt": "UPDATE payload SET who_salt = decode(md5('x'), 'hex') WHERE index = 3",
    "a payload gone without a receipt": "DELETE FROM payload WHERE index = 3",
    "a part gone": "UPDATE payload SET who = NULL, who_salt = NULL WHERE index = 3",
    "the last entries": "DELETE FROM entry WHERE index >= 8",
    "an entry in the middle": "DELETE FROM entry WHERE index = 3",
    "a tile": "UPDATE tile SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)",
    "a checkpoint's note": "UPDATE checkpoint SET note = replace(note, '10', '11') WHERE size = 10",
    "two entries change places": """
        UPDATE entry SET leaf = other.leaf FROM entry AS other
         WHERE (entry.index, other.index) IN ((3, 4), (4, 3))""",
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_tampering_is_found(log: Log, audit_db: Database, what: str) -> None:
    await log.take(*(action(n) for n in range(10)))
    await log.sign()
    assert (await log.verdict()).intact
    connection = await asyncpg.connect(audit_db.owner)
    try:
        await connection.execute(TAMPERINGS[what])
    finally:
        await connection.close()
    assert not (await log.verdict()).intact
