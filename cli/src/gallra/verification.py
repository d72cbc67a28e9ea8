"""Verifying and reading the master log: of a running stack, in public, or from a package."""

import gc
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from audit_log import evidence, tenant
from audit_log import mirror as mirroring
from audit_log import public as publicly
from audit_log.checkpoint import Verifier
from audit_log.conformity import judge
from audit_log.merkle import WIDTH
from audit_log.producers import lost
from audit_log.sequence import named
from audit_log.store import tenant_key as read_tenant_key
from audit_log.verify import STEP, Purged, Verdict, verify
from gallra.ask import ask, credentials
from gallra.stackfile import Stack, read
from shared.errors import Rejected
from shared.postgres import Pool, open_pool

_SEGMENT: Final = 50 * STEP
"""Entries after which a verification that can be resumed notes how far it came."""

_ASK_FOR_KEY: Final = (
    "If the log has exchanged its key since, ask for its present key, elsewhere than where the log"
    " is served, and name it with --vkey: what the log itself says of a new key proves nothing"
    " to who knows only the old one"
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Two verdicts, never one: whether what is there is unchanged, and whether all came."""

    size: int
    problems: list[str]
    lost: dict[str, str] = field(default_factory=dict[str, str])
    more: dict[str, int] = field(default_factory=dict[str, int])
    says_complete: bool = True

    @property
    def intact(self) -> bool:
        """True if nothing was changed."""
        return not self.problems

    @property
    def complete(self) -> bool:
        """True if nothing is known to be missing."""
        return not self.lost

    def facts(self) -> dict[str, Any]:
        """Return all of it for programs."""
        completeness = {"complete": self.complete, "lost": self.lost} if self.says_complete else {}
        return {
            "intact": self.intact,
            **completeness,
            "size": self.size,
            **self.more,
            "problems": self.problems,
        }

    def words(self) -> list[str]:
        """Return all of it for people."""
        counts = "".join(f", {number} {what}" for what, number in self.more.items())
        state = "intact" if self.intact else "NOT INTACT"
        lines = [f"{state}: {self.size} entries signed{counts}", *self.problems]
        if self.says_complete:
            lines.append("complete" if self.complete else "NOT COMPLETE")
            lines += [f"{source} never arrived: {numbers}" for source, numbers in self.lost.items()]
        return lines


@dataclass(frozen=True, slots=True)
class Span:
    """What part of the log is to be verified, and where it is noted how far that came."""

    first: int = 0
    end: int | None = None
    since: str | None = None
    state: Path | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The file in which a verification notes how far it came."""

    path: Path

    def load(self) -> Verdict | None:
        """Return what was noted."""
        if not self.path.exists():
            return None
        return Verdict(**json.loads(self.path.read_text(encoding="utf-8")))

    def save(self, verdict: Verdict) -> None:
        """Note *verdict*, so that an interruption leaves the old note or the new one."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        fresh.replace(self.path)


async def verdict_of(stack: Stack) -> Verdict:
    """Walk the whole log of *stack* and return what was found."""
    async with open_pool(stack.databases["audit_log"], "gallra-verify") as pool:
        return await verify(pool, await _keys(stack, None))


async def database(data: Path, vkey: str | None, span: Span, progress: Progress) -> Outcome:
    """Verify the database of the stack at *data*."""
    stack = read(data)
    keys = await _keys(stack, vkey)
    # The rows of a step are many objects that all go together, and hold no cycles.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    async with open_pool(stack.databases["audit_log"], "gallra-verify") as pool:
        if span.state is None:
            verdict = await verify(
                pool, keys, first=span.first, end=span.end, since=span.since, progress=progress
            )
        else:
            verdict = await _in_segments(pool, keys, span, State(span.state), progress)
        async with pool.acquire() as tx:
            missing = await lost(tx)
    if verdict.intact and span.first and span.first >= verdict.size:
        text = f"--from {span.first}: only {verdict.size} entries are signed"
        raise Rejected(text, code="beyond-the-log")
    more = {
        "with content": verdict.present,
        "purged with a receipt": verdict.purged,
        "not signed yet": verdict.unsigned,
    }
    return Outcome(verdict.size, verdict.problems, missing, more)


async def _in_segments(
    pool: Pool, keys: list[Verifier], span: Span, state: State, progress: Progress
) -> Verdict:
    """Verify segment after segment, so that an interruption costs one of them."""
    total = state.load() or Verdict(first=span.first, end=span.first)
    purged = Purged()
    while True:
        end = total.end // WIDTH * WIDTH + _SEGMENT
        end = end if span.end is None else min(end, span.end)
        verdict = await verify(
            pool, keys, first=total.end, end=end, since=span.since, purged=purged
        )
        total.size, total.unsigned = verdict.size, verdict.unsigned
        total.present += verdict.present
        total.purged += verdict.purged
        total.problems += [p for p in verdict.problems if p not in total.problems]
        stuck = verdict.end <= total.end
        total.end = max(verdict.end, total.end)
        state.save(total)
        last = min(span.end or verdict.size, verdict.size)
        progress(total.end - span.first, last - span.first)
        if stuck or total.end >= last:
            state.path.unlink()
            return total


async def public(url: str, vkey: str | None, progress: Progress) -> Outcome:
    """Verify the public files at *url*."""
    async with _reader(url) as fetch:
        keys = await _public_keys(fetch, vkey)
        try:
            log = await publicly.read(fetch, keys, progress=progress)
            await publicly.check_tiles(fetch, log)
        except Rejected as error:
            more = [_ASK_FOR_KEY] if error.code == "bad-signature" else []
            return Outcome(0, [str(error), *more], says_complete=False)
        return Outcome(log.checkpoint.size, [], says_complete=False)


def offline(package: Path, vkey: str) -> Outcome:
    """Verify an evidence package with nothing but the key of the log."""
    try:
        checked = evidence.check(package.read_bytes(), Verifier.parse(vkey))
    except Rejected as error:
        return Outcome(0, [str(error)], says_complete=False)
    more = {"in this package": len(checked.lines)}
    return Outcome(checked.checkpoint.size, [], more=more, says_complete=False)


async def tenant_key(data: Path, customer: str) -> dict[str, str]:
    """Return what a customer needs to find its entries."""
    stack = read(data)
    async with open_pool(stack.databases["audit_log"], "gallra") as pool, pool.acquire() as tx:
        key = await read_tenant_key(tx, customer)
    if key is None:
        raise Rejected("there is no entry of that customer", code="unknown")
    url = f"{stack.urls['audit_log']}/log"
    vkeys = (await ask(f"{url}/vkey")).text
    return {"customer": customer, "key": key.hex(), "url": url, "vkey": vkeys}


async def my_entries(
    held: dict[str, str], url: str | None, vkey: str | None, progress: Progress
) -> tenant.Entries:
    """Return what a tenant's key finds in the public log.

    Args:
        held: What the tenant was given, with the log's keys of then.
        url: Of the public log, if it is not where it was then.
        vkey: Of the log, if it signs with another key than then.
        progress: Told how far it came.

    Raises:
        Rejected: the log is not intact, or signs with a key that is not known.
    """
    keys = [Verifier.parse(line) for line in (vkey or held["vkey"]).splitlines()]
    async with _reader(url or held["url"]) as fetch:
        try:
            log = await publicly.read(fetch, keys, statements=False, progress=progress)
        except Rejected as error:
            if error.code != "bad-signature":
                raise
            raise Rejected(f"{error}. {_ASK_FOR_KEY}", code=error.code) from None
    return tenant.find(bytes.fromhex(held["key"]), log.leaves)


async def conformity(
    data: Path, url: str | None, vkey: str | None, progress: Progress
) -> dict[str, str]:
    """Return which entries were purged early, late or without explanation, as people write it."""
    async with _reader(url or f"{read(data).urls['audit_log']}/log") as fetch:
        log = await publicly.read(fetch, await _public_keys(fetch, vkey), progress=progress)
    found = judge(log.leaves, log.receipts(), log.policies(), datetime.now(UTC))
    return {
        "early": named(found.early),
        "late": named(found.late),
        "unexplained": named(found.unexplained),
    }


async def mirror(data: Path, target: str, progress: Progress) -> int:
    """Write the public log of the stack at *data* to *target*."""
    stack = read(data)
    keys = await _keys(stack, None)
    policy = (await ask(f"{stack.urls['audit_log']}/log/policy")).text
    async with open_pool(stack.databases["audit_log"], "gallra-mirror") as pool:
        return await mirroring.export(pool, target, keys, policy, progress)


async def export(
    data: Path,
    form: str,
    wanted: dict[str, str],
    sink: Callable[[bytes], object],
    progress: Progress,
) -> None:
    """Write the entries that are *wanted* to *sink*."""
    path = "/api/v1/evidence" if form == "evidence" else "/api/v1/exports"
    given = wanted if form == "evidence" else {**wanted, "format": form}
    base = read(data).urls["audit_log"]
    async with (
        httpx.AsyncClient(base_url=base, timeout=60, headers=credentials()) as client,
        client.stream("GET", path, params=given) as answer,
    ):
        if answer.is_error:
            await answer.aread()
            raise Rejected(answer.json().get("detail", answer.text), code="refused")
        total = int(answer.headers.get("x-total-count", "1"))
        done = 0
        async for part in answer.aiter_bytes():
            sink(part)
            done += part.count(b"\n")
            progress(min(done, total), total)


async def _keys(stack: Stack, vkey: str | None) -> list[Verifier]:
    given = vkey or (await ask(f"{stack.urls['audit_log']}/log/vkey")).text
    return [Verifier.parse(line) for line in given.splitlines()]


async def _public_keys(fetch: publicly.Fetch, vkey: str | None) -> list[Verifier]:
    given = vkey or (await fetch("vkey") or b"").decode()
    return [Verifier.parse(line) for line in given.splitlines()]


@asynccontextmanager
async def _reader(url: str) -> AsyncGenerator[publicly.Fetch]:
    """Lend a way to read the public log at *url*."""
    if not url.startswith("http"):
        yield publicly.from_store(url)
        return
    async with httpx.AsyncClient(base_url=f"{url.rstrip('/')}/", timeout=30) as client:
        yield publicly.over_http(client)
