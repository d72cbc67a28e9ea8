"""The demo against the whole stack, and its figures against the databases."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
from tests.conftest import PATIENCE

from gallra.stackfile import Stack, read

LONG = 400.0  # seconds the demo may take on a busy machine, with services dying under it


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gallra", "demo", "--data", str(folder), "--name", name]
    return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)


def finish(demo: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = demo.communicate(timeout=LONG)
    figures: dict[str, Any] = json.loads(out)
    assert figures["problems"] == []
    assert demo.returncode == 0
    return figures


async def count(dsn: str, query: str, *values: object) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(query, *values))
    finally:
        await connection.close()


async def check(stack: Stack, figures: dict[str, Any]) -> None:
    """Compare every figure with what SQL says, database by database."""
    run = figures["run"]
    mine = f"{run}-%"
    audit, retention, notifier = (
        stack.databases[s] for s in ("audit_log", "retention", "notifier")
    )
    platform = urlunsplit(urlsplit(retention)._replace(path="/demo_platform"))

    logged = await count(
        audit,
        "SELECT count(*) FROM payload WHERE customer_id LIKE $1 AND channel IS NOT NULL",
        mine,
    )
    assert logged + figures["log_entries_purged"] == figures["logged"] == figures["actions"]
    size = figures["verdict"]["size"]
    assert await count(audit, "SELECT count(*) FROM checkpoint WHERE size = $1", size) == 1
    without = """SELECT count(*) FROM seen LEFT JOIN payload USING (index)
                  WHERE payload.index IS NULL AND seen.index < $1"""
    assert figures["verdict"]["purged"] == await count(audit, without, size)

    tables = {
        "account.master": "account",
        "billing.invoice": "invoice",
        "billing.contact": "billing_contact",
        "lead.form": "lead",
    }
    for category, table in tables.items():
        left = await count(platform, f"SELECT count(*) FROM {table} WHERE record_id LIKE $1", mine)
        known = await count(
            retention,
            "SELECT count(*) FROM record WHERE category = $1 AND record_id LIKE $2",
            category,
            mine,
        )
        erased = await count(
            retention,
            """SELECT count(*) FROM purge_chunk
                 JOIN purge_job ON purge_job.id = job, unnest(refs) AS ref
                WHERE category = $1 AND ref LIKE $2 AND erased > 0""",
            category,
            mine,
        )
        assert left == known == figures["kept"][category]
        assert erased == figures["purged"][category]
    held = """SELECT count(*) FROM record JOIN legal_hold USING (customer_id)
               JOIN deadline_key ON deadline_key.id = record.key
              WHERE record.category = 'billing.invoice' AND purge_from <= now()
                AND customer_id LIKE $1"""
    assert await count(retention, held, mine) == figures["held"]

    gone = "SELECT count(*) FROM canary WHERE state = 'erased' AND chunk IS NOT NULL"
    assert await count(retention, gone) == len(figures["canaries"]) == 4
    assert await count(platform, "SELECT count(*) FROM lead WHERE record_id LIKE 'canary-%'") == 0

    accepted = "SELECT count(*) FROM delivery WHERE message_id LIKE $1 AND state = $2"
    for state, deliveries in figures["mails"].items():
        assert await count(notifier, accepted, f"{run}-%", state) == deliveries
    everyone = (
        "SELECT count(DISTINCT (message_id, recipient)) FROM delivery WHERE message_id LIKE $1"
    )
    assert await count(notifier, everyone, f"{run}-%") == figures["mails_received"]


def test_figures_are_what_the_databases_hold(stack: Stack, stack_folder: Path) -> None:
    figures = finish(start(stack_folder, "plain"))
    asyncio.run(check(stack, figures))


def test_the_report_says_the_same(stack: Stack, stack_folder: Path) -> None:
    figures = finish(start(stack_folder, "report"))
    url = f"{stack.urls['retention']}/api/v1/report"
    report = httpx.get(url, timeout=60).raise_for_status().json()
    by_category = {line["category"]: line for line in report["categories"]}
    for category in figures["purged"]:
        line = by_category[category]
        held = "SELECT count(*) FROM record WHERE category = $1"  # canaries are gone by now
        assert line["held"] == asyncio.run(count(stack.databases["retention"], held, category))
        erased = """SELECT sum(erased - canaries) FROM purge_chunk
                      JOIN purge_job ON purge_job.id = job,
                           LATERAL (SELECT count(*) AS canaries FROM unnest(refs) AS ref
                                     WHERE ref LIKE 'canary-%') AS of_nobody
                     WHERE category = $1"""
        assert line["purged"]["erased"] == asyncio.run(
            count(stack.databases["retention"], erased, category)
        )
        for purge in line["purges"]:
            entry = f"{stack.urls['audit_log']}/api/v1/entries/{purge['master_log_entry']}"
            found = httpx.get(entry, timeout=60).raise_for_status().json()
            closed = found["content"]["parts"]["what"]["value"]["data"]
            assert closed["job_id"] == purge["job_id"]


def test_what_nobody_forecast_goes_when_two_people_approve(
    stack: Stack, stack_folder: Path
) -> None:
    retention = stack.databases["retention"]
    forecast = """INSERT INTO forecast
                  SELECT DISTINCT (now() AT TIME ZONE 'Europe/Stockholm')::date, category, 0
                    FROM policy_version
                  ON CONFLICT DO NOTHING RETURNING 1"""
    asyncio.run(count(retention, forecast))
    finish(start(stack_folder, "unforeseen"))
    approved = "SELECT count(*) FROM purge_guard WHERE (first_by, second_by) = ('demo-1', 'demo-2')"
    assert asyncio.run(count(retention, approved)) >= 1
    log = f"{stack.urls['audit_log']}/api/v1/entries"
    [found, *_] = httpx.get(log, params={"actor": "demo-2"}, timeout=60).json()["entries"]
    assert found["type"] == "retention.purge-job.approved.v1"
    parts = httpx.get(f"{log}/{found['index']}", timeout=60).json()["content"]["parts"]
    assert "demo-2" in str(parts["who"])
    assert "demo-2" not in str(parts["what"])
    asyncio.run(count(retention, "WITH gone AS (DELETE FROM forecast RETURNING 1) SELECT 1"))


@pytest.mark.parametrize("victim", ["audit_log", "retention", "notifier"])
def test_kill_9_in_the_middle_changes_nothing(
    stack: Stack, stack_folder: Path, victim: str
) -> None:
    demo = start(stack_folder, f"kill-{victim.replace('_', '-')}")
    for _ in range(3):
        before = read(stack_folder).pids[victim]
        if demo.poll() is not None:
            break
        os.kill(before, signal.SIGKILL)
        renewed(stack_folder, victim, before)
    asyncio.run(check(stack, finish(demo)))


def renewed(folder: Path, service: str, before: int) -> None:
    """Wait until *service* has been started again and does its work."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = read(folder)
        if now.pids[service] != before:
            try:
                if httpx.get(f"{now.urls[service]}/readyz", timeout=5).is_success:
                    return
            except httpx.HTTPError:
                pass
        time.sleep(0.05)
    pytest.fail(f"{service} did not come back")
