"""What comes back: bounces and complaints over real sockets, and what the ledger makes of them."""

import asyncio
import base64
import json
import smtplib
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY
from tests.conftest import PATIENCE, Database
from tests.integration.test_sending import (
    AGREEMENT,
    KEY,
    MESSAGES,
    NOW,
    Notifier,
    Server,
    contact,
    message,
    notifier,
    purge,
    server,
)

from gallra.stack.infrastructure import Infrastructure
from notifier import store
from notifier.app import build
from notifier.feedback import Feedback
from notifier.inbound import LARGEST, Inbound
from notifier.refusals import Refusals
from notifier.settings import Settings
from shared.events.platform import Basis, ContactChanged, ContactVerified
from shared.postgres import transaction
from shared.service import make_app

DOMAIN = "provider.example"
NEWS = {"message_type": "news", "template": "news", "params": {"title": "New", "text": "Things"}}
BASES = tuple(
    Basis(message_type=name, basis="consent", since=NOW - timedelta(days=9))
    for name in ("news", "survey")
)


def refusals(notifier: Notifier) -> Refusals:
    return Refusals(notifier.outbox, notifier.clock, notifier.planner.types, "ab")


def inbound(notifier: Notifier) -> Inbound:
    feedback = Feedback(refusals(notifier), notifier.clock)
    return Inbound(feedback, DOMAIN, "127.0.0.1", 0)


