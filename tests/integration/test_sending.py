"""The notifier against mail servers that accept, defer, refuse, break off and are away."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.conftest import Database
from tests.integration.events import event

from gallra.stack.infrastructure import Ports
from notifier import alert_policy, catalogue, store
from notifier.announcer import Announcer
from notifier.audience import Limit
from notifier.delivery import Patience
from notifier.handlers import VERIFY, Handlers
from notifier.oncall import OnCall
from notifier.planning import Library, Planner
from notifier.purge import NotifierHolder
from notifier.refusals import Refusals
from notifier.sender import Pace, Sender
from notifier.smtp import Relay
from shared.clock import VirtualClock
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import PurgeCommit, PurgePrepare
from shared.events.platform import (
    Addressee,
    Audience,
    ContactAdded,
    ContactChanged,
    ContactRemoved,
    ContactVerified,
    MaintenanceWindow,
    MessageRequested,
    ServiceReactivated,
    ServiceStarted,
)
from shared.exports import Exports
from shared.holder import PurgeDesk, command_hash
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool, transaction

MESSAGES = Path(__file__).parents[2] / "policies" / "messages.yaml"
ALERTS = MESSAGES.with_name("alerts.yaml")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = secrets.token_bytes(32)
PATIENCE = Patience(jitter=0)
PACE = Pace(connections=4, batch=5)
AGREEMENT = {
    "template": "agreement-change",
    "params": {"from_day": "2027-01-01", "what": "x", "link": "https://provider.example/a"},
}
ANSWER = {"case": "R-1", "right": "access", "answer": "All we have of you is attached."}
PARAMS = {"service": "sto2", "starts": "tonight", "ends": "tomorrow"}


class Server:
    """A real SMTP server that answers as it is told to."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.mails: list[Envelope] = []
        self.break_off = False
        self._port = Ports.from_base(0).smtp
        self._controller: Any = None

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer.startswith("250"):
            self.mails.append(envelope)
        if self.break_off:
            assert server.transport is not None
            server.transport.close()
        return answer

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop(no_assert=True)

    @property
    def relay(self) -> Relay:
        return Relay("127.0.0.1", self._port)

    @property
    def recipients(self) -> Counter[str]:
        return Counter(to for mail in self.mails for to in mail.rcpt_tos)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


class Notifier:
    """The service's parts on a virtual clock."""

    def __init__(
        self,
        pool: Pool,
        relay: Relay,
        limits: dict[str, Limit] | None = None,
        *,
        clock: Any = None,
        patience: Patience = PATIENCE,
        exports: Exports | None = None,
    ) -> None:
        self.pool = pool
        self.clock = clock or VirtualClock(NOW)
        self.outbox = outbox = Outbox("//test/notifier")
        types = catalogue.read(MESSAGES.read_text(encoding="utf-8"))
        refusals = Refusals(outbox, self.clock, types, "ab")
        desk = PurgeDesk("notifier", NotifierHolder(refusals), outbox, self.clock, exports=exports)
        shared = {"outbox": outbox, "clock": self.clock, "types": types, "library": Library()}
        ours: dict[str, Any] = {
            **shared, "limits": limits or {}, "sender": "notices@provider.example",
        }  # fmt: skip
        self.library = shared["library"]
        self.planner = Planner(**ours, entity="ab")
        links = "https://mail.provider.example"
        policy = alert_policy.read(ALERTS.read_text(encoding="utf-8"))
        people = ["oncall@provider.example"]
        self.oncall = OnCall(policy, self.planner, KEY, links, people, since=NOW)
        self.handlers = Handlers(self.planner, desk, KEY, links, self.oncall)
        self.sender = Sender(
            relay,
            **ours,
            refusals=refusals,
            links=links,
            link_key=KEY,
            pace=PACE,
            patience=patience,
        )
        self.announcer = Announcer(outbox, self.clock, types, "ab")

    async def take(self, *facts: Data) -> None:
        async with transaction(self.pool) as tx:
            await self.handlers.handle(tx, [event(fact, self.clock.now()) for fact in facts])

    async def know(self, *numbers: int, **changes: Any) -> None:
        """Take contacts whose addresses somebody confirmed."""
        for number in numbers:
            await self.take(contact(number, **changes), confirmed(number))

    async def send(self) -> None:
        await self.sender.send_waiting(self.pool)

    async def states(self) -> dict[str, int]:
        rows = await self.pool.fetch(
            "SELECT state, count(*) AS n FROM delivery WHERE message_type <> $1 GROUP BY state",
            VERIFY,
        )
        return {row["state"]: row["n"] for row in rows}

    async def reasons(self) -> set[str | None]:
        rows = await self.pool.fetch(
            "SELECT DISTINCT reason FROM delivery WHERE message_type <> $1", VERIFY
        )
        return {row["reason"] for row in rows}

    async def announced(self) -> list[dict[str, Any]]:
        """Return what is told elsewhere of deliveries, in order."""
        await self.announcer.announce(self.pool)
        rows = await self.pool.fetch(
            "SELECT value FROM outbox WHERE topic = 'notifier.deliveries.v1' ORDER BY position"
        )
        return [json.loads(row["value"]) for row in rows]


