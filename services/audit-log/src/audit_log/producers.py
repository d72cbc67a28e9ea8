"""Accounts for every number that producers gave to their events, and names those that are lost."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from audit_log import sequence, store
from audit_log.alerts import Alerts, Finding
from shared.clock import Clock
from shared.cloudevents import Event, numbered
from shared.postgres import Connection, Pool, sole, transaction

PATIENCE: Final = timedelta(minutes=1)
"""How long a number may be late before it is called lost."""


async def count(tx: Connection, events: Sequence[Event], now: datetime) -> None:
    """Note the numbers of *events*; whoever else counts waits for *tx*, as it holds the tree."""
    await _advance(tx, [(e.source, e.sequence) for e in events if e.sequence is not None], now)


async def _advance(tx: Connection, numbered: Sequence[tuple[str, int]], now: datetime) -> None:
    numbers: dict[str, list[int]] = defaultdict(list)
    for source, number in numbered:
        numbers[source].append(number)
    if not numbers:
        return
    before = await store.counts(tx, list(numbers))
    after = {s: sequence.advance(before.get(s), given) for s, given in numbers.items()}
    await store.write_counts(tx, after, now)


async def lost(tx: Connection) -> dict[str, str]:
    """Return, by producer, the numbers of the events that never arrived, as people write them."""
    missing = await store.still_missing(tx)
    return {source: sequence.named(numbers) for source, numbers in missing.items()}


@dataclass(frozen=True, slots=True)
class LossWatch:
    """Raises an alert for numbers that are missing too long, and resolves it when they come."""

    alerts: Alerts
    clock: Clock

    async def look(self, pool: Pool) -> None:
        """Compare what is missing with what was missing a minute ago."""
        async with transaction(pool) as tx:
            if not await sole(tx, "loss-watch"):
                return
            now = self.clock.now()
            lost = await store.still_missing(tx, now - PATIENCE)
            await store.remember_missing(tx, now, forget_before=now - 2 * PATIENCE)
        # Apart from what is remembered, which verify goes by whatever becomes of the alerts.
        async with transaction(pool) as tx:
            if await sole(tx, "loss-watch"):
                findings = [_lost(source, named) for source, named in lost.items()]
                known = await store.producers(tx)
                findings += [_broken(row) for row in known if row["implausible"]]
                await self.alerts.stand(tx, "sequence", findings)


def _lost(source: str, numbers: Any) -> Finding:
    summary = f"{len(numbers)} event(s) of {source} never arrived: {sequence.named(numbers)}"
    return Finding(f"sequence/lost/{source}", "critical", summary, "events-lost", source)


def _broken(row: dict[str, Any]) -> Finding:
    summary = f"{row['implausible']} event(s) of {row['source']} bear numbers out of all order"
    return Finding(
        f"sequence/broken/{row['source']}", "warning", summary, "events-lost", row["source"]
    )


def count_dead_letters(clock: Clock) -> Callable[[Connection, Sequence[Any]], Awaitable[None]]:
    """Return what counts the numbers of events that were set aside: those did arrive."""

    async def note(tx: Connection, records: Sequence[Any]) -> None:
        # Of what cannot be read there is nothing to count.
        if counted := [number for record in records if (number := numbered(record))]:
            await store.lock_tree(tx)
            await _advance(tx, counted, clock.now())

    return note
