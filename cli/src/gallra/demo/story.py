"""What happens on the simulated platform, and what the law makes of it; pure.

The expectations here are worked out by hand from the privacy notice and the law, not by
retention's own rules: calendar financial years, whole months, one customer at a time.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from shared.events import Data
from shared.events.gallra import AlertRaised
from shared.events.platform import (
    AccountSettled,
    ActionPerformed,
    Actor,
    Anchor,
    Basis,
    ContactAdded,
    ContactVerified,
    FiscalYearClosed,
    FiscalYearPlanned,
    MaintenanceWindow,
    MessageRequested,
    Origin,
    RecordAnchored,
    RecordRegistered,
    Request,
    ServiceReactivated,
    ServiceStarted,
    ServiceTerminated,
    Subject,
    Target,
)

ENTITY: Final = "provider-ab"
CUSTOMERS: Final = 40
LEADS: Final = 150
ACTIONS: Final = 2000
FIRST_YEAR: Final = 12  # financial years back
_VERBS: Final = ("create", "delete", "start", "stop", "resize", "read")
_THINGS: Final = ("compute.server", "network.port", "storage.volume", "dns.zone")


@dataclass(frozen=True, slots=True)
class Row:
    """A row in a table of the platform, and the event that tells of it."""

    table: str
    values: tuple[object, ...]
    event: RecordRegistered


@dataclass(slots=True)
class Story:
    """Everything that happens in one demo.

    Attributes:
        rows: Records of personal data that the platform's systems hold.
        events: What is published besides, as (when it happened, content).
        due: Record ids that must be gone at the end.
        held: Record ids that are due and stay, for a legal hold covers them.
        actions_due: So many actions whose log entries must be gone at the end.
        technical: Customers with a technical contact: so many mails.
    """

    run: str
    today: date
    rows: list[Row] = field(default_factory=list)
    events: list[tuple[datetime, Data]] = field(default_factory=list)
    due: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    actions_due: int = 0
    technical: list[str] = field(default_factory=list)

    @property
    def customers(self) -> list[str]:
        """All customer ids, in order."""
        return [f"{self.run}-c{number:02}" for number in range(1, CUSTOMERS + 1)]

    @property
    def terminated(self) -> str:
        """The customer who left two years ago."""
        return self.customers[0]

    @property
    def reactivated(self) -> str:
        """The customer who left and came back."""
        return self.customers[1]

    @property
    def sued(self) -> str:
        """The customer whose records are under a legal hold."""
        return self.customers[2]

    @property
    def messages(self) -> list[MessageRequested]:
        """One message of each type of the privacy notice."""
        return [data for _, data in self.events if isinstance(data, MessageRequested)]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the on-call alert."""
        return f"{self.run}-disk-full"

    @property
    def broken_source(self) -> str:
        """The ``ce_source`` of the producer that sends what nobody can read."""
        return f"//demo/{self.run}/broken"

    @property
    def actions(self) -> list[ActionPerformed]:
        """All actions that are logged."""
        return [data for _, data in self.events if isinstance(data, ActionPerformed)]


def tell(run: str, today: date) -> Story:
    """Return the story of one demo; the same for the same *run* and day."""
    story = Story(run, today)
    chance = random.Random(run)  # noqa: S311 - believable, not secret
    story.events += _fiscal_years(today)
    for number, customer in enumerate(story.customers):
        _customer(story, customer, number)
        _invoices(story, customer, chance)
    for number in range(LEADS):
        _lead(story, number, chance)
    _actions(story, chance)
    story.events += [(_at(today), message) for message in _messages(story)]
    story.events.append((_at(today), _alert(story)))
    return story


def _at(day: date, hour: int = 9) -> datetime:
    return datetime.combine(day, time(hour), UTC)


