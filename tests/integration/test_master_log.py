"""The master log on a real database: appended, signed, purged, and tampered with."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration.events import event

from audit_log import merkle, store
from audit_log.alerts import Alerts
from audit_log.api import correction
from audit_log.appender import Appender, seal
from audit_log.checkpoint import Signer, open_checkpoint
from audit_log.handlers import CONSUMES, Handlers
from audit_log.leaf import Kind, commitment
from audit_log.mirror import export
from audit_log.purge import LogHolder
from audit_log.sequencer import Sequencer
from audit_log.verify import Verdict, verify
from audit_log.watch import Watch
from shared.clock import VirtualClock
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import (
    DeliveryChanged,
    HoldPlaced,
    HoldReleaseAsked,
    HoldReleased,
    PurgeCancel,
    PurgeCommand,
    PurgeCommit,
    PurgeJobApproved,
    PurgeJobFrozen,
    PurgePrepare,
    RightsCaseChanged,
)
from shared.events.platform import ActionPerformed, Actor, Origin, Target
from shared.holder import PurgeDesk, command_hash
from shared.inbox import Sight
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool, transaction

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"


def new_seed() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Log:
    """The service's parts on a virtual clock."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clock = VirtualClock(NOW)
        outbox = Outbox("//test/audit-log")
        appender = Appender(outbox, self.clock, "ab")
        desk = PurgeDesk("audit-log", LogHolder(appender, self.clock), outbox, self.clock)
        self.handlers = Handlers(appender, desk)
        self.outbox = outbox
        self._sign_with(new_seed())

    def _sign_with(self, *seeds: str) -> None:
        self.seeds = seeds
        self.signer = Signer("test.example/log", *seeds)
        appender = self.handlers.appender
        self.sequencer = Sequencer(self.signer, appender, self.outbox, self.clock)

    async def rotate(self, *seeds: str) -> None:
        """Start anew with other keys, the present one first."""
        await self.sequencer.start(self.pool)
        self._sign_with(*seeds)
        await self.sequencer.start(self.pool)

    async def root(self) -> bytes:
        """Return the root of all that is there."""
        async with self.pool.acquire() as tx:
            size = await store.tree_size(tx)
            return merkle.root(size, await store.read_tiles(tx, merkle.edge(size)))

    async def position(self) -> int:
        """Return where the watch goes on."""
        async with self.pool.acquire() as tx:
            return await store.watch_position(tx)

    async def take(self, *facts: Data, at: datetime | None = None) -> None:
        events = [event(f, at or self.clock.now()) for f in facts]
        for e in events:
            e.prepared = self.handlers.prepare(e)
        async with transaction(self.pool) as tx:
            await self.handlers.handle(tx, events)

    async def correct(self, index: int) -> None:
        draft = correction(index, "c-1", "it was Ada", "p-1", self.clock.now())
        async with transaction(self.pool) as tx:
            await self.handlers.appender.append(tx, [seal(draft)])

    async def sign(self) -> int | None:
        return await self.sequencer.publish(self.pool)

    async def verdict(self) -> Verdict:
        return await verify(self.pool, [self.signer.verifier])

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

    async def purge(self, *kinds: type[PurgeCommand], action: str = "erase") -> str:
        """Send commands about the oldest bucket; return its record id."""
        record, category = await self.pool.fetchrow(
            "SELECT record_id, category FROM bucket ORDER BY id LIMIT 1"
        )
        fields: dict[str, Any] = {
            "job_id": "j",
            "chunk_id": f"ch-{record}-{action}",
            "holder": "audit-log",
            "category": category,
            "action": action,
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


def delivery(number: int, customer: str = "c-1") -> DeliveryChanged:
    return DeliveryChanged(
        delivery_id=f"d-{number}",
        message_id="m-1",
        message_type="maintenance-window",
        customer_id=customer,
        recipient_token=f"s-{number}",
        state="accepted",
        at=NOW,
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


async def test_a_part_is_purged_and_the_rest_still_opens(log: Log) -> None:
    await log.take(*(action(n) for n in range(5)))
    await log.sign()
    before = [await log.proof(index) for index in range(5)]
    await log.purge(PurgePrepare, PurgeCommit, action="anonymise")
    await log.sign()
    for index, proof in enumerate(before):
        log.check(index, proof)
    async with log.pool.acquire() as tx:
        for index in range(5):
            left = await store.payload(tx, index)
            assert left is not None
            assert set(left.parts) == {"what"}
            assert set(left.purged) == {"who", "network"}
            [leaf] = await store.leaves(tx, index, index + 1)
            assert commitment(left.digests()) == leaf[32:]
        found = await store.find(tx, store.Wanted(actor="user-1"), None, 9)
        assert found == [], "who it was can no longer be searched for"
    verdict = await log.verdict()
    assert (verdict.purged, verdict.problems) == (5, [])
    await log.purge(PurgePrepare, PurgeCommit)
    await log.sign()
    assert (await log.verdict()).problems == []


async def test_a_delivery_made_anonymous_tells_no_more_who_got_it(log: Log) -> None:
    await log.take(delivery(77))
    await log.purge(PurgePrepare, PurgeCommit, action="anonymise")
    await log.sign()
    kinds = [leaf[3] for leaf in await _leaves(log)]
    assert kinds == [Kind.EVENT, Kind.PURGE_RECEIPT]
    rows = await log.pool.fetch("SELECT * FROM payload WHERE index = 0")
    assert b"s-77" not in b"".join(v for v in rows[0].values() if isinstance(v, bytes))
    assert b'"state":"accepted"' in rows[0]["what"], "that a mail was sent is still told"
    assert (await log.verdict()).problems == []


async def test_every_event_that_is_logged_is_filed_as_the_verifier_reads_it(log: Log) -> None:
    logged = [kind for kind in CONSUMES if not issubclass(kind.model, PurgeCommand)]
    assert len(logged) > 10
    for kind in logged:
        example = (EXAMPLES / f"{kind.name}.json").read_bytes()
        await log.take(kind.model.model_validate_json(example))
    await log.sign()
    assert (await log.verdict()).problems == []


async def test_decisions_by_people_are_filed_as_they_say(log: Log, audit_db: Database) -> None:
    fields: dict[str, Any] = {"category": "lead.form", "day": NOW.date(), "records": 7}
    await log.take(
        PurgeJobFrozen(**fields, why="more than forecast"),
        PurgeJobApproved(**fields, by="u-1", complete=False),
        HoldReleaseAsked(hold_id="h-1", by="u-1"),
        HoldReleased(hold_id="h-1", by="u-2", epoch=2, asked_by="u-1"),
        RightsCaseChanged(
            case_id="r-1", right="erase", step="decide", state="decided", by="u-1", due_on=None
        ),
    )
    await log.sign()
    assert (await log.verdict()).problems == []
    assert await log.pool.fetchval("SELECT target FROM payload WHERE index = 4") == "r-1"
    connection = await asyncpg.connect(audit_db.owner)
    await connection.execute("UPDATE payload SET target = 'news' WHERE index = 1")
    await connection.close()
    assert (await log.verdict()).problems == ["entry 1 is filed under another target"]


async def test_the_key_of_a_tenant_dies_with_its_last_entry(log: Log) -> None:
    await log.take(action(1, "c-1"), action(2, "c-2"))
    await log.purge(PurgePrepare, PurgeCommit)
    tenants = await log.pool.fetch("SELECT customer_id FROM tenant")
    assert len(tenants) == 1
    buckets = await log.pool.fetch("SELECT customer_id FROM bucket")
    assert buckets == tenants, "what was purged leaves no trace of whose it was"
    assert [leaf[3] for leaf in await _leaves(log)][2:] == [Kind.PURGE_RECEIPT, Kind.KEY_EVENT]


async def test_an_event_stays_known_after_its_content_is_purged(log: Log) -> None:
    once = event(action(1), NOW)
    for _ in range(2):
        once.prepared = log.handlers.prepare(replace(once))
        async with transaction(log.pool) as tx:
            [sight] = await log.handlers.sight(tx, [once], careful=True)
            if sight is Sight.FIRST:
                await log.handlers.handle(tx, [once])
        await log.purge(PurgePrepare, PurgeCommit) if sight is Sight.FIRST else None
    assert sight is Sight.DUPLICATE


async def test_a_range_and_what_came_since_a_checkpoint_are_verified_alone(
    log: Log, audit_db: Database
) -> None:
    await log.take(*(action(n) for n in range(600)))
    await log.sign()
    async with log.pool.acquire() as tx:
        kept = await store.latest_checkpoint(tx)
    assert kept is not None
    since = kept[1]
    await log.take(*(action(n) for n in range(600, 1000)))
    await log.sign()
    keys = [log.signer.verifier]
    fresh = await verify(log.pool, keys, since=since)
    assert (fresh.first, fresh.end, fresh.problems) == (512, 1000, [])
    part = await verify(log.pool, keys, first=300, end=520)
    assert (part.first, part.end, part.present, part.problems) == (256, 520, 264, [])
    connection = await asyncpg.connect(audit_db.owner)
    await connection.execute("DELETE FROM payload WHERE index = 700")
    await connection.close()
    assert (await verify(log.pool, keys, first=300, end=520)).intact
    assert not (await verify(log.pool, keys, since=since)).intact
    forged = log.signer.sign(600, bytes(32))
    wrong = await verify(log.pool, keys, since=forged)
    assert "the log does not extend the checkpoint of 600 entries" in wrong.problems


async def test_an_appender_that_was_stopped_cannot_write_any_more(log: Log) -> None:
    """A zombie: it took the turn, was stopped, and wakes up after the server gave it up."""
    sealed = [log.handlers.prepare(event(action(n), NOW)) for n in range(2)]
    zombie = await log.pool.acquire()
    turn = zombie.transaction()
    await turn.start()
    await store.lock_tree(zombie)
    async with log.pool.acquire() as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
        )
    await log.take(action(7))
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await log.handlers.appender.append(zombie, [s for s in sealed if s is not None])
    await log.pool.release(zombie)
    await log.sign()
    verdict = await log.verdict()
    assert (verdict.size, verdict.problems) == (1, [])


async def test_quarantine_hides_and_cancel_shows(log: Log) -> None:
    await log.take(action(1))
    await log.purge(PurgePrepare)
    async with log.pool.acquire() as tx:
        assert await store.payload(tx, 0) is None
    await log.sign()
    assert (await log.verdict()).problems == []
    await log.purge(PurgeCancel)
    async with log.pool.acquire() as tx:
        assert await store.payload(tx, 0) is not None
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


async def test_who_rewrites_the_log_with_a_key_of_his_own_is_found(log: Log) -> None:
    """All of it: tree, checkpoints, and an entry that says that his was the log's key before."""
    true_key, his = log.signer.verifier, new_seed()
    await log.rotate(his)
    await log.rotate(new_seed())
    await log.rotate(his)
    await log.take(action(1))
    await log.sign()
    assert (await log.verdict()).problems == []
    verdict = await verify(log.pool, [true_key])
    assert any("checkpoint of size" in p for p in verdict.problems), verdict


async def test_a_key_vouches_for_no_state_after_it_was_given_up(log: Log) -> None:
    old, fresh = log.seeds[0], new_seed()
    retired = log.signer
    await log.take(*(action(n) for n in range(5)))
    await log.sign()
    await log.rotate(fresh, old)  # entry 5: both sign
    await log.take(action(5))
    size = await log.sign()
    assert size == 7
    kept = retired.sign(size, await log.root())
    await log.rotate(fresh)  # entry 7 gives the old one up
    await log.take(action(6))
    size = await log.sign()
    assert size == 9
    forged = retired.sign(size, await log.root())
    keys = [log.signer.verifier]
    assert (await verify(log.pool, keys)).problems == []
    assert (await verify(log.pool, keys, since=kept)).problems == []
    wrong = await verify(log.pool, keys, since=forged)
    assert any("signature is missing or wrong" in p for p in wrong.problems)


@pytest.mark.parametrize(
    "junk",
    [
        "UPDATE tile SET hashes = hashes || sha256('x')",
        "UPDATE bundle SET leaves = leaves || substr(leaves, 1, 64)",
    ],
)
async def test_nothing_is_built_on_an_end_that_is_not_the_logs(log: Log, junk: str) -> None:
    await log.take(*(action(n) for n in range(3)))
    await log.pool.execute(junk)  # the service itself may
    with pytest.raises(merkle.BrokenEdgeError, match="is not as long as the log"):
        await log.take(action(3))


@pytest.mark.parametrize("part", ["who", "network"])
async def test_a_part_that_comes_back_after_its_purge_is_found(
    log: Log, audit_db: Database, part: str
) -> None:
    await log.take(*(action(n) for n in range(5)))
    connection = await asyncpg.connect(audit_db.owner)
    try:
        kept = await connection.fetchval(f"SELECT {part} FROM payload WHERE index = 3")
        await log.purge(PurgePrepare, PurgeCommit, action="anonymise")
        await log.sign()
        assert (await log.verdict()).problems == []
        await connection.execute("SET session_replication_role = replica")
        restored = f"UPDATE payload SET {part} = $1, {part}_digest = NULL WHERE index = 3"
        await connection.execute(restored, kept)
    finally:
        await connection.close()
    named = f"entry 3: a receipt says that part {part} was purged; it is there"
    assert named in (await log.verdict()).problems


async def test_what_is_not_signed_yet_is_counted(log: Log) -> None:
    await log.take(action(1))
    await log.sign()
    await log.take(action(2), action(3))
    verdict = await log.verdict()
    assert (verdict.size, verdict.unsigned, verdict.problems) == (1, 2, [])


async def test_a_delivery_to_nobodys_customer_is_in_no_bucket_and_intact(log: Log) -> None:
    await log.take(DELIVERY.model_copy(update={"customer_id": None}))
    await log.sign()
    assert (await log.verdict()).problems == []


async def test_the_watch_goes_on_where_the_tree_has_a_hole(log: Log, audit_db: Database) -> None:
    await log.take(*(action(n) for n in range(3000)))
    await log.sign()
    watch = Watch(log.signer.verifiers, Alerts(log.outbox, log.clock), log.clock)
    await watch.step(log.pool)
    assert await log.position() == 1024
    connection = await asyncpg.connect(audit_db.owner)
    await connection.execute("DELETE FROM tile WHERE level = 1")
    await connection.close()
    for position in (2048, 0, 1024):  # a round, and on into the next
        await watch.step(log.pool)
        assert await log.position() == position
    rows = await log.pool.fetch("SELECT fingerprint, summary FROM standing_alert")
    told = {row["fingerprint"]: row["summary"] for row in rows}
    assert "the tiles before entry 1024 are missing or too short" in told["watch/1024/differs"]
    assert "tile 0 of level 1 is not as long as the log" in told["watch/log/differs"]


async def test_a_mirror_follows_the_log_and_its_keys_and_nothing_else(
    log: Log, audit_db: Database, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    old, fresh = log.seeds[0], new_seed()
    target = f"file://{tmp_path}/mirror"

    async def copied() -> int:
        told.clear()
        keys = [log.signer.verifier]
        return await export(log.pool, target, keys, "", lambda *counts: told.append(counts))

    await log.take(*(action(n) for n in range(300)))
    await log.sign()
    assert await copied() == 300
    assert told == [(2 * 2 + 3, 2 * 2 + 3)], "bundles with statements, and the tiles"
    await log.rotate(fresh, old)
    await log.rotate(fresh)
    assert await copied() == 302
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    connection = await asyncpg.connect(audit_db.owner)
    tables = "bundle, tile, seen, payload, checkpoint, bucket, tenant"
    await connection.execute(f"TRUNCATE {tables} CASCADE; UPDATE tree SET size = 0")
    await connection.close()
    await log.take(*(action(n) for n in range(600)))
    await log.sign()
    with pytest.raises(Rejected, match="does not extend what is mirrored"):
        await copied()
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


DELIVERY = DeliveryChanged(
    delivery_id="d-1",
    message_id="m-1",
    message_type="news",
    customer_id="c-1",
    recipient_token="r-1",  # noqa: S106 - no password
    state="queued",
    at=NOW,
)
HOLD = HoldPlaced(
    hold_id="h-1",
    customer_id="c-1",
    category=None,
    reason="a dispute",
    review_on=NOW.date(),
    by="p-1",
    epoch=1,
)
FREE = "ALTER TABLE {0} DISABLE TRIGGER USER;"  # who has all rights has this one too
LEAF = "set_byte(leaves, {0}, get_byte(leaves, {0}) # 1)"
TAMPERINGS = {
    "a leaf": (
        FREE.format("bundle") + f"UPDATE bundle SET leaves = {LEAF.format(3 * 64 + 40)}",
        "tile 0 of level 0 differs",
    ),
    "a day": (
        FREE.format("bundle") + f"UPDATE bundle SET leaves = {LEAF.format(3 * 64 + 11)}",
        "do not hash to the signed root",
    ),
    "a value": (
        FREE.format("payload") + "UPDATE payload SET what = what || ' ' WHERE index = 3",
        "entry 3: its content does not match",
    ),
    "a salt": (
        FREE.format("payload")
        + "UPDATE payload SET who = set_byte(who, 2, get_byte(who, 2) # 1) WHERE index = 3",
        "entry 3: its content does not match",
    ),
    "a digest of what was purged": (
        "UPDATE payload SET who = NULL, actor = NULL, who_digest = sha256('x') WHERE index = 3",
        "entry 3: its content does not match",
    ),
    "content gone without a receipt": (
        "DELETE FROM payload WHERE index = 3",
        "entry 3: part who is gone without a receipt",
    ),
    "a part gone without a receipt": (
        """UPDATE payload SET who = NULL, actor = NULL,
           who_digest = sha256('part1\\000'::bytea || substr(who, 1, 16)
                               || '["who",' || substr(who, 17) || ']')
           WHERE index = 3""",
        "entry 3: part who is gone without a receipt",
    ),
    "the last entries": (
        FREE.format("bundle") + "UPDATE bundle SET leaves = substr(leaves, 1, 8 * 64)",
        "entry 8 is missing",
    ),
    "the tree cut off": (
        "UPDATE tree SET size = 8",
        "13 entries were signed, 8 are there",
    ),
    "all leaves": ("DELETE FROM bundle", "entry 0 is missing"),
    "a tile": (
        FREE.format("tile") + "UPDATE tile SET hashes = set_byte(hashes, 0, 0)",
        "tile 0 of level 0 differs",
    ),
    "a checkpoint's note": (
        "UPDATE checkpoint SET note = replace(note, '13', '14') WHERE size = 13",
        "checkpoint of size 13",
    ),
    "a checkpoint's root": (
        "UPDATE checkpoint SET root = sha256('x') WHERE size = 13",
        "checkpoint of size 13",
    ),
    "the content of two entries changes places": (
        """UPDATE payload SET index = CASE index WHEN 3 THEN 4 ELSE 3 END
            WHERE index IN (3, 4)""",
        "entry 3: its content does not match",
    ),
    "content twice": (
        "INSERT INTO payload SELECT * FROM payload WHERE index = 3",
        "entry 3 has content twice",
    ),
    "filed under another customer": (
        "UPDATE payload SET customer_id = 'c-2' WHERE index = 3",
        "entry 3 is filed under another customer",
    ),
    "filed under another account": (
        "UPDATE payload SET actor = 'somebody' WHERE index = 3",
        "entry 3 is filed under another account",
    ),
    "filed at another time": (
        "UPDATE payload SET at = at - interval '1 hour' WHERE index = 3",
        "entry 3 is filed under another time",
    ),
    "taken out of retention": (
        "UPDATE payload SET bucket = NULL WHERE index = 3",
        "entry 3 is filed under another retention class",
    ),
    "a forged receipt": (
        """INSERT INTO payload (index, at, action, what)
           VALUES (4, now(), 'audit.purge.receipt.v1', '0123456789abcdef{}')""",
        "receipt 4: it is not what was logged",
    ),
    "a forged exchange of keys": (
        """INSERT INTO payload (index, at, action, what)
           VALUES (4, now(), 'audit.key.rotated.v1', '0123456789abcdef{"before":[]}')""",
        "key event 4: it is not what was logged",
    ),
    "all that was signed": (
        "DELETE FROM checkpoint; DELETE FROM payload",
        "nothing is signed, and 13 entries are there",
    ),
    "the note of the empty log": (
        "UPDATE checkpoint SET note = replace(note, E'\\n0\\n', E'\\n1\\n') WHERE size = 0",
        "checkpoint of size 0",
    ),
    "the root of the empty log": (
        "UPDATE checkpoint SET root = sha256('x') WHERE size = 0",
        "checkpoint of size 0",
    ),
    "a hash added to the last tile": (
        "UPDATE tile SET hashes = hashes || sha256('x')",
        "tile 0 of level 0 is not as long as the log",
    ),
    "a tile added": (
        "INSERT INTO tile VALUES (1, 0, sha256('x'))",
        "tile 0 of level 1 lies beyond the end of the log",
    ),
    "a leaf added to the last bundle": (
        "UPDATE bundle SET leaves = leaves || substr(leaves, 1, 64)",
        "bundle 0 is not as long as the log",
    ),
    "a bundle added": (
        "INSERT INTO bundle SELECT 1, leaves FROM bundle",
        "bundle 1 lies beyond the end of the log",
    ),
    "content without an entry": (
        "INSERT INTO payload (index, at, action) VALUES (99, now(), 'x')",
        "99 has content, and is no entry",
    ),
    "an event without an entry": (
        "INSERT INTO seen VALUES (99, '0123456789abcdef')",
        "99 has an event, and is no entry",
    ),
    "an event forgotten": (
        "DELETE FROM seen WHERE index = 3",
        "entry 3 is not known as an event any more",
    ),
    "another event in its place": (
        "UPDATE seen SET event = '0123456789abcdef' WHERE index = 3",
        "entry 3 is filed under another event",
    ),
    "a bucket that does not exist": (
        "UPDATE payload SET bucket = 4711 WHERE index = 3",
        "entry 3 is filed under another bucket",
    ),
    "the bucket of another category": (
        "UPDATE payload SET bucket = (SELECT bucket FROM payload WHERE index = 10) WHERE index = 3",
        "entry 3 is filed under another bucket",
    ),
    "a bucket with another customer": (
        "UPDATE bucket SET customer_id = 'c-2'",
        "entry 3 is filed under another bucket",
    ),
    "a bucket with another day": (
        "UPDATE bucket SET day = day + 1",
        "entry 3 is filed under another bucket",
    ),
    "entries hidden without an order": (
        "UPDATE bucket SET state = 'quarantined' WHERE category = 'logs.action'",
        "is hidden, and no purge asks for it",
    ),
    "a delivery at another time": (
        "UPDATE payload SET at = at - interval '1 minute' WHERE index = 10",
        "entry 10 is filed under another time",
    ),
    "a delivery to another customer": (
        "UPDATE payload SET customer_id = 'c-2' WHERE index = 10",
        "entry 10 is filed under another customer",
    ),
    "a delivery of another message": (
        "UPDATE payload SET target = 'm-2' WHERE index = 10",
        "entry 10 is filed under another target",
    ),
    "a delivery with another state": (
        "UPDATE payload SET outcome = 'accepted' WHERE index = 10",
        "entry 10 is filed under another outcome",
    ),
    "a delivery taken for something else": (
        "UPDATE payload SET action = 'x' WHERE index = 10",
        "entry 10 is filed under another action",
    ),
    "a hold by another person": (
        "UPDATE payload SET actor = 'p-2' WHERE index = 11",
        "entry 11 is filed under another account",
    ),
    "another hold": (
        "UPDATE payload SET target = 'h-2' WHERE index = 11",
        "entry 11 is filed under another target",
    ),
    "a correction of another entry": (
        "UPDATE payload SET target = 'entry/4' WHERE index = 12",
        "entry 12 is filed under another target",
    ),
    "a correction for another customer": (
        "UPDATE payload SET customer_id = 'c-2' WHERE index = 12",
        "entry 12 is filed under another customer",
    ),
    "a correction on another day": (
        "UPDATE payload SET at = at - interval '1 day' WHERE index = 12",
        "entry 12 is filed under another time",
    ),
    "a kind that there is not": (
        FREE.format("bundle") + "UPDATE bundle SET leaves = set_byte(leaves, 3 * 64 + 3, 99)",
        "entry 3: its content is not of its kind",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_tampering_is_found(log: Log, audit_db: Database, what: str) -> None:
    await log.sign()
    await log.take(*(action(n) for n in range(10)), DELIVERY, HOLD)
    await log.correct(3)
    await log.sign()
    assert (await log.verdict()).problems == []
    connection = await asyncpg.connect(audit_db.owner)
    try:
        statement, named = TAMPERINGS[what]
        await connection.execute(statement)
    finally:
        await connection.close()
    problems = (await log.verdict()).problems
    assert any(named in problem for problem in problems), problems