class Listener:
    """The listener, and a client that speaks to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._threads = ThreadPoolExecutor(16)

    async def bring(
        self, content: str | bytes, *to: str, sender: str = "", lmtp: bool = True
    ) -> list[str]:
        """Bring a mail; return an answer for each recipient, or the only one."""
        data = content if isinstance(content, bytes) else content.encode()
        loop = asyncio.get_running_loop()  # in threads of its own: the listener has the others
        return await loop.run_in_executor(self._threads, self._bring, data, to, sender, lmtp)

    def _bring(self, content: bytes, to: Sequence[str], sender: str, lmtp: bool) -> list[str]:
        kind = smtplib.LMTP if lmtp else smtplib.SMTP
        with kind("127.0.0.1", self.port, timeout=30) as client:
            client.ehlo_or_helo_if_needed()
            answers: list[str] = []
            code, text = client.mail(sender, ["SMTPUTF8"] if not content.isascii() else [])
            assert code == 250, text
            taken = 0
            for address in to:
                code, text = client.rcpt(address)
                if code == 250:
                    taken += 1
                else:
                    answers.append(f"{code} {text.decode()}")
            if not taken:
                return answers
            answers.append(_said(client.data(content)))
            if lmtp:
                answers += [_said(client.getreply()) for _ in range(taken - 1)]
            return answers


def _said(reply: tuple[int, bytes]) -> str:
    return f"{reply[0]} {reply[1].decode()}"


@pytest.fixture
async def listener(notifier: Notifier) -> AsyncIterator[Listener]:
    async with inbound(notifier).listening(notifier.pool) as port:
        yield Listener(port)


def path(delivery: UUID) -> str:
    return f"b+{delivery}@{DOMAIN}"


def bounce(
    action: str = "failed",
    status: str = "5.1.1",
    who: str = "ops1@customer.example",
    said: str = "no such user",
) -> str:
    return (
        "From: MAILER-DAEMON@mx.customer.example\r\nSubject: Undelivered\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
        f"Final-Recipient: rfc822; {who}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; 550 {status} <{who}>: {said}\r\n--b--\r\n"
    )


def complaint(delivery: UUID, feedback: str = "abuse") -> str:
    return (
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {feedback}\r\n\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\n"
        f"Message-ID: <{delivery}@{DOMAIN}>\r\n\r\nHi\r\n"
        "--b--\r\n"
    )


VACATION = "Subject: Away\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"


async def sent(notifier: Notifier, **changes: Any) -> UUID:
    """Send a mail to one contact; return its delivery."""
    await notifier.know(1, bases=BASES)
    return await again(notifier, **changes)


async def again(notifier: Notifier, **changes: Any) -> UUID:
    fresh = f"m-{uuid4()}"
    await notifier.take(message(message_id=fresh, **changes))
    await notifier.send()
    row = await notifier.pool.fetchrow("SELECT id FROM delivery WHERE message_id = $1", fresh)
    assert row is not None
    return row["id"]


async def stands(notifier: Notifier, delivery: UUID) -> tuple[str, str | None]:
    row = await notifier.pool.fetchrow("SELECT state, reason FROM delivery WHERE id = $1", delivery)
    assert row is not None
    return row["state"], row["reason"]


async def suppressed(notifier: Notifier) -> list[tuple[str, str]]:
    rows = await notifier.pool.fetch("SELECT scope, reason FROM suppression ORDER BY scope")
    return [(row["scope"], row["reason"]) for row in rows]


async def registered(notifier: Notifier, kind: str = "registered") -> list[dict[str, Any]]:
    """Return what retention is told of suppressions."""
    rows = await notifier.pool.fetch(
        "SELECT value FROM outbox WHERE topic = 'platform.records.v1'"
        " AND $1 = ANY(header_values) ORDER BY position",
        f"platform.record.{kind}.v1".encode(),
    )
    told = [json.loads(row["value"]) for row in rows]
    return [fact for fact in told if fact["category"] == "suppression"]


def counted(kind: str, effect: str) -> float:
    labels = {"kind": kind, "effect": effect}
    return REGISTRY.get_sample_value("gallra_returns_total", labels) or 0


@pytest.mark.parametrize("lmtp", [True, False])
async def test_a_bounce(notifier: Notifier, listener: Listener, lmtp: bool) -> None:
    delivery = await sent(notifier)
    before = counted("failed", "applied")
    answers = await listener.bring(bounce(), path(delivery), lmtp=lmtp)
    assert answers == ["250 2.0.0 taken"]
    assert await stands(notifier, delivery) == ("bounced", "reported")
    reply = await notifier.pool.fetchval("SELECT reply FROM delivery WHERE id = $1", delivery)
    assert reply == "550 5.1.1 (address) no such user"
    assert await suppressed(notifier) == [("all", "hard-bounce")]
    assert counted("failed", "applied") == before + 1
    [record] = await registered(notifier)
    kept = await notifier.pool.fetchrow("SELECT record_id, lookup FROM suppression")
    assert kept is not None
    assert (record["holder"], record["record_id"]) == ("notifier", str(kept["record_id"]))
    told = [c for _ in range(3) for c in await notifier.announced()]
    steps = [c["state"] for c in told if c["delivery_id"] == str(delivery)]
    assert {"accepted", "bounced"} <= set(steps)


async def test_a_bounce_told_again_changes_nothing(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    for _ in range(3):
        assert await listener.bring(bounce(), path(delivery)) == ["250 2.0.0 taken"]
    steps = await notifier.pool.fetch(
        "SELECT state FROM delivery_change WHERE delivery = $1 ORDER BY position", delivery
    )
    assert [row["state"] for row in steps] == ["queued", "accepted", "bounced"]
    assert len(await registered(notifier)) == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("5.1.1", [("all", "hard-bounce")]),
        ("5.1.10", [("all", "hard-bounce")]),
        ("5.2.1", [("all", "hard-bounce")]),
        ("5.2.2", []),  # a full mailbox
        ("5.7.1", []),  # policy
        ("4.4.7", []),  # given up
    ],
)
async def test_only_a_bad_address_is_suppressed(
    notifier: Notifier, listener: Listener, status: str, expected: list[tuple[str, str]]
) -> None:
    delivery = await sent(notifier)
    await listener.bring(bounce(status=status), path(delivery))
    assert await stands(notifier, delivery) == ("bounced", "reported")
    assert await suppressed(notifier) == expected


async def test_a_member_of_a_group_does_not_cut_off_the_group(
    notifier: Notifier, listener: Listener
) -> None:
    delivery = await sent(notifier)
    await listener.bring(bounce(who="ann@elsewhere.example"), path(delivery))
    assert await stands(notifier, delivery) == ("bounced", "reported")
    assert await suppressed(notifier) == []
    reply = await notifier.pool.fetchval("SELECT reply FROM delivery WHERE id = $1", delivery)
    assert "ann" not in reply


async def test_what_waits_for_a_bad_address_is_held_back_at_once(
    notifier: Notifier, listener: Listener, server: Server
) -> None:
    first = await sent(notifier)
    server.answers = ["451 4.3.0 later"]
    deferred = await again(notifier)
    await notifier.take(message(message_id="later", send_after=NOW + timedelta(hours=1)))
    assert await notifier.states() == {"accepted": 1, "deferred": 1, "queued": 1}
    await listener.bring(bounce(), path(first))
    assert await notifier.states() == {"bounced": 1, "suppressed": 2}
    assert await stands(notifier, deferred) == ("suppressed", "hard-bounce")


async def test_the_other_contacts_get_what_a_bad_address_does_not(
    notifier: Notifier, listener: Listener, server: Server
) -> None:
    delivery = await sent(notifier)
    other = contact(2, customer_id="c-1", roles=["billing"], email="bills@customer.example")
    await notifier.take(other, ContactVerified(customer_id="c-1", contact_id="ct-2"))
    await listener.bring(bounce(), path(delivery))
    server.mails.clear()
    await notifier.take(message(message_id="next", roles=["technical"]))
    await notifier.send()
    assert set(server.recipients) == {"bills@customer.example"}


async def test_a_new_address_is_free(
    notifier: Notifier, listener: Listener, server: Server
) -> None:
    delivery = await sent(notifier)
    await listener.bring(bounce(), path(delivery))
    fields = contact(1).model_dump() | {"email": "new@customer.example"}
    await notifier.take(ContactChanged(**fields))
    await notifier.pool.execute("UPDATE contact SET verified = true")
    server.mails.clear()
    await again(notifier)
    assert "new@customer.example" in server.recipients


async def test_delay_changes_nothing(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    before = counted("delayed", "noted")
    await listener.bring(bounce("delayed", "4.4.1"), path(delivery))
    assert await stands(notifier, delivery) == ("accepted", None)
    assert counted("delayed", "noted") == before + 1


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
async def test_what_arrived_is_in_doubt_no_more(
    notifier: Notifier, listener: Listener, server: Server, action: str
) -> None:
    server.break_off = True
    delivery = await sent(notifier)
    assert await stands(notifier, delivery) == ("unknown", "lost-answer")
    await listener.bring(bounce(action, "2.0.0"), path(delivery))
    assert await stands(notifier, delivery) == ("accepted", "reported")
    assert await suppressed(notifier) == []


async def test_a_bounce_settles_a_doubt(
    notifier: Notifier, listener: Listener, server: Server
) -> None:
    server.break_off = True
    delivery = await sent(notifier)
    await listener.bring(bounce(), path(delivery))
    assert await stands(notifier, delivery) == ("bounced", "reported")


async def test_a_bounce_stops_the_mail_from_being_sent_again(
    notifier: Notifier, listener: Listener, server: Server
) -> None:
    server.break_off = True
    delivery = await sent(notifier)
    await notifier.sender.report_broken(notifier.pool)
    assert (await stands(notifier, delivery))[0] == "queued", "in doubt it is sent again"
    await listener.bring(bounce(), path(delivery))
    assert await stands(notifier, delivery) == ("suppressed", "hard-bounce")


async def test_a_complaint(notifier: Notifier, listener: Listener, server: Server) -> None:
    delivery = await sent(notifier, **NEWS)
    later = NOW + timedelta(hours=1)
    await notifier.take(message(message_id="n2", send_after=later, **NEWS))
    await notifier.take(message(message_id="work", send_after=later))
    for _ in range(2):
        answers = await listener.bring(
            complaint(delivery), f"complaints@{DOMAIN}", sender="fbl@isp.example"
        )
        assert answers == ["250 2.0.0 taken"]
    assert await stands(notifier, delivery) == ("complained", "reported")
    assert await suppressed(notifier) == [("optional", "complaint")]
    assert len(await registered(notifier)) == 1
    assert await notifier.states() == {"complained": 1, "suppressed": 1, "queued": 1}
    server.mails.clear()
    notifier.clock.advance(timedelta(hours=2))
    await again(notifier, **NEWS)
    assert len(server.mails) == 1, "mandatory mail still comes"


async def test_a_complaint_after_a_bounce_still_counts(
    notifier: Notifier, listener: Listener
) -> None:
    delivery = await sent(notifier, **NEWS)
    await listener.bring(bounce(status="5.7.1"), path(delivery))
    before = counted("complaint", "out-of-step")
    await listener.bring(complaint(delivery), f"complaints@{DOMAIN}", sender="fbl@isp.example")
    assert await stands(notifier, delivery) == ("bounced", "reported")
    assert await suppressed(notifier) == [("optional", "complaint")]
    assert counted("complaint", "out-of-step") == before + 1


async def test_a_report_that_it_is_no_spam_is_taken_and_forgotten(
    notifier: Notifier, listener: Listener
) -> None:
    delivery = await sent(notifier, **NEWS)
    answers = await listener.bring(
        complaint(delivery, "not-spam"), f"complaints@{DOMAIN}", sender="fbl@isp.example"
    )
    assert answers == ["250 2.0.0 taken"]
    assert await stands(notifier, delivery) == ("accepted", None)


async def test_automatic_replies_are_counted(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    before = counted("auto-reply", "noted")
    answers = await listener.bring(VACATION, path(delivery), sender="ops1@customer.example")
    assert answers == ["250 2.0.0 taken"]
    assert await stands(notifier, delivery) == ("accepted", None)
    assert counted("auto-reply", "noted") == before + 1


async def test_a_person_hears_that_nobody_reads(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    text = "Subject: Re: work\r\n\r\nWhen exactly?\r\n"
    answers = await listener.bring(text, path(delivery), sender="ops1@customer.example")
    assert answers == ["550 5.7.1 nobody reads what is written to this address"]
    assert await listener.bring(text, path(delivery)) == ["250 2.0.0 taken"]


async def test_of_no_delivery_and_out_of_step(notifier: Notifier, listener: Listener) -> None:
    unknown, late = counted("failed", "unknown-delivery"), counted("failed", "out-of-step")
    assert await listener.bring(bounce(), path(uuid4())) == ["250 2.0.0 taken"]
    assert await listener.bring(bounce(), f"bounces@{DOMAIN}") == ["250 2.0.0 taken"]
    await notifier.know(1)
    await notifier.take(message(send_after=NOW + timedelta(hours=1)))
    never = await notifier.pool.fetchval("SELECT id FROM delivery WHERE message_id = 'm-1'")
    await listener.bring(bounce(), path(never))
    assert await stands(notifier, never) == ("queued", None)
    assert counted("failed", "unknown-delivery") == unknown + 3
    delivery = await again(notifier)
    await listener.bring(complaint(delivery), f"complaints@{DOMAIN}", sender="fbl@isp.example")
    await listener.bring(bounce(status="5.7.1"), path(delivery))
    assert await stands(notifier, delivery) == ("complained", "reported")
    assert counted("failed", "out-of-step") == late + 1


async def test_a_bounce_that_is_faster_than_the_ledger_comes_again(
    notifier: Notifier, listener: Listener
) -> None:
    await notifier.know(1)
    fresh = f"m-{uuid4()}"
    await notifier.take(message(message_id=fresh, message_type="agreement-change", **AGREEMENT))
    async with transaction(notifier.pool) as tx:
        [taken] = await store.turn(tx, [], notifier.clock.now(), 1, 9)
    sending = taken.id
    assert await listener.bring(bounce(), path(sending)) == ["451 4.3.0 try again later"]
    assert await suppressed(notifier) == []
    await notifier.sender.report_broken(notifier.pool)
    assert await stands(notifier, sending) == ("unknown", "lost-sender")
    assert await listener.bring(bounce(), path(sending)) == ["250 2.0.0 taken"]
    assert await stands(notifier, sending) == ("bounced", "reported")


async def test_addresses_of_others_are_refused(listener: Listener) -> None:
    for address in (f"notices@{DOMAIN}", "b+x@elsewhere.example", f"b+nobody@{DOMAIN}"):
        [answer] = await listener.bring(bounce(), address)
        assert answer.startswith("550 ")


async def test_lmtp_answers_for_each_recipient(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    answers = await listener.bring(
        bounce(), path(delivery), f"notices@{DOMAIN}", path(uuid4()), f"bounces@{DOMAIN}"
    )
    assert [answer[:3] for answer in answers] == ["550", "250", "250", "250"]
    assert await stands(notifier, delivery) == ("bounced", "reported")


async def test_nothing_is_taken_while_the_database_is_away(
    notifier: Notifier, listener: Listener, notifier_db: Database
) -> None:
    delivery = await sent(notifier)
    name = notifier_db.owner.rpartition("/")[2]
    admin = await asyncpg.connect(notifier_db.owner.rpartition("/")[0] + "/postgres")
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        assert await listener.bring(bounce(), path(delivery)) == ["451 4.3.0 try again later"]
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await admin.close()
    assert await listener.bring(bounce(), path(delivery)) == ["250 2.0.0 taken"]
    assert await stands(notifier, delivery) == ("bounced", "reported")


async def test_what_is_too_large_is_refused(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    line = b"x" * 998 + b"\r\n"
    [answer] = await listener.bring(line * (LARGEST // len(line) + 10), path(delivery))
    assert answer.startswith("552 ")
    assert await listener.bring(bounce(), path(delivery)) == ["250 2.0.0 taken"]


async def test_a_line_without_an_end_is_cut_off(listener: Listener) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    opening = f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bounces@{DOMAIN}>\r\nDATA\r\n"
    writer.write(opening.encode())

    async def write() -> None:
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionError):
            await write()
    writer.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 1000,
        b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n" * 100,
        bounce(said="no\x00such\rBcc: x@y.example").encode(),
        bounce(said="okänd å\x85\u2028").encode(),
        bounce(who="åsa@företag.example").encode(),
    ],
)
async def test_odd_mails_break_nothing(
    notifier: Notifier, listener: Listener, content: bytes
) -> None:
    delivery = await sent(notifier)
    assert await listener.bring(content, path(delivery)) == ["250 2.0.0 taken"]
    assert (await stands(notifier, delivery))[0] in ("accepted", "bounced")
    reply = await notifier.pool.fetchval("SELECT reply FROM delivery WHERE id = $1", delivery)
    assert "@" not in (reply or "")
    assert (reply or "").isprintable()


async def test_after_the_purge_a_bounce_leaves_no_trace(
    notifier: Notifier, listener: Listener
) -> None:
    delivery = await sent(notifier)
    await purge(notifier, "contact.delivery", str(delivery), "anonymise")
    await listener.bring(bounce(), path(delivery))
    assert await stands(notifier, delivery) == ("bounced", "reported")
    assert (
        await notifier.pool.fetchval("SELECT reply FROM delivery WHERE id = $1", delivery) is None
    )
    assert await suppressed(notifier) == []


async def test_a_suppression_is_purged_like_any_record(
    notifier: Notifier, listener: Listener, server: Server
) -> None:
    delivery = await sent(notifier)
    await listener.bring(bounce(), path(delivery))
    [record] = await registered(notifier)
    await purge(notifier, "suppression", record["record_id"], "erase")
    assert await suppressed(notifier) == []
    server.mails.clear()
    await again(notifier)
    assert len(server.mails) == 1


CRASH = """
import asyncio, os, sys
from tests.integration.test_returns import DOMAIN, inbound
from tests.integration.test_sending import Notifier
from notifier import inbound as module
from notifier.smtp import Relay
from shared.postgres import open_pool

