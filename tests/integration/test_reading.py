"""What people look at: records by deadline, the calendar, policies, what stands still."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.integration import served
from tests.integration.test_closed_loop import Retention, answer, named, retention
from tests.integration.test_policy_plan import SIX_MONTHS, apply, changed, planner

from retention import reading
from retention.override import Scope
from shared.events.platform import Anchor, RecordRegistered

__all__ = ["retention"]


@pytest.fixture
async def client(retention: Retention) -> AsyncIterator[httpx.AsyncClient]:
    parts = {
        "registry": retention.registry,
        "clock": retention.clock,
        "alert_after": timedelta(minutes=15),
    }
    access = {"without_token": ("viewer",)}
    async with served.client(
        "retention", reading.ROUTES, retention.pool, "http://x", access, **parts
    ) as client:
        yield client


def lead(number: str, day: date | None) -> RecordRegistered:
    anchors = () if day is None else (Anchor(anchor_id=f"{number}-a", kind="submitted", date=day),)
    return RecordRegistered(
        holder="crm", category="lead.form", record_id=number, entity="ab", anchors=anchors
    )


async def ids(client: httpx.AsyncClient, **asked: str) -> list[str]:
    answered = await client.get("/api/v1/records", params=asked)
    assert answered.status_code == 200, answered.text
    return [record["record_id"] for record in answered.json()["records"]]


async def test_records_by_how_they_stand(retention: Retention, client: httpx.AsyncClient) -> None:
    await retention.invoices("i-1", "i-2")
    await retention.take(lead("l-1", date(2031, 6, 1)), lead("l-2", date(2030, 1, 1)))
    await retention.hold(Scope(category="billing.invoice", holder="billing", record_id="i-2"))
    retention.clock.advance(timedelta(hours=1))  # the invoices' last day is over
    assert await ids(client) == ["l-2", "i-1", "i-2", "l-1"]
    assert await ids(client, status="due") == ["l-2", "i-1"]
    assert await ids(client, status="overdue") == ["l-2"]
    assert await ids(client, status="held-back") == ["i-2"]
    assert await ids(client, status="on-hold") == ["i-2"]
    assert await ids(client, status="scheduled") == ["l-1"]
    assert await ids(client, category="lead.form", holder="crm") == ["l-2", "l-1"]
    assert await ids(client, customer="c-1") == ["i-1", "i-2"]
    assert await ids(client, **{"from": "2032-01-01", "to": "2032-01-01"}) == ["i-1", "i-2"]
    assert await ids(client, **{"from": "2032-01-02"}) == ["l-1"]


async def test_pages_of_records_miss_none_and_repeat_none(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    await retention.invoices(*(f"i-{n:03}" for n in range(230)))
    await retention.take(lead("l-1", date(2031, 6, 1)), lead("l-2", None))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get("/api/v1/records", params={"cursor": cursor})).json()
        seen += [record["record_id"] for record in page["records"]]
        cursor = page["cursor"]
    assert seen == [*(f"i-{n:03}" for n in range(230)), "l-1", "l-2"]


@pytest.mark.parametrize(
    "asked",
    [
        "records?cursor=x", "records?cursor=_a_b",
        "records?to=9999-12-31", "records?status=nonsense", "records?category=%00",
        f"records?cursor=_{10**30}_1", "calendar?from=2026-02-01&to=2026-01-01",
        "calendar?from=2026-01-01&to=2036-01-01", "calendar?from=9999-12-01&to=9999-12-31",
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_said(client: httpx.AsyncClient, asked: str) -> None:
    answered = await client.get(f"/api/v1/{asked}")
    assert answered.status_code == 400
    assert answered.headers["content-type"] == "application/problem+json"


async def test_the_calendar_counts_days_in_stockholm(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    await retention.invoices("i-1", "i-2")
    asked = {"from": "2031-12-31", "to": "2032-01-31"}
    found = (await client.get("/api/v1/calendar", params=asked)).json()["days"]
    assert found == [{"day": "2032-01-01", "category": "billing.invoice", "records": 2}]
    none = await client.get("/api/v1/calendar", params={**asked, "category": "lead.form"})
    assert none.json()["days"] == []


async def test_looking_at_holdings_announces_nothing(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    await retention.invoices("i-1")
    await retention.announced()
    english = (await client.get("/api/v1/holdings")).json()
    swedish = (await client.get("/api/v1/holdings", params={"lang": "sv"})).json()
    line = {c["category"]: c for c in english["categories"]}["billing.invoice"]
    line_sv = {c["category"]: c for c in swedish["categories"]}["billing.invoice"]
    assert line["held"] == line["scheduled"] == 1
    assert line["why"] != line_sv["why"]
    assert await retention.announced() == []


async def test_how_categories_stand_is_what_the_report_says(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    await retention.invoices("i-1", "i-2", "i-3")
    await retention.hold(Scope(category="billing.invoice", holder="billing", record_id="i-2"))
    await retention.take(lead("l-1", date(2031, 6, 1)))
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")
    told = (await client.get("/api/v1/standing")).json()
    whole = (await client.get("/api/v1/holdings")).json()
    assert len(told["categories"]) == len(whole["categories"]) > 1
    for short, full in zip(told["categories"], whole["categories"], strict=True):
        assert {n: full[n] for n in short if n not in {"awaiting", "purged"}} == {
            n: short[n] for n in short if n not in {"awaiting", "purged"}
        }
    invoices = {c["category"]: c for c in told["categories"]}["billing.invoice"]
    assert (invoices["due"], invoices["held_back"], invoices["awaiting"]) == (2, 1, 2)
    await retention.take(answer(prepare, retention.clock.now()))
    [commit] = named(await retention.announced(), "PurgeCommit")
    await retention.take(answer(commit, retention.clock.now()))
    told = (await client.get("/api/v1/standing")).json()
    invoices = {c["category"]: c for c in told["categories"]}["billing.invoice"]
    assert (invoices["held"], invoices["awaiting"], invoices["purged"]) == (1, 0, 2)


async def test_versions_and_plans_of_a_policy(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    wanted = changed(retention, "lead.form", **SIX_MONTHS, effective_from="2032-06-01")
    await apply(retention, await planner(retention).plan(retention.pool, wanted))
    found = (await client.get("/api/v1/policies/lead.form")).json()
    assert [v["version"] for v in found["versions"]] == [1, 2]
    assert found["versions"][1]["plan"]
    assert found["version"] == 2
    [plan] = (await client.get("/api/v1/plans")).json()["plans"]
    assert plan["sha256"] == found["versions"][1]["plan"]
    assert plan["first_by"] != plan["second_by"]
    listed = (await client.get("/api/v1/policies")).json()["policies"]
    assert len(listed) == len(retention.policies.by_category)
    assert (await client.get("/api/v1/policies/nonsense")).status_code == 404


async def test_holders_that_leave_orders_unanswered(
    retention: Retention, client: httpx.AsyncClient
) -> None:
    await retention.invoices("i-1", "i-2")
    retention.clock.advance(timedelta(hours=1))
    [prepare] = named(await retention.sweep(), "PurgePrepare")

    async def unanswered() -> Any:
        holders = (await client.get("/api/v1/holders")).json()["holders"]
        return {h["id"]: h["unanswered"] for h in holders}["billing"]

    found = await unanswered()
    assert (found["chunks"], found["records"]) == (1, 2)
    assert datetime.fromisoformat(found["since"]) == retention.clock.now().astimezone(UTC)
    await retention.take(answer(prepare, retention.clock.now()))
    [commit] = named(await retention.announced(), "PurgeCommit")
    await retention.take(answer(commit, retention.clock.now()))
    assert await unanswered() is None
    assert (await client.get("/api/v1/freezes")).json() == {"categories": [], "purges": []}
