"""From a request to one delivery for each recipient, with what is to be said fixed.

The intent is in the ledger before anything is sent; whoever is not written to is in it, too, with
the reason.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, get_args

from notifier import letter, store
from notifier.audience import (
    VERIFY_WITHIN,
    Candidate,
    Limits,
    Verdict,
    chosen,
    limit_of,
    named,
    slots,
)
from notifier.calendar import Entry
from notifier.catalogue import MessageType, Role
from notifier.template import LOCALES, Templates, Version, shipped
from shared.addresses import normal
from shared.clock import Clock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.platform import Addressee, Audience, MessageRequested, RecordRegistered
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, transaction
from shared.settings import SettingsError

HOLDER: Final = "notifier"
_EVERYBODY: Final = get_args(Role)


@dataclass(slots=True)
class Library:
    """The templates that mails are made from, those of mails made long ago included."""

    templates: Templates = field(default_factory=shipped)

    async def stock(self, pool: Pool, now: datetime) -> None:
        """Keep the templates that came with this program, and read those that came before.

        Raises:
            SettingsError: one differs from what was kept under its version.
        """
        async with transaction(pool) as tx:
            await store.add_templates(tx, list(self.templates.versions.values()), now)
            kept = {(v.name, v.number): v for v in await store.templates(tx)}
        for place, version in self.templates.versions.items():
            if kept[place].content != version.content:
                raise SettingsError(
                    f"the template {version.label} is not the one that mails were made from:"
                    " give the change a version of its own"
                )
        self.templates = Templates(kept)


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the messages of one notifier.

    Attributes:
        limits: How fast mail may go to which domain.
        sender: The address that mails come from.
        entity: The legal entity whose records the messages are.
    """

    outbox: Outbox
    clock: Clock
    types: Mapping[str, MessageType]
    library: Library
    limits: Limits
    sender: str
    entity: str

    async def plan(
        self,
        tx: Connection,
        event: Event,
        request: MessageRequested,
        people: Mapping[str, Addressee],
    ) -> None:
        """Plan one mail for each recipient of a request.

        *people* are those whom it names itself, by the tokens of their addresses.

        Raises:
            Rejected: the type, the template or a parameter is not one that there is, a mail cannot
                be made of it, it is not for those whom its type is for, or it supersedes what is
                not known.
        """
        kind = self.kind(request.message_type)
        if kind.direct != bool(request.to):
            text = "its type goes to addresses named" if kind.direct else "its type is for contacts"
            raise Rejected(text, code="unknown-audience")
        version = self.library.templates.newest(request.template)
        earlier = await self._earlier(tx, request)
        message = self._message(request, version, earlier, event.time)
        self.check(message, kind)
        if not await store.add_message(tx, message):
            raise Rejected("a message of this id was requested before", code="conflict")
        now = self.clock.now()
        cancels = _cancels(request)
        told = set[str]()
        if earlier is not None:
            told = await store.told_before(tx, earlier.message_id)
            reason = "cancelled" if cancels else "superseded"
            await store.supersede(tx, earlier.message_id, reason, now)
        if kind.direct:
            customers, found = await _addressed(tx, people)
        else:
            customers, found = await self._audience(tx, request, kind)
        await store.address_customers(tx, message.message_id, customers)
        meant = _chosen(found, message.type, kind)
        if not kind.direct and (others := await self._others(tx, found, meant, message.type, kind)):
            found += others
            meant = _chosen(found, message.type, kind)
        if cancels:  # nobody need hear that what they never heard of is off
            meant = {recipient: who for recipient, who in meant.items() if recipient in told}
        domains = {candidate.recipient: domain for candidate, domain in found}
        await self._keep(tx, event, message, kind, meant.values(), domains)

    async def write_to(
        self,
        tx: Connection,
        cause: Event | None,
        message: store.Message,
        people: Iterable[Candidate],
    ) -> bool:
        """Plan a message of our own to *people*; return False if it was planned before."""
        kind = self.kind(message.type)
        self.check(message, kind)
        if not await store.add_message(tx, message):
            return False
        queued = [(person, Verdict("queued")) for person in people]
        await self._keep(tx, cause, message, kind, queued, {})
        return True

    async def _keep(
        self,
        tx: Connection,
        cause: Event | None,
        message: store.Message,
        kind: MessageType,
        meant: Iterable[tuple[Candidate, Verdict]],
        domains: Mapping[str, str],
    ) -> None:
        """Put one delivery for each recipient into the ledger, and register the content."""
        now = self.clock.now()
        due = max(now, message.send_after or now)
        planned = await self._planned(tx, message, meant, domains, due)
        await store.add_deliveries(
            tx, message.message_id, message.type, kind.priority, planned, now
        )
        await self.outbox.announce(tx, now, [self._body(message.message_id)], cause=cause)

    def message(self, message_id: str, type_: str, params: Mapping[str, Any]) -> store.Message:
        """Return a message of our own, by the newest version of its type's template."""
        version = self.library.templates.newest(self.kind(type_).template)
        return store.Message(
            message_id, type_, version.name, version.number, json.dumps(params), self.clock.now()
        )

    def kind(self, name: str) -> MessageType:
        """Return a message type.

        Raises:
            Rejected: it is not in the catalogue.
        """
        kind = self.types.get(name)
        if kind is None:
            raise Rejected("message_type is not in the catalogue", code="unknown-message-type")
        return kind

    async def _earlier(self, tx: Connection, request: MessageRequested) -> store.Message | None:
        if request.supersedes is None:
            if _cancels(request):
                raise Rejected("what is cancelled must be named", code="unknown-reference")
            return None
        earlier = await store.message(tx, request.supersedes)
        if earlier is None or earlier.type != request.message_type:
            text = "what it supersedes is not a message of this type"
            raise Rejected(text, code="unknown-reference")
        return earlier

    def _message(
        self,
        request: MessageRequested,
        version: Version,
        earlier: store.Message | None,
        requested_at: datetime,
    ) -> store.Message:
        params = dict(request.params)
        if _cancels(request) and "cancelled" in version.schema.get("properties", ()):
            params["cancelled"] = True
        entry = self._entry(request, earlier)
        return store.Message(
            message_id=request.message_id,
            type=request.message_type,
            template=version.name,
            template_version=version.number,
            params=json.dumps(params),
            requested_at=requested_at,
            send_after=request.send_after,
            send_before=request.send_before,
            supersedes=request.supersedes,
            thread=None if entry is None else entry.uid,
            calendar=None if entry is None else json.dumps(entry.as_json()),
        )

    def _entry(self, request: MessageRequested, earlier: store.Message | None) -> Entry | None:
        window = request.maintenance_window
        if window is None:
            return None
        uid, sequence = f"{request.message_id}@{self.sender.rpartition('@')[2]}", 0
        if earlier is not None and earlier.calendar is not None:
            before = Entry.read(json.loads(earlier.calendar))
            uid, sequence = before.uid, before.sequence + 1
        if window.ends <= window.starts:
            raise Rejected("the window ends before it starts", code="unfit-parameter")
        return Entry(uid, sequence, window.starts, window.ends, _cancels(request))

    def check(self, message: store.Message, kind: MessageType) -> None:
        """See that a mail can be made of *message* in every language.

        Raises:
            Rejected: it cannot.
        """
        for locale in LOCALES:
            form(self.library.templates, message, kind, locale, self.sender)

    async def _audience(
        self, tx: Connection, request: MessageRequested, kind: MessageType
    ) -> tuple[Collection[str], list[tuple[Candidate, str]]]:
        """Return the customers meant, and their contacts in the roles it is for."""
        match request.customers:
            case Audience() as those:
                wanted = set(await store.customers_of(tx, those.service, those.region))
            case "all" | None:
                wanted = None
            case customers:
                wanted = set(customers)
        meant = wanted if wanted is not None else set(await store.customers(tx))
        roles = sorted({*request.roles, *kind.roles})
        found = await store.audience(
            tx, customers=wanted, roles=roles, message_type=request.message_type
        )
        return meant, found

    async def _others(
        self,
        tx: Connection,
        found: Iterable[tuple[Candidate, str]],
        meant: Mapping[str, tuple[Candidate, Verdict]],
        name: str,
        kind: MessageType,
    ) -> list[tuple[Candidate, str]]:
        """Return all contacts of customers whom a mandatory message would not reach otherwise."""
        if not kind.mandatory:
            return []
        reached = {c.customer_id for c, verdict in meant.values() if verdict.state == "queued"}
        stranded = {c.customer_id for c, _ in found if c.customer_id} - reached
        if not stranded:
            return []
        return await store.audience(tx, customers=stranded, roles=_EVERYBODY, message_type=name)

    async def _planned(
        self,
        tx: Connection,
        message: store.Message,
        meant: Iterable[tuple[Candidate, Verdict]],
        domains: Mapping[str, str],
        due: datetime,
    ) -> list[store.Planned]:
        # In the order in which indexes of the ledger have them: a page of each is touched once.
        people = sorted(meant, key=lambda who: who[0].recipient)
        turns = await self._turns(tx, people, domains, due)
        until = due + VERIFY_WITHIN
        if message.send_before is not None:
            until = min(until, message.send_before)
        planned: list[store.Planned] = []
        for (person, verdict), turn in zip(people, turns, strict=True):
            waits = until if verdict.reason else turn
            planned.append(
                store.Planned(
                    new_id(),
                    person.customer_id,
                    person.recipient,
                    person.locale,
                    verdict.state,
                    verdict.reason,
                    waits if verdict.state == "queued" else None,
                )
            )
        return planned

    async def _turns(
        self,
        tx: Connection,
        people: Sequence[tuple[Candidate, Verdict]],
        domains: Mapping[str, str],
        due: datetime,
    ) -> list[datetime]:
        """Return when each may be written to, as fast as each domain takes mail."""
        names = [domains.get(person.recipient, "") for person, _ in people]
        counts = {
            name: count
            for name, count in Counter(names).items()
            if limit_of(self.limits, name).per_minute is not None
        }
        if not counts:
            return [due] * len(people)
        lasting = {n: limit_of(self.limits, n).spread(c) for n, c in counts.items()}
        free = await store.reserve(tx, {n: t.total_seconds() for n, t in lasting.items()}, due)
        turns = {
            name: iter(slots(end - lasting[name], limit_of(self.limits, name), counts[name]))
            for name, end in free.items()
        }
        return [next(turns[name]) if name in turns else due for name in names]

    def _body(self, message_id: str) -> RecordRegistered:
        """Return the registration of a message's content with retention."""
        return RecordRegistered(
            holder=HOLDER,
            category="contact.message_body",
            record_id=message_id,
            entity=self.entity,
        )


