"""A simulated platform for years on end: what it stores, whom it serves, what its people decide."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any

from tests.integration.oracle import Known, Oracle

from retention.calendar import add_months, day_after, end_of
from retention.override import Scope
from retention.policy import Policy
from retention.rule import Period
from shared.events import Data
from shared.events.platform import (
    AccountSettled,
    Anchor,
    AnchorRevoked,
    FiscalYearChanged,
    FiscalYearClosed,
    FiscalYearPlanned,
    RecordAnchored,
    RecordLinked,
    RecordRegistered,
    ServiceReactivated,
    ServiceStarted,
    ServiceTerminated,
    Subject,
    TerminationRevoked,
)

FIRST_YEAR = 2017  # from which the initial stock is
SERVICES_BEGAN = date(2015, 1, 1)

STORED = {  # of a hundred records
    "billing.invoice": 14,
    "billing.payment_hash": 6,
    "billing.contact": 4,
    "contact.address": 5,
    "contact.delivery": 12,
    "contact.delivery.security": 4,
    "contact.message_body": 6,
    "account.master": 4,
    "logs.action": 12,
    "lead.form": 6,
    "event.registration": 4,
    "newsletter.subscription": 3,
    "prospect.linkedin": 3,
    "cookie.cloudguide_draft": 6,
    "form.spam_token": 5,
    "rights.case": 1,
    "suppression": 2,
    "erasure_ledger": 3,
}
ENDS = {  # what ends the need for a record, and how many of each hundred there are it does at once
    "newsletter.subscription": (("unsubscribed", "objected", "bounced", "inactive"), 12),
    "rights.case": (("closed",), 30),
    "suppression": (("marketing_ended",), 20),
    "contact.address": (("removed",), 3),
}
LATER = {"billing.invoice": "paid", "lead.form": "last_contact"}
MONTHS = (3, 6, 12, 12, 18, 24, 36, 60)
DAYS = {"calendar": (1, 300), "broken": (7, 200), "moving": (1, 100), "tardy": (5, -400)}
"""Of each entity the month in which its years begin, and how many days ahead it tells of them."""


@dataclass(slots=True)
class Customer:
    id: str
    entity: str
    running: dict[str, bool] = field(default_factory=dict)
    settled: bool = False

    @property
    def is_served(self) -> bool:
        return any(self.running.values())


class Platform:
    """Tells of facts: what it registers is on *days*, the few on which its systems report."""

    def __init__(self, random: Random, oracle: Oracle, days: Sequence[date]) -> None:
        self.random = random
        self.oracle = oracle
        self.days = days
        self.customers: list[Customer] = []
        self.numbers = 0
        self.groups: list[tuple[str, Customer]] = []

    # Records.

    def records(self, place: int, count: int, back: int = 0) -> Iterator[RecordRegistered]:
        """Register *count* records on day number *place*, or of so many days *back*."""
        served = [customer for customer in self.customers if customer.is_served]
        for category in self.random.choices([*STORED], [*STORED.values()], k=count):
            late = self.random.random() < 0.03
            customer = self.random.choice(self.customers if late else served)
            behind = self._behind(back)
            yield self._record(category, customer, self.days[max(place - behind, 0)], place)

    def _behind(self, back: int) -> int:
        chance = self.random.random()
        if back:
            return self.random.randrange(back)
        if chance < 0.015:  # an archive that is found: due long since
            return self.random.randrange(60)
        return 0 if chance < 0.8 else self.random.randrange(3)

    def _record(self, category: str, customer: Customer, day: date, place: int) -> RecordRegistered:
        self.numbers += 1
        number = f"r-{self.numbers:06}"
        policy = self.oracle.versions[category][0]
        kind = next(iter(policy.clock.anchors if policy.clock else ()), "settled")
        if category == "event.registration":
            day = self.days[min(place + self.random.randrange(4), len(self.days) - 1)]
        anchors = () if kind == "settled" else (Anchor(anchor_id="a", kind=kind, date=day),)
        more: dict[str, Any] = {}
        if category == "billing.invoice":
            more = {"vat_scheme": "oss" if self.random.random() < 0.15 else None}
            more |= self._group(customer)
        person = f"{customer.id}/p{self.random.randrange(3)}"
        return RecordRegistered(
            holder=self.random.choice(policy.holders),
            category=category,
            record_id=number,
            entity=customer.entity,
            customer_id=customer.id,
            subjects=(Subject(token=person, role="contact"),),
            anchors=anchors,
            **more,
        )

    def _group(self, customer: Customer) -> dict[str, str]:
        """Return the group of an invoice that will be credited, or of its credit note."""
        if self.random.random() < 0.06:
            self.groups.append((f"g-{self.numbers}", customer))
            return {"group": self.groups[-1][0]}
        for place, (group, whose) in enumerate(self.groups):
            if whose.entity == customer.entity:
                del self.groups[place]
                return {"group": group}
        return {}

    def later(self, day: date) -> Iterator[Data]:
        """Tell what happened since to records that are there, and what was told wrongly."""
        for category, (kinds, percent) in ENDS.items():
            there = self.oracle.of("category", category)
            for known in self._some(there, len(there) * percent // 100):
                if not known.anchors:
                    yield _anchored(known, "end", self.random.choice(kinds), day)
        for category, kind in LATER.items():
            for known in self._some(self.oracle.of("category", category), 6):
                yield _anchored(known, f"{kind}/{day}", kind, day)
        for known in self._some([*self.oracle.alive.values()], 6):
            if known.anchors and known.holder != "audit-log":  # its days are what it committed to
                yield from self._corrected(known, day)
        invoices = self.oracle.of("category", "billing.invoice")
        for known in self._some(invoices, 1):
            mates = [k for k in invoices if k.entity == known.entity and k.group is None]
            for mate in self._some(mates, 2):
                yield RecordLinked(**_ref(mate), group=f"l-{known.id}", relation="corrects")

    def _corrected(self, known: Known, day: date) -> Iterator[Data]:
        last = known.anchors[-1]
        if self.random.random() < 0.3:
            yield AnchorRevoked(**_ref(known), anchor_id=last.anchor_id)
        else:
            right = self.random.choice([d for d in self.days if d <= day][-9:])
            new = f"c/{len(known.anchors)}"
            yield _anchored(known, new, last.kind, right, supersedes=last.anchor_id)

    def _some(self, of: Sequence[Any], count: int) -> list[Any]:
        return self.random.sample(of, min(count, len(of)))

    # Customers.

    def arrivals(self, count: int, day: date) -> Iterator[Data]:
        """Let customers come, each with a service or more."""
        for _ in range(count):
            number = len(self.customers)
            entity = self.random.choice([*DAYS])
            self.customers.append(Customer(f"c-{number}", entity))
            for _ in range(self.random.choice((1, 1, 2))):
                yield self.started(self.customers[-1], day)

    def departures(self, place: int) -> Iterator[Data]:
        """Let some go; who went before, pays the last invoice."""
        for customer in self.customers:
            chance = self.random.random()
            if customer.is_served and chance < 0.035:
                customer.settled = False
                told = place + self.random.choice((0, 0, 0, -2, 1))  # late, or ahead
                day = self.days[min(max(told, 0), len(self.days) - 1)]
                for service in customer.running:
                    yield self.ended(customer, service, day)
            elif not customer.is_served and not customer.settled and chance < 0.4:
                customer.settled = True
                yield AccountSettled(customer_id=customer.id, date=self.days[place])

    def started(self, customer: Customer, day: date) -> Data:
        service = f"{customer.id}/s{len(customer.running)}"
        customer.running[service] = True
        return ServiceStarted(customer_id=customer.id, service_id=service, date=day)

    def ended(self, customer: Customer, service: str, day: date) -> Data:
        customer.running[service] = False
        return ServiceTerminated(customer_id=customer.id, service_id=service, date=day)

    def service_event(self, today: date) -> list[Data]:
        """Tell of a service of somebody: now, late, or ahead; of a day or of an instant."""
        customer = self.random.choice(self.customers)
        service = self.random.choice([*customer.running])
        day = day_after(today, self.random.choice((0, 0, -1, -20, -200, 30)))
        said: dict[str, Any] = {"customer_id": customer.id, "service_id": service}
        at = datetime.combine(day, time(self.random.randrange(24)), UTC)
        when = self.random.choice(({"date": day}, {"at": at}))
        if self.random.random() < 0.15:
            return [self.started(customer, day)]
        if customer.running[service]:
            customer.running[service] = False
            return [ServiceTerminated(**said, **when)]
        customer.running[service] = True
        again = self.random.choice((ServiceReactivated, TerminationRevoked))
        return [again(**said, **when)]

    def respite(self, known: Known, day: date) -> Data | None:
        """Tell what makes a record be needed again, if there is such a thing."""
        clock = self.oracle.versions[known.category][-1].clock
        if clock is None or known.holder == "audit-log" or self.random.random() < 0.5:
            return None
        if clock.while_service and known.customer is not None:
            customer = self.customers[int(known.customer.removeprefix("c-"))]
            return self.started(customer, day)
        kinds = clock.anchors or clock.ended_by
        return _anchored(known, f"again/{day}", kinds[0], day)

    # Financial years.

    def years(self, today: date) -> Iterator[Data]:
        """Plan the years that each entity tells of by now, and close those that ended long ago."""
        for entity, (month, ahead) in DAYS.items():
            known = self.oracle.years[entity]
            last = max((y.last_day for y in known.values()), default=None)
            start = date(FIRST_YEAR - 2, month, 1) if last is None else day_after(last)
            while start <= day_after(today, ahead):
                end = day_after(add_months(start, 12), -1)
                yield FiscalYearPlanned(entity=entity, start=start, end=end)
                start = day_after(end)
            for year in known.values():
                if not year.closed and year.last_day < day_after(today, -150):
                    span = {"start": year.first_day, "end": year.last_day}
                    yield FiscalYearClosed(entity=entity, **span)

    def year_event(self, today: date) -> list[Data]:
        """Move the end of the last year of an entity, plan or close one out of its turn."""
        entity = self.random.choice([*DAYS, "moving", "moving"])
        last = max(self.oracle.years[entity].values())
        if not last.closed and self.random.random() < 0.7:
            months = self.random.randrange(4, 19)
            end = day_after(add_months(last.first_day, months), -1)
            return [FiscalYearChanged(entity=entity, start=last.first_day, end=end)]
        if last.last_day < today and not last.closed:
            span = {"start": last.first_day, "end": last.last_day}
            return [FiscalYearClosed(entity=entity, **span)]
        start = day_after(last.last_day)
        end = end_of(day_after(start, self.random.choice((200, 360, 500))), "month")
        return [FiscalYearPlanned(entity=entity, start=start, end=end)]

    # What people decide.

    def scope(self) -> Scope:
        """Return what a hold is to cover: of all kinds."""
        known = self.random.choice([*self.oracle.alive.values()])
        first = self.random.choice(self.days[: len(self.days) // 2])
        span = {"first_day": first, "last_day": day_after(first, 400)}
        subject = known.subjects[0] if known.subjects else None
        kinds: list[dict[str, Any]] = [
            {"customer_id": known.customer},
            {"customer_id": known.customer, "category": known.category},
            {"customer_id": known.customer, **span},
            {"subject": subject},
            {"subject": subject, "category": known.category},
            {"category": known.category},
            {"category": known.category, **span},
            {"category": known.category, "first_day": first},
            {"holder": known.holder, "category": known.category, "record_id": known.id},
        ]
        return Scope(**self.random.choice([k for k in kinds if None not in k.values()]))

    def policy(self, today: date) -> Policy:
        """Return the next version of a policy: shorter, longer, or with another grace."""
        old = self.oracle.versions[self.random.choice([*STORED])][-1]
        soonest = max(today, day_after(old.effective_from))
        new: dict[str, Any] = {
            "version": old.version + 1,
            "effective_from": day_after(soonest, self.random.choice((0, 0, 30, 200))).isoformat(),
            "existing": self.random.choice(("keep", "apply")),
            "grace": f"P{self.random.randint(6, 20)}D",
        }
        if isinstance(old.rule, Period):
            new["rule"] = self._period(old.rule)
        elif self.random.random() < 0.5:
            longer = {"rule": "period", "months": self.random.choice((90, 100))}
            new["rule"] = {"rule": "max", "rules": [{"rule": "bfl_7_2"}, longer]}
            if old.category == "billing.invoice":
                new["rule"]["rules"].append({"rule": "oss_10y"})
        if old.category == "lead.form" and self.random.random() < 0.5:
            which = self.random.choice(("first", "latest"))
            new |= {"existing": "apply", "clock": {**_json(old)["clock"], "resolve": which}}
        return Policy.model_validate(_json(old) | new)

    def _period(self, old: Period) -> dict[str, Any]:
        """Return another period, of a few usual lengths: else something would be due each day."""
        unit, usual = ("months", MONTHS) if old.months else ("days", (1, 30, 60, 120))
        rule: dict[str, Any] = {"rule": "period", unit: self.random.choice(usual)}
        if unit == "months" and self.random.random() < 0.2:
            rule["end_of"] = self.random.choice(("month", "year"))
        return rule


def reporting_days(random: Random, last: date) -> list[date]:
    """Return the same few days of every year, the last of February among them."""
    drawn = [date(2025, 1, 1) + timedelta(days=d) for d in random.sample(range(365), 2)]
    days: list[date] = []
    for year in range(FIRST_YEAR, last.year + 1):
        days.append(end_of(date(year, 2, 1), "month"))
        days += [d.replace(year=year) for d in drawn if (d.month, d.day) < (2, 28) or d.month > 2]
    return sorted({day for day in days if day <= last})


def _anchored(
    known: Known, anchor_id: str, kind: str, day: date, supersedes: str | None = None
) -> RecordAnchored:
    return RecordAnchored(
        **_ref(known), anchor_id=anchor_id, kind=kind, date=day, supersedes=supersedes
    )


def _ref(known: Known) -> dict[str, str]:
    return {"holder": known.holder, "category": known.category, "record_id": known.id}


def _json(policy: Policy) -> dict[str, Any]:
    return policy.model_dump(mode="json")
