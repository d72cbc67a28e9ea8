"""What the kit does for persons' rights, with the simulated platform's holder."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.events import event

from gallra.demo.holders import TableHolder
from shared.clock import VirtualClock
from shared.errors import Rejected
from shared.events.gallra import (
    RightsCommand,
    RightsExport,
    RightsLift,
    RightsObject,
    RightsRectify,
    RightsRestrict,
)
from shared.exports import Exports
from shared.holder import PurgeDesk
from shared.outbox import Outbox
from shared.postgres import Pool, transaction
from shared.sealing import new_key, unseal

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PLACE = "rights/0199a7c2-0000-7000-8000-000000000001"


@pytest.fixture
async def desk(platform_pool: Pool, tmp_path: Path) -> PurgeDesk:
    await platform_pool.execute(
        "INSERT INTO lead VALUES ('l-1', 'Anna Ö', 'anna@home.example', '2026-11-01')"
    )
    store = Exports((tmp_path / "exports").as_uri())
    return PurgeDesk("crm", TableHolder(), Outbox("//test"), VirtualClock(NOW), exports=store)


async def take(pool: Pool, desk: PurgeDesk, kind: type[RightsCommand], **more: Any) -> Any:
    fields: dict[str, Any] = {
        "command_id": "c-1",
        "request_id": "r-1",
        "holder": "crm",
        "category": "lead.form",
        "refs": ["l-1", "l-9"],
    }
    order = event(kind(**{**fields, **more}), NOW)
    assert desk.wants(order)
    async with transaction(pool) as tx:
        await desk.take(tx, order)
    [row] = await pool.fetch("DELETE FROM outbox RETURNING value")
    return json.loads(row["value"])


async def test_a_copy_is_laid_where_only_the_key_opens_it(
    platform_pool: Pool, desk: PurgeDesk
) -> None:
    private, public = new_key()
    copy = {"seal_to": public, "object": PLACE, "not_after": NOW}
    told = await take(platform_pool, desk, RightsExport, **copy)
    assert (told["outcome"], told["object"]) == ("done", PLACE)
    assert desk.exports is not None
    sealed = await desk.exports.get(PLACE)
    assert sealed is not None
    [found] = json.loads(unseal(sealed, private, PLACE))
    assert (found["name"], found["last_contact"]) == ("Anna Ö", "2026-11-01")
    other, _ = new_key()
    for key, name in ((other, PLACE), (private, PLACE[:-1] + "2")):
        with pytest.raises(Rejected, match="not what was asked for"):
            unseal(sealed, key, name)


async def test_without_a_store_people_give_copies(platform_pool: Pool, desk: PurgeDesk) -> None:
    bare = PurgeDesk("crm", TableHolder(), desk.outbox, desk.clock)
    copy = {"seal_to": new_key()[1], "object": PLACE, "not_after": NOW}
    told = await take(platform_pool, bare, RightsExport, **copy)
    assert (told["outcome"], told.get("object")) == ("by-hand", None)


async def test_a_restriction_is_apart_from_quarantine(platform_pool: Pool, desk: PurgeDesk) -> None:
    async def marks() -> tuple[bool, bool]:
        return tuple(await platform_pool.fetchrow("SELECT restricted, quarantined FROM lead"))

    assert (await take(platform_pool, desk, RightsRestrict))["outcome"] == "done"
    async with transaction(platform_pool) as tx:
        found = await desk.holder.quarantine(tx, "lead.form", ["l-1"])
    assert found.done == ["l-1"], "it is purged on its day"
    assert await marks() == (True, True)
    async with transaction(platform_pool) as tx:
        await desk.holder.restore(tx, "lead.form", ["l-1"])
    assert await marks() == (True, False)
    await take(platform_pool, desk, RightsLift)
    assert await marks() == (False, False)


async def test_what_can_be_stopped_is_and_the_rest_is_for_people(
    platform_pool: Pool, desk: PurgeDesk
) -> None:
    assert (await take(platform_pool, desk, RightsObject))["outcome"] == "done"
    assert await platform_pool.fetchval("SELECT objected FROM lead")
    account = {"category": "account.master"}
    assert (await take(platform_pool, desk, RightsObject, **account))["outcome"] == "by-hand"
    assert (await take(platform_pool, desk, RightsRectify))["outcome"] == "by-hand"


def test_another_holder_s_order_is_not_taken(desk: PurgeDesk) -> None:
    order = RightsLift(
        command_id="c", request_id="r", holder="billing", category="lead.form", refs=["l-1"]
    )
    assert not desk.wants(event(order, NOW))
