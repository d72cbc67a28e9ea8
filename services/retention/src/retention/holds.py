"""Legal holds: what keeps records although their time is up, and who said so."""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any
from uuid import UUID

from retention import purge_store, store
from retention.calendar import civil_day, day_after, start_of
from retention.override import HOLD_GRACE_DAYS, Scope
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.gallra import HoldPlaced, HoldReleaseAsked, HoldReleased
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Pool, transaction


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold that was placed.

    Attributes:
        beyond_recall: Records that it covers and that were ordered to be erased just before; their
            holders are the only ones who can still stop it.
    """

    id: UUID
    beyond_recall: int


@dataclass(frozen=True, slots=True)
class Holds:
    """Places and releases holds; every change voids the purge commands from before it."""

    outbox: Outbox
    clock: Clock

    async def place(
        self, pool: Pool, scope: Scope, *, reason: str, review_on: date, by: str
    ) -> Placed:
        """Hold the records in *scope*.

        Raises:
            Rejected: the review is not in the future.
        """
        now = self.clock.now()
        if review_on <= civil_day(now):
            raise Rejected("a hold is reviewed on a day to come", code="invalid-hold")
        named = asdict(scope)
        hold: dict[str, Any] = {
            **named,
            "id": new_id(),
            "reason": reason,
            "review_on": review_on,
            "placed_by": by,
            "placed_at": now,
        }
        async with transaction(pool) as tx:
            epoch = await store.raise_epoch(tx)
            await store.place_hold(tx, hold)
            beyond_recall = await purge_store.beyond_recall(tx, now)
            placed = HoldPlaced(
                **named,
                hold_id=str(hold["id"]),
                reason=reason,
                review_on=review_on,
                by=by,
                epoch=epoch,
                beyond_recall=beyond_recall,
            )
            await self.outbox.announce(tx, now, [placed])
        return Placed(hold["id"], beyond_recall)

    async def release(self, pool: Pool, hold_id: UUID, *, by: str) -> bool:
        """Ask for a hold to be lifted, or agree to it; return whether it is lifted now.

        Two people must say so.  Then the grace begins, in which others can object.

        Raises:
            Rejected: there is no such hold, it was lifted before, or the same person asks again.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            hold = await store.lock_hold(tx, hold_id)
            if hold is None or hold["released_at"] is not None:
                raise Rejected("there is no such hold to lift", code="unknown-hold")
            asked_by: str | None = hold["release_asked_by"]
            if asked_by is None:
                await store.ask_release(tx, hold_id, by, now)
                asked = HoldReleaseAsked(hold_id=str(hold_id), by=by)
                await self.outbox.announce(tx, now, [asked])
                return False
            if asked_by == by:
                raise Rejected("another person must agree to it", code="four-eyes")
            until = start_of(day_after(civil_day(now), HOLD_GRACE_DAYS + 1))
            await store.release_hold(tx, hold_id, by, now, until)
            epoch = await store.raise_epoch(tx)
            released = HoldReleased(hold_id=str(hold_id), by=by, epoch=epoch, asked_by=asked_by)
            await self.outbox.announce(tx, now, [released])
            return True
