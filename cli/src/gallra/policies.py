"""Changes of policies from the command line, by whoever may open retention's database."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from gallra.stackfile import read
from retention.in_force import InForce
from retention.plan import Effect, Plan, changes
from retention.planner import Planner
from retention.policy import Policy, load
from shared.clock import SystemClock
from shared.outbox import Outbox
from shared.postgres import Pool, open_pool


@asynccontextmanager
async def _pool(data: Path) -> AsyncGenerator[Pool]:
    async with open_pool(read(data).databases["retention"], "gallra-policy") as pool:
        yield pool


async def plan(data: Path, folder: Path) -> tuple[Plan, Mapping[str, Policy]]:
    """Plan to put the policies of *folder* in force; return the plan and what is in force."""
    wanted = load(folder)
    planner = Planner(InForce(wanted.holders), Outbox("//gallra/retention"), SystemClock())
    async with _pool(data) as pool:
        made = await planner.plan(pool, wanted)
    return made, planner.in_force.history.newest


async def approve(data: Path, sha256: str, *, by: str) -> Plan | None:
    """Approve a plan; return it once it is applied."""
    planner = Planner(InForce({}), Outbox("//gallra/retention"), SystemClock())
    async with _pool(data) as pool:
        return await planner.approve(pool, sha256, by=by)


def in_words(made: Plan, in_force: Mapping[str, Policy]) -> str:
    """Return a plan for people."""
    lines: list[str] = []
    for policy, effect in zip(made.policies, made.effects, strict=True):
        existing = "goes by it as well" if policy.existing == "apply" else "stays as promised"
        lines.append(
            f"{policy.category}: version {policy.version}, from {policy.effective_from};"
            f" existing data {existing}"
        )
        lines += [f"  {line}" for line in _changed(in_force.get(policy.category), policy)]
        lines += [*(f"  {line}" for line in _effect(effect)), ""]
    lines.append(f"plan {made.sha256.hex()}")
    return "\n".join(lines)


def _changed(old: Policy | None, new: Policy) -> Iterator[str]:
    if old is None:
        yield "new: there is no data of it"
        return
    for field, before, after in changes(old, new):
        yield f"{field}: {before} -> {after}"


def _effect(effect: Effect) -> Iterator[str]:
    yield (
        f"moves {effect.moved:,} of {effect.records:,} deadlines, {effect.earlier:,} earlier;"
        f" {effect.below_statute:,} below a statutory minimum"
    )
    if effect.moved:
        first = f"first purge {effect.first_purge}" if effect.first_purge else "no purge yet"
        holders = ", ".join(effect.holders)
        yield f"{first}; {len(effect.holders)} holder(s): {holders}; {effect.held:,} under hold"
