"""Alerts against a real database on a virtual clock: which mails are planned when, and for whom."""

import hmac
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from typing import Any, cast

import httpx
import pytest
from tests.conftest import Database
from tests.integration import served
from tests.integration.test_sending import KEY, NOW, Notifier, Server, server

from notifier import alert_policy, tokens
from notifier.alert_api import ROUTES
from notifier.oncall import PROBE, OnCall
from notifier.smtp import Relay
from notifier.webhook import Webhook, signature
from shared.events.gallra import AlertRaised, AlertResolved
from shared.postgres import Pool, open_pool, transaction
from shared.web.access import ROLES

__all__ = ["server"]

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ADDRESS = "oncall@provider.example"


@pytest.fixture
async def notifier(notifier_db: Database) -> AsyncIterator[Notifier]:
    async with open_pool(notifier_db.service, "test") as pool:
        made = Notifier(pool, Relay("127.0.0.1", 9))  # nobody is there
        await made.library.stock(pool, NOW)
        yield made


def raised(fingerprint: str, severity: Any = "warning", **labels: str) -> AlertRaised:
    return AlertRaised(
        fingerprint=fingerprint,
        severity=severity,
        summary=f"{fingerprint} is bad",
        labels=labels,
        runbook=fingerprint.partition("/")[0],
    )


def over(fingerprint: str) -> AlertResolved:
    return AlertResolved(fingerprint=fingerprint, severity="info", summary="all is well")


def told_by(notifier: Notifier, **changes: Any) -> OnCall:
    """Have the notifier tell alerts as another policy says."""
    fields = notifier.oncall.policy.model_dump(exclude_unset=True, by_alias=True)
    policy = alert_policy.Policy.model_validate({**fields, **changes})
    kept = {name: getattr(notifier.oncall, name) for name in OnCall.__slots__}
    return replaced(notifier, **{**kept, "policy": policy})


def replaced(notifier: Notifier, **fields: Any) -> OnCall:
    notifier.oncall = OnCall(**fields)
    object.__setattr__(notifier.handlers, "oncall", notifier.oncall)
    return notifier.oncall


async def run(notifier: Notifier, length: timedelta, every: timedelta = SECOND) -> None:
    end = notifier.clock.now() + length
    await notifier.oncall.look(notifier.pool)
    while notifier.clock.now() < end:
        notifier.clock.advance(every)
        await notifier.oncall.look(notifier.pool)


async def mails(notifier: Notifier) -> list[tuple[float, str, str]]:
    """Return the planned mails: when, to whom, and the subject."""
    rows = await notifier.pool.fetch(
        """
        SELECT requested_at, email, params, locale, message_id
          FROM message JOIN delivery USING (message_id) JOIN recipient ON token = recipient
         WHERE type = 'ops-alert'
      ORDER BY requested_at, email, message_id
        """
    )
    version = notifier.library.templates.newest("ops-alert")
    return [
        (
            (row["requested_at"] - NOW).total_seconds(),
            row["email"],
            version.render("subject", row["locale"], json.loads(row["params"])),
        )
        for row in rows
    ]


async def test_mails_are_planned_when_they_are_due(notifier: Notifier) -> None:
    await notifier.take(raised("purge-unconfirmed/a", holder="crm"))
    await run(notifier, 10 * SECOND)
    await notifier.take(raised("purge-unconfirmed/b", holder="crm"))
    await notifier.take(raised("hold-review/h"))
    await run(notifier, MINUTE)
    await notifier.take(raised("purge-overdue/c", "critical"))
    await run(notifier, 5 * MINUTE)
    await notifier.take(over("purge-overdue/c"))
    await run(notifier, 5 * MINUTE)
    assert await mails(notifier) == [
        (30, ADDRESS, "[warning] 2 alerts: purge unconfirmed (holder crm)"),
        (40, ADDRESS, "[warning] hold-review/h is bad"),
        (70, ADDRESS, "[critical] purge-overdue/c is bad"),
        (400, ADDRESS, "[resolved] purge-overdue/c is bad"),
    ]


