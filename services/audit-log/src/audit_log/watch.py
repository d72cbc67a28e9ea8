"""Reads the log again and again at a bounded rate, and raises an alert if anything differs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from audit_log import store
from audit_log.alerts import Alerts, Finding
from audit_log.checkpoint import Verifier
from audit_log.merkle import WIDTH
from audit_log.verify import Purged, verify
from shared.clock import Clock
from shared.postgres import Pool, sole, transaction

EVERY: Final = timedelta(seconds=1)
STEP: Final = 4 * WIDTH
"""Entries read each time: few at a time, as appending waits while they are checked."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The continuous verifier: round after round through the whole log."""

    verifiers: Sequence[Verifier]
    alerts: Alerts
    clock: Clock
    purged: Purged = field(default_factory=Purged)

    async def step(self, pool: Pool) -> None:
        """Verify the next entries."""
        async with pool.acquire() as tx:
            position = await store.watch_position(tx)
        end = position + STEP
        verdict = await verify(pool, self.verifiers, first=position, end=end, purged=self.purged)
        async with transaction(pool) as tx:
            if not await sole(tx, "watch"):
                return
            here = [p for p in verdict.problems if p not in verdict.general]
            for family, problems in (
                ("watch/log", verdict.general),  # told once, wherever the round has come
                (f"watch/{position}", here),
            ):
                await self.alerts.stand(tx, family, _findings(family, problems))
            at_end = verdict.end >= verdict.size
            await store.set_watch(
                tx, 0 if at_end else verdict.end, self.clock.now() if at_end else None
            )


def _findings(family: str, problems: Sequence[str]) -> list[Finding]:
    summary = f"the log is not intact: {'; '.join(problems)}"
    found = Finding(f"{family}/differs", "critical", summary, "log-not-intact")
    return [found] if problems else []
