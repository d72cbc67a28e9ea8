"""Settling what is in doubt with the relay's own log, if the relay is ours."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from notifier import store
from shared.postgres import Pool, transaction

_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAMED: Final = re.compile(rf"<({_UUID})@")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of deliveries in doubt.

    Attributes:
        accepted: The log names them.
        sent_again: It does not, though it covers the time when they were sent.
        left: The log does not go so far.
    """

    accepted: int
    sent_again: int
    left: int


def named(log: str) -> set[UUID]:
    """Return the deliveries whose Message-ID stands in a relay's log, such as Postfix's.

    >>> named("cleanup[7]: 4711: message-id=<0199a7c2-8f3e-7a10-8c22-000000000001@x.example>")
    {UUID('0199a7c2-8f3e-7a10-8c22-000000000001')}
    """
    return {UUID(found) for found in _NAMED.findall(log)}


async def reconcile(pool: Pool, log: str, complete_until: datetime, now: datetime) -> Reconciled:
    """Settle every delivery in doubt that a relay's *log* tells of.

    Args:
        pool: Of the ledger.
        log: All that the relay noted, from before the first of them was sent.
        complete_until: Up to when nothing is missing in it.  What was in doubt by then and is not
            in it was not taken, and is sent again under the same Message-ID.
        now: When.
    """
    taken = named(log)
    async with transaction(pool) as tx:
        doubtful = await store.in_doubt(tx)
        missing = [id_ for id_, at in doubtful.items() if id_ not in taken and at <= complete_until]
        outcome = ("accepted", "reconciled", None)
        accepted = await store.conclude(tx, taken & doubtful.keys(), ["unknown"], outcome, now)
        again = await store.send_again(tx, missing, now)
    return Reconciled(len(accepted), len(again), len(doubtful) - len(accepted) - len(again))
