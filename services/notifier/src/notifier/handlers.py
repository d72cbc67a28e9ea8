"""What the notifier does when something happens elsewhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from textwrap import shorten
from typing import Any, Final

from notifier import letter, store
from notifier.addresses import lookup
from notifier.catalogue import MessageType
from shared.addresses import normal
from shared.canonical import digest
from shared.clock import Clock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.catalogue import ALERTS, COMMANDS, CONTACTS, EVENT_TYPES, MESSAGES, SERVICES
from shared.events.gallra import AlertRaised, AlertResolved, DeliveryChanged, PurgeCommand
from shared.events.platform import (
    Anchor,
    Audience,
    Contact,
    ContactRemoved,
    ContactVerified,
    MessageRequested,
    RecordAnchored,
    RecordRegistered,
    ServiceEvent,
    ServiceTerminated,
    Subject,
)
from shared.holder import PurgeDesk
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection

HOLDER: Final = "notifier"
ALERT: Final = "ops-alert"
_SUBJECT: Final = 300  # characters of an alert's summary that go into a mail

_TOPICS: Final = (CONTACTS, SERVICES, MESSAGES, ALERTS, COMMANDS)
CONSUMES: Final = [event_type for event_type in EVENT_TYPES if event_type.topic in _TOPICS]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Keeps contacts, plans deliveries, answers purge commands.

    Attributes:
        entity: The legal entity whose contacts these are.
        address_key: Of the HMAC by which addresses are found again.
        oncall: Addresses that alerts go to.
    """

    outbox: Outbox
    clock: Clock
    types: Mapping[str, MessageType]
    desk: PurgeDesk
    entity: str
    address_key: bytes
    oncall: Sequence[str]

    async def handle(self, tx: Connection, events: Sequence[Event]) -> None:
        """Handle events one after the other: a contact's history must be told in order."""
        for event in events:
            match event.data:
                case Contact() as contact:
                    await self._keep_contact(tx, event, contact)
                case ContactVerified() as verified:
                    known = await store.verify_contact(
                        tx, verified.customer_id, verified.contact_id
                    )
                    _require(known)
                case ContactRemoved() as removed:
                    await self._remove_contact(tx, event, removed)
                case ServiceEvent() as step:
                    await _keep_service(tx, event, step)
                case MessageRequested() as request:
                    await self._plan(tx, event, request)
                case AlertResolved() as over:
                    await self._alert_over(tx, event, over)
                case AlertRaised() as alert:
                    await self._alert(tx, event, alert)
                case PurgeCommand():
                    await self.desk.take(tx, event)
                case _:
                    pass  # an account that was settled is no news for us

    async def _keep_contact(self, tx: Connection, event: Event, contact: Contact) -> None:
        token = await self._recipient(tx, contact.email)
        fresh = str(new_id())
        record_id = await store.put_contact(
            tx,
            (
                contact.customer_id,
                contact.contact_id,
                fresh,
                token,
                contact.roles,
                contact.locale,
                contact.kind,
                contact.subject_token,
            ),
        )
        if record_id == fresh:
            registered = RecordRegistered(
                holder=HOLDER,
                category="contact.address",
                record_id=record_id,
                entity=self.entity,
                customer_id=contact.customer_id,
                subjects=(Subject(token=contact.subject_token, role="contact"),),
            )
            await self.outbox.announce(tx, event.time, [registered], cause=event)

    async def _recipient(self, tx: Connection, email: str) -> str:
        key = lookup(self.address_key, email)
        return await store.put_recipient(tx, str(new_id()), key, normal(email))

    async def _remove_contact(self, tx: Connection, event: Event, removed: ContactRemoved) -> None:
        record_id = await store.remove_contact(tx, removed.customer_id, removed.contact_id)
        _require(record_id is not None)
        anchored = RecordAnchored(
            holder=HOLDER,
            category="contact.address",
            record_id=record_id or "",
            anchor_id=str(new_id()),
            kind="removed",
            at=event.time,
        )
        await self.outbox.announce(tx, event.time, [anchored], cause=event)

    async def _plan(self, tx: Connection, event: Event, request: MessageRequested) -> None:
        """Plan one mail for each recipient, with what is to be said fixed now."""
        kind = self.types.get(request.message_type)
        if kind is None:
            raise Rejected("message_type is not in the catalogue", code="unknown-message-type")
        for locale in ("sv", "en"):
            letter.write(request.template, locale, request.params)  # refuses what cannot be sent
        people = await _audience(tx, request)
        if not await self._add_message(tx, request, event.time):
            raise Rejected("a message of this id was requested before", code="conflict")
        planned = [(new_id(), person) for person in people]
        # Nobody has told us yet who wants optional mail, so nobody gets it.
        state = "queued" if kind.mandatory else "suppressed"
        now = self.clock.now()
        due = max(now, request.send_after or now) if kind.mandatory else None
        await store.add_deliveries(tx, request.message_id, planned, state, now, due)
        body = self._body(request.message_id)
        changes = [
            DeliveryChanged(
                delivery_id=str(id_),
                message_id=request.message_id,
                message_type=request.message_type,
                customer_id=person.customer_id,
                recipient_token=person.recipient,
                state=state,
                at=now,
            )
            for id_, person in planned
        ]
        await self.outbox.announce(tx, now, [body, *changes], cause=event)

    def _body(self, message_id: str) -> RecordRegistered:
        """Return the registration of a message's content with retention."""
        return RecordRegistered(
            holder=HOLDER,
            category="contact.message_body",
            record_id=message_id,
            entity=self.entity,
        )

    async def _add_message(
        self, tx: Connection, request: MessageRequested, requested_at: datetime
    ) -> bool:
        params = json.dumps(request.params)
        row = (
            request.message_id,
            request.message_type,
            request.template,
            params,
            requested_at,
            request.send_after,
            request.send_before,
        )
        return await store.add_message(tx, row)

    async def _alert(self, tx: Connection, event: Event, alert: AlertRaised) -> None:
        now = self.clock.now()
        rounds = await store.raise_alert(tx, alert.fingerprint, alert.severity, alert.summary, now)
        if rounds is not None:
            await self._mail_oncall(tx, event, alert, "raised", rounds)

    async def _alert_over(self, tx: Connection, event: Event, over: AlertResolved) -> None:
        rounds = await store.resolve_alert(tx, over.fingerprint, self.clock.now())
        if rounds is not None:
            await self._mail_oncall(tx, event, over, "resolved", rounds)

    async def _mail_oncall(
        self, tx: Connection, event: Event, alert: AlertRaised, state: str, rounds: int
    ) -> None:
        now = self.clock.now()
        params = {
            "severity": "resolved" if state == "resolved" else alert.severity,
            "summary": shorten(alert.summary, _SUBJECT, placeholder=" …"),  # one line of it
            "state": state,
            "labels": sorted(alert.labels.items()),
            "runbook": alert.runbook,
        }
        letter.write(ALERT, "en", params)
        told = f"{alert.fingerprint}/{rounds}/{state}"
        message_id = f"alert-{digest(told.encode()).hex()}"  # a fingerprint may be any length
        row = (message_id, ALERT, ALERT, json.dumps(params), event.time, None, None)
        await store.add_message(tx, row)
        await self.outbox.announce(tx, now, [self._body(message_id)], cause=event)
        people = [
            store.Addressee(None, await self._recipient(tx, address), "en")
            for address in self.oncall
        ]
        planned = [(new_id(), person) for person in people]
        await store.add_deliveries(tx, message_id, planned, "queued", now, now)


