"""Puts the policies that a service was started with in force, and says so in the master log."""

import hashlib
from dataclasses import dataclass

from retention import second_engine_store, store
from retention.policy import Policy
from retention.registry import Registry
from retention.rule import Period
from shared.clock import Clock
from shared.events.gallra import PolicyActivated
from shared.outbox import Outbox
from shared.postgres import Pool, transaction
from shared.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Activation:
    """Compares the policies at hand with those in force."""

    registry: Registry
    outbox: Outbox
    clock: Clock

    async def run(self, pool: Pool) -> None:
        """Activate new versions and find the deadlines of the records they cover anew.

        Those of frozen categories too, so that a wrong date is put right by a restart.

        Raises:
            SettingsError: a policy was changed without a new version, or is older than what is in
                force.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('policies', 0))")
            in_force = await store.policies(tx)
            changed = set(await second_engine_store.frozen(tx))
            for category, policy in sorted(self.registry.policies.by_category.items()):
                sha256 = _digest(policy)
                version, known = in_force.get(category, (0, b""))
                if (version, known) == (policy.version, sha256):
                    continue
                if policy.version <= version:
                    raise SettingsError(
                        f"policies/{category}.yaml: version {version} is in force with other"
                        f" content; give the change version {version + 1}"
                    )
                await store.put_policy(tx, category, policy.version, sha256, now)
                activated = _activated(policy, sha256)
                await self.outbox.announce(tx, now, [activated])
                if version:
                    changed.add(category)
            await self.registry.refresh_keys(tx, categories=changed)


def _activated(policy: Policy, sha256: bytes) -> PolicyActivated:
    period = policy.rule if isinstance(policy.rule, Period) else None
    clock = policy.clock
    return PolicyActivated(
        category=policy.category,
        version=policy.version,
        sha256=sha256.hex(),
        log_class=policy.log_class,
        keep_months=period and period.months,
        keep_days=period and period.days,
        grace_days=policy.grace_days,
        # Only then the day of an entry alone tells when it must be gone.
        fixed=period is not None
        and period.end_of is None
        and clock is not None
        and not clock.while_service,
        action=policy.action,
    )


def _digest(policy: Policy) -> bytes:
    return hashlib.sha256(policy.model_dump_json().encode()).digest()
