"""Customers whom no message about their services would reach.

The privacy notice has each of them give at least one working address.
"""

from dataclasses import dataclass
from typing import Final

from notifier import store
from shared.clock import Clock
from shared.events.gallra import AlertRaised, AlertResolved
from shared.outbox import Outbox
from shared.postgres import Pool, transaction

_LISTED: Final = 20
_ALERT: Final = "customers-unreachable"


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Tells on-call of customers without a working technical contact."""

    outbox: Outbox
    clock: Clock

    async def look(self, pool: Pool) -> None:
        """Raise an alert if there are any, else say that there are none."""
        async with transaction(pool) as tx:
            found = await store.without_technical_contact(tx, _LISTED + 1)
            listed = ", ".join(found[:_LISTED]) + (" and more" if len(found) > _LISTED else "")
            kind, summary = (
                (AlertRaised, f"customers without a working technical contact: {listed}")
                if found
                else (AlertResolved, "every customer has a working technical contact")
            )
            alert = kind(fingerprint=_ALERT, severity="warning", summary=summary, runbook=_ALERT)
            await self.outbox.announce(tx, self.clock.now(), [alert])
