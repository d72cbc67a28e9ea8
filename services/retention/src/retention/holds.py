"""Legal holds: what keeps records although their time is up, and who said so."""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from retention import store
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.gallra import HoldPlaced, HoldReleased
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Pool, transaction


@dataclass(frozen=True, slots=True)
class Holds:
    """Places and releases holds; every change voids the purge commands from before it."""

    outbox: Outbox
    clock: Clock

    async def place(
        self,
        pool: Pool,
        *,
        customer_id: str | None,
        category: str | None,
        reason: str,
        review_on: date,
        by: str,
    ) -> UUID:
        """Hold the records of a customer, a category, or of both together; return the hold's id.

        Raises:
            Rejected: the scope is empty, or the review is not in the future.
        """
        now = self.clock.now()
        if customer_id is None and category is None:
            raise Rejected("a hold needs a customer, a category or both", code="invalid-hold")
        if review_on <= now.date():
            raise Rejected("a hold is reviewed on a day to come", code="invalid-hold")
        hold: dict[str, Any] = {
            "id": new_id(),
            "customer_id": customer_id,
            "category": category,
            "reason": reason,
            "review_on": review_on,
            "placed_by": by,
            "placed_at": now,
        }
        async with transaction(pool) as tx:
            epoch = await store.raise_epoch(tx)
            await store.place_hold(tx, hold)
            placed = HoldPlaced(
                hold_id=str(hold["id"]),
                customer_id=customer_id,
                category=category,
                reason=reason,
                review_on=review_on,
                by=by,
                epoch=epoch,
            )
            await self.outbox.announce(tx, now, [placed])
        return hold["id"]

    async def release(self, pool: Pool, hold_id: UUID, *, by: str) -> None:
        """Lift a hold; its grace period of 14 days begins.

        Raises:
            Rejected: there is no such hold, or it was lifted before.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            if not await store.release_hold(tx, hold_id, by, now):
                raise Rejected("there is no such hold to lift", code="unknown-hold")
            epoch = await store.raise_epoch(tx)
            released = HoldReleased(hold_id=str(hold_id), by=by, epoch=epoch)
            await self.outbox.announce(tx, now, [released])
