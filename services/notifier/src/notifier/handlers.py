"""What the notifier does when something happens elsewhere."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final

from notifier import store, tokens
from notifier.audience import Candidate
from notifier.oncall import OnCall
from notifier.planning import HOLDER, Planner
from notifier.recipients import token_of
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.catalogue import (
    ALERTS,
    COMMANDS,
    CONTACTS,
    EVENT_TYPES,
    MESSAGES,
    RIGHTS_COMMANDS,
    SERVICES,
)
from shared.events.gallra import AlertRaised, PurgeCommand, RightsCommand
from shared.events.platform import (
    Contact,
    ContactRemoved,
    ContactVerified,
    MessageRequested,
    RecordAnchored,
    RecordRegistered,
    ServiceEvent,
    ServiceStarted,
    ServiceTerminated,
    Subject,
)
from shared.holder import PurgeDesk
from shared.ids import new_id
from shared.postgres import Connection

VERIFY: Final = "verify-address"

_TOPICS: Final = (CONTACTS, SERVICES, MESSAGES, ALERTS, COMMANDS, RIGHTS_COMMANDS)
CONSUMES: Final = [event_type for event_type in EVENT_TYPES if event_type.topic in _TOPICS]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Keeps contacts, has messages planned, answers purge commands.

    Attributes:
        address_key: Of the HMAC by which addresses are found again, and links recognised.
        links: Where links in mails lead.
        oncall: Who is told of alerts.
    """

    planner: Planner
    desk: PurgeDesk
    address_key: bytes
    links: str
    oncall: OnCall

    async def handle(self, tx: Connection, events: Sequence[Event]) -> None:
        """Handle events one after the other: a contact's history must be told in order."""
        await self.oncall.alive(tx)
        for event in events:
            match event.data:
                case Contact() as contact:
                    await self._keep_contact(tx, event, contact)
                case ContactVerified() as verified:
                    await self._verified(tx, verified)
                case ContactRemoved() as removed:
                    await self._remove_contact(tx, event, removed)
                case ServiceEvent() as step:
                    await _keep_service(tx, event, step)
                case MessageRequested() as request:
                    people = {
                        await token_of(tx, self.address_key, person.email): person
                        for person in request.to
                    }
                    await self.planner.plan(tx, event, request, people)
                case AlertRaised() as alert:  # or that it is over
                    await self.oncall.take(tx, alert, event.time)
                case PurgeCommand() | RightsCommand():
                    await self.desk.take(tx, event)
                case _:
                    pass  # an account that was settled is no news for us

    async def _keep_contact(self, tx: Connection, event: Event, contact: Contact) -> None:
        token = await token_of(tx, self.address_key, contact.email)
        fresh = str(new_id())
        kept = await store.put_contact(
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
        bases = {b.message_type: (b.message_type, b.basis, b.since) for b in contact.bases}
        self._optional(bases)
        await store.set_bases(tx, contact.customer_id, contact.contact_id, list(bases.values()))
        if kept.record_id == fresh:
            registered = RecordRegistered(
                holder=HOLDER,
                category="contact.address",
                record_id=kept.record_id,
                entity=self.planner.entity,
                customer_id=contact.customer_id,
                subjects=(Subject(token=contact.subject_token, role="contact"),),
            )
            await self.planner.outbox.announce(tx, event.time, [registered], cause=event)
        if not kept.verified:
            await self._ask(tx, event, contact, kept)

    def _optional(self, types: Collection[str]) -> None:
        kinds = self.planner.types
        if any(name not in kinds or kinds[name].mandatory for name in types):
            text = "a basis is for a message type that may be declined"
            raise Rejected(text, code="unknown-message-type")

    async def _ask(self, tx: Connection, event: Event, contact: Contact, kept: store.Kept) -> None:
        """Ask an address whether it is theirs; once, whatever is told again."""
        token = tokens.sign(self.address_key, "verify", kept.recipient.encode())
        params = {"customer": contact.customer_id, "link": f"{self.links}/v/{token}"}
        message = self.planner.message(
            f"{VERIFY}-{kept.record_id}-{kept.recipient}", VERIFY, params
        )
        asked = Candidate(
            contact.customer_id,
            kept.recipient,
            contact.locale,
            verified=False,
            basis_since=None,
            suppressions=(),
        )
        await self.planner.write_to(tx, event, message, [asked])

    async def _verified(self, tx: Connection, verified: ContactVerified) -> None:
        recipient = await store.verify_contact(tx, verified.customer_id, verified.contact_id)
        if recipient is None:
            raise _unknown_contact()
        await store.release_verified(tx, recipient, VERIFY, self.planner.clock.now())

    async def _remove_contact(self, tx: Connection, event: Event, removed: ContactRemoved) -> None:
        record_id = await store.remove_contact(tx, removed.customer_id, removed.contact_id)
        if record_id is None:
            raise _unknown_contact()
        anchored = RecordAnchored(
            holder=HOLDER,
            category="contact.address",
            record_id=record_id,
            anchor_id=str(new_id()),
            kind="removed",
            at=event.time,
        )
        await self.planner.outbox.announce(tx, event.time, [anchored], cause=event)


def _unknown_contact() -> Rejected:
    return Rejected("the contact is not known here", code="unknown-reference")


async def _keep_service(tx: Connection, event: Event, step: ServiceEvent) -> None:
    day = step.date
    since = step.at or (datetime.combine(day, time.min, UTC) if day else event.time)
    running = not isinstance(step, ServiceTerminated)
    region = step.region if isinstance(step, ServiceStarted) else None
    await store.put_service(
        tx, step.customer_id, step.service_id, running=running, since=since, region=region
    )
