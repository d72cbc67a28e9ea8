"""The notifier and persons' rights: copies, restrictions, objections; and what retention mails."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Database
from tests.integration.test_sending import NOW, Notifier, Server, message, server

from notifier import ledger
from notifier.ledger import Wanted
from notifier.letter import write
from shared.events.gallra import (
    RightsCollect,
    RightsCommand,
    RightsLift,
    RightsObject,
    RightsRectify,
    RightsRestrict,
)
from shared.events.platform import Basis
from shared.exports import Exports
from shared.postgres import open_pool
from shared.sealing import new_key, unseal

__all__ = ["server"]

NEWS: dict[str, Any] = {
    "message_type": "news",
    "template": "news",
    "params": {"title": "x", "text": "y"},
}


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    return Exports((tmp_path / "exports").as_uri())


@pytest.fixture
async def notifier(
    notifier_db: Database, server: Server, exports: Exports
) -> AsyncIterator[Notifier]:
    async with open_pool(notifier_db.service, "test") as pool:
        made = Notifier(pool, server.relay, exports=exports)
        await made.library.stock(pool, NOW)
        basis = Basis(message_type="news", basis="consent", since=NOW)
        await made.know(1, bases=(basis,))
        await pool.execute("DELETE FROM outbox")
        yield made


async def record(notifier: Notifier) -> str:
    return await notifier.pool.fetchval("SELECT record_id FROM contact")


def order(kind: type[RightsCommand], category: str, ref: str, **more: Any) -> RightsCommand:
    return kind(
        command_id="c-1", request_id="r-1", holder="notifier", category=category, refs=[ref], **more
    )


async def result(notifier: Notifier) -> dict[str, Any]:
    [row] = await notifier.pool.fetch(
        "DELETE FROM outbox WHERE topic = 'holders.rights-results.v1' RETURNING value"
    )
    return json.loads(row["value"])


async def told(notifier: Notifier, number: int) -> dict[str, int]:
    await notifier.take(message(message_id=f"m-{number}", **NEWS))
    await notifier.send()
    return await notifier.states()


async def test_a_copy_can_be_opened_by_who_asked_alone(
    notifier: Notifier, exports: Exports
) -> None:
    private, public = new_key()
    place = "rights/0199a7c2-0000-7000-8000-000000000001"
    copy = {"seal_to": public, "object": place, "not_after": NOW}
    await notifier.take(order(RightsCollect, "contact.address", await record(notifier), **copy))
    assert (await result(notifier))["outcome"] == "done"
    sealed = await exports.get(place)
    assert sealed is not None
    assert b"customer.example" not in sealed
    [found] = json.loads(unseal(sealed, private, place))
    assert (found["email"], found["roles"]) == ("ops1@customer.example", ["technical"])


async def test_a_copy_that_nobody_waits_for_is_not_made(
    notifier: Notifier, exports: Exports
) -> None:
    _, public = new_key()
    place = "rights/0199a7c2-0000-7000-8000-000000000002"
    late = {"seal_to": public, "object": place, "not_after": "2026-01-01T00:00:00Z"}
    command = RightsCollect.model_validate_json(
        json.dumps(
            {
                "command_id": "c", "request_id": "r", "holder": "notifier", "refs": ["x"],
                "category": "contact.address", **late,
            }
        )
    )  # fmt: skip
    await notifier.take(command)
    assert await exports.get(place) is None


async def test_who_objects_gets_no_more_mail_that_can_be_declined(notifier: Notifier) -> None:
    assert await told(notifier, 1) == {"accepted": 1}
    await notifier.take(order(RightsObject, "contact.address", await record(notifier)))
    assert (await result(notifier))["outcome"] == "done"
    assert await told(notifier, 2) == {"accepted": 1, "suppressed": 1}
    await notifier.take(message(message_id="m-3"))
    await notifier.send()
    assert await notifier.states() == {"accepted": 2, "suppressed": 1}, "the mandatory one"


async def test_under_a_restriction_only_mandatory_mail_comes_until_it_is_lifted(
    notifier: Notifier,
) -> None:
    ref = await record(notifier)
    await notifier.take(order(RightsRestrict, "contact.address", ref))
    assert await told(notifier, 1) == {"suppressed": 1}
    await notifier.take(message(message_id="m-2"))
    await notifier.send()
    assert await notifier.states() == {"accepted": 1, "suppressed": 1}
    await notifier.take(order(RightsLift, "contact.address", ref))
    assert await told(notifier, 3) == {"accepted": 2, "suppressed": 1}


async def test_a_restricted_delivery_is_not_found_by_search(notifier: Notifier) -> None:
    await told(notifier, 1)
    ref = await notifier.pool.fetchval("SELECT id::text FROM delivery WHERE message_type = 'news'")
    await notifier.take(order(RightsRestrict, "contact.delivery", ref))
    async with notifier.pool.acquire() as tx:
        assert await ledger.search(tx, Wanted(message_type="news"), 10) == []
    await notifier.take(order(RightsLift, "contact.delivery", ref))
    async with notifier.pool.acquire() as tx:
        assert len(await ledger.search(tx, Wanted(message_type="news"), 10)) == 1


async def test_what_it_cannot_do_is_left_to_people(notifier: Notifier) -> None:
    await notifier.take(order(RightsRectify, "contact.address", await record(notifier)))
    assert (await result(notifier))["outcome"] == "by-hand"
    await notifier.take(order(RightsRestrict, "contact.message_body", "m-9"))
    assert (await result(notifier))["outcome"] == "by-hand"


@pytest.mark.parametrize("about", ["identity", "complexity", "number", "lift"])
@pytest.mark.parametrize(("locale", "word"), [("sv", "begäran"), ("en", "request")])
async def test_what_is_written_meanwhile(
    notifier: Notifier, about: str, locale: Any, word: str
) -> None:
    templates = notifier.library.templates
    params = {"case": "R-1", "right": "erasure", "about": about, "day": "2027-02-24"}
    kind = notifier.planner.kind("rights-notice")
    written = write(templates, templates.newest("rights-notice"), locale, params, kind.footing)
    assert word in written.subject
    assert ("2027-02-24" in written.text) == (about in {"complexity", "number"})
    assert "imy.se" in written.html
