"""The ledger as compliance asks it, over HTTP: who got what, who did not, and once more."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import httpx
import pytest
from tests.conftest import PATIENCE
from tests.integration import served
from tests.integration.test_sending import (
    ANSWER,
    KEY,
    NOW,
    PACE,
    PARAMS,
    Notifier,
    Server,
    message,
    notifier,
    purge,
    server,
)

from notifier import store
from notifier.api import ROUTES
from notifier.delivery import STEPS
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction
from shared.web.access import ROLES
from shared.web.looks import Looks

__all__ = ["notifier", "server"]

DRAFT: dict[str, Any] = {
    "message_type": "rights-answer", "params": ANSWER, "locale": "en",
}  # fmt: skip


@pytest.fixture
async def http(notifier: Notifier) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client(
        "notifier",
        ROUTES,
        notifier.pool,
        "https://log.example/api/v1",
        {"without_token": tuple(ROLES)},
        address_key=KEY,
        clock=notifier.clock,
        looks=Looks(notifier.outbox, notifier.clock, "notifier"),
        pace=PACE,
        planner=notifier.planner,
    ) as http:
        yield http


async def found(http: httpx.AsyncClient, path: str, **asked: Any) -> dict[str, Any]:
    answer = await http.get(path, params=asked)
    assert answer.status_code == httpx.codes.OK, answer.text
    return cast("dict[str, Any]", answer.json())


async def test_who_got_what_and_who_did_not(
    notifier: Notifier, server: Server, http: httpx.AsyncClient
) -> None:
    await notifier.know(1, 2, 3)
    server.answers = ["250 2.0.0 kept as 7", "550 5.1.1 no such user", "451 4.7.1 later"]
    await notifier.take(message())
    await notifier.send()
    shown = await found(http, "/messages/m-1")
    assert shown["states"] == {"accepted": 1, "bounced": 1, "deferred": 1}
    assert (shown["recipients"], shown["customers"]) == (3, 3)
    assert shown["in_doubt_at_most"] == PACE.connections * PACE.batch
    unreached = (await found(http, "/messages/m-1/unreached"))["customers"]
    assert len(unreached) == 2
    [refused] = (await found(http, "/messages/m-1/deliveries", state="bounced"))["deliveries"]
    assert refused["customer_id"] in unreached
    for asked in (
        {"recipient": refused["recipient"]},
        {"recipient": f"ops{refused['customer_id'][-1]}@customer.example"},
        {"customer": refused["customer_id"]},
        {"type": "maintenance-window", "state": "bounced"},
        {"state": "bounced", "from": NOW.isoformat()},
    ):
        rows = (await found(http, "/deliveries", **asked))["deliveries"]
        assert refused["id"] in {row["id"] for row in rows}, asked
        assert "@customer.example" not in json.dumps(rows)
    for asked in (
        {"recipient": "nobody@customer.example"},
        {"customer": "c-9"},
        {"state": "unknown"},
        {"to": (NOW - timedelta(days=1)).isoformat(), "type": "maintenance-window"},
    ):
        assert await found(http, "/deliveries", **asked) == {"deliveries": [], "cursor": None}
    [asked_first, answered] = (await found(http, f"/deliveries/{refused['id']}"))["history"]
    assert (asked_first["state"], answered["state"]) == ("queued", "bounced")
    assert answered["reply"] == "550 5.1.1 no such user"
    told = await notifier.announced()
    assert any(row["delivery_id"] == refused["id"] and row["state"] == "bounced" for row in told)


async def test_each_state_is_found_by_its_name_and_time(
    notifier: Notifier, http: httpx.AsyncClient
) -> None:
    await notifier.know(*range(7))
    await notifier.take(message())
    rows = await notifier.pool.fetch("SELECT id FROM delivery WHERE message_id = 'm-1' ORDER BY id")
    [sending, *sent, waiting] = [row["id"] for row in rows]
    outcomes = ("accepted", "deferred", "bounced", "suppressed", "expired")
    async with notifier.pool.acquire() as tx:
        await store.turn(tx, [], NOW, 1, 6)
        told = [
            store.Outcome(id_, state, next_try=NOW if state == "deferred" else None)
            for id_, state in zip(sent, outcomes, strict=True)
        ]
        await store.turn(tx, told, NOW, 1, 0)
    expected = dict(zip(outcomes, sent, strict=True)) | {"sending": sending, "queued": waiting}
    for state in STEPS:
        ids = [str(expected[state])] if state in expected else []
        for more, found_then in (
            ({}, ids),
            ({"from": (NOW - timedelta(days=1)).isoformat()}, ids),
            ({"to": (NOW - timedelta(days=1)).isoformat()}, []),
        ):
            asked = {"type": "maintenance-window", "state": state, **more}
            rows = (await found(http, "/deliveries", **asked))["deliveries"]
            assert [row["id"] for row in rows] == found_then, asked
            assert {row["state"] for row in rows} <= {state}


async def test_nothing_that_changes_is_in_an_index_of_the_ledger(notifier: Notifier) -> None:
    """Or every mail that is settled writes all of them: docs/adr/0021."""
    changing = {"state", "reason", "reply", "attempts", "changed_at", "registered", "doubt_told"}
    rows = await notifier.pool.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'delivery'")
    assert rows
    for row in rows:
        assert not changing & set(re.findall(r"\w+", row["indexdef"])), row["indexdef"]


async def test_what_is_planned_is_of_a_message(notifier: Notifier) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with transaction(notifier.pool) as tx:
            await store.address_customers(tx, "m-none", ["c-1"])
    planned = store.Planned(new_id(), "c-1", "r-1", "sv", "queued", None, NOW)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with transaction(notifier.pool) as tx:
            await store.add_deliveries(tx, "m-none", "maintenance-window", 5, [planned], NOW)


async def test_the_database_itself_refuses_a_step_that_is_none(notifier: Notifier) -> None:
    await notifier.know(1)
    await notifier.take(message())
    with pytest.raises(asyncpg.CheckViolationError, match="queued to complained"):
        await notifier.pool.execute(
            "UPDATE delivery SET state = 'complained' WHERE message_id = 'm-1'"
        )


async def test_every_look_is_noted(notifier: Notifier, http: httpx.AsyncClient) -> None:
    await notifier.know(1, 2)
    await notifier.take(message())
    [row, _] = (await found(http, "/messages/m-1/deliveries"))["deliveries"]
    await found(http, f"/deliveries/{row['id']}")
    await found(http, "/deliveries", customer="c-9")
    rows = await notifier.pool.fetch(
        "SELECT value FROM outbox WHERE topic = 'ops.looks.v1' ORDER BY position"
    )
    said = [json.loads(row["value"]) for row in rows]
    expected = [("deliveries", 2), ("delivery", 1)]  # nothing was shown of c-9
    assert [(look["purpose"], look["count"]) for look in said] == expected
    assert {look["by"] for look in said} == {"-"}


async def test_pages_hold_each_delivery_once(notifier: Notifier, http: httpx.AsyncClient) -> None:
    await notifier.know(*range(120))
    await notifier.take(message())
    seen: list[str] = []
    cursor: str | None = None
    while True:
        asked = {"cursor": cursor} if cursor else {}
        page = await found(http, "/messages/m-1/deliveries", **asked)
        seen += [row["id"] for row in page["deliveries"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 120
    assert seen == sorted(seen, reverse=True)


async def test_once_more_is_a_delivery_of_its_own(
    notifier: Notifier, server: Server, http: httpx.AsyncClient
) -> None:
    await notifier.know(1)
    await notifier.take(message())
    [first] = (await found(http, "/messages/m-1/deliveries"))["deliveries"]
    answer = await http.post(f"/deliveries/{first['id']}/resend")
    assert answer.status_code == httpx.codes.CONFLICT, "it is still on its way"
    await notifier.send()
    answer = await http.post(f"/deliveries/{first['id']}/resend")
    again = answer.json()["delivery_id"]
    await notifier.send()
    assert sum(server.recipients.values()) == 2
    assert (await found(http, f"/deliveries/{again}"))["resends"] == first["id"]
    assert (await found(http, f"/deliveries/{first['id']}"))["resent_as"] == again
    answer = await http.post(f"/deliveries/{first['id']}/resend")
    assert answer.status_code == httpx.codes.CONFLICT, "once"
    answer = await http.post(f"/deliveries/{first['id']}/send-again")
    assert answer.status_code == httpx.codes.CONFLICT, "it is not in doubt"


async def _somebody_waits(pool: Pool) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)


async def test_a_finished_message_is_counted_once_and_again_after_each_change(
    notifier: Notifier, http: httpx.AsyncClient
) -> None:
    async def kept() -> object:
        return await notifier.pool.fetchval("SELECT states FROM message WHERE message_id = 'm-1'")

    async def bounce(tx: Connection) -> None:
        await store.conclude(tx, [first], ["accepted"], ("bounced", "returned", None), NOW)

    async def shown() -> object:
        return (await found(http, "/messages/m-1"))["states"]

    await notifier.know(1, 2)
    await notifier.take(message())
    assert (await kept(), await shown()) == (None, {"queued": 2})
    await notifier.send()
    assert (await kept(), await shown()) == ('{"accepted": 2}', {"accepted": 2})
    first = await notifier.pool.fetchval("SELECT id FROM delivery WHERE message_id = 'm-1' LIMIT 1")
    await http.post(f"/deliveries/{first}/resend")
    assert (await kept(), await shown()) == (None, {"accepted": 2, "queued": 1})
    async with transaction(notifier.pool) as changing:
        async with transaction(notifier.pool) as counting:
            await store.count_states(counting, 9)
            waits = asyncio.create_task(bounce(changing))
            await _somebody_waits(notifier.pool)
        await waits
        async with transaction(notifier.pool) as counting:
            await store.count_states(counting, 9)  # passes over what is being changed
    assert (await kept(), await shown()) == (None, {"accepted": 1, "bounced": 1, "queued": 1})
    await notifier.send()
    expected = {"accepted": 2, "bounced": 1}
    assert (json.loads(cast("str", await kept())), await shown()) == (expected, expected)


async def test_what_is_in_doubt_is_sent_again_when_somebody_says_so(
    notifier: Notifier, server: Server, http: httpx.AsyncClient
) -> None:
    await notifier.know(1)
    await notifier.take(
        message(
            message_type="agreement-change",
            template="agreement-change",
            params={"from_day": "2027-01-01", "what": "x", "link": "https://provider.example/a"},
        )
    )
    server.break_off = True
    await notifier.send()
    await notifier.sender.report_broken(notifier.pool)
    server.break_off = False
    [doubt] = (await found(http, "/deliveries", state="unknown"))["deliveries"]
    answer = await http.post(f"/deliveries/{doubt['id']}/send-again")
    assert answer.json() == {"delivery_id": doubt["id"], "state": "queued"}
    await notifier.send()
    assert (await found(http, f"/deliveries/{doubt['id']}"))["state"] == "accepted"
    copies = {mail.content for mail in server.mails}
    assert all(f"<{doubt['id']}@".encode() in cast("bytes", content) for content in copies)


async def test_the_relays_log_settles_doubt(notifier: Notifier, http: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"log": "", "complete_until": NOW.isoformat()}
    answer = await http.post("/reconciliations", json=body)
    assert answer.json() == {"accepted": 0, "sent_again": 0, "left": 0}
    body["complete_until"] = NOW.replace(tzinfo=None).isoformat()
    answer = await http.post("/reconciliations", json=body)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert await notifier.states() == {}


async def test_a_preview_sends_nothing(notifier: Notifier, http: httpx.AsyncClient) -> None:
    shown = (await http.post("/templates/rights-answer/preview", json=DRAFT)).json()
    assert shown["subject"] == "Answer to your request R-1"
    assert ANSWER["answer"] in shown["text"]
    assert ANSWER["answer"] in shown["html"]
    assert await notifier.states() == {}


async def test_a_trial_goes_to_one_address(
    notifier: Notifier, server: Server, http: httpx.AsyncClient
) -> None:
    body = {**DRAFT, "to": "me@provider.example"}
    sent = (await http.post("/templates/rights-answer/trial", json=body)).json()
    await notifier.send()
    assert list(server.recipients) == ["me@provider.example"]
    [row] = (await found(http, "/deliveries", recipient="me@provider.example"))["deliveries"]
    assert row["message_id"] == sent["message_id"]
    assert (await found(http, f"/deliveries/{row['id']}"))["template"] == "rights-answer"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gossip", {}),
        ("rights-answer", {"message_type": "gossip"}),
        ("rights-answer", {"params": PARAMS}),
        ("rights-answer", {"params": {**ANSWER, "case": "a\r\nBcc: evil@x.example"}}),
        ("rights-answer", {"to": "nobody"}),
        ("rights-answer", {"to": "a@x.example\r\nBcc: evil@x.example"}),
        ("rights-answer", {"locale": "de"}),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    notifier: Notifier, http: httpx.AsyncClient, name: str, changes: dict[str, Any]
) -> None:
    body = {**DRAFT, "to": "me@provider.example", **changes}
    answer = await http.post(f"/templates/{name}/trial", json=body)
    assert answer.is_client_error
    assert "evil@x.example" not in answer.text
    assert await notifier.states() == {}
    assert await notifier.pool.fetchval("SELECT count(*) FROM message") == 0


async def test_the_ledger_outlives_the_address(
    notifier: Notifier, server: Server, http: httpx.AsyncClient
) -> None:
    await notifier.know(1)
    await notifier.take(message())
    await notifier.send()
    [row] = (await found(http, "/messages/m-1/deliveries"))["deliveries"]
    await purge(notifier, "contact.message_body", "m-1", "erase")
    await purge(notifier, "contact.delivery", row["id"], "anonymise")
    shown = await found(http, f"/deliveries/{row['id']}")
    assert (shown["state"], shown["anonymised"]) == ("accepted", True)
    assert UUID(shown["recipient"])
    assert shown["recipient"] != row["recipient"]
    assert [step["state"] for step in shown["history"]] == ["queued", "accepted"]
    answer = await http.post(f"/deliveries/{row['id']}/resend")
    assert answer.status_code == httpx.codes.CONFLICT, "nobody knows whom it went to"
    assert sum(server.recipients.values()) == 1
