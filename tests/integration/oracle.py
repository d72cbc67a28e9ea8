"""What must become of each record, computed in memory from the facts and the pure rules alone.

Nothing of the registry is used: no deadline key, no SQL.  How lateness is counted, to the instant:

* A record is *free* from ``purge_from`` of its own deadline on, with all holds, their grace and an
  accepted erasure in it; or, if that is later, from the end of its holder's refusal.
* If that instant lay in the past when it became known (a fact was told late, a record came late, an
  erasure was accepted, a policy was shortened), the record is free from when it became known.  What
  was free already stays free from when it was: nothing that is told later makes it any younger.
* It must be confirmed gone by the midnight that ends the grace of the policy version that decided,
  counted in civil days from the day on which it became free.  One microsecond later is late.

The order to erase is early if at that instant the record is not free by its deadline.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from retention import anchor
from retention.anchor import Facts, Resolved, ServiceEvent, resolve
from retention.calendar import civil_day, day_after, start_of
from retention.deadline import Circumstances, Deadline, compute_under
from retention.law import FinancialYear, FinancialYears
from retention.override import HOLD_GRACE_DAYS, Covered, Hold, Scope, override
from retention.policy import Policies, Policy
from shared.errors import Rejected
from shared.events import Data
from shared.events import platform as told
from shared.events.gallra import PurgeCommit, PurgeException

BY_YEARS = ("billing.invoice", "billing.payment_hash")
_STEPS: dict[type, anchor.ServiceChange] = {
    told.ServiceStarted: "started",
    told.ServiceTerminated: "terminated",
    told.ServiceReactivated: "reactivated",
    told.TerminationRevoked: "termination-revoked",
}


@dataclass(slots=True)
class Known:
    """A record, and what is known of it.

    Attributes:
        deadline: Its own, with holds and an accepted erasure.
        free_from: See above; None while it is not to go.
        excused: Something other than its policy said when it became free.
        ordered_at: When its holder was last told to erase it.
    """

    id: str
    holder: str
    category: str
    entity: str
    customer: str | None
    subjects: tuple[str, ...]
    group: str | None
    scheme: str | None
    anchors: list[anchor.Anchor]
    revoked: frozenset[str] = frozenset()
    erased: date | None = None
    refused_until: datetime | None = None
    resolved: Resolved = field(default_factory=lambda: Resolved("open"))
    deadline: Deadline = field(default_factory=lambda: Deadline("open"))
    free_from: datetime | None = None
    excused: bool = False
    ordered_at: datetime | None = None

    @property
    def ref(self) -> tuple[str, str, str]:
        return self.holder, self.category, self.id

    @property
    def must_go_by(self) -> datetime | None:
        if self.free_from is None:
            return None
        return start_of(day_after(civil_day(self.free_from), self.deadline.grace_days))


class Oracle:
    """All records that are to be known, and the facts that decide about them."""

    def __init__(self, policies: Policies, now: Callable[[], datetime]) -> None:
        self.now = now
        self.versions = {c: [p] for c, p in policies.by_category.items() if p.stored}
        self.alive: dict[str, Known] = {}
        self.by: defaultdict[tuple[str, str], dict[str, Known]] = defaultdict(dict)
        self.years: defaultdict[str, dict[date, FinancialYear]] = defaultdict(dict)
        self.services: defaultdict[str, list[ServiceEvent]] = defaultdict(list)
        self.settled: defaultdict[str, list[anchor.Anchor]] = defaultdict(list)
        self.holds: dict[UUID, tuple[Scope, Hold]] = {}
        self.purged: dict[str, Known] = {}
        self.wrong: defaultdict[str, list[str]] = defaultdict(list)
        self._by_policy: dict[Any, Deadline] = {}

    # What happens.

    def take(self, *facts: Data) -> None:
        """Note all facts, then judge all records that they concern."""
        touched: dict[str, Known] = {}
        entities: set[str] = set()
        for fact in facts:
            match fact:
                case told.RecordRegistered():
                    known = self._register(fact)
                    touched |= {known.id: known}
                case told.RecordRef() if known := self.alive.get(fact.record_id):
                    self._note(known, fact)
                    touched |= {known.id: known}
                case told.ServiceEvent():
                    step = ServiceEvent(fact.service_id, _STEPS[type(fact)], _moment(fact))
                    self.services[fact.customer_id].append(step)
                    touched |= self.by["customer", fact.customer_id]
                case told.AccountSettled():
                    settled = anchor.Anchor("settled", "settled", _moment(fact))
                    self.settled[fact.customer_id].append(settled)
                    touched |= self.by["customer", fact.customer_id]
                case told.FiscalYearEvent():
                    self._year(fact)
                    entities.add(fact.entity)
                case _:
                    raise AssertionError(f"no such fact: {fact}")
        for known in list(touched.values()):
            touched |= self._mates(known)
        self._anew(touched.values())
        for entity in entities:
            self._changed(lambda key, entity=entity: key[1] == entity)
            self._judge([k for k in self.of("entity", entity) if k.category in BY_YEARS])

    def change(self, policy: Policy) -> None:
        """Put a new version of a policy in force."""
        versions = self.versions[policy.category]
        versions.append(policy)
        self._changed(lambda key: key[0] == policy.category)
        concerned = self.of("category", policy.category)
        again = self._judge if versions[-2].same_clock(policy) else self._anew
        again(concerned)

    def hold(self, hold: UUID, scope: Scope) -> None:
        self.holds[hold] = scope, Hold(civil_day(self.now()))
        self._judge(self._in(scope))

    def release(self, hold: UUID) -> None:
        scope, placed = self.holds[hold]
        today = civil_day(self.now())
        self.holds[hold] = scope, replace(placed, through=today)
        self._judge(self._in(scope))
        self.holds = {i: h for i, h in self.holds.items() if not _is_past(h[1], today)}

    def erase(self, ids: Iterable[str]) -> None:
        """Accept to erase records."""
        known = [self.alive[i] for i in ids]
        for record in known:
            record.erased = record.erased or civil_day(self.now())
        self._anew(known)

    def ordered(self, command: PurgeCommit, refs: Iterable[str]) -> None:
        """Judge the order to erase *refs* at the instant at which it goes out."""
        now = self.now()
        for known in [self.alive[ref] for ref in refs]:
            self._afresh(known)
            deadline = self._deadline(known)
            if deadline.purge_from is None or now < deadline.purge_from:
                self._accuse("early", known, deadline)
            decided_by = deadline.decided_by
            if command.reason == "deadline" and decided_by.version != command.policy_version:
                self._accuse("version", known, deadline)
            known.ordered_at = now

    def confirmed(self, refs: Iterable[str]) -> None:
        """Judge that *refs* are confirmed gone now."""
        for known in [self.alive[ref] for ref in refs]:
            if known.ordered_at is None:
                self._accuse("unordered", known, known.deadline)
            self._check_late(known)
            self._forget(known)
            self.purged[known.id] = known

    def refused(self, exceptions: Iterable[PurgeException]) -> None:
        now = self.now()
        for exception in exceptions:
            known = self.alive[exception.ref]
            until = exception.until
            next_day = now + timedelta(days=1)  # where the holder gives no date
            known.refused_until = next_day if until is None else start_of(day_after(until))
            self._judge([known])

    def check(self) -> None:
        """Check that nothing was wrong so far, and that nothing is overdue."""
        for known in self.alive.values():
            self._check_late(known)
        assert not self.wrong, {of: (len(all_), all_[:3]) for of, all_ in self.wrong.items()}

    def is_waiting(self) -> bool:
        """Return whether a record is free to go that has not gone."""
        now = self.now()
        return any(k.free_from is not None and k.free_from <= now for k in self.alive.values())

    def ends(self) -> Counter[str]:
        """Return what has become of all records."""
        counts = Counter(purged=len(self.purged))
        for known in self.alive.values():
            self._afresh(known)
            known.deadline = self._deadline(known)
            held = any(scope.covers(_covered(known)) for scope, _ in self.holds.values())
            counts["held" if held else known.deadline.status] += 1
        return counts

    def of(self, kind: str, name: str) -> list[Known]:
        """Return the records that are there of a customer, an entity, a category ..."""
        return list(self.by[kind, name].values())

    # What follows from it.

    def _register(self, fact: told.RecordRegistered) -> Known:
        known = Known(
            fact.record_id,
            fact.holder,
            fact.category,
            fact.entity,
            fact.customer_id,
            tuple(subject.token for subject in fact.subjects),
            fact.group,
            fact.vat_scheme,
            [anchor.Anchor(a.anchor_id, a.kind, _moment(a)) for a in fact.anchors],
        )
        assert known.id not in self.alive
        self.alive[known.id] = known
        for place in _places(known):
            self.by[place][known.id] = known
        return known

    def _forget(self, known: Known) -> None:
        del self.alive[known.id]
        for place in _places(known):
            del self.by[place][known.id]

    def _note(self, known: Known, fact: told.RecordRef) -> None:
        match fact:
            case told.RecordAnchored():
                new = anchor.Anchor(fact.anchor_id, fact.kind, _moment(fact), fact.supersedes)
                known.anchors.append(new)
            case told.AnchorRevoked():
                known.revoked |= {fact.anchor_id}
            case told.RecordLinked():
                known.group = fact.group
                self.by["group", f"{known.entity}/{fact.group}"][known.id] = known
            case _:
                raise AssertionError(f"no such fact: {fact}")

    def _year(self, fact: told.FiscalYearEvent) -> None:
        before = self.years[fact.entity].get(fact.start)
        closed = isinstance(fact, told.FiscalYearClosed) or (before is not None and before.closed)
        self.years[fact.entity][fact.start] = FinancialYear(fact.start, fact.end, closed=closed)

    def _mates(self, known: Known) -> dict[str, Known]:
        return self.by["group", f"{known.entity}/{known.group}"] if known.group else {}

    def _anew(self, records: Iterable[Known]) -> None:
        concerned = list(records)
        for known in concerned:
            known.resolved = self._resolve(known)
        self._judge(concerned)

    def _afresh(self, known: Known) -> None:
        """Resolve a record from its facts once more, so that nothing rests on what was remembered.

        Not so in a group: its days are those of the documents that were there at the last fact.
        """
        if known.group is None:
            known.resolved = self._resolve(known)

    def _resolve(self, known: Known) -> Resolved:
        policy = self.versions[known.category][-1]
        assert policy.clock is not None
        facts = Facts(
            anchors=[*known.anchors, *self.settled.get(known.customer or "", ())],
            revoked=known.revoked,
            services=self.services.get(known.customer or "", ()),
            group=[self._own_day(m) for m in self._mates(known).values() if m is not known],
            erasure=known.erased is not None,
        )
        basis = policy.extension_basis
        return resolve(policy.clock, facts, group=policy.group, extension_basis=basis)

    def _own_day(self, mate: Known) -> date | None:
        clock = self.versions[mate.category][-1].clock
        assert clock is not None
        return resolve(clock, Facts(mate.anchors, mate.revoked), group="own").day

    def _judge(self, records: Iterable[Known]) -> None:
        """Find from when on each record is free, now that something has changed."""
        now = self.now()
        for known in records:
            known.deadline = self._deadline(known)
            purge_from = known.deadline.purge_from
            if purge_from is None:
                known.free_from = None
                continue
            free_from = max(purge_from, known.refused_until or purge_from)
            if free_from <= now:
                was_free = known.free_from is not None and known.free_from <= now
                free_from = known.free_from if was_free else now
            known.excused |= free_from != purge_from
            known.free_from = free_from

    def _deadline(self, known: Known) -> Deadline:
        deadline = self.promised(known)
        if not self.holds and known.erased is None:
            return deadline
        covered = _covered(known)
        holds = [hold for scope, hold in self.holds.values() if scope.covers(covered)]
        known.excused |= bool(holds) or known.erased is not None
        today, erased = civil_day(self.now()), known.erased
        return override(deadline, as_of=today, holds=holds, erasure_accepted=erased)

    def promised(self, known: Known) -> Deadline:
        """Return what the policy alone says; of equal questions the answer is remembered."""
        day, missing = known.resolved.day, str(known.resolved.missing)
        key = known.category, known.entity, known.scheme, known.resolved.state, day, missing
        if key not in self._by_policy:
            versions = self.versions[known.category]
            circumstances = Circumstances(years=self.years_of(known.entity))
            if known.scheme == "oss":
                circumstances = replace(circumstances, vat_scheme="oss")
            self._by_policy[key] = compute_under(versions, known.resolved, circumstances)
        return self._by_policy[key]

    def years_of(self, entity: str) -> FinancialYears:
        """Return the financial years that are known of an entity; none while there is a gap."""
        try:
            return FinancialYears.of(self.years[entity].values())
        except Rejected:
            return FinancialYears()

    def _changed(self, concerns: Callable[[Any], bool]) -> None:
        self._by_policy = {k: d for k, d in self._by_policy.items() if not concerns(k)}

    def _in(self, scope: Scope) -> Iterator[Known]:
        if scope.record_id is not None:
            found = [k for k in [self.alive.get(scope.record_id)] if k is not None]
        elif scope.customer_id is not None:
            found = self.of("customer", scope.customer_id)
        elif scope.subject is not None:
            found = self.of("subject", scope.subject)
        else:
            found = self.of("category", scope.category or "")
        return (known for known in found if scope.covers(_covered(known)))

    def _check_late(self, known: Known) -> None:
        limit = known.must_go_by
        if limit is not None and self.now() > limit:
            self._accuse("late", known, known.deadline)

    def _accuse(self, of: str, known: Known, deadline: Deadline) -> None:
        self.wrong[of].append(
            f"{'/'.join(known.ref)} at {self.now()}: {deadline.status}, purge from"
            f" {deadline.purge_from}, free from {known.free_from}, must go by {known.must_go_by}"
        )


def _moment(said: told.OneMoment) -> date | datetime:
    moment = said.date or said.at
    assert moment is not None
    return moment


def _covered(known: Known) -> Covered:
    return Covered(
        known.category,
        known.customer,
        known.subjects,
        known.holder,
        known.id,
        known.resolved.day,
    )


def _is_past(hold: Hold, today: date) -> bool:
    return hold.through is not None and day_after(hold.through, HOLD_GRACE_DAYS) < today


def _places(known: Known) -> list[tuple[str, str]]:
    """Return under what a record is found."""
    places = [("category", known.category), ("entity", known.entity)]
    places += [("subject", token) for token in known.subjects]
    if known.customer is not None:
        places.append(("customer", known.customer))
    if known.group is not None:
        places.append(("group", f"{known.entity}/{known.group}"))
    return places