async def test_alerts_are_told_once(notifier: Notifier, server: Server) -> None:
    relayed = Notifier(notifier.pool, server.relay)
    alert, end = raised("f", "critical"), over("f")
    for news in (alert, alert, end, end, alert):
        await relayed.take(news)
        await run(relayed, 6 * MINUTE, every=10 * SECOND)
    await relayed.send()
    subjects = sorted(mail["Subject"] for mail in taken(server))
    assert subjects == ["[critical] f is bad"] * 2 + ["[resolved] f is bad"]


def taken(server: Server) -> list[EmailMessage]:
    return [
        cast("EmailMessage", message_from_bytes(cast("bytes", mail.content), policy=SMTPUTF8))
        for mail in server.mails
    ]


async def test_what_belongs_together_makes_a_thread(notifier: Notifier, server: Server) -> None:
    relayed = Notifier(notifier.pool, server.relay)
    for _ in range(2):
        await relayed.take(raised("f", "critical"))
        await run(relayed, 6 * MINUTE, every=10 * SECOND)
        await relayed.take(over("f"))
        await run(relayed, 6 * MINUTE, every=10 * SECOND)
    await relayed.send()
    threads = [mail["References"] for mail in sorted(taken(server), key=lambda m: m["Date"])]
    assert len(threads) == 4
    assert len(set(threads)) == 2, "one for each time"
    [text] = [
        part.get_content()
        for mail in taken(server)[1:2]
        for part in mail.walk()
        if part.get_content_type() == "text/plain"
    ]
    assert "Lasted: 6 min" in text


@pytest.mark.parametrize(
    ("fingerprint", "summary", "labels"),
    [
        ("f" * 200, "a disk\nis full " * 200, {"a\tb" * 0 + "a": "b" * 200}),
        ("f", "x\r\nBcc: evil@x.example", {"x": "=?utf-8?Q?A=0ABcc:_e@x?="}),
        ("f", "=?utf-8?Q?A=0ABcc:_e@x?=", {}),
        ("f", "\u202eevil\u2066 \x1b[31m\x7f", {"\u202e": "\u2028"}),
        ("f", "", {}),
        ("f", " \n ", {}),
        ("f", "ö" * 4000, {f"l{n}": "ö" * 200 for n in range(50)}),
        ("f", "{{ 7 * 7 }}{% raw %}<script>", {}),
    ],
)
async def test_whatever_it_says_it_is_told(
    notifier: Notifier, server: Server, fingerprint: str, summary: str, labels: dict[str, str]
) -> None:
    relayed = Notifier(notifier.pool, server.relay)
    await relayed.take(
        AlertRaised(fingerprint=fingerprint, severity="critical", summary=summary, labels=labels)
    )
    await relayed.oncall.look(relayed.pool)
    await relayed.send()
    [mail] = taken(server)
    assert mail["Subject"].startswith("[critical] ")
    assert mail["Bcc"] is None


async def test_so_many_are_listed_and_all_are_counted(notifier: Notifier, server: Server) -> None:
    relayed = Notifier(notifier.pool, server.relay)
    await relayed.take(*(raised(f"x/{number}", "critical") for number in range(33)))
    await relayed.oncall.look(relayed.pool)
    await relayed.send()
    [mail] = taken(server)
    assert mail["Subject"] == "[critical] 33 alerts: x"
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().count("* [critical]") == 20
    assert "and 13 more" in body.get_content()


async def test_everybody_on_call_gets_a_mail(notifier: Notifier) -> None:
    kept = {name: getattr(notifier.oncall, name) for name in OnCall.__slots__}
    people = ["a@provider.example", "b@provider.example", "a@PROVIDER.example"]
    oncall = replaced(notifier, **{**kept, "addresses": people})
    await notifier.take(raised("f", "critical"))
    await oncall.look(notifier.pool)
    await oncall.look(notifier.pool)
    assert [to for _, to, _ in await mails(notifier)] == people[:2]