def _require(known: object) -> None:
    if not known:
        raise Rejected("the contact is not known here", code="unknown-reference")


async def _audience(tx: Connection, request: MessageRequested) -> list[store.Addressee]:
    match request.customers:
        case Audience(region=region) if region is not None:
            raise Rejected("nobody has told us the regions of customers", code="unknown-audience")
        case Audience(service=service):
            customers = None
        case "all":
            customers, service = None, None
        case named:
            customers, service = list(named), None
    return await store.audience(tx, customers=customers, service=service, roles=request.roles)


async def _keep_service(tx: Connection, event: Event, step: ServiceEvent) -> None:
    day = step.date
    since = step.at or (datetime.combine(day, time.min, UTC) if day else event.time)
    running = not isinstance(step, ServiceTerminated)
    await store.put_service(tx, step.customer_id, step.service_id, running=running, since=since)


def record_of(
    delivery: store.Delivery, category: str, entity: str, sent_at: datetime
) -> RecordRegistered:
    """Return the registration of a delivery's own record with retention."""
    anchor: Any = Anchor(anchor_id=str(delivery.id), kind="sent", at=sent_at)
    return RecordRegistered(
        holder=HOLDER,
        category=category,
        record_id=str(delivery.id),
        entity=entity,
        customer_id=delivery.customer_id,
        subjects=(Subject(token=delivery.recipient, role="recipient"),),
        anchors=(anchor,),
    )
