"""Tells what became of deliveries, in the order of the ledger.

The ledger is its own outbox: a step is announced after the transaction that took it, so that
sending in sets does not wait for one event per mail.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from notifier import store
from notifier.catalogue import MessageType
from notifier.planning import HOLDER
from shared.clock import Clock
from shared.events import Data
from shared.events.gallra import DeliveryChanged
from shared.events.platform import Anchor, RecordRegistered, Subject
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Pool, sole, transaction

BATCH: Final = 1000
_GIVES_WAY: Final = 4  # so many times as long as a part took, while mails wait to be sent


@dataclass(frozen=True, slots=True)
class Announcer:
    """Announces the deliveries of one notifier.

    Attributes:
        entity: The legal entity that their records belong to.
    """

    outbox: Outbox
    clock: Clock
    types: Mapping[str, MessageType]
    entity: str

    async def announce(self, pool: Pool) -> None:
        """Announce every step that was not announced yet.

        While mails wait to be sent that takes its time: they need the same processor.
        """
        clock = asyncio.get_running_loop().time
        more = True
        while more:
            began = clock()
            more, busy = await self._some(pool)
            if more and busy:
                await asyncio.sleep(_GIVES_WAY * (clock() - began))

    async def _some(self, pool: Pool) -> tuple[bool, bool]:
        """Announce a part; return whether there may be more, and whether mails wait."""
        async with transaction(pool) as tx:
            if not await sole(tx, "announce"):
                return False, False
            now = self.clock.now()
            changes, more = await store.untold(tx, BATCH)
            news = [told for change in changes for told in self._news(change)]
            ids = [id_ for id_, _ in news]
            await self.outbox.announce(tx, now, [data for _, data in news], ids=ids)
            return more, await store.anything_due(tx, now)

    def _news(self, change: store.Change) -> list[tuple[str, Data]]:
        """Return what is told of a step, each with the id of its event."""
        changed = DeliveryChanged(
            delivery_id=str(change.delivery),
            message_id=change.message_id,
            message_type=change.message_type,
            customer_id=change.customer_id,
            recipient_token=change.recipient,
            state=change.state,
            at=change.at,
        )
        told: list[tuple[str, Data]] = [(event_id(change.delivery, change.position), changed)]
        kind = self.types.get(change.message_type)
        if change.registers and kind is not None:
            told.append((str(new_id()), record_of(change, kind.category, self.entity)))
        return told


def event_id(delivery: UUID, position: int) -> str:
    """Return the id of the event that tells of a step, by which the master log finds its entry."""
    return f"{delivery}.{position}"


def record_of(change: store.Change, category: str, entity: str) -> RecordRegistered:
    """Return the registration of a delivery's own record with retention."""
    sent: Any = Anchor(anchor_id=str(change.delivery), kind="sent", at=change.at)
    return RecordRegistered(
        holder=HOLDER,
        category=category,
        record_id=str(change.delivery),
        entity=entity,
        customer_id=change.customer_id,
        subjects=(Subject(token=change.recipient, role="recipient"),),
        anchors=(sent,),
    )