async def test_who_has_an_address_of_his_own_gets_it_there(notifier: Notifier) -> None:
    receivers = {"oncall": {}, "lead": {"addresses": ["lead@provider.example"], "locale": "sv"}}
    told_by(notifier, receivers=receivers, escalation=[{"wait": "15m", "receiver": "lead"}])
    await notifier.take(raised("f", "critical"))
    await run(notifier, 16 * MINUTE, every=10 * SECOND)
    assert await mails(notifier) == [
        (0, ADDRESS, "[critical] f is bad"),
        (900, "lead@provider.example", "[critical] f is bad (ingen har kvitterat)"),
    ]


async def test_what_stood_before_the_upgrade_is_told(notifier: Notifier) -> None:
    await notifier.pool.execute(
        """
        INSERT INTO alert (fingerprint, severity, summary, raised_at, resolved_at, heard_at,
                           seen_at, gone_at)
             VALUES ('stood', 'critical', 'it stood', $1, NULL, $1, $1, NULL),
                    ('was', 'critical', 'it was', $1, $1, $1, $1, $1)
        """,
        NOW - HOUR,
    )
    await notifier.oncall.look(notifier.pool)
    assert await mails(notifier) == [(0, ADDRESS, "[critical] it stood")]


# --- the page and the programs


def client(notifier: Notifier, **state: Any) -> httpx.AsyncClient:
    return served.client(
        "notifier",
        ROUTES,
        notifier.pool,
        "https://mail.provider.example",
        {"without_token": tuple(ROLES)},
        oncall=notifier.oncall,
        **state,
    )


async def link(notifier: Notifier) -> str:
    params = await notifier.pool.fetchval(
        "SELECT params FROM message WHERE type = 'ops-alert' ORDER BY requested_at DESC LIMIT 1"
    )
    return str(json.loads(params)["link"])


async def test_only_the_button_acknowledges(notifier: Notifier) -> None:
    told_by(notifier, path=None)
    await notifier.take(raised("f", "critical"))
    await notifier.oncall.look(notifier.pool)
    async with client(notifier) as http:
        address = await link(notifier)
        for _ in range(3):
            page = await http.get(address)
            assert page.status_code == 200
            assert "f is bad" in page.text
            assert "<button>Acknowledge</button>" in page.text
        assert (await http.head(address)).status_code in (200, 405)
        assert await acked(notifier) == {}
        nameless = await http.post(address, data={"by": " "})
        assert "Say who you are" in nameless.text
        assert await acked(notifier) == {}
        page = await http.post(address, data={"by": "ann"})
        assert page.status_code == 200
        assert "Looked after by" in page.text
        assert "<button>" not in page.text
        assert await acked(notifier) == {"f": "ann"}
        assert ("ops.alert.acknowledged.v1", "f") in await facts(notifier.pool)
        [alert] = (await http.get("/api/v1/alerts")).json()["alerts"]
        assert alert["acknowledged"]["by"] == "ann"
        assert alert["group"]["labels"] == {"alertname": "f"}
    await run(notifier, 5 * HOUR, every=MINUTE)
    assert len(await mails(notifier)) == 1, "no reminder"
    await run(notifier, 4 * HOUR, every=MINUTE)
    assert len(await mails(notifier)) == 2, "the answer has expired"


async def acked(notifier: Notifier) -> dict[str, str]:
    rows = await notifier.pool.fetch(
        "SELECT fingerprint, acked_by FROM alert WHERE acked_by IS NOT NULL"
    )
    return {row["fingerprint"]: row["acked_by"] for row in rows}


async def test_an_old_link_answers_nothing_new(notifier: Notifier) -> None:
    await notifier.take(raised("f", "critical"))
    await notifier.oncall.look(notifier.pool)
    address = await link(notifier)
    notifier.clock.advance(MINUTE)
    await notifier.take(over("f"))
    await run(notifier, 6 * MINUTE, every=10 * SECOND)
    await notifier.take(raised("f", "critical"))
    async with client(notifier) as http:
        page = await http.post(address, data={"by": "ann"})
    assert "All that it told of is over" in page.text or "Acknowledged" in page.text
    assert await acked(notifier) == {}


