"""Keeps the deadline of every record in step with what is known of it.

A deadline depends on entity, category, VAT scheme and resolved anchor (or what it lacks) alone, so
it is computed once for each such key, and records point to keys.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Literal, cast

from retention import anchor, store
from retention.anchor import Facts, Resolved, ServiceEvent, resolve
from retention.calendar import Moment, civil_day
from retention.deadline import Circumstances, Deadline, compute_under
from retention.explanation import Phrase, say
from retention.history import History
from retention.in_force import InForce
from retention.law import FinancialYear, FinancialYears
from retention.override import Covered, Hold, Scope, override
from retention.policy import Policy
from retention.store import KEY, AnchorRow, Identity, Record, Ref, Told
from shared.errors import Rejected
from shared.postgres import Connection

_SCHEMES: Final[Mapping[str, Literal["oss"] | None]] = {"": None, "oss": "oss"}
_REMEMBERED: Final = 100_000  # resolutions of the same occurrences, and ids of deadline keys
_GAP: Final = say("financial years without a gap")


@dataclass(frozen=True, slots=True)
class _Under:
    """Under what a deadline is computed, and whether the financial years have a gap."""

    circumstances: Circumstances
    gap: bool


@dataclass(frozen=True, slots=True)
class Registry:
    """Applies the policies in force to the records that are registered.

    Whoever calls it has read them in the same transaction.
    """

    in_force: InForce

    @property
    def history(self) -> History:
        """The policies as they were last read."""
        return self.in_force.history

    def check_holder(self, category: str, holder: str) -> None:
        """Check that a holder may hold a category.

        Raises:
            Rejected: it may not, or there is no such category.
        """
        if holder not in self.history.holders(category):
            raise Rejected("the policy names no such holder", code="unknown-holder")

    def check_known(self, holder: str) -> None:
        """Check that there is such a holder.

        Raises:
            Rejected: there is none.
        """
        if holder not in self.in_force.holders:
            raise Rejected("there is no such holder", code="unknown-holder")

    async def register(self, tx: Connection, told: Sequence[Told]) -> set[Ref]:
        """Register records; return those whose deadline is to be refreshed.

        It is found at once for those of which nothing was known, as nearly all are.
        """
        first: dict[Ref, Told] = {}
        again = [each for each in told if first.setdefault(each.record.ref, each) is not each]
        known = await store.known(tx, first)
        new = [t for ref, t in first.items() if t.record.document is None and ref not in known]
        if new:
            records = [
                Record(0, *each.record.ref, each.record.entity, each.record.customer_id, None,
                       each.record.scheme)
                for each in new
            ]  # fmt: skip
            facts = await self._facts(tx, records, {t.record.ref: t.anchors for t in new})
            await store.add_new(tx, new, await self._keys(tx, records, facts))
        added = {each.record.ref for each in new}
        rest = [each for ref, each in first.items() if ref not in added] + again
        if rest:
            await store.add(tx, rest)
        return {each.record.ref for each in rest}

    async def refresh(self, tx: Connection, records: Sequence[Record]) -> None:
        """Find the deadline of *records* anew and point them to it."""
        if not records:
            return
        keys = await self._keys(tx, records, await self._facts(tx, records))
        pairs = [(record.id, key) for record, key in zip(records, keys, strict=True)]
        await store.point_to_keys(tx, pairs)

    async def _keys(
        self, tx: Connection, records: Sequence[Record], facts: Sequence[Facts]
    ) -> list[int]:
        """Return the ids of the deadline keys of *records*, which stay until *tx* ends."""
        keys = self._identities(records, facts)
        ids = await self._ids(tx, set(keys))
        return [ids[key] for key in keys]

    async def _ids(self, tx: Connection, wanted: AbstractSet[Identity]) -> dict[Identity, int]:
        known = self.in_force.keys
        ids = {key: known[key] for key in wanted if key in known}
        there = await store.share_keys(tx, ids.values())  # a key that nothing had may be gone
        ids = {key: id_ for key, id_ in ids.items() if id_ in there}
        if unknown := wanted - ids.keys():
            ids |= await store.find_keys(tx, unknown)
        if missing := wanted - ids.keys():
            # In one order, so that two replicas cannot wait for each other.
            await store.put_keys(tx, await self.compute(tx, sorted(missing, key=str)))
            ids |= await store.find_keys(tx, missing)
        if len(known) > _REMEMBERED:
            known.clear()
        known |= ids
        return ids

    async def explain(self, tx: Connection, ref: Ref, as_of: date) -> tuple[Record, Deadline]:
        """Return a record and its deadline, holds and all, with every step that leads to it.

        Raises:
            Rejected: it is not registered.
        """
        found = [r for r in await store.records_by_ref(tx, [ref]) if r.ref == ref]
        if not found:
            raise Rejected("no such record is registered", code="unknown-reference")
        [record] = found
        [facts] = await self._facts(tx, [record])
        resolved = self._resolve(record, facts)
        under = await _circumstances(tx, [record.entity])
        deadline = self._deadline(record.category, resolved, under[record.entity, record.scheme])
        covered = Covered(
            record.category,
            record.customer_id,
            await store.subjects(tx, record.id),
            record.holder,
            record.record_id,
            resolved.day,
        )
        holds = [_hold(row) for row in await store.holds(tx) if _scope(row).covers(covered)]
        erased = (await store.erasures(tx, [record.id])).get(record.id)
        return record, override(deadline, as_of=as_of, holds=holds, erasure_accepted=erased)

    async def refresh_keys(
        self, tx: Connection, *, entities: Collection[str] = (), categories: Collection[str] = ()
    ) -> None:
        """Compute all deadline keys of some entities or categories anew.

        Financial years have changed, or policies.
        """
        found = await store.keys_of(tx, entities=entities, categories=categories)
        keys = {id_: key for id_, key in found.items() if key[1] in self.history.stored}
        under = await _circumstances(tx, {key[0] for key in keys.values()})
        anew = {id_: self._computed(key[:6], under[key[0], key[2]]) for id_, key in keys.items()}
        await store.update_keys(tx, {id_: new for id_, new in anew.items() if new != keys[id_][6:]})

    async def identities(self, tx: Connection, records: Sequence[Record]) -> list[Identity]:
        """Return what the deadline of each record depends on."""
        return self._identities(records, await self._facts(tx, records))

    def _identities(self, records: Sequence[Record], facts: Sequence[Facts]) -> list[Identity]:
        pairs = zip(records, facts, strict=True)
        return [_identity(record, self._resolve_once(record, known)) for record, known in pairs]

    async def compute(self, tx: Connection, keys: Sequence[Identity]) -> list[dict[str, Any]]:
        """Return each deadline key with its dates, as it is stored."""
        under = await _circumstances(tx, {key[0] for key in keys})
        rows = [(*key, *self._computed(key, under[key[0], key[2]])) for key in keys]
        return [dict(zip(KEY, row, strict=True)) for row in rows]

    def _deadline(self, category: str, resolved: Resolved, under: _Under) -> Deadline:
        deadline = compute_under(self.history.terms(category), resolved, under.circumstances)
        if deadline.status == "indeterminate" and under.gap:
            return replace(deadline, missing=_GAP)
        return deadline

    def _computed(self, key: Identity, under: _Under) -> tuple[Any, ...]:
        """Return what is stored with a deadline key."""
        deadline = self._deadline(key[1], _resolved(key), under)
        decided_by = cast("Policy", deadline.decided_by)
        return (
            decided_by.version,
            deadline.status,
            str(deadline.missing or ""),
            deadline.provisional,
            deadline.keep_through,
            deadline.statutory,
            deadline.floor,
            deadline.purge_from,
            deadline.must_purge_by,
        )

    def _resolve_once(self, record: Record, facts: Facts) -> Resolved:
        """Return the same as :meth:`_resolve`, but for which event told of what."""
        if facts.services or facts.group or facts.erasure:
            return self._resolve(record, facts)
        alike = (record.category, *((a.kind, a.moment) for a in facts.anchors))
        known = self.in_force.resolved
        if alike not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[alike] = self._resolve(record, facts)
        return known[alike]

    def _resolve(self, record: Record, facts: Facts) -> Resolved:
        policy = self.history.policy(record.category)
        if policy.clock is None:
            raise Rejected(f"the policy of {record.category} has no clock", code="never-stored")
        return resolve(
            policy.clock, facts, group=policy.group, extension_basis=policy.extension_basis
        )

    async def _facts(
        self,
        tx: Connection,
        records: Sequence[Record],
        anchors: Mapping[Ref, Sequence[AnchorRow]] | None = None,
    ) -> list[Facts]:
        """Return all that is known of each record; *anchors* if they are not in the database."""
        customers = {r.customer_id for r in records if r.customer_id is not None}
        documents = {(r.entity, r.document) for r in records if r.document is not None}
        mates = [
            mate
            for mate in await store.records_of_documents(tx, documents)
            if mate.category in self.history.stored
        ]
        if anchors is None:
            anchors = await store.anchors(tx, {r.ref for r in (*records, *mates)})
        services = await store.services(tx, customers)
        accounts = await store.customer_anchors(tx, customers)
        days = {mate.ref: self._own_day(mate, anchors) for mate in mates}
        erased = await store.erasures(tx, {r.id for r in records if r.document is not None})
        groups: defaultdict[tuple[str, str | None], list[Record]] = defaultdict(list)
        for mate in mates:
            groups[mate.entity, mate.document].append(mate)
        return [
            Facts(
                anchors=[
                    *_anchors(anchors.get(record.ref, ())),
                    *(
                        anchor.Anchor(f"{kind}/{day}", kind, day, event=event)
                        for kind, day, event in accounts.get(record.customer_id or "", ())
                    ),
                ],
                services=_steps(services.get(record.customer_id or "", ())),
                group=[
                    days[mate.ref]
                    for mate in groups.get((record.entity, record.document), ())
                    if mate.ref != record.ref
                ],
                erasure=record.id in erased,
            )
            for record in records
        ]

    def _own_day(self, mate: Record, anchors: Mapping[Ref, Sequence[AnchorRow]]) -> Moment | None:
        """Return the day that another document of a group is anchored on by itself."""
        policy = self.history.policy(mate.category)
        if policy.clock is None:
            return None
        facts = Facts(anchors=_anchors(anchors.get(mate.ref, ())))
        return resolve(policy.clock, facts, group="own").day


def _identity(record: Record, resolved: Resolved) -> Identity:
    lacking = str(resolved.missing or "")
    return record.entity, record.category, record.scheme, resolved.state, resolved.day, lacking


def _resolved(key: Identity) -> Resolved:
    """Return what a record of a key was resolved to, as far as the key tells."""
    _, _, _, state, day, lacking = key
    return Resolved(cast("Any", state), day, missing=Phrase(lacking) if lacking else None)


def _hold(row: Mapping[str, Any]) -> Hold:
    released = row["released_at"]
    return Hold(civil_day(row["placed_at"]), released and civil_day(released))


def _scope(row: Mapping[str, Any]) -> Scope:
    return Scope(**{name: row[name] for name in Scope.__slots__})


def _anchors(rows: Iterable[AnchorRow]) -> list[anchor.Anchor]:
    return [
        anchor.Anchor(row.anchor_id, row.kind, row.day, event=row.event)
        for row in rows
        if row.kind is not None and row.day is not None and not (row.superseded or row.revoked)
    ]


def _steps(rows: Iterable[store.ServiceRow]) -> list[ServiceEvent]:
    return [ServiceEvent(row.service_id, row.kind, row.at or row.day, row.event) for row in rows]


async def _circumstances(
    tx: Connection, entities: Collection[str]
) -> dict[tuple[str, str], _Under]:
    """Return under what the deadlines of each entity are computed, by VAT scheme."""
    found: dict[tuple[str, str], _Under] = {}
    for entity, rows in (await store.fiscal_years(tx, entities)).items():
        try:
            years = FinancialYears.of(
                FinancialYear(first, last, closed=closed, event=event)
                for first, last, closed, event in rows
            )
        except Rejected:
            years = None
        for scheme, vat_scheme in _SCHEMES.items():
            circumstances = Circumstances(years or FinancialYears(), vat_scheme)
            found[entity, scheme] = _Under(circumstances, gap=years is None)
    return found


def overlapping(
    years: Sequence[tuple[date, date, bool, str]], year: FinancialYear
) -> FinancialYear | None:
    """Return the other year that *year* shares days with, if there is one."""
    for first, last, closed, _ in years:
        other = FinancialYear(first, last, closed=closed)
        if first != year.first_day and first <= year.last_day and year.first_day <= last:
            return other
    return None
