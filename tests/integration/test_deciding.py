"""What people decide over HTTP: two of them, and the bearer of the token is who decides."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import Database
from tests.integration import served
from tests.integration.test_closed_loop import Retention, named
from tests.unit.test_routes import KEYS, bearer

from retention import deciding
from retention.guard import Guard
from retention.holds import Holds
from retention.override import HOLD_GRACE_DAYS
from retention.planner import Planner
from shared.postgres import open_pool

POLICY = Path(__file__).parents[2] / "policies" / "lead.form.yaml"


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)


@pytest.fixture
async def client(retention: Retention) -> AsyncIterator[httpx.AsyncClient]:
    outbox, clock = retention.outbox, retention.clock
    async with served.client(
        "retention",
        deciding.ROUTES,
        retention.pool,
        "http://x/api/v1",
        {"token_keys": KEYS},
        holds=Holds(outbox, clock),
        guard=Guard(outbox, clock),
        planner=Planner(retention.registry.in_force, outbox, clock),
    ) as client:
        yield client


async def have(client: httpx.AsyncClient, who: str, path: str, body: Any = None) -> httpx.Response:
    role, _, name = who.partition(":")
    headers = bearer(role, name or "u-1")
    return await client.post(path, json={} if body is None else body, headers=headers)


async def test_a_hold_is_placed_by_one_and_lifted_by_two(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    await retention.invoices("i-1")
    review = (retention.clock.now() + timedelta(days=90)).date().isoformat()
    wanted = {"customer_id": "c-1", "reason": "a dispute", "review_on": review, "by": "somebody"}
    answer = await have(client, "compliance:ann", "/holds", wanted)
    assert answer.status_code == 201, answer.text
    hold = answer.json()["id"]
    [placed] = named(await retention.announced(), "HoldPlaced")
    assert (placed.by, placed.customer_id) == ("ann", "c-1"), "who has the token, not who is named"
    retention.clock.advance(timedelta(hours=1))
    assert named(await retention.sweep(), "PurgePrepare") == []
    answer = await have(client, "compliance:ann", f"/holds/{hold}/release")
    assert answer.json() == {"id": hold, "released": False}
    answer = await have(client, "dpo:ann", f"/holds/{hold}/release")
    assert (answer.status_code, answer.json()["title"]) == (400, "four-eyes")
    answer = await have(client, "approver:bo", f"/holds/{hold}/release")
    assert answer.json() == {"id": hold, "released": True}
    retention.clock.advance(timedelta(days=HOLD_GRACE_DAYS + 2))
    assert len(named(await retention.sweep(), "PurgePrepare")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": " "},
        {"reason": "x" * 2001},
        {"review_on": "2020-01-01"},
        {"customer_id": None},
        {"customer_id": None, "record_id": "i-1"},
        {"first_day": "2031-01-02", "last_day": "2031-01-01"},
    ],
)
async def test_a_hold_that_cannot_be(
    retention: Retention, client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    review = (retention.clock.now() + timedelta(days=90)).date().isoformat()
    wanted = {"customer_id": "c-1", "reason": "a dispute", "review_on": review, **changes}
    answer = await have(client, "dpo:ann", "/holds", wanted)
    assert answer.status_code == 400, answer.text
    assert named(await retention.announced(), "HoldPlaced") == []


async def test_a_plan_is_made_by_one_and_approved_by_two(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    today = retention.clock.now().date()
    longer = POLICY.read_text().replace("version: 1", "version: 2").replace("12", "13")
    longer = re.sub(r"effective_from: \S+", f"effective_from: {today}", longer)
    answer = await have(client, "compliance:ann", "/plans", {"text": longer})
    assert answer.status_code == 201, answer.text
    plan = answer.json()["sha256"]
    answer = await have(client, "approver:bo", f"/plans/{plan}/approval")
    assert answer.json()["applied"] is False
    answer = await have(client, "approver:bo", f"/plans/{plan}/approval")
    assert answer.json()["title"] == "four-eyes"
    answer = await have(client, "approver:cis", f"/plans/{plan}/approval")
    assert answer.json()["applied"] is True
    [approved, _] = named(await retention.announced(), "PolicyPlanApproved")
    assert approved.by == "bo"


@pytest.mark.parametrize(
    "text", ["", "{", "category: lead.form", "category: gossip\nversion: 1", "\0", "- 1"]
)
async def test_a_policy_that_cannot_be(client: httpx.AsyncClient, text: str) -> None:
    answer = await have(client, "dpo:ann", "/plans", {"text": text})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_not_there_is_not_approved(client: httpx.AsyncClient) -> None:
    for path in ("/plans/abc/approval", "/freezes/lead.form/approval"):
        answer = await have(client, "approver:bo", path)
        assert (answer.status_code, answer.json()["title"][:7]) == (400, "unknown")
    answer = await have(client, "dpo:bo", "/holds/00000000-0000-0000-0000-000000000000/release")
    assert answer.json()["title"] == "unknown-hold"
