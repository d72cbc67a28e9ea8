"""Keeps the deadline of every record in step with what is known of it.

A deadline depends on entity, category, VAT scheme and resolved anchor (or what it lacks) alone, so
it is computed once for each such key, and records point to keys.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from retention import anchor, store
from retention.anchor import Facts, Resolved, ServiceEvent, resolve
from retention.calendar import Moment, civil_day
from retention.deadline import Circumstances, Deadline, compute
from retention.explanation import Phrase, say
from retention.law import FinancialYear, FinancialYears
from retention.override import Covered, Hold, Scope, override
from retention.policy import Policies, Policy
from retention.store import AnchorRow, Record, Ref
from shared.errors import Rejected
from shared.postgres import Connection

_GAP = say("financial years without a gap")


@dataclass(frozen=True, slots=True)
class Registry:
    """Applies the policies in force to the records that are registered."""

    policies: Policies

    def policy(self, category: str) -> Policy:
        """Return the policy for a category.

        Raises:
            Rejected: there is none, or it says that such data is never stored.
        """
        policy = self.policies.by_category.get(category)
        if policy is None:
            raise Rejected("no policy covers this category", code="unknown-category")
        if not policy.stored:
            raise Rejected("data of this category is never stored", code="never-stored")
        return policy

    def check_holder(self, category: str, holder: str) -> None:
        """Check that a holder may hold a category.

        Raises:
            Rejected: it may not, or there is no such category.
        """
        if holder not in self.policy(category).holders:
            raise Rejected("the policy names no such holder", code="unknown-holder")

    def check_known(self, holder: str) -> None:
        """Check that there is such a holder.

        Raises:
            Rejected: there is none.
        """
        if holder not in self.policies.holders:
            raise Rejected("there is no such holder", code="unknown-holder")

    async def refresh(self, tx: Connection, records: Sequence[Record]) -> None:
        """Find the deadline of *records* anew and point them to it."""
        if not records:
            return
        resolved = await self._resolved(tx, records)
        keys = [_identity(r, found) for r, found in zip(records, resolved, strict=True)]
        ids = await self._put(tx, dict(zip(keys, resolved, strict=True)))
        pairs = [(record.id, ids[key]) for record, key in zip(records, keys, strict=True)]
        await store.point_to_keys(tx, pairs)

    async def explain(self, tx: Connection, ref: Ref, as_of: date) -> tuple[Record, Deadline]:
        """Return a record and its deadline, holds and all, with every step that leads to it.

        Raises:
            Rejected: it is not registered.
        """
        found = [r for r in await store.records_by_ref(tx, [ref]) if r.ref == ref]
        if not found:
            raise Rejected("no such record is registered", code="unknown-reference")
        [record] = found
        [resolved] = await self._resolved(tx, [record])
        years = await _years(tx, [record.entity])
        deadline = self._deadline(_identity(record, resolved), resolved, years[record.entity])
        covered = Covered(
            record.category,
            record.customer_id,
            await store.subjects(tx, record.id),
            record.holder,
            record.record_id,
            resolved.day,
        )
        holds = [_hold(row) for row in await store.holds(tx) if _scope(row).covers(covered)]
        return record, override(deadline, as_of=as_of, holds=holds)

    async def refresh_entity(self, tx: Connection, entity: str) -> None:
        """Compute all deadline keys of an entity anew: its financial years have changed."""
        keys = await store.keys_of_entity(tx, entity)
        await self._put(
            tx,
            {
                tuple(key.values()): Resolved(
                    key["anchor_state"],
                    key["anchor_day"],
                    missing=Phrase(key["lacking"]) if key["lacking"] else None,
                )
                for key in keys
                if key["category"] in self.policies.by_category
            },
        )

    def _known(self, category: str) -> bool:
        policy = self.policies.by_category.get(category)
        return policy is not None and policy.stored

    async def _put(
        self, tx: Connection, keys: Mapping[tuple[Any, ...], Resolved]
    ) -> dict[tuple[Any, ...], int]:
        if not keys:
            return {}
        years = await _years(tx, {key[0] for key in keys})
        rows = [self._row(key, resolved, years[key[0]]) for key, resolved in keys.items()]
        # In one order, so that two replicas cannot wait for each other.
        ordered = sorted(rows, key=lambda row: [str(row[c]) for c in _IDENTITY])
        ids = await store.put_keys(tx, ordered)
        return {
            tuple(row[c] for c in _IDENTITY): id_ for row, id_ in zip(ordered, ids, strict=True)
        }

    def _deadline(
        self, key: tuple[Any, ...], resolved: Resolved, years: FinancialYears | None
    ) -> Deadline:
        circumstances = Circumstances(
            years=years or FinancialYears(), vat_scheme="oss" if key[2] == "oss" else None
        )
        deadline = compute(self.policy(key[1]), resolved, circumstances)
        if deadline.status == "indeterminate" and years is None:
            return replace(deadline, missing=_GAP)
        return deadline

    def _row(
        self, key: tuple[Any, ...], resolved: Resolved, years: FinancialYears | None
    ) -> dict[str, Any]:
        deadline = self._deadline(key, resolved, years)
        return {
            **dict(zip(_IDENTITY, key, strict=True)),
            "policy_version": self.policy(key[1]).version,
            "status": deadline.status,
            "why": str(deadline.missing or ""),
            "provisional": deadline.provisional,
            "keep_through": deadline.keep_through,
            "floor": deadline.floor,
            "purge_from": deadline.purge_from,
            "must_purge_by": deadline.must_purge_by,
        }

    async def _resolved(self, tx: Connection, records: Sequence[Record]) -> list[Resolved]:
        customers = {r.customer_id for r in records if r.customer_id is not None}
        documents = {(r.entity, r.document) for r in records if r.document is not None}
        mates = [
            mate
            for mate in await store.records_of_documents(tx, documents)
            if self._known(mate.category)
        ]
        anchors = await store.anchors(tx, [*records, *mates])
        services = await store.services(tx, customers)
        accounts = await store.customer_anchors(tx, customers)
        days = {mate.ref: self._own_day(mate, anchors) for mate in mates}
        resolved: list[Resolved] = []
        for record in records:
            policy = self.policy(record.category)
            facts = Facts(
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
                    for mate in mates
                    if mate.document is not None
                    and (mate.entity, mate.document) == (record.entity, record.document)
                    and mate.ref != record.ref
                ],
            )
            resolved.append(
                resolve(
                    policy.clock or _never(record),
                    facts,
                    group=policy.group,
                    extension_basis=policy.extension_basis,
                )
            )
        return resolved

    def _own_day(self, mate: Record, anchors: Mapping[Ref, Sequence[AnchorRow]]) -> Moment | None:
        """Return the day that another document of a group is anchored on by itself."""
        policy = self.policy(mate.category)
        if policy.clock is None:
            return None
        facts = Facts(anchors=_anchors(anchors.get(mate.ref, ())))
        return resolve(policy.clock, facts, group="own").day


_IDENTITY = ("entity", "category", "scheme", "anchor_state", "anchor_day", "lacking")


def _identity(record: Record, resolved: Resolved) -> tuple[Any, ...]:
    lacking = str(resolved.missing or "")
    return record.entity, record.category, record.scheme, resolved.state, resolved.day, lacking


def _hold(row: Mapping[str, Any]) -> Hold:
    released = row["released_at"]
    return Hold(civil_day(row["placed_at"]), released and civil_day(released))


def _scope(row: Mapping[str, Any]) -> Scope:
    return Scope(**{name: row[name] for name in Scope.__slots__})


def _never(record: Record) -> Any:
    raise Rejected(f"the policy of {record.category} has no clock", code="never-stored")


def _anchors(rows: Iterable[AnchorRow]) -> list[anchor.Anchor]:
    return [
        anchor.Anchor(row.anchor_id, row.kind, row.day, event=row.event)
        for row in rows
        if row.kind is not None and row.day is not None and not (row.superseded or row.revoked)
    ]


def _steps(rows: Iterable[store.ServiceRow]) -> list[ServiceEvent]:
    return [ServiceEvent(row.service_id, row.kind, row.at or row.day, row.event) for row in rows]


async def _years(tx: Connection, entities: Collection[str]) -> dict[str, FinancialYears | None]:
    """Return the financial years of each entity; None while there is a gap in them."""
    found: dict[str, FinancialYears | None] = {}
    for entity, rows in (await store.fiscal_years(tx, entities)).items():
        try:
            found[entity] = FinancialYears.of(
                FinancialYear(first, last, closed=closed, event=event)
                for first, last, closed, event in rows
            )
        except Rejected:
            found[entity] = None
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
