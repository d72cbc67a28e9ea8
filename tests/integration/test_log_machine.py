"""Any order of appending, signing, purging and proving, on a real database, breaks nothing."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.conftest import Database
from tests.integration.test_master_log import Log, action, delivery

from audit_log import merkle
from audit_log.checkpoint import Checkpoint, open_checkpoint
from shared.events.gallra import PurgeCommit, PurgePrepare
from shared.postgres import open_pool

T = TypeVar("T")
_TABLES = "bundle, tile, seen, payload, checkpoint, cosignature, bucket, tenant, outbox, inbox"


class Machine(RuleBasedStateMachine):
    """The log, and what was once proven about it."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.run(self._empty())
        self.pool: Any = self.run(self._open())
        self.log = Log(self.pool)
        self.run(self.log.sign())  # as a service does before anything is appended
        self.size = 0
        self.checkpoints: list[Checkpoint] = []
        self.proofs: list[tuple[int, tuple[bytes, list[bytes], str]]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    async def _empty(self) -> None:
        connection = await asyncpg.connect(self.database.owner)
        await connection.execute(f"TRUNCATE {_TABLES}, purge_chunk_seen CASCADE")
        await connection.execute("UPDATE tree SET size = 0, keys = '{}'")
        await connection.close()

    async def _open(self) -> Any:
        self.lent = open_pool(self.database.service, "test")
        return await self.lent.__aenter__()

    def teardown(self) -> None:
        self.run(self.lent.__aexit__(None, None, None))
        self.loop.close()

    @rule(count=st.sampled_from([1, 2, 7, 100, 255, 256, 300]), customer=st.sampled_from("ab"))
    def append(self, count: int, customer: str) -> None:
        self.run(self.log.take(*(action(self.size + n, customer) for n in range(count))))
        self.size += count

    @rule(count=st.sampled_from([1, 3, 40]), customer=st.sampled_from("ab"))
    def deliver(self, count: int, customer: str) -> None:
        self.run(self.log.take(*(delivery(self.size + n, customer) for n in range(count))))
        self.size += count

    @rule()
    def publish(self) -> None:
        self.run(self.log.sign())
        latest = self.run(self._latest())
        fresh = open_checkpoint(latest, self.log.signer.verifier)
        if self.checkpoints:
            self._check_consistency(self.checkpoints[-1], fresh)
        self.checkpoints.append(fresh)

    async def _latest(self) -> str:
        return str(
            await self.pool.fetchval("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        )

    def _check_consistency(self, old: Checkpoint, new: Checkpoint) -> None:
        rows = self.run(self.pool.fetch("SELECT level, number, hashes FROM tile"))
        tiles = {(row["level"], row["number"]): row["hashes"] for row in rows}
        proof = merkle.consistency_proof(lambda lev, n: tiles[lev, n], old.size, new.size)
        merkle.verify_consistency(old.size, new.size, proof, old.root, new.root)

    @precondition(lambda self: self.checkpoints and self.checkpoints[-1].size)
    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, self.checkpoints[-1].size - 1))
        self.proofs.append((index, self.run(self.log.proof(index))))

    @precondition(lambda self: self.size)
    @rule(part_only=st.booleans())
    def purge(self, part_only: bool) -> None:
        waiting = self.run(self.pool.fetchval("SELECT count(*) FROM bucket"))
        if waiting:
            action_ = "anonymise" if part_only else "erase"
            self.run(self.log.purge(PurgePrepare, PurgeCommit, action=action_))
            self.size = self.run(self.pool.fetchval("SELECT size FROM tree"))

    @invariant()
    def every_old_proof_holds(self) -> None:
        for index, proof in self.proofs:
            self.log.check(index, proof)

    @invariant()
    def the_log_is_intact(self) -> None:
        verdict = self.run(self.log.verdict())
        assert verdict.problems == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_breaks_the_log(audit_db: Database) -> None:
    class OnThis(Machine):
        database = audit_db

    case = OnThis.TestCase
    case.settings = settings(
        max_examples=12,
        stateful_step_count=15,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