@pytest.fixture
async def notifier(notifier_db: Database, server: Server) -> AsyncIterator[Notifier]:
    async with open_pool(notifier_db.service, "test") as pool:
        made = Notifier(pool, server.relay)
        await made.library.stock(pool, NOW)
        yield made


def contact(number: int, **changes: Any) -> ContactAdded:
    fields: dict[str, Any] = {
        "customer_id": f"c-{number}",
        "contact_id": f"ct-{number}",
        "email": f"ops{number}@customer.example",
        "roles": ["technical"],
        "locale": "sv" if number % 2 else "en",
        "subject_token": f"s-{number}",
    }
    return ContactAdded(**{**fields, **changes})


def confirmed(number: int) -> ContactVerified:
    return ContactVerified(customer_id=f"c-{number}", contact_id=f"ct-{number}")


def message(**changes: Any) -> MessageRequested:
    fields: dict[str, Any] = {
        "message_id": "m-1",
        "message_type": "maintenance-window",
        "customers": "all",
        "roles": ["technical"],
        "template": "maintenance-window",
        "params": PARAMS,
    }
    return MessageRequested(**{**fields, **changes})


async def test_one_mail_for_each_recipient(notifier: Notifier, server: Server) -> None:
    await notifier.know(*range(50))
    await notifier.take(message())
    await notifier.send()
    await notifier.send()
    assert await notifier.states() == {"accepted": 50}
    assert server.recipients == Counter({f"ops{n}@customer.example": 1 for n in range(50)})
    for mail in server.mails:
        assert isinstance(mail.content, bytes)
        head = mail.content.partition(b"\r\n\r\n")[0].decode()
        assert "Auto-Submitted: auto-generated" in head
        assert mail.mail_from is not None
        assert f"Message-ID: <{mail.mail_from.partition('+')[2]}>" in head


async def test_one_address_gets_one_mail_whoever_has_it(notifier: Notifier, server: Server) -> None:
    await notifier.know(1)
    await notifier.know(2, email="OPS1@customer.EXAMPLE")
    await notifier.know(3, email="ops1@customer.example")
    await notifier.take(message())
    await notifier.send()
    assert sum(server.recipients.values()) == 2  # the local part may differ by case
    assert await notifier.pool.fetchval("SELECT count(*) FROM recipient") == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"customers": ["c-1", "c-2"]}, {1, 2}),
        ({"customers": ["c-7"]}, set()),
        ({"roles": ["billing"]}, {1, 2, 3}),  # the type's own roles are always among them
        ({"customers": Audience(service="sv-2")}, {2}),
        ({"customers": Audience(region="sto2")}, {2}),
        ({"customers": Audience(service="sv-1", region="fra1")}, {1}),
        ({"customers": Audience(service="sv-1", region="sto2")}, set()),
    ],
)
async def test_audience(
    notifier: Notifier, server: Server, changes: dict[str, Any], expected: set[int]
) -> None:
    for number, region in [(1, "fra1"), (2, "sto2")]:
        fields: Any = {"customer_id": f"c-{number}", "service_id": f"sv-{number}", "at": NOW}
        await notifier.take(ServiceStarted(**fields, region=region))
        await notifier.take(ServiceReactivated(**fields))  # says nothing of the region
    await notifier.know(1, 2, 4)
    await notifier.know(3, roles=["billing"])
    await notifier.take(ContactRemoved(customer_id="c-4", contact_id="ct-4"))
    await notifier.take(message(**changes))
    await notifier.send()
    assert set(server.recipients) == {f"ops{n}@customer.example" for n in expected}


