"""What the audit-log does when something happens elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from audit_log import cadf, producers, store
from audit_log.appender import Appender, Draft, Sealed, Search, seal
from audit_log.leaf import SALT, Kind, split_action
from shared import inbox
from shared.cloudevents import Event
from shared.events import BY_TYPE
from shared.events.catalogue import (
    ACTIONS,
    ALERTS,
    COMMANDS,
    DECISIONS,
    DELIVERIES,
    EVENT_TYPES,
    LOOKS,
    OPERATIONS,
    RIGHTS_COMMANDS,
)
from shared.events.gallra import (
    AlertAcknowledged,
    DeadLettersSettled,
    DeliveryChanged,
    ErasureAccepted,
    HoldPlaced,
    HoldReleaseAsked,
    HoldReleased,
    PersonalDataViewed,
    PolicyActivated,
    PolicyPlanApproved,
    PurgeCommand,
    PurgeJobApproved,
    RightsCaseChanged,
    RightsCommand,
    SilenceEnded,
    SilencePlaced,
    SuppressionLifted,
)
from shared.events.platform import ActionPerformed
from shared.holder import PurgeDesk
from shared.inbox import Sight
from shared.postgres import Connection

_TOPICS: Final = (
    ACTIONS,
    DECISIONS,
    DELIVERIES,
    ALERTS,
    LOOKS,
    OPERATIONS,
    COMMANDS,
    RIGHTS_COMMANDS,
)
_SPENT: Final[Mapping[str, Any]] = {}  # content that was committed to, and need not be kept

CONSUMES: Final = [event_type for event_type in EVENT_TYPES if event_type.topic in _TOPICS]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Appends what is to be logged, and carries out purge commands for the log.

    Attributes:
        keep_network: Whether IP address and user agent are kept.
    """

    appender: Appender
    desk: PurgeDesk
    keep_network: bool = False

    def prepare(self, event: Event) -> Sealed | None:
        """Commit to what *event* says; None for a command, which is not logged."""
        if issubclass(event.type.model, PurgeCommand | RightsCommand):
            return None
        sealed = seal(draft(event, keep_network=self.keep_network))
        event.content = _SPENT
        return sealed

    async def sight(self, tx: Connection, events: Sequence[Event], *, careful: bool) -> list[Sight]:
        """Return what is known of each event.

        That an event is in the log is what the log itself knows; it is asked only if *careful*,
        for to append twice is refused by the database anyway.  Commands are in the inbox.
        """
        commands = [event for event in events if event.prepared is None]
        noted = iter(await inbox.sight(tx, commands, careful=careful) if commands else ())
        known: Mapping[bytes, int] = {}
        if careful:
            await store.lock_tree(tx)  # from here on nobody else adds to what is known
            entries = [event.prepared for event in events if event.prepared is not None]
            known = await store.indexes_of(tx, [entry.identity for entry in entries])
        before: dict[bytes, Sealed] = {}
        sights: list[Sight] = []
        for event in events:
            entry: Sealed | None = event.prepared
            if entry is None:
                sights.append(next(noted))
            elif (index := known.get(entry.identity)) is not None:
                left = await store.payloads(tx, index, index + 1)
                same = not left or _is_same(entry, left[0].parts, left[0].purged)
                sights.append(Sight.DUPLICATE if same else Sight.CONFLICT)
            elif (twin := before.get(entry.identity)) is not None:
                same = _is_same(entry, twin.parts)
                sights.append(Sight.DUPLICATE if same else Sight.CONFLICT)
            else:
                before[entry.identity] = entry
                sights.append(Sight.FIRST)
        return sights

    async def handle(self, tx: Connection, events: Sequence[Event]) -> None:
        """Handle a batch: one append for all that is logged, then the commands one by one."""
        entries = [event.prepared for event in events if event.prepared is not None]
        if entries:
            await self.appender.append(tx, entries)
            await producers.count(tx, events, self.appender.clock.now())
        for event in events:
            if event.prepared is None:
                await self.desk.take(tx, event)


