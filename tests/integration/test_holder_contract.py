"""Our holders, and the one that the documentation shows, keep to the contract of holders."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.integration.events import event
from tests.integration.test_master_log import Log, action
from tests.integration.test_sending import Notifier, contact

from notifier.smtp import Relay
from shared.clock import VirtualClock
from shared.events.gallra import CanaryLook, CanaryPlant, PurgeCommand
from shared.holder import CanaryHolder, Holder, Outcome, PurgeDesk
from shared.holder_contract import CHECKS, Bench, ContractError, State, check_holder
from shared.outbox import Outbox
from shared.postgres import Connection, open_pool

PAGE = Path(__file__).parents[2] / "docs/holders.md"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def shown(language: str) -> list[str]:
    """Return the examples of the page in a language."""
    block = rf"(?ms)^( *)```{language}\n(.*?)^\1```$"
    return [dedent(found[2]) for found in re.finditer(block, PAGE.read_text("utf-8"))]


def note_holder(name: str = "NoteHolder") -> Any:
    names: dict[str, Any] = {}
    for example in shown("python"):
        if "class " in example:
            exec(example, names)  # noqa: S102 - our own page
    return names[name]


def state_of(row: Any) -> State:
    if row is None:
        return "gone"
    return "hidden" if row["hidden"] else "shown"


def note_bench(pool: Any, holder: Holder) -> Bench:
    numbers = count()

    async def put() -> str:
        record = f"n-{next(numbers)}"
        await pool.execute("INSERT INTO note VALUES ($1, 'about a person')", record)
        return record

    async def look(record: str) -> State:
        return state_of(await pool.fetchrow("SELECT hidden FROM note WHERE record_id = $1", record))

    desk = PurgeDesk("notes", holder, Outbox("//notes"), VirtualClock(NOW))
    return Bench(pool, desk, "lead.form", put, look)


@pytest.fixture
async def notes(platform_db: Any) -> AsyncIterator[Any]:
    async with open_pool(platform_db.owner, "test") as pool:
        await pool.execute(*shown("sql"))
        yield pool


@pytest.fixture
async def example(notes: Any) -> Bench:
    return note_bench(notes, note_holder()())


@pytest.fixture
async def canaries(notes: Any) -> Bench:
    return note_bench(notes, note_holder("CanaryNoteHolder")())


@pytest.fixture
async def audit_log(audit_db: Any) -> AsyncIterator[Bench]:
    numbers = count()
    async with open_pool(audit_db.service, "test") as pool:
        log = Log(pool)

        async def put() -> str:
            customer = f"c-{next(numbers)}"
            await log.take(action(1, customer), at=NOW - timedelta(days=900))
            return await pool.fetchval(
                "SELECT record_id FROM bucket WHERE customer_id = $1", customer
            )

        async def look(record: str) -> State:
            return state_of(
                await pool.fetchrow(
                    "SELECT state = 'quarantined' AS hidden FROM bucket WHERE record_id = $1",
                    record,
                )
            )

        yield Bench(pool, log.handlers.desk, "logs.action", put, look)


@pytest.fixture
async def notifier(notifier_db: Any) -> AsyncIterator[Bench]:
    numbers = count()
    async with open_pool(notifier_db.service, "test") as pool:
        parts = Notifier(pool, Relay("127.0.0.1", 1))

        async def put() -> str:
            number = next(numbers)
            await parts.take(contact(number))
            return await pool.fetchval(
                "SELECT record_id FROM contact WHERE contact_id = $1", f"ct-{number}"
            )

        async def look(record: str) -> State:
            return state_of(
                await pool.fetchrow(
                    "SELECT quarantined AS hidden FROM contact WHERE record_id = $1", record
                )
            )

        yield Bench(pool, parts.handlers.desk, "contact.address", put, look)


@pytest.fixture(params=["audit_log", "notifier", "example", "canaries"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_to_the_contract(bench: Bench, check: Callable[[Bench], Any]) -> None:
    await check(bench)


async def test_all_checks_in_one_database(canaries: Bench) -> None:
    await check_holder(canaries)


@pytest.mark.parametrize(("name", "taken"), [("NoteHolder", False), ("CanaryNoteHolder", True)])
def test_canaries_are_for_those_who_take_them(name: str, taken: bool) -> None:
    desk = PurgeDesk("notes", note_holder(name)(), Outbox("//notes"), VirtualClock(NOW))
    fields = {"category": "lead.form", "record_id": f"canary-{0:032x}"}
    for command in (CanaryPlant, CanaryLook):
        assert desk.wants(event(command(holder="notes", **fields), NOW)) is taken
        assert not desk.wants(event(command(holder="another", **fields), NOW))


class Broken:
    """The holder of the page but for one function."""

    def __init__(self, pool: Any, fault: str) -> None:
        self._sound: CanaryHolder = note_holder("CanaryNoteHolder")()
        self._pool = pool
        self._fault = fault

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        match self._fault:
            case "hides nothing":
                return Outcome(refs)
            case "acts beside the transaction":
                async with self._pool.acquire() as other:
                    return await self._sound.quarantine(other, category, refs)
            case _:
                return await self._sound.quarantine(tx, category, refs)

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        match self._fault:
            case "erases nothing":
                return Outcome(refs)
            case "erases all":
                await tx.execute("DELETE FROM note")
                return Outcome(refs)
            case "says that all was there":
                await self._sound.erase(tx, command, refs)
                return Outcome(refs)
            case _:
                return await self._sound.erase(tx, command, refs)

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        if self._fault != "restores nothing":
            await self._sound.restore(tx, category, refs)

    async def plant(self, tx: Connection, category: str, record_id: str) -> None:
        if self._fault != "plants nothing":
            await self._sound.plant(tx, category, record_id)

    async def find(self, tx: Connection, category: str, record_id: str) -> bool:
        if self._fault == "finds what it hides no more":
            query = "SELECT EXISTS (SELECT FROM note WHERE record_id = $1 AND NOT hidden)"
            return await tx.fetchval(query, record_id)
        return await self._sound.find(tx, category, record_id)


FAULTS = {
    "hides nothing": "prepare_hides",
    "acts beside the transaction": "crashed",
    "erases nothing": "commit_erases",
    "erases all": "commit_erases",
    "says that all was there": "repeated",
    "restores nothing": "cancel_restores",
    "plants nothing": "canary",
    "finds what it hides no more": "canary",
}


@pytest.mark.parametrize(("fault", "check"), FAULTS.items())
async def test_a_holder_that_does_not_is_found(notes: Any, fault: str, check: str) -> None:
    with pytest.raises(ContractError, match=rf"^{check}: "):
        await check_holder(note_bench(notes, Broken(notes, fault)))