async def test_people_who_are_no_contacts(notifier: Notifier, server: Server) -> None:
    people = [
        Addressee(email="Ann@home.EXAMPLE", locale="sv", customer_id="c-1"),
        Addressee(email="Ann@home.example"),  # the same mailbox
        Addressee(email="bo@home.example"),
    ]
    asked = message(
        message_type="rights-answer",
        template="rights-answer",
        params=ANSWER,
        customers=None,
        roles=[],
        to=people,
    )
    await notifier.take(asked)
    await notifier.send()
    assert server.recipients == Counter({"Ann@home.example": 1, "bo@home.example": 1})
    rows = await notifier.pool.fetch("SELECT id::text FROM delivery")
    for row in rows:
        await purge(notifier, "contact.delivery", row["id"], "anonymise")
    assert not await notifier.pool.fetchval("SELECT count(*) FROM recipient"), "the address, too"


async def test_a_dead_address_is_not_written_to_by_name_either(
    notifier: Notifier, server: Server
) -> None:
    server.answers = ["550 5.1.1 no such user"]
    asked: dict[str, Any] = {
        "message_type": "rights-answer",
        "template": "rights-answer",
        "params": ANSWER,
        "customers": None,
        "roles": [],
        "to": [Addressee(email="gone@home.example")],
    }
    await notifier.take(message(**asked))
    await notifier.send()
    await notifier.take(message(**asked, message_id="m-2"))
    await notifier.send()
    assert await notifier.states() == {"bounced": 1, "suppressed": 1}
    assert not server.mails


async def test_a_changed_address_is_the_one_written_to(notifier: Notifier, server: Server) -> None:
    fields = contact(1).model_dump() | {"email": "new@customer.example"}
    await notifier.know(1)
    await notifier.take(ContactChanged(**fields), confirmed(1), message())
    await notifier.send()
    assert set(server.recipients) == {"new@customer.example"}


async def test_optional_mail_waits_for_a_basis(notifier: Notifier, server: Server) -> None:
    params = {"title": "News", "text": "Something new"}
    await notifier.know(1)
    await notifier.take(message(message_type="news", template="news", params=params))
    await notifier.send()
    assert await notifier.states() == {"suppressed": 1}
    assert await notifier.reasons() == {"no-basis"}
    assert not server.mails


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"message_type": "gossip"}, "unknown-message-type"),
        ({"template": "gossip"}, "unknown-template"),
        ({"template": "../settings"}, "unknown-template"),
        ({"params": {}}, "missing-parameter"),
        ({"params": {**PARAMS, "sevrice": "x"}}, "unknown-parameter"),
        ({"params": {**PARAMS, "what": "x" * 2_000_000}}, "unfit-parameter"),
        ({"params": {**PARAMS, "what": "\0"}}, "unfit-parameter"),
        ({"params": {**PARAMS, "what": "\u202eevil"}}, "unfit-parameter"),
        ({"supersedes": "m-0"}, "unknown-reference"),
        ({"maintenance_window": MaintenanceWindow(starts=NOW, ends=NOW)}, "unfit-parameter"),
        (
            {
                "maintenance_window": MaintenanceWindow(
                    starts=NOW, ends=NOW + timedelta(1), status="cancelled"
                )
            },
            "unknown-reference",
        ),
        ({"params": {**PARAMS, "service": "x\r\nBcc: evil@x.example"}}, "header-injection"),
        ({"params": {**PARAMS, "service": "=?utf-8?Q?A=0ABcc:_e@x?="}}, "header-injection"),
        (
            {"customers": None, "roles": [], "to": [Addressee(email="a@b.example")]},
            "unknown-audience",
        ),
        (
            {"message_type": "rights-answer", "template": "rights-answer", "params": ANSWER},
            "unknown-audience",
        ),
    ],
)
async def test_what_cannot_be_written_is_rejected(
    notifier: Notifier, changes: dict[str, Any], code: str
) -> None:
    await notifier.know(1)
    with pytest.raises(Rejected) as rejected:
        await notifier.take(message(**changes))
    assert rejected.value.code == code
    assert await notifier.states() == {}


