"""Puts the policies of new categories in force; any other change is planned first."""

from dataclasses import dataclass

from retention import store
from retention.policy import Policies, Policy
from retention.registry import Registry
from retention.rule import Period
from shared import logs
from shared.canonical import digest
from shared.clock import Clock
from shared.events.gallra import PolicyActivated
from shared.outbox import Outbox
from shared.postgres import Pool, transaction

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Activation:
    """Compares the policies at hand with those in force, when the service starts."""

    registry: Registry
    policies: Policies
    outbox: Outbox
    clock: Clock

    async def run(self, pool: Pool) -> None:
        """Activate policies of categories that had none: there is no data that they could move.

        All deadline keys are computed anew: an earlier release may have computed them otherwise.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            await store.policies_change(tx)
            history = await self.registry.in_force.read(tx)
            for category, policy in sorted(self.policies.by_category.items()):
                in_force = history.newest.get(category)
                if in_force is None:
                    await store.put_policy(tx, policy, fingerprint(policy), now)
                    await self.outbox.announce(tx, now, [activated(policy)])
                elif in_force != policy:
                    _log.warning(
                        "a policy file is not what is in force: see `gallra policy plan`",
                        category=category,
                        in_force=in_force.version,
                        in_file=policy.version,
                    )
            history = await self.registry.in_force.read(tx)
            await self.registry.refresh_keys(tx, categories=history.stored)


def activated(policy: Policy) -> PolicyActivated:
    """Return what the master log is told of a version."""
    period = policy.rule if isinstance(policy.rule, Period) else None
    clock = policy.clock
    return PolicyActivated(
        category=policy.category,
        version=policy.version,
        sha256=fingerprint(policy).hex(),
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
        effective_from=policy.effective_from,
        existing=policy.existing,
        statute=policy.statutory,
    )


def fingerprint(policy: Policy) -> bytes:
    """Return the SHA-256 of all that a version says."""
    return digest(policy.model_dump_json().encode())
