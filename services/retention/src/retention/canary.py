"""Canaries: records of nobody, by which one sees whether what holders confirm is true.

A holder stores one when it is asked to.  When it has found it, the canary is registered as due, and
goes the way of every record: nothing in the purge loop knows what it is.  When its purge is
confirmed, the holder is asked to look again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from retention import canary_store, store
from retention.calendar import civil_day
from retention.canary_store import Canary
from retention.just_due import ENTITY, just_due
from retention.policy import Policies, Policy
from retention.store import AnchorRow, NewRecord, Ref, Told
from shared import telemetry
from shared.clock import Clock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.gallra import (
    AlertRaised,
    CanaryCommand,
    CanaryLook,
    CanaryPlant,
    CanarySeen,
)
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, sole, transaction

_AWAITED: Final = {
    "planting": "the holder has not found what it was to store",
    "due": "its purge is not confirmed",
    "looking": "the holder has not looked whether it is gone",
}


@dataclass(frozen=True, slots=True)
class Canaries:
    """Keeps one canary on its way for each holder and category that the policies ask it for.

    Attributes:
        every: How long after one the next is planted, and a holder that is silent is asked again.
        limit: How long one may take before on-call is told; the grace of its category if None.
    """

    outbox: Outbox
    clock: Clock
    policies: Policies
    every: timedelta
    limit: timedelta | None = None

    async def sweep(self, pool: Pool) -> int:
        """Ask holders what is to be asked now; return how many questions that were."""
        now = self.clock.now()
        pairs = self.policies.canaries
        async with transaction(pool) as tx:
            if not await sole(tx, "canaries"):
                return 0
            asked = await canary_store.look(tx, now)
            await canary_store.abandon(tx, pairs)
            asked += await canary_store.ask_again(tx, now - self.every, now)
            for holder, category in await canary_store.lacking(tx, pairs, now - self.every):
                asked.append(await self._plant(tx, holder, category, now))
            await self.outbox.announce(tx, now, [_question(canary) for canary in asked])
        return len(asked)

    async def _plant(self, tx: Connection, holder: str, category: str, now: datetime) -> Canary:
        grace = timedelta(days=self.policies.by_category[category].grace_days)
        canary = Canary(holder, category, f"canary-{uuid4().hex}", "planting")
        await canary_store.plant(tx, canary.ref, now, now + (self.limit or grace))
        return canary


def _question(canary: Canary) -> CanaryCommand:
    kind = CanaryPlant if canary.state == "planting" else CanaryLook
    return kind(holder=canary.holder, category=canary.category, record_id=canary.record_id)


async def on_seen(
    tx: Connection, versions: Sequence[Policy], event: Event, seen: CanarySeen, now: datetime
) -> set[Ref]:
    """Take what a holder says of a canary; return what is registered by that.

    What nobody waits for any more, such as an answer that was given twice, changes nothing.

    Raises:
        Rejected: no such canary was ever planted.
    """
    ref = seen.holder, seen.category, seen.record_id
    canary = await canary_store.lock(tx, ref)
    if canary is None:
        raise Rejected("no such canary was planted", code="unknown-reference")
    match canary.state, seen.phase, seen.found:
        case "planting", "plant", True:
            await _register(tx, versions, ref, event, now)
            await canary_store.registered(tx, ref, now)
            return {ref}
        case "looking", "look", True:
            await canary_store.survived(tx, ref)
        case "looking" | "survived", "look", False:
            seconds = await canary_store.erased(tx, ref, now)
            telemetry.CANARY_SECONDS.labels(seen.holder, seen.category).observe(seconds)
        case _:
            pass
    return set()


async def _register(
    tx: Connection, versions: Sequence[Policy], ref: Ref, event: Event, now: datetime
) -> None:
    """Register a canary as due: of an entity of its own, and of a customer if it needs one.

    From when its holder had it, as other records are, so that an inventory finds it in both places.
    """
    told_by = f"{event.source} {event.id}"
    facts = just_due(versions, civil_day(now))
    customer = ref[2] if facts.services else None
    record = NewRecord(*ref, ENTITY, customer, None, "", event.time)
    anchors = [
        AnchorRow(a.anchor_id, a.kind, civil_day(a.moment), event=told_by) for a in facts.anchors
    ]
    await store.add(tx, [Told(record, anchors)])
    for step in facts.services:
        day = civil_day(step.moment)
        row = (customer, step.service_id, step.change, day, None, told_by)
        await store.add_service_event(tx, row)


async def alerts(tx: Connection, now: datetime) -> list[AlertRaised]:
    """Return what on-call must know of."""
    survived = [
        AlertRaised(
            fingerprint=f"canary-survived/{canary.holder}/{canary.category}",
            severity="critical",
            summary=f"{canary.holder} confirmed that a canary of {canary.category} was purged,"
            " and still has it",
            labels={"holder": canary.holder, "category": canary.category},
            runbook="canary-survived",
        )
        for canary in await canary_store.surviving(tx)
    ]
    late = [
        AlertRaised(
            fingerprint=f"canary-late/{canary.holder}/{canary.category}",
            severity="warning",
            summary=f"a canary of {canary.category} at {canary.holder} is late:"
            f" {_AWAITED[canary.state]}",
            labels={"holder": canary.holder, "category": canary.category},
            runbook="canary-late",
        )
        for canary in await canary_store.late(tx, now)
    ]
    return [*survived, *late]
