"""Tells on-call of requests whose answer is due soon, or late."""

from datetime import date

from retention import rights_store
from retention.rights_rules import CRITICAL_DAYS
from shared.events.gallra import AlertRaised
from shared.postgres import Connection


async def alerts(tx: Connection, today: date) -> list[AlertRaised]:
    """Return an alert for each request that is due within 14, 7, 3 or 1 days, or late.

    Each of these has a name of its own, so that it is told anew as time goes by.
    """
    found: list[AlertRaised] = []
    for case_id, clock in await rights_store.due(tx):
        days = clock.warning(today)
        if days is None:
            continue
        when = f"is due on {clock.due}" if days else f"was due on {clock.due}"
        found.append(
            AlertRaised(
                fingerprint=f"rights-due/{case_id}/{days}",
                severity="critical" if days <= CRITICAL_DAYS else "warning",
                summary=f"the answer to the request {case_id} {when}",
                labels={"case": case_id},
                runbook="rights-due",
            )
        )
    return found