def _months_before(day: date, months: int) -> date:
    month = day.year * 12 + day.month - 1 - months
    return date(month // 12, month % 12 + 1, min(day.day, 28))


def _fiscal_years(today: date) -> Iterator[tuple[datetime, Data]]:
    for year in range(today.year - FIRST_YEAR - 1, today.year + 2):
        start, end = date(year, 1, 1), date(year, 12, 31)
        kind = FiscalYearClosed if year < today.year else FiscalYearPlanned
        yield _at(min(start, today)), kind(entity=ENTITY, start=start, end=end)


def _customer(story: Story, customer: str, number: int) -> None:
    started = _months_before(story.today, 60)
    left = _months_before(story.today, 24)
    back = _months_before(story.today, 20)
    service = f"{customer}-s1"
    story.events.append(
        (_at(started), ServiceStarted(customer_id=customer, service_id=service, date=started))
    )
    if customer in (story.terminated, story.reactivated):
        ended = ServiceTerminated(customer_id=customer, service_id=service, date=left)
        story.events.append((_at(left), ended))
    if customer == story.terminated:
        story.events.append((_at(left), AccountSettled(customer_id=customer, date=left)))
    if customer == story.reactivated:
        again = ServiceReactivated(customer_id=customer, service_id=service, date=back)
        story.events.append((_at(back), again))
    _accounts(story, customer, number, started)
    if customer != story.terminated:  # whose contact may be purged by the time of the message
        story.technical.append(customer)
    agreed = [
        Basis(message_type=type_, basis="consent", since=_at(started))
        for type_ in ("news", "survey")
    ]
    contact = ContactAdded(
        customer_id=customer,
        contact_id=f"{customer}-ops",
        email=f"ops@{customer}.example",
        roles=["technical", "billing"],
        locale="sv" if number % 2 else "en",
        kind="group",
        subject_token=f"{customer}-t1",
        bases=tuple(agreed),
    )
    confirmed = ContactVerified(customer_id=customer, contact_id=contact.contact_id)
    story.events += [(_at(started), contact), (_at(started), confirmed)]


def _accounts(story: Story, customer: str, number: int, started: date) -> None:
    """The master account and the billing contact: kept while services run, and for a while."""
    account, billing = f"{customer}-account", f"{customer}-billing"
    name, email = f"Customer {number}", f"owner@{customer}.example"
    story.rows += [
        Row(
            "account",
            (account, customer, name, email),
            _registered("portal", "account.master", account, customer, started),
        ),
        Row(
            "billing_contact",
            (billing, customer, f"finance@{customer}.example"),
            _registered("billing", "billing.contact", billing, customer, started),
        ),
    ]
    if customer == story.terminated:  # left 24 months ago; 12 and 3 months have passed
        story.due |= {account, billing}


def _registered(
    holder: str, category: str, record_id: str, customer: str | None, day: date, *kinds: str
) -> RecordRegistered:
    return RecordRegistered(
        holder=holder,
        category=category,
        record_id=record_id,
        entity=ENTITY,
        customer_id=customer,
        subjects=(Subject(token=f"{record_id}-s", role="contact"),),
        anchors=tuple(Anchor(anchor_id=f"{record_id}-{k}", kind=k, date=day) for k in kinds),
    )


def _invoices(story: Story, customer: str, chance: random.Random) -> None:
    """One invoice a year, paid within the year it was booked in.

    Kept through the seventh year after the one it was booked in (Bokföringslagen 7 kap. 2 §).
    """
    for year in range(story.today.year - FIRST_YEAR, story.today.year):
        booked = date(year, chance.randint(1, 11), chance.randint(1, 28))
        record_id = f"{customer}-inv-{year}"
        values = (record_id, customer, booked, f"finance@{customer}.example")
        registered = _registered(
            "billing", "billing.invoice", record_id, customer, booked, "booked"
        )
        story.rows.append(Row("invoice", values, registered))
        paid = RecordAnchored(
            holder="billing",
            category="billing.invoice",
            record_id=record_id,
            anchor_id=f"{record_id}-paid",
            kind="paid",
            date=booked + timedelta(days=20),
        )
        story.events.append((_at(booked + timedelta(days=20)), paid))
        if year + 7 < story.today.year:
            (story.held if customer == story.sued else story.due).add(record_id)


def _lead(story: Story, number: int, chance: random.Random) -> None:
    """Somebody filled in a form; kept for twelve months after the last contact."""
    record_id = f"{story.run}-lead-{number:03}"
    months = chance.choice([1, 3, 6, 9, 14, 18, 30])
    last = _months_before(story.today, months)
    values = (record_id, f"Lead {number}", f"lead{number}@{story.run}.example", last)
    registered = _registered("crm", "lead.form", record_id, None, last, "last_contact")
    story.rows.append(Row("lead", values, registered))
    if months > 12:  # noqa: PLR2004 - the notice's own period, as the policy proposes it
        story.due.add(record_id)


def _actions(story: Story, chance: random.Random) -> None:
    """Accounts at work; those of the customer who left stop when the service did."""
    left = _months_before(story.today, 24)
    for number in range(ACTIONS):
        customer = story.customers[number % CUSTOMERS]
        latest = left if customer == story.terminated else story.today
        day = latest - timedelta(days=chance.randint(1, 20))
        thing, verb = chance.choice(_THINGS), chance.choice(_VERBS)
        action = ActionPerformed(
            v=1,
            action=f"{thing}.{verb}",
            phase="result",
            outcome=chance.choices(["success", "failure", "denied"], [90, 8, 2])[0],
            actor=Actor(type="user", id=f"{customer}-u{chance.randint(1, 5)}", name="A. User"),
            origin=Origin(channel=chance.choice(["portal", "api"]), ip="192.0.2.7"),
            target=Target(type=thing, id=f"{customer}-{number}"),
            customer_id=customer,
            request=Request(id=f"{story.run}-req-{number}"),
        )
        story.events.append((_at(day, chance.randint(7, 18)), action))
        if customer == story.terminated:
            story.actions_due += 1


def _messages(story: Story) -> list[MessageRequested]:
    """Return what the customers are told: one message of each type of the privacy notice."""
    begins = datetime.combine(story.today + timedelta(days=8), time(1), UTC)
    window = MaintenanceWindow(starts=begins, ends=begins + timedelta(hours=2))
    said: dict[str, dict[str, Any]] = {
        "security-breach": {
            "service": "sto2",
            "what": "A key of the object store was readable for two hours.",
            "advice": "Exchange your keys, and look through your log for what you do not know.",
        },
        "agreement-change": {
            "from_day": f"{story.today + timedelta(days=90)}",
            "what": "We add a region and a sub-processor.",
            "link": "https://gallra.example/agreement",
        },
        "security-measures-change": {
            "service": "sto2",
            "what": "Staff log in with hardware keys alone.",
            "from_day": f"{story.today + timedelta(days=30)}",
        },
        "maintenance-window": {
            "service": "sto2",
            "starts": window.starts.isoformat(),
            "ends": window.ends.isoformat(),
        },
        "service-disruption": {"service": "sto2", "what": "One of two links is down."},
        "news": {"title": "A new region", "text": "fra1 opens in spring."},
        "survey": {"service": "sto2", "link": "https://gallra.example/survey"},
    }
    return [
        MessageRequested(
            message_id=f"{story.run}-{type_}",
            message_type=type_,
            customers=story.technical,
            roles=["technical"],
            template=type_,
            params=params,
            maintenance_window=window if type_ == "maintenance-window" else None,
        )
        for type_, params in said.items()
    ]


def _alert(story: Story) -> AlertRaised:
    return AlertRaised(
        fingerprint=story.fingerprint,
        severity="critical",
        summary=f"{story.fingerprint}: a disk of the billing database is nearly full",
        labels={"system": "billing", "demo": story.run},
        runbook="disk-full",
    )


def broken(story: Story) -> Sequence[tuple[str, bytes, dict[str, str]]]:
    """Return what a broken producer sends: topic, body and headers, each set aside for a reason."""
    injected = (
        b'{"customer_id": "c", "contact_id": "x", "roles": ["technical"], "subject_token": "t",'
        b' "email": "a@b.example\\r\\nBcc: evil@x.example"}'
    )
    sent = [
        ("platform.actions.v1", "platform.action.performed.v1", b'{"v": 1, "action":'),
        ("platform.actions.v1", "platform.action.imagined.v1", b"{}"),
        ("platform.records.v1", "platform.record.registered.v1", b'{"holder": 7}'),
        ("platform.contacts.v1", "platform.contact.added.v1", injected),
        ("platform.records.v1", "", b"{}"),
    ]
    return [
        (
            topic,
            body,
            {
                "ce_specversion": "1.0",
                "ce_id": str(number),
                "ce_source": story.broken_source,
                "ce_type": kind,
                "ce_time": "2026-01-01T00:00:00Z",
                "content-type": "application/json",
            },
        )
        for number, (topic, kind, body) in enumerate(sent)
    ]
