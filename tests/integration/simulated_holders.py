"""Systems that hold personal data, and how they answer to purge commands for years on end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random

from tests.integration import evidence
from tests.integration.evidence import Log
from tests.integration.test_closed_loop import answer

from retention.calendar import civil_day, day_after
from shared.events.gallra import (
    Counts,
    PurgeCancel,
    PurgeCommand,
    PurgeCommit,
    PurgeException,
    PurgePrepare,
    PurgeResult,
)


@dataclass
class Holders:
    """All holders at once: most do what they are told, some refuse for a while or answer late.

    Attributes:
        quiet_from: The day from which on all do as they are told, at once.
        hidden: What is in quarantine for each chunk.
        owed: Answers to come, by chunk: the phase asked for, when, and whether it is done already.
    """

    random: Random
    log: Log
    quiet_from: date
    hidden: dict[str, list[str]] = field(default_factory=dict)
    owed: dict[str, tuple[type[PurgeCommand], datetime, bool]] = field(default_factory=dict)
    commands: dict[str, PurgeCommand] = field(default_factory=dict)
    kept_waiting: set[str] = field(default_factory=set)

    def take(self, command: PurgeCommand, now: datetime) -> PurgeResult | None:
        """Carry out a command; return the answer, or None if it comes later."""
        chunk, kind = command.chunk_id, type(command)
        owed = self.owed.get(chunk)
        if owed is not None and owed[0] is kind:
            return None  # asked again
        self.commands[chunk] = command
        if kind is PurgeCancel:
            return self._cancel(command, now, done=owed is not None and owed[2])
        if self._is_late(command, now):
            done = kind is PurgeCommit and self.random.random() < 0.5
            if done:
                self._erase(command, now)
            days = self.random.choice((0.5, 1, 1.5))
            self.owed[chunk] = kind, now + timedelta(days=days), done
            return None
        return self._prepare(command, now) if kind is PurgePrepare else self._commit(command, now)

    def late(self, now: datetime) -> list[PurgeResult]:
        """Return the answers that are given late."""
        told: list[PurgeResult] = []
        for chunk, (kind, at, done) in [*self.owed.items()]:
            if at > now:
                continue
            command = self.commands[chunk]
            del self.owed[chunk]
            if kind is PurgePrepare:
                told.append(self._prepare(command, now))
            elif done:
                told.append(self._done(command, now))
            else:
                told.append(self._commit(command, now))
        return told

    def _is_late(self, command: PurgeCommand, now: datetime) -> bool:
        """Decide on it; no record is kept waiting twice, so that all stay within their grace."""
        if self.random.random() > 0.02 or civil_day(now) >= self.quiet_from:
            return False
        phase = type(command).__name__
        waiting = {f"{phase}/{ref}" for ref in command.refs}
        if waiting & self.kept_waiting:
            return False
        self.kept_waiting |= waiting
        return True

    def _prepare(self, command: PurgeCommand, now: datetime) -> PurgeResult:
        refused = self._refused(command.refs, now)
        left = [ref for ref in command.refs if ref not in {e.ref for e in refused}]
        self.hidden[command.chunk_id] = left
        return answer(command, now, refused)

    def _refused(self, refs: Sequence[str], now: datetime) -> list[PurgeException]:
        if self.random.random() > 0.03 or civil_day(now) >= self.quiet_from:
            return []
        few = self.random.sample(sorted(refs), min(len(refs), self.random.randint(1, 5)))
        days = self.random.choice((None, 0, 5, 40, 60))
        until = None if days is None else day_after(civil_day(now), days)
        return [PurgeException(ref=ref, code="dispute", until=until) for ref in few]

    def _commit(self, command: PurgeCommand, now: datetime) -> PurgeResult:
        refused = self._refused(self.hidden[command.chunk_id], now)
        kept = {e.ref for e in refused}
        left = [ref for ref in self.hidden[command.chunk_id] if ref not in kept]
        self.hidden[command.chunk_id] = left
        self._erase(command, now)
        return self._done(command, now, refused)

    def _erase(self, command: PurgeCommand, now: datetime) -> None:
        refs = self.hidden[command.chunk_id]
        if command.holder == evidence.HOLDER and refs:
            self.log.purge(command, refs, now)

    def _done(
        self, command: PurgeCommand, now: datetime, refused: Sequence[PurgeException] = ()
    ) -> PurgeResult:
        gone = len(self.hidden[command.chunk_id])
        what = "erased" if command.action == "erase" else "anonymised"
        counts = Counts(**{what: gone}, refused=len(refused))
        return answer(command, now, refused, phase="commit", counts=counts)

    def _cancel(self, command: PurgeCommand, now: datetime, *, done: bool) -> PurgeResult:
        self.owed.pop(command.chunk_id, None)
        return self._done(command, now) if done else answer(command, now)