@pytest.mark.parametrize("purpose", ["verify", "unsubscribe", None])
async def test_a_link_that_is_not_ours_is_refused(notifier: Notifier, purpose: Any) -> None:
    token = "x" * 60 if purpose is None else tokens.sign(KEY, purpose, b"alert-1")
    async with client(notifier) as http:
        for answer in (await http.get(f"/a/{token}"), await http.post(f"/a/{token}")):
            assert answer.status_code == 400


def posted(fingerprint: str, status: str, start: datetime, end: datetime | None = None) -> Any:
    return {
        "status": status,
        "labels": {"alertname": "DiskFull", "severity": "page", "instance": "db1"},
        "annotations": {
            "summary": "a disk is full",
            "runbook_url": "https://runbooks.example/disk",
        },
        "startsAt": start.isoformat(),
        "endsAt": "0001-01-01T00:00:00Z" if end is None else end.isoformat(),
        "generatorURL": "https://prometheus.example/graph",
        "fingerprint": fingerprint,
    }


def body(*alerts: Any) -> Any:
    return {
        "receiver": "gallra",
        "status": "firing",
        "alerts": alerts,
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "https://alertmanager.example",
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
    }


async def test_an_alertmanager_can_post_to_us(notifier: Notifier) -> None:
    firing = posted("0123456789abcdef", "firing", NOW)
    async with client(notifier) as http:
        for news in (1, 0, 0):
            answer = await http.post("/api/v1/alerts", json=body(firing))
            assert (answer.status_code, answer.json()["news"]) == (202, news)
        await run(notifier, 6 * MINUTE, every=10 * SECOND)
        end = NOW + 5 * MINUTE
        resolved = posted("0123456789abcdef", "resolved", NOW, end)
        for posting in (resolved, resolved, firing):
            await http.post("/api/v1/alerts", json=body(posting))
        await run(notifier, 6 * MINUTE, every=10 * SECOND)
        assert (await http.get("/api/v1/alerts")).json() == {"alerts": []}
    assert [subject for _, _, subject in await mails(notifier)] == [
        "[critical] a disk is full",
        "[resolved] a disk is full",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {**body(), "version": "3"},
        body({"status": "firing"}),
        body({**posted("f", "firing", NOW), "startsAt": "2026-11-23T12:00:00"}),
        [],
    ],
)
async def test_what_is_no_such_post_is_refused(notifier: Notifier, wrong: Any) -> None:
    async with client(notifier) as http:
        answer = await http.post("/api/v1/alerts", json=wrong)
    assert answer.status_code == 400


async def test_silences_over_http(notifier: Notifier) -> None:
    ends = NOW + 2 * HOUR
    wanted = {
        "matchers": [{"name": "holder", "value": "crm|erp", "isRegex": True}],
        "endsAt": ends.isoformat(),
        "createdBy": "ann",
        "comment": "they move house",
    }
    async with client(notifier) as http:
        made = (await http.post("/api/v1/silences", json=wanted)).json()
        assert made["ends_earlier_for"] == {"at_once": (NOW + HOUR).isoformat()} or (
            datetime.fromisoformat(made["ends_earlier_for"]["at_once"]) == NOW + HOUR
        )
        await notifier.take(raised("x/a", holder="crm"), raised("x/b", holder="billing"))
        await run(notifier, 5 * MINUTE, every=10 * SECOND)
        assert [subject for _, _, subject in await mails(notifier)] == ["[warning] x/b is bad"]
        found = (await http.get("/api/v1/alerts")).json()["alerts"]
        assert {a["fingerprint"]: a["silenced_by"] for a in found} == {
            "x/a": [made["silenceID"]],
            "x/b": [],
        }
        [shown] = (await http.get("/api/v1/silences")).json()["silences"]
        assert (shown["by"], shown["reason"]) == ("ann", "they move house")
        place = f"/api/v1/silences/{made['silenceID']}"
        assert (await http.delete(place, params={"by": "bob"})).status_code == 200
        assert (await http.delete(place, params={"by": "bob"})).status_code == 404
        await run(notifier, MINUTE)
        assert len(await mails(notifier)) == 2
        decided = [kind for kind, _ in await facts(notifier.pool)]
        assert decided == ["ops.silence.placed.v1", "ops.silence.ended.v1"]
        for wrong in (
            {"endsAt": (NOW - HOUR).isoformat()},
            {"endsAt": (NOW + timedelta(days=31)).isoformat()},
            {"comment": ""},
            {"createdBy": " "},
            {"matchers": []},
            {"matchers": [{"name": "holder", "value": "("}], "isRegex": True},
            {"matchers": [{"name": "holder", "value": ".*", "isRegex": True}]},
        ):
            answer = await http.post("/api/v1/silences", json={**wanted, **wrong})
            assert answer.status_code == (201 if "isRegex" in wrong else 400), wrong


