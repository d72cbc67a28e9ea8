"""What a recipient chose, as staff see it; and that nobody else takes an objection back."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.integration import served
from tests.integration.test_returns import BASES, refusals, suppressed
from tests.integration.test_sending import KEY, Notifier, Server, message, notifier, server
from tests.unit.test_routes import KEYS, bearer

from notifier.recipient_api import ROUTES
from shared.postgres import transaction
from shared.web.looks import Looks

__all__ = ["notifier", "server"]


@pytest.fixture
async def http(notifier: Notifier) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client(
        "notifier",
        ROUTES,
        notifier.pool,
        "https://notifier.example/api/v1",
        {"token_keys": KEYS},
        address_key=KEY,
        refusals=refusals(notifier),
        looks=Looks(notifier.outbox, notifier.clock, "notifier"),
    ) as http:
        http.headers.update(bearer("operator", "ops-1"))
        yield http


async def token_of(notifier: Notifier) -> str:
    token: str = await notifier.pool.fetchval("SELECT recipient FROM contact LIMIT 1")
    return token


async def said(notifier: Notifier, topic: str) -> list[dict[str, Any]]:
    rows = await notifier.pool.fetch(
        "SELECT value FROM outbox WHERE topic = $1 ORDER BY position", topic
    )
    return [json.loads(row["value"]) for row in rows]


def stand(found: dict[str, Any]) -> dict[str, tuple[bool, str | None]]:
    return {each["name"]: (each["sent"], each["reason"]) for each in found["preferences"]}


async def test_what_a_recipient_chose(notifier: Notifier, http: httpx.AsyncClient) -> None:
    await notifier.know(1, bases=BASES)
    token = await token_of(notifier)
    async with transaction(notifier.pool) as tx:
        await refusals(notifier).refuse(tx, token, "news", "unsubscribed")
    found = (await http.get(f"/recipients/{token}")).json()
    assert stand(found)["news"] == (False, "unsubscribed")
    assert stand(found)["maintenance-window"] == (True, None)
    assert [(c["customer_id"], c["verified"]) for c in found["contacts"]] == [("c-1", True)]
    assert found["contacts"][0]["bases"].keys() >= {"news"}
    [held] = found["suppressions"]
    assert (held["scope"], held["reason"], held["may_be_lifted"]) == (
        "news", "unsubscribed", False
    )  # fmt: skip
    assert "@" not in json.dumps(found)
    by_address = (await http.get("/recipients/ops1@customer.example")).json()
    assert by_address == found


async def test_without_a_basis_nothing_optional_is_sent(
    notifier: Notifier, http: httpx.AsyncClient
) -> None:
    await notifier.know(1)
    found = (await http.get(f"/recipients/{await token_of(notifier)}")).json()
    assert stand(found)["news"] == (False, "no-basis")


async def test_every_look_is_noted(notifier: Notifier, http: httpx.AsyncClient) -> None:
    await notifier.know(1)
    await http.get(f"/recipients/{await token_of(notifier)}")
    for nobody in ("nobody", "nobody@customer.example"):
        assert (await http.get(f"/recipients/{nobody}")).status_code == 404
    looks = await said(notifier, "ops.looks.v1")
    assert [(look["purpose"], look["by"], look["count"]) for look in looks] == [
        ("preferences", "ops-1", 1)
    ]


async def test_an_address_that_works_again_is_written_to_again(
    notifier: Notifier, server: Server, http: httpx.AsyncClient
) -> None:
    await notifier.know(1)
    server.answers = ["550 5.1.1 no such user"]
    await notifier.take(message())
    await notifier.send()
    token = await token_of(notifier)
    [held] = (await http.get(f"/recipients/{token}")).json()["suppressions"]
    assert (held["scope"], held["reason"], held["may_be_lifted"]) == ("all", "hard-bounce", True)
    path = f"/suppressions/{held['record_id']}/lift"
    assert (await http.post(path, json={})).status_code == 200
    assert (await http.post(path, json={})).status_code == 404
    assert await suppressed(notifier) == []
    [lifted] = await said(notifier, "ops.decisions.v1")
    assert lifted == {
        "record_id": held["record_id"], "scope": "all", "reason": "hard-bounce", "by": "ops-1"
    }  # fmt: skip
    gone = [fact for fact in await said(notifier, "platform.records.v1") if "why" in fact]
    assert [fact["record_id"] for fact in gone] == [held["record_id"]]
    server.mails.clear()
    await notifier.take(message(message_id="m-2"))
    await notifier.send()
    assert len(server.mails) == 1


@pytest.mark.parametrize("reason", ["unsubscribed", "complaint"])
async def test_nobody_takes_back_what_a_person_objected_to(
    notifier: Notifier, http: httpx.AsyncClient, reason: Any
) -> None:
    await notifier.know(1, bases=BASES)
    async with transaction(notifier.pool) as tx:
        await refusals(notifier).refuse(tx, await token_of(notifier), "optional", reason)
    record: object = await notifier.pool.fetchval("SELECT record_id FROM suppression")
    answer = await http.post(f"/suppressions/{record}/lift", json={})
    assert answer.status_code == 409
    assert "only they can ask" in answer.json()["detail"]
    assert await suppressed(notifier) == [("optional", reason)]
    assert await said(notifier, "ops.decisions.v1") == []
    assert (await http.post(f"/suppressions/{uuid4()}/lift", json={})).status_code == 404