async def test_deferred_then_sent(notifier: Notifier, server: Server) -> None:
    server.answers = ["451 try again", "451 try again"]
    await notifier.know(1)
    await notifier.take(message())
    await notifier.send()
    assert await notifier.states() == {"deferred": 1}
    await notifier.send()
    assert await notifier.states() == {"deferred": 1}, "not before its time"
    notifier.clock.advance(PATIENCE.first)
    await notifier.send()
    notifier.clock.advance(PATIENCE.first)
    await notifier.send()
    assert await notifier.states() == {"deferred": 1}, "the pause grows"
    notifier.clock.advance(PATIENCE.first)
    await notifier.send()
    assert await notifier.states() == {"accepted": 1}
    assert sum(server.recipients.values()) == 1


async def test_refused_for_good(notifier: Notifier, server: Server) -> None:
    server.answers = ["550 no such user"]
    await notifier.know(1)
    await notifier.take(message())
    await notifier.send()
    assert await notifier.states() == {"bounced": 1}
    [row] = await notifier.pool.fetch("SELECT reply FROM delivery WHERE state = 'bounced'")
    assert row["reply"] == "550 no such user"


async def test_broken_off_after_the_mail_was_taken(notifier: Notifier, server: Server) -> None:
    server.break_off = True
    await notifier.know(1)
    await notifier.take(message())
    await notifier.send()
    assert await notifier.states() == {"unknown": 1}
    server.break_off = False
    notifier.clock.advance(timedelta(days=1))
    await notifier.send()
    assert await notifier.states() == {"unknown": 1}
    assert sum(server.recipients.values()) == 1


async def test_server_away_then_back(notifier: Notifier, server: Server) -> None:
    server.stop()
    await notifier.know(1)
    await notifier.take(message())
    await notifier.send()
    assert await notifier.states() == {"queued": 1}, "nothing was tried"
    assert [row["fingerprint"] for row in await alerts(notifier)] == ["mail-relay-away"]
    await notifier.send()
    assert len(await alerts(notifier)) == 1, "told once"
    server.start()
    await notifier.send()
    assert len(await alerts(notifier)) == 2
    assert await notifier.states() == {"accepted": 1}


async def test_too_late_is_not_sent(notifier: Notifier, server: Server) -> None:
    before = NOW + timedelta(hours=1)
    await notifier.know(1)
    await notifier.take(message(send_after=before, send_before=before))
    await notifier.send()
    assert await notifier.states() == {"queued": 1}
    notifier.clock.advance(timedelta(hours=2))
    await notifier.send()
    assert await notifier.states() == {"expired": 1}
    assert not server.mails


async def alerts(notifier: Notifier) -> list[dict[str, Any]]:
    rows = await notifier.pool.fetch(
        "SELECT value FROM outbox WHERE topic = 'ops.alerts.v1' ORDER BY position"
    )
    return [json.loads(row["value"]) for row in rows]


