"""The mass-purge guard: what is unusual in size waits for two people."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from retention import canary_store
from retention import guard_store as store
from retention.calendar import civil_day, day_after, start_of
from retention.guard_store import Frozen
from retention.limits import Limits, Numbers
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.gallra import AlertRaised, PurgeJobApproved, PurgeJobFrozen
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, transaction

_MOMENT: Final = timedelta.resolution


@dataclass(frozen=True, slots=True)
class Guard:
    """Freezes what exceeds yesterday's forecast or a share of its category.

    Dates that move by mistake, all at once, are never in a forecast: it is made at the beginning of
    the day before, and counts what becomes due in that one day alone, so that neither today's
    mistake nor what is frozen already makes tomorrow's purge look expected.
    """

    outbox: Outbox
    clock: Clock
    limits: Limits = field(default_factory=Limits)

    async def foresee(self, tx: Connection, categories: Collection[str], now: datetime) -> bool:
        """Keep tomorrow's forecast; return False if an earlier sweep of today has."""
        tomorrow = day_after(civil_day(now))
        if await store.is_foreseen(tx, tomorrow):
            return False
        # What is due at midnight belongs to the day that begins then.
        before = await store.waiting(tx, start_of(tomorrow) - _MOMENT, categories)
        after = await store.waiting(tx, start_of(day_after(tomorrow)) - _MOMENT, categories)
        for category in categories:
            records = after.get(category, 0) - before.get(category, 0)
            await store.foresee(tx, tomorrow, category, records)
        return True

    async def passing(self, tx: Connection, categories: Collection[str], now: datetime) -> set[str]:
        """Return those of *categories* that may be ordered now; freeze the others."""
        frozen = await store.frozen(tx)
        waiting = await store.waiting(tx, now, categories)
        stopped: set[str] = set()
        for category in waiting.keys() | (frozen.keys() & set(categories)):
            if await self._stops(tx, category, frozen.get(category), waiting.get(category, 0), now):
                stopped.add(category)
        return set(categories) - stopped

    async def _stops(
        self, tx: Connection, category: str, frozen: Frozen | None, due: int, now: datetime
    ) -> bool:
        day = civil_day(now)
        midnights = start_of(day_after(day, -1)), start_of(day)
        numbers = replace(
            await store.numbers(
                tx, category, now, day, midnights, due=due, floor=self.limits.floor
            ),
            canaries=await canary_store.were_due(tx, category, start_of(day)),
        )
        why = self.limits.excess(numbers)
        if frozen is not None and why is not None and not self._grown(frozen, numbers):
            return True
        if frozen is not None:
            await store.lift(tx, frozen.id, now)
        if why is None:
            return False
        await store.freeze(tx, category, day, numbers.asked, why, now)
        told = PurgeJobFrozen(category=category, day=day, records=numbers.asked, why=why)
        await self.outbox.announce(tx, now, [told])
        return True

    def _grown(self, frozen: Frozen, numbers: Numbers) -> bool:
        """Return whether there are many more by now than those who approve were told."""
        return numbers.asked > frozen.records + self.limits.floor

    async def approve(self, pool: Pool, category: str, *, by: str) -> bool:
        """Approve the frozen purge of a category; return whether it goes on now.

        Two people must say so.  It lets through the number that it was frozen with, for 24 hours.

        Raises:
            Rejected: nothing of the category is frozen, or the same person approves again.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            frozen = await store.lock(tx, category)
            if frozen is None:
                raise Rejected("no purge of that category is frozen", code="unknown-purge")
            if frozen.first_by == by:
                raise Rejected("another person must agree to it", code="four-eyes")
            complete = frozen.first_by is not None
            note = store.approve_second if complete else store.approve_first
            await note(tx, frozen.id, by, now)
            approved = PurgeJobApproved(
                category=category,
                day=frozen.day,
                records=frozen.records,
                by=by,
                complete=complete,
            )
            await self.outbox.announce(tx, now, [approved])
        return complete


async def alerts(tx: Connection) -> list[AlertRaised]:
    """Return what on-call must know of."""
    return [
        AlertRaised(
            fingerprint=f"purge-frozen/{category}",
            severity="critical",
            summary=f"the purge of {category} is frozen until two people approve: {frozen.why}",
            labels={"category": category},
            runbook="purge-frozen",
        )
        for category, frozen in (await store.frozen(tx)).items()
    ]