def _chosen(
    found: Iterable[tuple[Candidate, str]], name: str, kind: MessageType
) -> dict[str, tuple[Candidate, Verdict]]:
    return chosen((candidate for candidate, _ in found), name, kind)


async def _addressed(
    tx: Connection, people: Mapping[str, Addressee]
) -> tuple[Collection[str], list[tuple[Candidate, str]]]:
    """Return the customers of *people*, and the people, as recipients."""
    held = await store.suppressions(tx, people)
    found = [
        (
            replace(
                named(token, person.locale, person.customer_id), suppressions=held.get(token, ())
            ),
            normal(person.email).rpartition("@")[2],
        )
        for token, person in people.items()
    ]
    return {c.customer_id for c, _ in found if c.customer_id is not None}, found


def _cancels(request: MessageRequested) -> bool:
    window = request.maintenance_window
    return window is not None and window.status == "cancelled"


def form(
    templates: Templates, message: store.Message, kind: MessageType, locale: str, sender: str
) -> letter.Form:
    """Return what all mails of *message* in a language share.

    Raises:
        Rejected: no mail can be made of it, or its content was purged.
    """
    if message.params is None:
        raise Rejected("the content was purged", code="purged")
    version = templates.version(message.template, message.template_version)
    written = letter.write(templates, version, locale, json.loads(message.params), kind.footing)
    calendar = None
    if message.calendar is not None:
        entry = Entry.read(json.loads(message.calendar))
        calendar = entry.render(written.subject, message.requested_at)
    return letter.prepare(
        written, sender=sender, name=message.message_id, thread=message.thread, calendar=calendar
    )
