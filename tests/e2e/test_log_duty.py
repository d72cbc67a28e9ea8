"""What the running log does of itself: exchanges its key, and notices when it was changed."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.conftest import Database
from tests.live import Live, action, eventually, live, new_seed

from audit_log.checkpoint import Verifier, open_checkpoint
from gallra.stack.infrastructure import Infrastructure
from shared.errors import Rejected

COUNT = 600
COSIGNATURE = b"\x04"  # the algorithm of a witness's key (C2SP tlog-cosignature)


@pytest.fixture
def log(infra: Infrastructure, audit_db: Database, topic_prefix: str) -> Iterator[Live]:
    with live(infra, audit_db, topic_prefix) as running:
        running.publish([(action(n), {}) for n in range(COUNT)])
        running.service.reaches(COUNT)
        yield running


async def write(database: Database, statement: str, *values: Any) -> None:
    """Change the database as somebody could who has every right on it."""
    connection = await asyncpg.connect(database.owner)
    await connection.execute("SET session_replication_role = replica")  # no trigger stops us
    await connection.execute(statement, *values)
    await connection.close()


def restarted(log: Live, *seeds: str) -> None:
    log.service.kill(signal.SIGTERM)
    log.service.start(GALLRA_LOG_KEY="\n".join(seeds))
    log.service.wait()


def test_the_key_is_exchanged_in_the_open(log: Live, tmp_path: Path) -> None:
    old, fresh = log.vkey, new_seed()
    kept, mine = tmp_path / "kept", tmp_path / "c-1.json"
    log.gallra("tenant-key", "c-1", "--out", str(mine))
    mirror = f"file://{tmp_path}/mirror"
    log.gallra("mirror", mirror)
    kept.write_text(log.service.get("/log/checkpoint").text)

    restarted(log, fresh, log.seed)
    present, retiring = log.service.get("/log/vkey").text.splitlines()
    assert retiring == old
    assert present != old
    log.service.reaches(COUNT + 1)  # the exchange is an entry
    note = log.service.get("/log/checkpoint").text
    for vkey in (present, old):
        open_checkpoint(note, Verifier.parse(vkey))
    bundle = COUNT // 256
    told = log.service.get(f"/log/statements/{bundle:03}.p/{COUNT + 1 - bundle * 256}").text
    assert '"log-keys-changed"' in told
    assert present in told
    log.gallra("verify", "--since", str(kept))

    restarted(log, fresh)
    log.publish([(action(COUNT), {})])
    log.service.reaches(COUNT + 3)
    note = log.service.get("/log/checkpoint").text
    open_checkpoint(note, Verifier.parse(present))
    with pytest.raises(Rejected, match="signature"):
        open_checkpoint(note, Verifier.parse(old))
    said = log.gallra("verify")  # what the old key signed is vouched for by the entry
    assert said.startswith("intact")
    assert log.gallra("verify", "--since", str(kept)).startswith("intact")
    log.gallra("mirror", mirror)
    # A customer's file names the key of then, and from public files alone nothing leads on.
    said = log.gallra("my-entries", "--key", str(mine), code=1)
    assert "ask for its present key" in said
    assert "--vkey" in said
    found = log.gallra("my-entries", "--key", str(mine), "--vkey", present, "--json")
    assert json.loads(found)["complete"]


def test_a_change_behind_its_back_reaches_on_call(log: Live, audit_db: Database) -> None:
    before = asyncio.run(_account(audit_db))
    asyncio.run(write(audit_db, "UPDATE payload SET actor = 'u-other' WHERE index = 300"))
    _, alert = log.read("ops.alerts.v1", lambda h, _: h["ce_type"] == "ops.alert.raised.v1")
    assert alert["runbook"] == "log-not-intact"
    assert alert["severity"] == "critical"
    assert "entry 300 is filed under another account" in alert["summary"]
    assert "u-other" not in str(alert)
    said = log.gallra("verify", code=1)
    assert "entry 300 is filed under another account" in said

    asyncio.run(write(audit_db, "UPDATE payload SET actor = $1 WHERE index = 300", before))
    _, resolved = log.read("ops.alerts.v1", lambda h, _: h["ce_type"] == "ops.alert.resolved.v1")
    assert resolved["fingerprint"] == alert["fingerprint"]
    log.gallra("verify")


async def _account(database: Database) -> str:
    connection = await asyncpg.connect(database.owner)
    actor: str = await connection.fetchval("SELECT actor FROM payload WHERE index = 300")
    await connection.close()
    return actor


def test_a_witness_that_is_away_keeps_nothing_from_being_signed(
    infra: Infrastructure, audit_db: Database, topic_prefix: str, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    witness = Verifier("witness.test/w", key, COSIGNATURE)
    policy = tmp_path / "policy"
    policy.write_text(f"witness w {witness.vkey} http://127.0.0.1:9/\nquorum w\n")
    with live(infra, audit_db, topic_prefix, GALLRA_WITNESSES=str(policy)) as log:
        log.publish([(action(n), {}) for n in range(10)])
        log.service.reaches(10)
        eventually(lambda: "did not cosign" in log.service.log.read_text())
        log.publish([(action(n), {}) for n in range(10)])
        log.service.reaches(20)
        assert witness.vkey in log.service.get("/log/policy").text


def test_purges_are_judged_from_public_files_alone(
    infra: Infrastructure, audit_db: Database, topic_prefix: str
) -> None:
    policy = {
        "category": "logs.action",
        "version": 1,
        "sha256": "0" * 64,
        "log_class": 1,
        "keep_months": 12,
        "grace_days": 7,
    }
    told = {"ce_type": "retention.policy.activated.v1", "ce_time": "2025-01-01T00:00:00Z"}
    with live(infra, audit_db, topic_prefix) as log:
        log.publish([(policy, told)], "retention.decisions.v1")
        log.service.reaches(1)
        old, fresh = {"ce_time": "2025-02-03T12:00:00Z"}, {"ce_time": "2026-11-02T12:00:00Z"}
        log.publish([(action(n), old if n < 3 else fresh) for n in range(6)])
        log.service.reaches(7)
        records = asyncio.run(_records(audit_db))
        log.purge(records["2025-02-03"])
        judged = ("conformity", "--url", f"{log.service.url}/log", "--vkey", log.vkey)
        assert "early        none" in log.gallra(*judged)
        log.purge(records["2026-11-02"])
        said = log.gallra(*judged, code=1)
        assert "early        4-6" in said
        assert "unexplained  none" in said


async def _records(database: Database) -> dict[str, str]:
    connection = await asyncpg.connect(database.owner)
    rows = await connection.fetch("SELECT day, record_id FROM bucket")
    await connection.close()
    return {str(row["day"]): row["record_id"] for row in rows}