async def test_people_acknowledge_by_name(notifier: Notifier) -> None:
    await notifier.take(raised("f"))
    async with client(notifier) as http:
        answer = await http.post(
            "/api/v1/alerts/acknowledgements", json={"fingerprints": ["f", "g"], "by": "ann"}
        )
        assert answer.json()["acknowledged"] == ["f"]
        await run(notifier, 30 * MINUTE, every=MINUTE)
        assert await mails(notifier) == []
        [notice] = (await http.get("/api/v1/alert-notices")).json()["notices"] or [None]
    assert notice is None


# --- to another program


class Elsewhere:
    """A program that alerts are passed on to."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.posts: list[httpx.Request] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        status = self.answers.pop(0) if self.answers else 200
        if not status:
            raise httpx.ConnectError("away")
        self.posts.append(request)
        return httpx.Response(status)


SECRET = b"sixteen octets at least"


async def onward(notifier: Notifier) -> tuple[Webhook, Elsewhere]:
    kept = {name: getattr(notifier.oncall, name) for name in OnCall.__slots__}
    replaced(notifier, **{**kept, "webhook": True})
    there = Elsewhere()
    transport = httpx.MockTransport(there.answer)
    return Webhook("https://x.example", SECRET, notifier.clock, transport=transport), there


async def test_alerts_are_passed_on_whatever_becomes_of_mails(notifier: Notifier) -> None:
    webhook, there = await onward(notifier)
    there.answers = [0, 500]
    await notifier.take(raised("f", "critical", holder="crm"))
    for _ in range(120):
        await run(notifier, SECOND)
        await webhook.pass_on(notifier.pool)
    assert len(await mails(notifier)) == 1, "no mail for a channel that fails"
    ids = {request.headers["gallra-delivery"] for request in there.posts}
    assert (len(there.posts), len(ids)) == (2, 1), "the same once more"
    request = there.posts[-1]
    said = json.loads(request.content)
    assert (said["version"], said["status"]) == ("4", "firing")
    assert said["alerts"][0]["labels"]["holder"] == "crm"
    at, _, made = request.headers["gallra-signature"].partition(",v1=")
    at = at.removeprefix("t=")
    assert made == hmac.digest(SECRET, f"{at}.".encode() + request.content, "sha256").hex()
    rows = await notifier.pool.fetch("SELECT channel, state, attempts, answer FROM alert_notice")
    assert {(r["channel"], r["state"], r["attempts"], r["answer"]) for r in rows} == {
        ("mail", None, 0, None),
        ("webhook", "accepted", 3, "200"),
    }


async def test_what_is_never_taken_is_given_up(notifier: Notifier) -> None:
    webhook, there = await onward(notifier)
    there.answers = [503] * 1000
    await notifier.take(raised("f", "critical"))
    await run(notifier, SECOND)
    for _ in range(30 * 6):
        notifier.clock.advance(10 * MINUTE)
        await webhook.pass_on(notifier.pool)
    state = await notifier.pool.fetchval("SELECT state FROM alert_notice WHERE channel = 'webhook'")
    assert state == "expired"
    assert len(there.posts) <= 160


def test_a_signature_is_of_a_moment() -> None:
    body, later = b"{}", NOW + SECOND
    assert signature(SECRET, body, NOW) != signature(SECRET, body, later)
    assert re.fullmatch(r"t=\d+,v1=[0-9a-f]{64}", signature(SECRET, body, NOW))


# --- whether alerts get through


async def probes(pool: Pool) -> int:
    return len([fact for fact in await facts(pool) if fact == ("ops.alert.resolved.v1", PROBE)])


async def facts(pool: Pool) -> list[tuple[str, str]]:
    rows = await pool.fetch("SELECT * FROM outbox WHERE topic = 'ops.alerts.v1' ORDER BY position")
    return [
        (
            dict(zip(row["header_names"], row["header_values"], strict=True))["ce_type"].decode(),
            json.loads(row["value"]).get("fingerprint", ""),
        )
        for row in rows
    ]


async def test_a_silent_consumer_is_an_alert(notifier: Notifier) -> None:
    await run(notifier, 39 * MINUTE, every=10 * SECOND)
    assert await probes(notifier.pool) == 2
    assert await mails(notifier) == []
    await run(notifier, 2 * MINUTE, every=10 * SECOND)
    [(at, to, subject)] = await mails(notifier)
    assert (at, to) == (2400, ADDRESS)
    assert subject.startswith("[critical] no event has come through")
    assert ("ops.alert.raised.v1", "alert-path-silent/consumer") in await facts(notifier.pool)
    await notifier.take(raised("alert-path-silent/consumer", "critical"))  # it comes back to us
    await notifier.take(AlertResolved(fingerprint=PROBE, severity="info", summary="alive"))
    await run(notifier, 10 * MINUTE, every=10 * SECOND)
    assert [subject[:10] for _, _, subject in await mails(notifier)] == ["[critical]", "[resolved]"]
    assert await notifier.pool.fetchval("SELECT count(*) FROM alert WHERE resolved_at IS NULL") == 0


async def test_events_are_signs_of_life(notifier: Notifier) -> None:
    for _ in range(30):
        await notifier.take(over("nothing"))
        await run(notifier, 2 * MINUTE, every=10 * SECOND)
    assert await probes(notifier.pool) == 0
    assert await mails(notifier) == []


async def test_mails_that_nobody_sends_are_an_alert(notifier: Notifier) -> None:
    told_by(notifier, inhibit=[])
    await notifier.take(raised("f", "critical"))
    for _ in range(25):
        await run(notifier, 2 * MINUTE, every=MINUTE)
        await notifier.take(over("nothing"))
    subjects = [(at, subject) for at, _, subject in await mails(notifier)]
    assert subjects[1:] == [(2400, "[critical] mails about alerts wait and nobody sends them")]


async def test_a_notifier_that_was_down_does_not_cry_at_once(notifier: Notifier) -> None:
    await notifier.take(over("nothing"))
    notifier.clock.advance(5 * HOUR)
    kept = {name: getattr(notifier.oncall, name) for name in OnCall.__slots__}
    replaced(notifier, **{**kept, "since": notifier.clock.now()})
    await run(notifier, 5 * MINUTE, every=10 * SECOND)
    assert await mails(notifier) == []


async def test_looking_at_nothing_writes_nothing(notifier: Notifier) -> None:
    await notifier.take(raised("f", "critical"), raised("g/1"))
    await run(notifier, 2 * MINUTE)
    async with transaction(notifier.pool) as tx:
        before = await tx.fetchval("SELECT pg_current_xact_id()::text")
    for _ in range(50):
        notifier.clock.advance(SECOND)
        await notifier.oncall.look(notifier.pool)
    async with transaction(notifier.pool) as tx:
        after = await tx.fetchval("SELECT pg_current_xact_id()::text")
    assert int(after) - int(before) <= 2
    assert NOW.tzinfo is UTC
