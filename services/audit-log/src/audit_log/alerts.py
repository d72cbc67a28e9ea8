"""Alerts of the log about itself: raised once, again when they change, resolved when over."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from audit_log import store
from shared.canonical import digest
from shared.clock import Clock
from shared.events import Data
from shared.events.gallra import AlertRaised, AlertResolved
from shared.outbox import Outbox
from shared.postgres import Connection

_LONGEST_NAME: Final = 200
_LONGEST_SUMMARY: Final = 2000
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the log that a person must know.

    Attributes:
        about: The system it is about; made part of the fingerprint by whoever finds it.
    """

    fingerprint: str
    severity: Literal["warning", "critical"]
    summary: str
    runbook: str
    about: str = ""

    def raised(self) -> AlertRaised:
        """Return the alert."""
        labels = {"about": _short(self.about)} if self.about else {}
        return AlertRaised(
            fingerprint=_short(self.fingerprint),
            severity=self.severity,
            summary=self.summary,
            labels=labels,
            runbook=self.runbook,
        )


def _short(name: str) -> str:
    """Return *name* as an alert may bear it, another one for every other name."""
    plain = _CONTROLS.sub("?", name)
    if plain == name and len(name) <= _LONGEST_NAME:
        return name
    return f"{plain[:100]}~{digest(name.encode()).hex()[:16]}"


@dataclass(frozen=True, slots=True)
class Alerts:
    """Announces alerts, and remembers which stand."""

    outbox: Outbox
    clock: Clock

    async def stand(self, tx: Connection, family: str, findings: Sequence[Finding]) -> None:
        """Let exactly *findings* stand in the family: the fingerprints that begin with its name."""
        standing = await store.standing_alerts(tx, family)
        wanted = {_short(f.fingerprint): f for f in map(_cut, findings)}
        events: list[Data] = [
            finding.raised()
            for fingerprint, finding in wanted.items()
            if standing.get(fingerprint) != finding.summary
        ]
        events += [
            AlertResolved(fingerprint=over, severity="info", summary=standing[over])
            for over in standing.keys() - wanted.keys()
        ]
        if events:
            await self.outbox.announce(tx, self.clock.now(), events)
            summaries: Mapping[str, str] = {name: f.summary for name, f in wanted.items()}
            await store.write_standing_alerts(tx, family, summaries)


def _cut(finding: Finding) -> Finding:
    summary = _CONTROLS.sub("?", finding.summary)
    if len(summary) > _LONGEST_SUMMARY:
        summary = f"{summary[:_LONGEST_SUMMARY]} … and more; GET /api/v1/producers has all"
    return Finding(finding.fingerprint, finding.severity, summary, finding.runbook, finding.about)
