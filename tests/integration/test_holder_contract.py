"""Our holders, and the one that the documentation shows, keep to the contract of holders."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.integration.test_master_log import Log, action
from tests.integration.test_sending import Notifier, contact

from notifier.smtp import Relay
from shared.clock import VirtualClock
from shared.events.gallra import PurgeCommand
from shared.holder import Holder, Outcome, PurgeDesk
from shared.holder_contract import CHECKS, Bench, ContractError, State, check_holder
from shared.outbox import Outbox
from shared.postgres import Connection, open_pool

PAGE = Path(__file__).parents[2] / "docs/holders.md"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def shown(language: str) -> str:
    """Return the first example of the page in a language."""
    block = rf"(?ms)^( *)```{language}\n(.*?)^\1```$"
    found = re.search(block, PAGE.read_text("utf-8"))
    assert found
    return dedent(found[2])


def note_holder() -> Any:
    names: dict[str, Any] = {}
    exec(shown("python"), names)  # noqa: S102 - our own page
    return names["NoteHolder"]


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
        await pool.execute(shown("sql"))
        yield pool


@pytest.fixture
async def example(notes: Any) -> Bench:
    return note_bench(notes, note_holder()())


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
        parts = Notifier(pool, Relay("127.0.0.1", 1, None, None, starttls=False))

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


@pytest.fixture(params=["audit_log", "notifier", "example"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_to_the_contract(bench: Bench, check: Callable[[Bench], Any]) -> None:
    await check(bench)


async def test_all_checks_in_one_database(example: Bench) -> None:
    await check_holder(example)


class Broken:
    """The holder of the page but for one function."""

    def __init__(self, pool: Any, fault: str) -> None:
        self._sound: Holder = note_holder()()
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


FAULTS = {
    "hides nothing": "prepare_hides",
    "acts beside the transaction": "crashed",
    "erases nothing": "commit_erases",
    "erases all": "commit_erases",
    "says that all was there": "repeated",
    "restores nothing": "cancel_restores",
}


@pytest.mark.parametrize(("fault", "check"), FAULTS.items())
async def test_a_holder_that_does_not_is_found(notes: Any, fault: str, check: str) -> None:
    with pytest.raises(ContractError, match=rf"^{check}: "):
        await check_holder(note_bench(notes, Broken(notes, fault)))
