"""Two engines: nothing is ordered on a date that the rules and the SQL do not agree on.

A category in which they differ is frozen.  It thaws when, and only when, they agree on every key of
it that records wait on: a date is not made right by people who approve it, so nobody is asked.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from retention import second_engine_store as store
from retention.purge_store import Due
from retention.second_engine_store import Difference, Versions
from shared.events.gallra import AlertRaised
from shared.postgres import Connection


async def frozen(tx: Connection, versions: Versions) -> set[str]:
    """Return the categories that are frozen, after those have thawed that agree again."""
    before = set(await store.frozen(tx))
    if not before:
        return before
    differing = await store.differing(tx, versions, await store.keys_in_use(tx, before))
    still = {difference.category for difference in differing}
    await store.thaw(tx, before - still)
    return before & still


async def agreed(
    tx: Connection, versions: Versions, items: Sequence[Due], now: datetime
) -> list[Due]:
    """Return those of *items* that may be ordered; freeze the categories of all others."""
    stopped = await _freeze(tx, await store.differing(tx, versions, {i.key for i in items}), now)
    return [item for item in items if item.category not in stopped]


async def inspect(tx: Connection, versions: Versions, now: datetime) -> None:
    """Freeze every category with a wrong date that records wait on, too late ones among them."""
    keys = await store.keys_in_use(tx, versions)
    await _freeze(tx, await store.differing(tx, versions, keys), now)


async def agrees_on(tx: Connection, versions: Versions, records: Collection[int]) -> bool:
    """Return whether the engines agree on the dates of all *records*, given by their ids."""
    return not await store.differing(tx, versions, await store.keys_of(tx, records))


async def alerts(tx: Connection) -> list[AlertRaised]:
    """Return what on-call must know of."""
    return [
        AlertRaised(
            fingerprint=f"engines-disagree/{category}",
            severity="critical",
            summary=f"purges of {category} are frozen: {why}",
            labels={"category": category},
            runbook="engines-disagree",
        )
        for category, why in (await store.frozen(tx)).items()
    ]


async def _freeze(tx: Connection, differing: Sequence[Difference], now: datetime) -> set[str]:
    first = {difference.category: difference for difference in reversed(differing)}
    for category, difference in first.items():
        await store.freeze(tx, category, _why(difference), now)
    return set(first)


def _why(difference: Difference) -> str:
    return (
        f"deadline key {difference.key} of {difference.entity}, anchored"
        f" {difference.anchor_day}, is kept through {difference.keep_through} and purged from"
        f" {difference.purge_from:%Y-%m-%dT%H:%M:%SZ}, by version {difference.policy_version} with"
        f" floor {difference.floor}; SQL finds {difference.computed}, by version"
        f" {difference.computed_version} with floor {difference.computed_floor}"
    )