def _is_same(
    entry: Sealed, parts: Mapping[str, bytes], purged: Mapping[str, bytes] = _SPENT
) -> bool:
    """Return True unless what is left of an entry is other than what the new one says.

    Of what was purged only the name of the part is left to tell by.  The time may be put anew.
    """
    if set(entry.parts) != {*parts, *purged}:
        return False
    return all(
        _without_time(part) == _without_time(entry.parts[name]) for name, part in parts.items()
    )


def _without_time(part: bytes) -> dict[str, Any]:
    content = msgspec.json.decode(part[SALT:])
    return {name: value for name, value in content.items() if name != "time"}


def draft(event: Event, *, keep_network: bool = False) -> Draft:
    """Return the entry that *event* becomes."""
    if event.type.model is ActionPerformed:
        return _action(event, keep_network=keep_network)
    content = event.data.model_dump(mode="json", exclude_unset=True)
    found_by = Search(event.type.name)
    match event.data:
        case DeliveryChanged(customer_id=customer, message_type=message_type):
            security = message_type == "security-breach"
            category = "contact.delivery.security" if security else "contact.delivery"
            found_by = Search(
                event.type.name, target=event.data.message_id, outcome=event.data.state
            )
            who = {"recipient_token": content.pop("recipient_token")}
            parts = {"who": who, "what": content}
            # What is personal and nobody's is filed under a name that no customer can have.
            return _draft(event, Kind.EVENT, parts, found_by, customer or "", category)
        case PolicyActivated():
            return _draft(event, Kind.POLICY_VERSION, {"what": content}, found_by)
        case HoldPlaced() | HoldReleaseAsked() | HoldReleased():
            names = ("by", "asked_by")
            who = {name: content.pop(name) for name in names if content.get(name) is not None}
            found_by = Search(event.type.name, actor=who["by"], target=event.data.hold_id)
            return _draft(event, Kind.HOLD, {"who": who, "what": content}, found_by)
        case (
            PurgeJobApproved() | PolicyPlanApproved() | ErasureAccepted()
            | AlertAcknowledged() | SilencePlaced() | SilenceEnded() | PersonalDataViewed()
            | RightsCaseChanged() | DeadLettersSettled() | SuppressionLifted()
        ):  # fmt: skip
            who = {"by": content.pop("by")}
            names = (
                "plan", "record_id", "fingerprint", "silence_id", "purpose", "case_id", "topic",
                "category",
            )  # fmt: skip
            target = next(content[name] for name in names if content.get(name))
            found_by = Search(event.type.name, actor=who["by"], target=target)
            return _draft(event, Kind.EVENT, {"who": who, "what": content}, found_by)
        case _:
            return _draft(event, Kind.EVENT, {"what": content}, found_by)


def _action(event: Event, *, keep_network: bool) -> Draft:
    content = event.content
    found_by = Search(
        content["action"],
        content["actor"]["id"],
        content["target"].get("id"),
        content["outcome"],
        content["origin"]["channel"],
    )
    parts = split_action(content, keep_network=keep_network)
    return _draft(event, Kind.EVENT, parts, found_by, content["customer_id"], "logs.action")


def _draft(
    event: Event,
    kind: Kind,
    parts: dict[str, Any],
    found_by: Search,
    customer_id: str | None = None,
    category: str | None = None,
) -> Draft:
    # Time and identity are part of what is attested, so they are part of what is committed to.
    parts["what"] = {
        "data": parts["what"],
        "id": event.id,
        "source": event.source,
        "type": event.type.name,
        "time": event.time.isoformat(),
    }
    return Draft(kind, event.source, event.id, event.time, parts, found_by, customer_id, category)


def cadf_event(record: Any) -> Event:
    """Return the action that an OpenStack notification tells of.

    Raises:
        Rejected: it is no CADF event, or its values do not fit an action.
    """
    call = cadf.read(record.value or b"")
    return Event(
        type=BY_TYPE["platform.action.performed.v1"],
        source=call.source,
        id=call.id,
        time=call.time,
        content=call.action,
    )
