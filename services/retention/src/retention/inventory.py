"""Inventories: does a holder have what the registry knows of, all of it and nothing else?"""

from collections.abc import Iterator
from datetime import datetime

from retention import inventory_store as store
from retention.inventory_store import Compared, Known
from shared.errors import Rejected
from shared.events.gallra import HolderInventory, Inventory
from shared.holder import inventory_digest
from shared.postgres import Connection


async def on_inventory(tx: Connection, told: HolderInventory, told_at: datetime) -> None:
    """Compare what a holder has with the registry, and keep what came of it.

    Raises:
        Rejected: it is an inventory of the future.
    """
    if told.as_of > told_at:
        raise Rejected("as_of is after the event", code="invalid")
    for line in told.categories:
        known = await store.known(tx, told.holder, line.category, told.as_of)
        compared = Compared(
            holder=told.holder,
            category=line.category,
            as_of=told.as_of,
            count=line.count,
            known=len(known.records),
            agrees=agrees(line, known),
        )
        await store.keep(tx, compared)


def agrees(line: Inventory, known: Known) -> bool:
    """Return True if the holder has what it should.

    Whether it has what is being purged, and what was purged since, depends on how far it was.
    """
    return any(
        len(records) == line.count and inventory_digest(records) == line.digest
        for records in _possible(known)
    )


def _possible(known: Known) -> Iterator[frozenset[str]]:
    for being_purged in (frozenset[str](), known.being_purged):
        for purged_since in (frozenset[str](), known.purged_since):
            yield known.records | being_purged | purged_since
