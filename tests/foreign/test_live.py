"""Programs of others verify a running log, after appends, purges and kills, at awkward sizes."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from tests.conftest import Database
from tests.foreign import tools
from tests.live import ORIGIN, Live, action, eventually, headers_of_one, live, new_seed

from audit_log.checkpoint import Signer, Verifier, open_strictly, split_note
from audit_log.proof import Proof
from audit_log.witness import request
from gallra.stack.infrastructure import Infrastructure

CHECKS = (tools.fsck, tools.sumdb, tools.merkle)
LARGE = 65_535


class Grown:
    """A live log, what it signed so far, and whoever checks that."""

    def __init__(self, log: Live) -> None:
        self.log = log
        self.old: str | None = None
        self.made = 0

    def to(self, size: int) -> None:
        """Have events logged until *size* entries are signed."""
        missing = size - self.log.service.size()
        customers = ("c-1", "c-2", "c-3")
        numbers = range(self.made, self.made + missing)
        self.log.publish([(action(n, customers[n % 3]), {}) for n in numbers])
        self.made += missing
        self.log.service.reaches(size, 120)
        self.check(size)

    def check(self, size: int) -> None:
        """Let all programs verify the log, and those that can, that it extends what it was."""
        vkey, url = self.log.vkey, f"{self.log.service.url}/log"
        verdict = tools.fsck(url, vkey)
        assert verdict, verdict.said
        assert verdict.found == {"size": size}
        for check in (tools.sumdb, tools.merkle):
            verdict = check(url, vkey, self.old)
            assert verdict, verdict.said
            assert verdict.found["size"] == size
            assert verdict.found["inclusion"] == min(size, 500 if size > 2000 else size)
            assert verdict.found.get("consistency", 0) == (self.old is not None)
        self.old = httpx.get(f"{url}/checkpoint").text

    def purge(self, customer: str, how: str) -> None:
        """Have a bucket of a customer purged, and check the log as that left it."""
        query = "SELECT record_id FROM bucket WHERE customer_id = $1 LIMIT 1"
        record = asyncio.run(ask(self.log.database, query, customer))
        before = self.log.service.size()
        self.log.purge(record, how)
        self.log.service.reaches(before + 1)  # the receipt
        self.check(eventually(partial(settled, self.log)))


def settled(log: Live) -> int | None:
    """Return the size of the log if all of it is signed."""
    size: int = asyncio.run(ask(log.database, "SELECT size FROM tree"))
    return size if log.service.size() == size else None


async def ask(database: Database, query: str, *values: Any) -> Any:
    connection = await asyncpg.connect(database.owner)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()


def kill(log: Live) -> None:
    log.service.kill()
    log.service.start()
    log.service.wait()


def test_all_programs_verify_the_live_log(
    infra: Infrastructure, audit_db: Database, topic_prefix: str
) -> None:
    for check in ("fsck", "sumdb", "merkle"):
        tools.go_tool(check)  # or skip, before anything is started
    with live(infra, audit_db, topic_prefix) as log:
        grown = Grown(log)
        eventually(lambda: httpx.get(f"{log.service.url}/log/checkpoint").is_success)
        grown.check(0)
        for size in (1, 255, 256, 257):
            grown.to(size)
        grown.purge("c-1", "anonymise")
        kill(log)
        grown.purge("c-1", "erase")
        grown.check(eventually(partial(settled, log)))
        for size in (LARGE, LARGE + 1, LARGE + 2):
            grown.to(size)
            kill(log)
            grown.check(size)
        grown.purge("c-2", "erase")


@pytest.fixture
def witnessed(
    infra: Infrastructure, audit_db: Database, topic_prefix: str, tmp_path: Path
) -> Iterator[tuple[Live, str, str]]:
    """Run a log with a litewitness; lend it with the witness's address and key."""
    seed = new_seed()
    signer = Signer(ORIGIN, seed)
    folder = tmp_path / "witness"
    folder.mkdir()
    with tools.litewitness(folder, ORIGIN, signer.verifier.vkey) as (url, key):
        policy = tmp_path / "policy"
        policy.write_text(f"witness w1 {key} {url}\ngroup enough 1 w1\nquorum enough\n")
        settings = {"GALLRA_WITNESSES": str(policy), "GALLRA_LOG_KEY": seed}
        with live(infra, audit_db, topic_prefix, **settings) as log:
            yield log, url, key


def cosigned(log: Live, size: int, trusted: Sequence[Verifier]) -> str | None:
    note = log.service.get("/log/checkpoint").text
    lines = split_note(note)[1]
    if len(lines) < len(trusted) or open_strictly(note, *trusted).size < size:
        return None
    return note


def test_a_witness_cosigns_the_live_log_and_refuses_another_history(
    witnessed: tuple[Live, str, str], tmp_path: Path
) -> None:
    log, url, key = witnessed
    own = Signer(ORIGIN, log.service.environment["GALLRA_LOG_KEY"])
    trusted = [own.verifier, Verifier.parse(key)]
    note = ""
    for size in (3, 7, 300):
        log.publish([(action(n), {}) for n in range(size - log.service.size())])
        note = eventually(partial(cosigned, log, size, trusted))
    assert tools.fsck(f"{log.service.url}/log", own.verifier.vkey)
    assert tools.sumdb(f"{log.service.url}/log", own.verifier.vkey, note)
    witness = f"{url}/add-checkpoint"

    # What the log hands out stands under the quorum, though its newest checkpoint may not yet.
    answer = httpx.post(
        f"{log.service.url}/api/v1/actions",
        json=action(301),
        headers={n.replace("_", "-"): v for n, v in headers_of_one().items() if v},
        timeout=60,
    )
    assert len(split_note(Proof.parse(answer.text).note)[1]) == len(trusted)
    package = tmp_path / "evidence.zip"
    log.gallra("search", "--target", "srv-301", "--format", "evidence", "--out", str(package))
    log.gallra("verify", "--offline", str(package), "--vkey", log.vkey)
    size = 302  # with the action, and the note that somebody read it
    eventually(partial(cosigned, log, size, trusted))

    rollback = own.sign(7, bytes(32))  # we would have to lie to the witness to go back
    assert httpx.post(witness, content=request(size, [], rollback)).status_code == 400
    assert httpx.post(witness, content=request(7, [], rollback)).status_code == 409
    fork = own.sign(size, bytes(32))
    assert httpx.post(witness, content=request(size, [], fork)).status_code == 422
    longer = own.sign(size + 1, bytes(32))
    assert httpx.post(witness, content=request(size, [bytes(32)] * 4, longer)).status_code == 422

    log.publish([(action(n), {}) for n in range(10)])  # none of it did harm
    eventually(partial(cosigned, log, size + 10, trusted))