answer = module._Desk._apply

async def commit_and_die(desk, came):
    await answer(desk, came)
    os.kill(os.getpid(), 9)

async def main(dsn):
    module._Desk._apply = commit_and_die
    async with open_pool(dsn, "test") as pool:
        async with inbound(Notifier(pool, Relay("127.0.0.1", 1))).listening(pool) as port:
            print(port, flush=True)
            await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


async def test_killed_between_commit_and_answer(
    notifier: Notifier, listener: Listener, notifier_db: Database
) -> None:
    delivery = await sent(notifier)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASH, notifier_db.service,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE):
        port = int(await child.stdout.readline())
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            await Listener(port).bring(bounce(), path(delivery))
        await child.wait()
    assert await stands(notifier, delivery) == ("bounced", "reported"), "it was committed"
    assert await listener.bring(bounce(), path(delivery)) == ["250 2.0.0 taken"]
    steps = await notifier.pool.fetch(
        "SELECT state FROM delivery_change WHERE delivery = $1 ORDER BY position", delivery
    )
    assert [row["state"] for row in steps] == ["queued", "accepted", "bounced"]
    assert len(await registered(notifier)) == 1


async def test_two_bounces_at_once_are_one(notifier: Notifier, listener: Listener) -> None:
    delivery = await sent(notifier)
    answers = await asyncio.gather(*(listener.bring(bounce(), path(delivery)) for _ in range(8)))
    assert {answer for [answer] in answers} <= {"250 2.0.0 taken", "451 4.3.0 try again later"}
    steps = await notifier.pool.fetchval(
        "SELECT count(*) FROM delivery_change WHERE delivery = $1 AND state = 'bounced'", delivery
    )
    assert steps == 1
    assert len(await registered(notifier)) == 1


async def test_the_service_listens_where_it_is_told(
    notifier: Notifier, notifier_db: Database, infra: Infrastructure, topic_prefix: str
) -> None:
    delivery = await sent(notifier)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    settings = Settings.read(
        {
            "GALLRA_DATABASE": notifier_db.service,
            "GALLRA_KAFKA": infra.kafka,
            "GALLRA_TOPIC_PREFIX": topic_prefix,
            "GALLRA_POLICIES": str(MESSAGES.parent),
            "GALLRA_SMTP": f"127.0.0.1:{notifier.sender.relay.port}",
            "GALLRA_MAIL_FROM": f"notices@{DOMAIN}",
            "GALLRA_ONCALL": f"oncall@{DOMAIN}",
            "GALLRA_ADDRESS_KEY": base64.b64encode(KEY).decode(),
            "GALLRA_INBOUND": f"127.0.0.1:{port}",
        }
    )
    app = make_app(build(settings))
    async with asyncio.timeout(60), app.lifespan():
        assert await Listener(port).bring(bounce(), path(delivery)) == ["250 2.0.0 taken"]
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get("/u/x")).status_code == 404
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert await stands(notifier, delivery) == ("bounced", "reported")


__all__ = ["notifier", "server"]
