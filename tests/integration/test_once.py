"""A request that is sent twice under one key is done once, and answered alike."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.conftest import Database
from tests.integration import served
from tests.integration.test_closed_loop import Retention

from retention import deciding
from retention.calendar import civil_day
from shared.postgres import open_pool
from shared.web import once

ANYBODY = {"without_token": ["compliance", "approver"]}
HOLDS = "/api/v1/holds"


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)


@pytest.fixture
async def http(retention: Retention) -> AsyncIterator[httpx.AsyncClient]:
    state = {"holds": retention.holds}
    client = served.client(
        "retention", deciding.ROUTES, retention.pool, "http://retention", ANYBODY, **state
    )
    async with client:
        yield client


def hold(retention: Retention, **changes: Any) -> dict[str, Any]:
    review = civil_day(retention.clock.now() + timedelta(days=90))
    fields = {"reason": "a dispute", "review_on": str(review), "customer_id": "c-1", "by": "anna"}
    return {**fields, **changes}


async def placed(retention: Retention) -> int:
    return await retention.pool.fetchval("SELECT count(*) FROM legal_hold")


async def sent(http: httpx.AsyncClient, body: dict[str, Any], key: str | None) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return await http.post(HOLDS, json=body, headers=headers)


async def test_the_second_time_has_the_answer_of_the_first(
    http: httpx.AsyncClient, retention: Retention
) -> None:
    body = hold(retention)
    first, again, quoted = [await sent(http, body, key) for key in ("k-1", "k-1", '"k-1"')]
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    for answer in (again, quoted):
        assert (answer.status_code, answer.content) == (201, first.content)
        assert answer.headers["content-type"] == first.headers["content-type"]
        assert answer.headers["idempotency-replayed"] == "true"
    assert await placed(retention) == 1
    assert (await sent(http, body, "k-2")).json()["id"] != first.json()["id"]
    for _ in range(2):
        assert (await sent(http, body, None)).status_code == 201
    assert await placed(retention) == 4


async def test_a_key_is_for_one_request(http: httpx.AsyncClient, retention: Retention) -> None:
    await sent(http, hold(retention), "k-1")
    other = await sent(http, hold(retention, customer_id="c-2"), "k-1")
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    headers = {"idempotency-key": "k-1"}
    assert (await http.post(f"{HOLDS}?x=1", json=hold(retention), headers=headers)).is_error
    assert await placed(retention) == 1


async def test_what_was_refused_can_be_sent_again_under_its_key(
    http: httpx.AsyncClient, retention: Retention
) -> None:
    refused = await sent(http, hold(retention, reason=" "), "k-1")
    assert refused.status_code == 400
    assert (await sent(http, hold(retention), "k-1")).status_code == 201


async def test_those_who_come_at_once_are_done_once(
    http: httpx.AsyncClient, retention: Retention
) -> None:
    body = hold(retention)
    answers = await asyncio.gather(*(asyncio.create_task(sent(http, body, "k")) for _ in range(8)))
    assert await placed(retention) == 1
    told = {answer.content for answer in answers if answer.status_code == 201}
    assert len(told) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert (await sent(http, body, "k")).content in told


async def test_an_answer_that_a_crash_took_is_not_made_up(
    http: httpx.AsyncClient, retention: Retention
) -> None:
    """What a kill leaves between the commit of the work and that of the answer."""
    await sent(http, hold(retention), "k-1")
    await retention.pool.execute(
        "UPDATE request_key SET status = NULL, content_type = NULL, body = NULL"
    )
    lost = await sent(http, hold(retention), "k-1")
    assert (lost.status_code, await placed(retention)) == (409, 1)


async def test_a_key_and_its_work_are_there_together_or_not_at_all(
    http: httpx.AsyncClient, retention: Retention
) -> None:
    """The database goes away after the key was noted, and before the hold was."""
    pool = retention.pool
    async with pool.acquire() as blocking, blocking.transaction():
        await blocking.execute("LOCK TABLE legal_hold IN EXCLUSIVE MODE")
        waiting = asyncio.create_task(sent(http, hold(retention), "k-1"))
        backend = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'legal_hold'::regclass"
        while (pid := await pool.fetchval(backend)) is None:
            await asyncio.sleep(0.01)
        await pool.execute("SELECT pg_terminate_backend($1)", pid)
        assert (await waiting).status_code == 500
    assert await pool.fetchval("SELECT count(*) FROM request_key") == 0
    assert (await sent(http, hold(retention), "k-1")).status_code == 201
    assert await placed(retention) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", '"', '""', 'a"b', "\\", "x" * 256, '"a', "å"])
async def test_what_is_no_key(http: httpx.AsyncClient, retention: Retention, key: str) -> None:
    headers = [(b"idempotency-key", key.encode())]
    answer = await http.post(HOLDS, json=hold(retention), headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (400, "bad-idempotency-key")
    assert await placed(retention) == 0


async def test_keys_are_kept_for_a_day(http: httpx.AsyncClient, retention: Retention) -> None:
    for key in ("k-1", "k-2"):
        await sent(http, hold(retention), key)
    await retention.pool.execute(
        "UPDATE request_key SET noted_at = now() - interval '25 hours' WHERE key = 'k-1'"
    )
    await once.forget(retention.pool)
    assert await retention.pool.fetch("SELECT key FROM request_key") == [("k-2",)]
