"""Who gets a message, when and why not: verified addresses, bases, windows that move, limits."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest
from icalendar import Calendar
from tests.conftest import Database
from tests.integration.relays import CLOSE, BadRelay
from tests.integration.test_sending import (
    AGREEMENT,
    KEY,
    NOW,
    PACE,
    PATIENCE,
    Notifier,
    confirmed,
    contact,
    message,
)

from notifier import store
from notifier.addresses import lookup
from notifier.audience import VERIFY_WITHIN, Limit
from notifier.handlers import VERIFY
from notifier.unreachable import Unreachable
from shared.errors import Rejected
from shared.events.platform import Basis, MaintenanceWindow, ServiceStarted
from shared.ids import new_id
from shared.postgres import open_pool, transaction

DAY = timedelta(days=1)
STARTS = datetime(2026, 12, 1, 1, tzinfo=UTC)
NEWS: dict[str, Any] = {
    "message_type": "news",
    "template": "news",
    "params": {"title": "News", "text": "Something new"},
}
WANTED = Basis(message_type="news", basis="consent", since=NOW - DAY)


@pytest.fixture
async def relay() -> AsyncIterator[BadRelay]:
    async with BadRelay().running() as relay:
        yield relay


@pytest.fixture
async def notifier(notifier_db: Database, relay: BadRelay) -> AsyncIterator[Notifier]:
    limits = {"slow.example": Limit(per_minute=6, connections=1)}
    async with open_pool(notifier_db.service, "test") as pool:
        made = Notifier(pool, relay.relay, limits)
        await made.library.stock(pool, NOW)
        yield made


def mails(relay: BadRelay) -> dict[str, EmailMessage]:
    """Return the newest mail of each recipient."""
    return {
        taken.recipient: cast("EmailMessage", message_from_bytes(taken.content, policy=default))
        for taken in relay.taken
    }


def reached(relay: BadRelay) -> list[str]:
    return sorted(taken.recipient.partition("@")[0] for taken in relay.taken)


# Addresses are confirmed before they are used


async def test_an_address_is_asked_first_and_gets_what_waited(
    notifier: Notifier, relay: BadRelay
) -> None:
    await notifier.take(contact(1), message())
    await notifier.send()
    assert reached(relay) == ["ops1"]
    assert mails(relay)["ops1@customer.example"]["Gallra-Template"] == "verify-address/1"
    assert await notifier.states() == {"queued": 1}
    assert await notifier.reasons() == {"unverified"}
    await notifier.take(confirmed(1))
    await notifier.send()
    assert await notifier.states() == {"accepted": 1}
    subject = mails(relay)["ops1@customer.example"]["Subject"]
    assert subject == "Underhåll av sto2: tonight"


async def test_an_address_that_nobody_confirms_gets_nothing(
    notifier: Notifier, relay: BadRelay
) -> None:
    await notifier.take(contact(1), message())
    notifier.clock.advance(VERIFY_WITHIN)
    await notifier.send()
    assert await notifier.states() == {"expired": 1}
    assert await notifier.reasons() == {"unverified"}
    assert reached(relay) == ["ops1"], "the question alone"


async def test_nobody_is_asked_who_has_answered(notifier: Notifier, relay: BadRelay) -> None:
    await notifier.know(1)
    await notifier.take(contact(1), contact(1))  # told again
    await notifier.send()
    assert not relay.taken


# What may be declined


async def test_optional_mail_goes_to_who_has_a_basis(notifier: Notifier, relay: BadRelay) -> None:
    await notifier.know(1, bases=(WANTED,))
    await notifier.know(2)
    await notifier.take(message(**NEWS))
    await notifier.send()
    assert reached(relay) == ["ops1"]
    mail = mails(relay)["ops1@customer.example"]
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["List-Unsubscribe"].startswith("<https://mail.provider.example/u/")


async def test_a_basis_is_for_what_may_be_declined(notifier: Notifier) -> None:
    for type_ in ("security-breach", "gossip"):
        basis = WANTED.model_copy(update={"message_type": type_})
        with pytest.raises(Rejected) as rejected:
            await notifier.take(contact(1, bases=(basis,)))
        assert rejected.value.code == "unknown-message-type"


async def suppress(notifier: Notifier, number: int, scope: str, reason: str) -> None:
    key = lookup(KEY, f"ops{number}@customer.example")
    async with transaction(notifier.pool) as tx:
        await store.suppress(tx, key, scope, reason, notifier.clock.now(), new_id())


async def test_what_is_declined_while_it_waits_is_not_sent(
    notifier: Notifier, relay: BadRelay
) -> None:
    await notifier.know(1, 2, bases=(WANTED,))
    await notifier.take(message(**NEWS))
    await suppress(notifier, 1, "news", "unsubscribed")
    await notifier.send()
    assert reached(relay) == ["ops2"]
    assert await notifier.states() == {"accepted": 1, "suppressed": 1}


async def test_where_an_address_is_dead_the_customers_others_are_told(
    notifier: Notifier, relay: BadRelay
) -> None:
    await notifier.know(1, 2)
    billing = contact(3, customer_id="c-1", roles=["billing"])
    verified = confirmed(3).model_copy(update={"customer_id": "c-1"})
    await notifier.take(billing, verified)
    await suppress(notifier, 1, "all", "hard-bounce")
    await notifier.take(message())
    await notifier.send()
    assert reached(relay) == ["ops2", "ops3"]
    rows = await notifier.pool.fetch(
        "SELECT reason FROM delivery WHERE state = 'suppressed' AND message_type <> $1", VERIFY
    )
    assert [row["reason"] for row in rows] == ["hard-bounce"]


async def test_an_address_that_the_relay_says_is_none_gets_no_more(
    notifier: Notifier, relay: BadRelay
) -> None:
    relay.says["ops1@customer.example"] = b"550 5.1.1 no such user\r\n"
    await notifier.know(1, 2)
    await notifier.take(message(), message(message_id="m-2", send_after=NOW + DAY))
    await notifier.send()
    assert await notifier.states() == {"accepted": 1, "bounced": 1, "queued": 1, "suppressed": 1}
    await notifier.take(message(message_id="m-3"))
    notifier.clock.advance(DAY)
    await notifier.send()
    assert reached(relay) == ["ops2"] * 3


# Windows that move


def window(message_id: str, start: datetime, **changes: Any) -> Any:
    status = changes.pop("status", "confirmed")
    return message(
        message_id=message_id,
        params={"service": "sto2", "starts": start.isoformat(), "ends": start.isoformat()},
        maintenance_window=MaintenanceWindow(
            starts=start, ends=start + timedelta(hours=2), status=status
        ),
        **changes,
    )


def entry(mail: EmailMessage) -> Any:
    *_, part = mail.walk()
    [found] = Calendar.from_ical(part.get_payload(decode=True)).walk("VEVENT")
    return found


async def test_a_window_that_moves_and_is_cancelled_is_one_entry(
    notifier: Notifier, relay: BadRelay
) -> None:
    await notifier.know(1)
    seen: list[Any] = []
    threads: set[str] = set()
    for notice in (
        window("m-1", STARTS),
        window("m-2", STARTS + DAY, supersedes="m-1"),
        window("m-3", STARTS + DAY, supersedes="m-2", status="cancelled"),
    ):
        await notifier.take(notice)
        await notifier.send()
        mail = mails(relay)["ops1@customer.example"]
        seen.append(entry(mail))
        threads.add(mail["References"])
    assert len({found["uid"] for found in seen}) == len(threads) == 1
    assert [found["sequence"] for found in seen] == [0, 1, 2]
    assert [found["status"] for found in seen] == ["CONFIRMED", "CONFIRMED", "CANCELLED"]
    assert [found["dtstart"].dt for found in seen] == [STARTS, STARTS + DAY, STARTS + DAY]
    assert mails(relay)["ops1@customer.example"]["Subject"].startswith("Inställt: underhåll")


async def test_what_has_not_left_is_superseded(notifier: Notifier, relay: BadRelay) -> None:
    await notifier.know(1)
    await notifier.take(window("m-1", STARTS, send_after=NOW + DAY))
    await notifier.take(window("m-2", STARTS + DAY, supersedes="m-1"))
    notifier.clock.advance(DAY)
    await notifier.send()
    assert await notifier.states() == {"accepted": 1, "suppressed": 1}
    assert [entry(mail)["sequence"] for mail in mails(relay).values()] == [1]


async def test_only_who_was_told_hears_that_it_is_off(notifier: Notifier, relay: BadRelay) -> None:
    await notifier.know(1)
    await notifier.take(window("m-1", STARTS))
    await notifier.send()
    await notifier.know(2)
    await notifier.take(window("m-2", STARTS, supersedes="m-1", status="cancelled"))
    await notifier.send()
    assert reached(relay) == ["ops1", "ops1"]


# How fast


async def test_a_domain_gets_no_more_than_it_takes(notifier: Notifier, relay: BadRelay) -> None:
    for number in range(6):
        await notifier.know(number, email=f"ops{number}@slow.example")
    await notifier.know(7)
    await notifier.take(message(), message(message_id="m-2"))
    arrived: list[int] = []
    for _ in range(3):
        await notifier.send()
        arrived.append(len(relay.taken))
        notifier.clock.advance(timedelta(seconds=10))
    assert arrived == [3, 4, 5], "one at once, then one in ten seconds; others do not wait"
    notifier.clock.advance(timedelta(minutes=2))
    await notifier.send()
    assert len(relay.taken) == 14


@pytest.mark.parametrize("connections", [1, 4])
async def test_the_urgent_goes_first(notifier: Notifier, relay: BadRelay, connections: int) -> None:
    """One mail after the other; over several connections, but for those on their way at once."""
    notifier.sender = replace(notifier.sender, pace=replace(PACE, connections=connections))
    await notifier.know(*range(30), bases=(WANTED,))
    await notifier.take(message(**NEWS))
    breach = {"service": "sto2", "what": "x", "advice": "y"}
    await notifier.take(
        message(
            message_id="m-2",
            message_type="security-breach",
            template="security-breach",
            params=breach,
        )
    )
    await notifier.send()
    kinds = [message_from_bytes(t.content)["Gallra-Template"] for t in relay.taken]
    alone = 30 - (connections - 1) * PACE.batch
    ordered = kinds[:alone] + sorted(kinds[alone:], reverse=True)
    assert ordered == ["security-breach/1"] * 30 + ["news/1"] * 30


# Doubt


async def test_doubt_is_settled_as_the_type_says(notifier: Notifier, relay: BadRelay) -> None:
    await notifier.know(1, roles=["technical", "billing"], bases=(WANTED,))
    for number, (type_, changes) in enumerate(
        [("maintenance-window", {}), ("agreement-change", AGREEMENT), ("news", NEWS)]
    ):
        relay.says["taken"] = CLOSE
        await notifier.take(
            message(**{"message_id": f"m-{number}", "message_type": type_} | changes)
        )
        await notifier.send()
        assert (await notifier.states())["unknown"] == max(number, 1)
        del relay.says["taken"]
        await notifier.sender.report_broken(notifier.pool)
        await notifier.send()
    assert await notifier.states() == {"accepted": 1, "unknown": 2}
    ids = [message_from_bytes(t.content)["Message-ID"] for t in relay.taken]
    assert len(ids) == 4
    assert ids[0] == ids[1], "sent again as the same mail"


async def test_what_is_never_answered_is_given_up(notifier: Notifier, relay: BadRelay) -> None:
    relay.says["RCPT"] = b"450 4.2.0 greylisted\r\n"
    await notifier.know(1)
    await notifier.take(message())
    for _ in range(PATIENCE.attempts):
        await notifier.send()
        notifier.clock.advance(PATIENCE.longest)
    assert await notifier.states() == {"expired": 1}
    assert await notifier.reasons() == {"given-up"}


# What is told


async def test_every_step_is_told_in_order(notifier: Notifier, relay: BadRelay) -> None:
    relay.says["ops2@customer.example"] = b"550 5.1.1 nobody\r\n"
    await notifier.know(1, 2)
    assert len(await notifier.announced()) == 4, "two questions, and that they need no answer"
    await notifier.take(message())
    await notifier.send()
    told = await notifier.announced()
    assert told == await notifier.announced(), "once"
    by_delivery: dict[str, list[str]] = {}
    for news in told[4:]:
        by_delivery.setdefault(news["delivery_id"], []).append(news["state"])
    assert sorted(by_delivery.values()) == [["queued", "accepted"], ["queued", "bounced"]]
    rows = await notifier.pool.fetch(
        "SELECT value FROM outbox WHERE topic = 'platform.records.v1' ORDER BY position"
    )
    records = [json.loads(row["value"]) for row in rows]
    registered = [r["record_id"] for r in records if r["category"] == "contact.delivery"]
    assert sorted(registered) == sorted({news["delivery_id"] for news in told})


async def test_customers_whom_nothing_reaches_are_named(notifier: Notifier) -> None:
    await notifier.know(1)
    for number in (1, 2, 3):
        started = ServiceStarted(customer_id=f"c-{number}", service_id="sv", at=NOW)
        await notifier.take(started)
    await notifier.take(contact(2))
    await Unreachable(notifier.outbox, notifier.clock).look(notifier.pool)
    rows = await notifier.pool.fetch("SELECT value FROM outbox WHERE topic = 'ops.alerts.v1'")
    assert [json.loads(row["value"])["summary"].partition(": ")[2] for row in rows] == ["c-2, c-3"]


async def test_ten_thousand_twins_are_one(notifier: Notifier, relay: BadRelay) -> None:
    await notifier.know(1)
    await notifier.take(message(customers=["c-1"] * 10_000))
    await notifier.send()
    assert reached(relay) == ["ops1"]