SEND_UNTIL_KILLED = """
import asyncio, sys
from tests.integration.test_sending import Notifier
from notifier.smtp import Relay
from shared.postgres import open_pool

async def main(dsn, port):
    async with open_pool(dsn, "test") as pool:
        await Notifier(pool, Relay("127.0.0.1", port)).send()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize(
    ("outcome", "decided", "expected"),
    [
        ("accepted", False, ("accepted", 1, None)),
        ("deferred", False, ("unknown", 1, None)),
        ("accepted", True, ("queued", 1, 2)),
        ("deferred", True, ("queued", 1, 2)),
    ],
)
async def test_what_a_sender_says_that_was_given_up(
    notifier: Notifier, outcome: str, decided: bool, expected: tuple[str, int, int | None]
) -> None:
    """It settles what is in doubt, but not what somebody had sent again and another is sending."""
    await notifier.know(1)
    await notifier.take(message())
    now = notifier.clock.now()
    async with notifier.pool.acquire() as tx:
        [taken] = await store.turn(tx, [], now, 1, 9)
        await store.give_up_broken(tx, now, 9)
        if decided:
            await store.send_again(tx, [taken.id], now)
            await store.turn(tx, [], now, 2, 9)
        next_try = now if outcome == "deferred" else None
        late = store.Outcome(taken.id, outcome, next_try=next_try)
        assert await store.turn(tx, [late], now, 1, 9) == []
        row = await tx.fetchrow(
            """
            SELECT state, attempts, (SELECT worker FROM sending WHERE delivery = id)
              FROM delivery WHERE id = $1
            """,
            taken.id,
        )
        assert row is not None
        assert tuple(row) == expected
        assert await tx.fetchval("SELECT count(*) FROM waiting") == 0


async def test_killed_while_sending(
    notifier: Notifier, notifier_db: Database, server: Server
) -> None:
    await notifier.know(*range(300))
    # What is done in doubt is to tell.
    await notifier.take(message(message_type="agreement-change", **AGREEMENT))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SEND_UNTIL_KILLED, notifier_db.service]
    child = await asyncio.create_subprocess_exec(*command, str(server.relay.port), cwd=root)
    await _until(lambda: len(server.mails) >= 20)
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()

    async def settled() -> bool:
        await notifier.sender.report_broken(notifier.pool)
        return not await notifier.pool.fetchval("SELECT EXISTS (SELECT FROM sending)")

    async with asyncio.timeout(120):
        while not await settled():
            await asyncio.sleep(0.05)
    await notifier.send()
    states = await notifier.states()
    assert states.keys() <= {"accepted", "unknown"}
    assert states.get("unknown", 0) <= PACE.doubtful
    assert sum(states.values()) == 300
    assert max(server.recipients.values()) == 1
    assert states["accepted"] <= sum(server.recipients.values()) <= 300


async def _until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not ready():
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("server")
async def test_after_the_purge_no_table_knows_the_address(
    notifier: Notifier, notifier_db: Database
) -> None:
    await notifier.know(1)
    await notifier.take(message())
    await notifier.send()
    assert await mentions(notifier_db.owner, "ops1@customer.example")
    record = await notifier.pool.fetchval("SELECT record_id FROM contact")
    deliveries = await notifier.pool.fetch("SELECT id FROM delivery")
    await purge(notifier, "contact.address", record, "erase")
    await purge(notifier, "contact.message_body", "m-1", "erase")
    for row in deliveries:  # the question whose address it is among them
        await purge(notifier, "contact.delivery", str(row["id"]), "anonymise")
    assert await mentions(notifier_db.owner, "ops1@customer.example") == []
    assert await notifier.states() == {"accepted": 1}
    assert (
        await notifier.pool.fetchval("SELECT params FROM message WHERE message_id = 'm-1'") is None
    )


async def purge(notifier: Notifier, category: str, ref: str, action: str) -> None:
    for kind in (PurgePrepare, PurgeCommit):
        fields: dict[str, Any] = {
            "job_id": "j",
            "chunk_id": f"ch-{category}-{ref}",
            "holder": "notifier",
            "category": category,
            "action": action,
            "refs": [ref],
            "reason": "deadline",
            "policy_version": 1,
            "purge_from": NOW,
            "hold_epoch": 0,
            "not_after": NOW + timedelta(days=1),
        }
        blank = kind(**fields, command_hash="0" * 64)
        await notifier.take(kind(**fields, command_hash=command_hash(blank)))


async def mentions(dsn: str, needle: str) -> list[str]:
    """Return every table with a row in which *needle* stands, in any column."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        return [
            table["name"]
            for table in tables
            if await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM {table['name']} AS t WHERE t::text LIKE $1)",
                f"%{needle}%",
            )
        ]
    finally:
        await connection.close()
