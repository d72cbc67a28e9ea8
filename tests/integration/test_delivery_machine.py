"""Deliveries under whatever may happen to them, in any order: no step that is none, none lost."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.conftest import Database
from tests.crash.test_mailing import changes, contacts, copies
from tests.integration.relays import CLOSE, BadRelay, Behaviour
from tests.integration.test_sending import AGREEMENT, NOW, PACE, Notifier, message

from notifier import store
from notifier.delivery import STEPS, WAITING
from notifier.reconciling import reconcile
from shared.ids import new_id
from shared.postgres import open_pool, transaction

PEOPLE = 8
ANSWERS: dict[str, Behaviour] = {
    "taken": b"250 2.0.0 ok\r\n",
    "later": b"451 4.3.0 later\r\n",
    "never": b"550 5.7.1 no\r\n",
    "shut": b"421 4.3.2 closing\r\n",
    "hang up": CLOSE,
    "garbage": b"what?\r\n",
}
T = TypeVar("T")


class Deliveries(RuleBasedStateMachine):
    """A notifier, a relay and a clock; the driver is set by the test."""

    run: Callable[[Awaitable[Any]], Any]
    dsn: str
    owner: str

    def __init__(self) -> None:
        super().__init__()
        self.stack = AsyncExitStack()
        self.messages = 0
        self.answer: Behaviour | None = None
        self.step = "taken"

    @initialize()
    def start(self) -> None:
        self.run(self._start())

    async def _start(self) -> None:
        owner = await asyncpg.connect(self.owner)
        await owner.execute(
            "TRUNCATE recipient, contact, basis, suppression, service, message, message_customer,"
            " delivery, delivery_change, waiting, sending, amiss, outbox, pace, alert"
        )
        await owner.close()
        self.relay = await self.stack.enter_async_context(BadRelay(mood=self._mood).running())
        self.pool = await self.stack.enter_async_context(open_pool(self.dsn, "test"))
        self.notifier = Notifier(self.pool, self.relay.relay)
        await self.notifier.library.stock(self.pool, NOW)
        await contacts(self.pool, PEOPLE)

    def _mood(self, verb: str, recipient: str) -> Behaviour | None:
        """Behave once as was asked, then well."""
        if verb != self.step or self.answer is None or not recipient:
            return None
        answer, self.answer = self.answer, None
        return answer

    def teardown(self) -> None:
        self.run(self.stack.aclose())

    @rule(asks=st.booleans(), later=st.sampled_from([0, 0, 3]))
    def request(self, asks: bool, later: int) -> None:
        """A message is asked for: of a type that is sent again in doubt, or one that is not."""
        self.messages += 1
        changed: dict[str, Any] = {"message_id": f"m-{self.messages}"}
        if asks:
            changed |= {"message_type": "agreement-change", **AGREEMENT}
        now = self.notifier.clock.now()
        if later:
            changed["send_after"] = now + timedelta(hours=later)
            changed["send_before"] = now + timedelta(hours=later + 1)
        self.run(self.notifier.take(message(**changed)))

    @rule(answer=st.sampled_from(sorted(ANSWERS)), step=st.sampled_from(["RCPT", "taken"]))
    def send(self, answer: str, step: str) -> None:
        """What waits is sent; the relay answers once as it likes."""
        self.answer, self.step = ANSWERS[answer], step
        self.run(self.notifier.send())
        self.answer = None

    @rule(count=st.integers(1, PACE.batch))
    def die(self, count: int) -> None:
        """A sender marks some mails and dies before it says what became of them."""
        self.run(self._die(count))

    async def _die(self, count: int) -> None:
        async with transaction(self.pool) as tx:
            await store.turn(tx, [], self.notifier.clock.now(), 4711, count)
        await self.notifier.sender.report_broken(self.pool)

    @rule(hours=st.integers(1, 5))
    def wait(self, hours: int) -> None:
        self.notifier.clock.advance(timedelta(hours=hours))

    @rule(number=st.integers(1, PEOPLE))
    def decline(self, number: int) -> None:
        """An address turns out to be dead."""
        self.run(self._decline(number))

    async def _decline(self, number: int) -> None:
        now = self.notifier.clock.now()
        async with transaction(self.pool) as tx:
            key = await store.lookup_of(tx, f"r-{number}")
            assert key is not None
            await store.suppress(tx, key, "all", "hard-bounce", now, new_id())
            types = list(self.notifier.planner.types)
            await store.stop_suppressed(tx, key, types, "hard-bounce", now)

    @rule()
    def decide(self) -> None:
        """A person has everything in doubt sent again."""
        self.run(self._decide())

    async def _decide(self) -> None:
        async with transaction(self.pool) as tx:
            await store.send_again(tx, await store.in_doubt(tx), self.notifier.clock.now())

    @rule()
    def reconcile(self) -> None:
        """The relay's own log settles everything."""
        now = self.notifier.clock.now()
        log = "\n".join(f"<{id_}@provider.example>" for id_ in copies(self.relay))
        self.run(reconcile(self.pool, log, now, now))
        assert not self.run(changes_now(self.pool, "unknown"))

    @invariant()
    def every_step_is_one(self) -> None:
        rows = self.run(
            self.pool.fetch("SELECT delivery, state FROM delivery_change ORDER BY position")
        )
        at: dict[UUID, str] = {}
        for row in rows:
            before, after = at.get(row["delivery"]), row["state"]
            if before is not None:
                direct = after in STEPS[before]
                assert direct or ("sending" in STEPS[before] and after in STEPS["sending"])
            at[row["delivery"]] = after
        now = {
            r["id"]: r["state"] for r in self.run(self.pool.fetch("SELECT id, state FROM delivery"))
        }
        assert now == at
        waits = self.run(self.pool.fetch("SELECT delivery FROM waiting"))
        sends = self.run(self.pool.fetch("SELECT delivery FROM sending"))
        assert Counter(row["delivery"] for row in (*waits, *sends)) == Counter(
            id_ for id_, state in now.items() if state in WAITING
        )
        amiss = self.run(self.pool.fetch("SELECT delivery, state FROM amiss"))
        assert {row["delivery"]: row["state"] for row in amiss} == {
            id_: state for id_, state in now.items() if state not in {*WAITING, "accepted"}
        }

    @invariant()
    def nothing_is_lost_and_nothing_doubled(self) -> None:
        sent = copies(self.relay)
        accepted = self.run(changes_now(self.pool, "accepted"))
        doubted = self.run(changes(self.pool, "unknown"))
        assert accepted <= sent.keys()
        assert {id_ for id_, times in sent.items() if times > 1} <= doubted.keys()
        rows = self.run(
            self.pool.fetch("SELECT message_id, count(*) AS n FROM delivery GROUP BY message_id")
        )
        assert Counter({r["message_id"]: r["n"] for r in rows}) == Counter(
            {f"m-{n}": PEOPLE for n in range(1, self.messages + 1)}
        )


async def changes_now(pool: Any, state: str) -> set[UUID]:
    rows = await pool.fetch("SELECT id FROM delivery WHERE state = $1", state)
    return {row["id"] for row in rows}


@pytest.mark.timeout(300)
def test_whatever_happens_every_delivery_is_accounted_for(notifier_db: Database) -> None:
    loop = asyncio.new_event_loop()

    class Machine(Deliveries):
        run = staticmethod(loop.run_until_complete)  # type: ignore[assignment]
        dsn = notifier_db.service
        owner = notifier_db.owner

    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=25,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()
