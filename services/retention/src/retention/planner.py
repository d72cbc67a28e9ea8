"""Plans a change of policies, and puts it in force when two people have approved the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydantic import TypeAdapter

from retention import plan_store, store
from retention.activation import activated, fingerprint
from retention.calendar import civil_day
from retention.history import History
from retention.in_force import InForce
from retention.plan import Counted, Dates, Effect, Plan, effect, faults, forbidden, stale
from retention.policy import Policies, Policy
from retention.registry import Registry
from shared.clock import Clock
from shared.document import DocumentError
from shared.errors import Rejected
from shared.events.gallra import PolicyPlanApproved
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, transaction

TOLERATED: Final = 100
"""Records that may have come since a plan was made, and go sooner by it."""

_policies: TypeAdapter[tuple[Policy, ...]] = TypeAdapter(tuple[Policy, ...])
_effects: TypeAdapter[tuple[Effect, ...]] = TypeAdapter(tuple[Effect, ...])


@dataclass(frozen=True, slots=True)
class Planner:
    """Compares policy files with what is in force, record by record where it must."""

    in_force: InForce
    outbox: Outbox
    clock: Clock

    async def plan(self, pool: Pool, wanted: Policies) -> Plan:
        """Return what it would do to put *wanted* in force, and keep it for approval.

        Raises:
            DocumentError: a version cannot follow the one in force.
            Rejected: all of it is in force already.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            history = await self.in_force.read(tx)
            changed = tuple(
                policy
                for category, policy in sorted(wanted.by_category.items())
                if policy != history.newest.get(category)
            )
            if not changed:
                raise Rejected("all of these policies are in force as they are", code="no-change")
            _check(history, changed, civil_day(now))
            made = await self._make(tx, history, changed, now)
            await plan_store.keep(tx, made, now)
        return made

    async def _make(
        self, tx: Connection, history: History, changed: Sequence[Policy], now: datetime
    ) -> Plan:
        versions = [version for known in history.versions.values() for version in known]
        proposed = Registry(InForce(self.in_force.holders, History.of([*versions, *changed])))
        keys: list[Counted] = []
        for policy in changed:
            known = history.newest.get(policy.category)
            if known is not None and known.same_clock(policy):
                keys += await self._by_key(tx, proposed, policy.category)
            elif known is not None:
                keys += await self._by_record(tx, proposed, policy.category)
        held = await plan_store.held(tx, {key.key for key in keys if key.moved}, now)
        effects = tuple(
            effect(p, [k for k in keys if k.category == p.category], held.get(p.category, 0))
            for p in changed
        )
        return Plan(tuple(changed), effects, civil_day(now), await plan_store.basis(tx))

    async def _by_key(self, tx: Connection, proposed: Registry, category: str) -> list[Counted]:
        found = await plan_store.counted(tx, [category])
        rows = await proposed.compute(tx, [key.identity for key in found])
        return [
            Counted(
                key=key.id,
                category=category,
                records=key.records,
                before=Dates(key.keep_through, key.floor),
                after=Dates(row["keep_through"], row["floor"]),
            )
            for key, row in zip(found, rows, strict=True)
        ]

    async def _by_record(self, tx: Connection, proposed: Registry, category: str) -> list[Counted]:
        """Return every record by itself: another clock resolves each anew."""
        before = {key.id: key for key in await plan_store.counted(tx, [category])}
        records = await store.records_of(tx, categories=[category])
        keys = await store.keys_of_records(tx, [record.id for record in records])
        rows = await proposed.compute(tx, await proposed.identities(tx, records))
        return [
            Counted(
                key=keys[record.id],
                category=category,
                records={record.holder: 1},
                before=Dates(before[keys[record.id]].keep_through, before[keys[record.id]].floor),
                after=Dates(row["keep_through"], row["floor"]),
            )
            for record, row in zip(records, rows, strict=True)
        ]

    async def approve(self, pool: Pool, sha256: str, *, by: str) -> Plan | None:
        """Approve a plan, named by its hash or the beginning of it; return it once it is applied.

        Two people must say so.  None if it waits for the second.

        Raises:
            Rejected: there is no such plan, it was applied before, is outdated or unlawful, or the
                same person approves again.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            await store.policies_change(tx)
            named = await plan_store.starting_with(tx, sha256.lower())
            kept = await plan_store.lock(tx, named[0]) if len(named) == 1 else None
            if kept is None or kept.applied_at is not None:
                raise Rejected("there is no such plan to approve", code="unknown-plan")
            if kept.first_by == by:
                raise Rejected("another person must agree to it", code="four-eyes")
            shown = Plan(
                _policies.validate_json(kept.policies),
                _effects.validate_json(kept.effect),
                civil_day(kept.made_at),
                kept.basis,
            )
            history = await self.in_force.read(tx)
            current = await self._make(tx, history, shown.policies, now)
            if why := stale(shown, current, TOLERATED):
                raise Rejected(f"the plan is outdated: {why}; plan again", code="stale-plan")
            if why := forbidden(current.effects):
                raise Rejected(f"nobody can approve this: {why}", code="below-statute")
            complete = kept.first_by is not None
            if complete:
                await plan_store.approve_second(tx, named[0], by, now)
                await self._apply(tx, shown, named[0], now)
            else:
                await plan_store.approve_first(tx, named[0], by, now)
            told = PolicyPlanApproved(
                plan=named[0].hex(),
                categories=tuple(policy.category for policy in shown.policies),
                moved=sum(effect.moved for effect in current.effects),
                earlier=current.earlier,
                by=by,
                complete=complete,
            )
            versions = [activated(policy) for policy in shown.policies] if complete else []
            await self.outbox.announce(tx, now, [told, *versions])
        return shown if complete else None

    async def _apply(self, tx: Connection, plan: Plan, sha256: bytes, now: datetime) -> None:
        before = self.in_force.history.newest
        for policy in plan.policies:
            await store.put_policy(tx, policy, fingerprint(policy), now, sha256)
        registry = Registry(InForce(self.in_force.holders))
        await registry.in_force.read(tx)
        await registry.refresh_keys(tx, categories=[p.category for p in plan.policies])
        for policy in plan.policies:
            known = before.get(policy.category)
            if known is not None and not known.same_clock(policy):
                records = await store.records_of(tx, categories=[policy.category])
                await registry.refresh(tx, records)


def _check(history: History, changed: Sequence[Policy], today: date) -> None:
    newest: Mapping[str, Policy] = history.newest
    problems = [
        fault
        for policy in changed
        if policy.category in newest
        for fault in faults(newest[policy.category], policy, today)
    ]
    if problems:
        raise DocumentError(problems)
