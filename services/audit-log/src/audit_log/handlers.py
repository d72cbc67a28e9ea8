"""What the audit-log does when something happens elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit_log.appender import Appender, Draft
from audit_log.leaf import Kind, split_action
from shared.cloudevents import Event
from shared.events.catalogue import ACTIONS, ALERTS, COMMANDS, DECISIONS, DELIVERIES, EVENT_TYPES
from shared.events.gallra import (
    DeliveryChanged,
    HoldPlaced,
    HoldReleased,
    PolicyActivated,
    PurgeCommand,
)
from shared.events.platform import ActionPerformed
from shared.holder import PurgeDesk
from shared.postgres import Connection

_TOPICS: Final = (ACTIONS, DECISIONS, DELIVERIES, ALERTS, COMMANDS)
CONSUMES: Final = [event_type for event_type in EVENT_TYPES if event_type.topic in _TOPICS]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Appends what is to be logged, and carries out purge commands for the log."""

    appender: Appender
    desk: PurgeDesk

    async def handle(self, tx: Connection, events: Sequence[Event]) -> None:
        """Handle a batch: one append for all that is logged, then the commands one by one."""
        drafts = [draft(e) for e in events if not isinstance(e.data, PurgeCommand)]
        if drafts:
            await self.appender.append(tx, drafts)
        for event in events:
            if isinstance(event.data, PurgeCommand):
                await self.desk.take(tx, event)


def draft(event: Event) -> Draft:
    """Return the entry that *event* becomes."""
    content = event.data.model_dump(mode="json", exclude_unset=True)
    match event.data:
        case ActionPerformed(customer_id=customer):
            return _draft(event, Kind.EVENT, split_action(content), customer, "logs.action")
        case DeliveryChanged(customer_id=customer, message_type=message_type):
            security = message_type == "security-breach"
            category = "contact.delivery.security" if security else "contact.delivery"
            return _draft(event, Kind.EVENT, {"what": content}, customer, category)
        case PolicyActivated():
            return _draft(event, Kind.POLICY_VERSION, {"what": content})
        case HoldPlaced() | HoldReleased():
            who = {"by": content.pop("by")}
            return _draft(event, Kind.HOLD, {"who": who, "what": content})
        case _:
            return _draft(event, Kind.EVENT, {"what": content})


def _draft(
    event: Event,
    kind: Kind,
    parts: dict[str, Any],
    customer_id: str | None = None,
    category: str | None = None,
) -> Draft:
    # Time and identity are part of what is attested, so they are part of what is committed to.
    identity = {
        "id": event.id,
        "source": event.source,
        "type": event.type.name,
        "time": event.time.isoformat(),
    }
    parts["what"] = {"data": parts["what"], **identity}
    return Draft(
        kind=kind,
        source=event.source,
        event_id=event.id,
        type=event.type.name,
        at=event.time,
        parts=parts,
        customer_id=customer_id,
        category=category,
    )
