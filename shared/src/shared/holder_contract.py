"""What every holder of personal data must keep to, as checks that a holder runs against itself.

The checks need a database of the holder's own with nothing of value in it: they store records, and
erase them.  They speak to the holder as retention does, by commands through its desk::

    await check_holder(Bench(pool, desk, "lead.form", put, look))

A test framework may run each of :data:`CHECKS` by itself.  See docs/holders.md.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Any, Final, Literal

from shared.clock import VirtualClock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events import Data, event_type_of
from shared.events.gallra import (
    CanaryCommand,
    CanaryLook,
    CanaryPlant,
    CanarySeen,
    PurgeCancel,
    PurgeCommand,
    PurgeCommit,
    PurgePrepare,
    PurgeResult,
)
from shared.holder import CanaryHolder, PurgeDesk, command_hash
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction

State = Literal["shown", "hidden", "gone"]


class ContractError(Exception):
    """A holder does not do what every holder must."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A holder that is to be checked.

    Attributes:
        pool: Of the database that the desk keeps its memory in.
        category: One that it holds.
        put: Stores a record of that category and returns its id; each time another one.
        look: Says what became of a record: whether the holder's users see it, whether it is in
            quarantine, or whether nothing of it is left.
    """

    pool: Pool
    desk: PurgeDesk
    category: str
    put: Callable[[], Awaitable[str]]
    look: Callable[[str], Awaitable[State]]
    epochs: Iterator[int] = field(default_factory=lambda: count(1))

    def order(self, refs: Sequence[str], **changes: Any) -> PurgePrepare:
        """Return a command as retention gives it, newer than all before; *changes* are of it."""
        now = self.desk.clock.now()
        fields: dict[str, Any] = {
            "job_id": str(new_id()),
            "chunk_id": str(new_id()),
            "holder": self.desk.name,
            "category": self.category,
            "action": "erase",
            "refs": list(refs),
            "reason": "deadline",
            "policy_version": 1,
            "purge_from": now - timedelta(days=1),
            "hold_epoch": next(self.epochs),
            "not_after": now + timedelta(days=7),
        }
        blank = PurgePrepare(**{**fields, **changes}, command_hash="0" * 64)
        return blank.model_copy(update={"command_hash": command_hash(blank)})

    async def send(
        self, command: PurgeCommand, kind: type[PurgeCommand] = PurgePrepare
    ) -> PurgeResult:
        """Give a command, as one of *kind*; return the answer."""
        async with transaction(self.pool) as tx:
            return await self.take(tx, command, kind)

    async def take(
        self, tx: Connection, command: PurgeCommand, kind: type[PurgeCommand]
    ) -> PurgeResult:
        """Give a command in a transaction; return the answer, which echoes it."""
        given = kind.model_validate_json(command.model_dump_json())
        answer = PurgeResult.model_validate_json(await self._told(tx, given))
        _same(
            "the answer echoes the command",
            (answer.chunk_id, answer.holder, answer.command_hash, answer.hold_epoch),
            (given.chunk_id, given.holder, given.command_hash, given.hold_epoch),
        )
        return answer

    async def is_now(self, state: State, ref: str, when: str) -> None:
        """Check what became of a record."""
        _same(f"{when}, the record is", await self.look(ref), state)

    async def refuses(
        self, code: str, command: PurgeCommand, kind: type[PurgeCommand] = PurgePrepare
    ) -> None:
        """Check that a command is refused for all its records, which are seen as before."""
        answer = await self.send(command, kind)
        said = [(exception.ref, exception.code) for exception in answer.exceptions]
        _same("what is refused", said, [(ref, code) for ref in command.refs])
        _same("what is gone", (answer.counts.erased, answer.counts.anonymised), (0, 0))
        for ref in command.refs:
            await self.is_now("shown", ref, f"refused as {code}")

    async def rejects(self, command: PurgeCommand, kind: type[PurgeCommand] = PurgePrepare) -> None:
        """Check that a command is set aside as forged."""
        try:
            await self.send(command, kind)
        except Rejected as rejected:
            _same("it is rejected as", rejected.code, "forged-command")
        else:
            raise ContractError("a forged command was carried out")

    async def sees(self, found: bool, asked: CanaryCommand, when: str) -> None:
        """Check what the holder says of a canary."""
        async with transaction(self.pool) as tx:
            said = CanarySeen.model_validate_json(await self._told(tx, asked))
        expected = CanarySeen(
            **asked.model_dump(),
            phase="plant" if isinstance(asked, CanaryPlant) else "look",
            found=found,
        )
        _same(f"{when}, the holder says", said, expected)

    async def _told(self, tx: Connection, command: Data) -> str:
        """Give a command; return the answer, which the desk announces last."""
        await self.desk.take(tx, self._event(command))
        answer: str = await tx.fetchval("SELECT value FROM outbox ORDER BY position DESC LIMIT 1")
        return answer

    def _event(self, command: Data) -> Event:
        return Event(
            type=event_type_of(command),
            source="//holder-contract",
            id=str(new_id()),
            time=self.desk.clock.now(),
            content=command.model_dump(mode="json"),
        )


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ContractError(f"{what}: expected {expected!r}, found {found!r}")


async def prepare_hides(bench: Bench) -> None:
    """What is prepared is in quarantine, and nothing else is; to ask again changes nothing."""
    record, other = await bench.put(), await bench.put()
    await bench.is_now("shown", record, "before all")
    order = bench.order([record])
    first = await bench.send(order)
    _same("what is refused", list(first.exceptions), [])
    _same("the phase", first.phase, "prepare")
    for when in ("prepared", "prepared twice"):
        await bench.is_now("hidden", record, when)
        await bench.is_now("shown", other, "not named")
        _same("the answer from memory", _lasting(await bench.send(order)), _lasting(first))


async def commit_erases(bench: Bench) -> None:
    """What is committed is gone, and nothing else is; to ask again is answered from memory."""
    record, other = await bench.put(), await bench.put()
    order = bench.order([record])
    await bench.send(order)
    first = await bench.send(order, PurgeCommit)
    _same("how many are erased", (first.phase, first.counts.erased), ("commit", 1))
    for when in ("committed", "committed twice"):
        await bench.is_now("gone", record, when)
        await bench.is_now("shown", other, "not named")
        again = await bench.send(order, PurgeCommit)
        _same("the answer from memory", _lasting(again), _lasting(first))


async def cancel_restores(bench: Bench) -> None:
    """What is cancelled is seen again, for good: no commit comes after a cancel."""
    record = await bench.put()
    order = bench.order([record])
    await bench.send(order)
    for when in ("cancelled", "cancelled twice"):
        answer = await bench.send(order, PurgeCancel)
        _same("the phase", answer.phase, "cancel")
        await bench.is_now("shown", record, when)
    await bench.refuses("not-prepared", order, PurgeCommit)


async def cancel_before_prepare(bench: Bench) -> None:
    """A prepare that its cancel overtook hides nothing."""
    record = await bench.put()
    order = bench.order([record])
    await bench.send(order, PurgeCancel)
    await bench.send(order)
    await bench.is_now("shown", record, "cancelled before it was prepared")


async def cancel_too_late(bench: Bench) -> None:
    """A cancel that comes after the commit is answered with what was done."""
    record = await bench.put()
    order = bench.order([record])
    await bench.send(order)
    done = await bench.send(order, PurgeCommit)
    _same("the answer", _lasting(await bench.send(order, PurgeCancel)), _lasting(done))
    await bench.is_now("gone", record, "cancelled too late")


async def commit_needs_prepare(bench: Bench) -> None:
    """Nothing is erased that was not prepared."""
    await bench.refuses("not-prepared", bench.order([await bench.put()]), PurgeCommit)


async def stale_epoch(bench: Bench) -> None:
    """A command from before a change of holds is void, and what it hid is seen again."""
    first, second = await bench.put(), await bench.put()
    old = bench.order([first])
    await bench.send(old)
    await bench.send(bench.order([await bench.put()]))
    await bench.refuses("stale-hold-epoch", old, PurgeCommit)
    await bench.refuses("stale-hold-epoch", bench.order([second], hold_epoch=old.hold_epoch))


async def early_and_expired(bench: Bench) -> None:
    """A command is void before the records are due, and after its own end."""
    record, now = await bench.put(), bench.desk.clock.now()
    await bench.refuses("too-early", bench.order([record], purge_from=now + timedelta(hours=1)))
    past = now - timedelta(seconds=1)
    await bench.refuses("command-expired", bench.order([record], not_after=past))
    order = bench.order([record])
    await bench.send(order)
    later = VirtualClock(order.not_after + timedelta(seconds=1))
    late = replace(bench, desk=replace(bench.desk, clock=later))
    await late.refuses("command-expired", order, PurgeCommit)


async def forged(bench: Bench) -> None:
    """A command that is not what its hash says does nothing."""
    record = await bench.put()
    for kind in (PurgePrepare, PurgeCommit, PurgeCancel):
        order = bench.order([record])
        await bench.rejects(order.model_copy(update={"command_hash": "f" * 64}), kind)
        await bench.rejects(order.model_copy(update={"refs": [record, "another"]}), kind)
    await bench.is_now("shown", record, "forged")


async def changed(bench: Bench) -> None:
    """A chunk stays what it began as."""
    record, other = await bench.put(), await bench.put()
    order = bench.order([record])
    await bench.send(order)
    changed = bench.order([record, other], chunk_id=order.chunk_id)
    for kind in (PurgePrepare, PurgeCommit, PurgeCancel):
        await bench.rejects(changed, kind)
    await bench.is_now("hidden", record, "after another command for its chunk")
    await bench.is_now("shown", other, "slipped in")


async def unknown(bench: Bench) -> None:
    """What the holder does not know is not found, which is as good as gone."""
    record = await bench.put()
    order = bench.order([record, "no-such-record"])
    await bench.send(order)
    done = (await bench.send(order, PurgeCommit)).counts
    _same("erased and not found", (done.erased, done.not_found), (1, 1))
    await bench.is_now("gone", record, "committed")


async def repeated(bench: Bench) -> None:
    """Every function may be called again for the same records."""
    holder, record = bench.desk.holder, await bench.put()
    order = bench.order([record])
    async with transaction(bench.pool) as tx:
        for _ in range(2):
            ready = await holder.quarantine(tx, bench.category, [record])
            _same("ready to go", (tuple(ready.done), tuple(ready.missing)), ((record,), ()))
        for _ in range(2):
            await holder.restore(tx, bench.category, [record])
    await bench.is_now("shown", record, "restored twice")
    async with transaction(bench.pool) as tx:
        await holder.quarantine(tx, bench.category, [record])
        first = await holder.erase(tx, order, [record])
        second = await holder.erase(tx, order, [record])
        await holder.restore(tx, bench.category, [record])
    _same("erased first", (tuple(first.done), tuple(first.missing)), ((record,), ()))
    _same("erased again", (tuple(second.done), tuple(second.missing)), ((), (record,)))
    await bench.is_now("gone", record, "erased twice and restored")


async def canary(bench: Bench) -> None:
    """A canary, where they are taken, is a record like any other, found until it is erased."""
    if not isinstance(bench.desk.holder, CanaryHolder):
        return
    record = f"canary-{new_id().hex}"
    named = {"holder": bench.desk.name, "category": bench.category, "record_id": record}
    plant, look = CanaryPlant(**named), CanaryLook(**named)
    await bench.sees(False, look, "before it was planted")
    for when in ("planted", "planted twice"):
        await bench.sees(True, plant, when)
        await bench.is_now("shown", record, when)
    order = bench.order([record])
    await bench.send(order)
    await bench.sees(True, look, "in quarantine")
    done = await bench.send(order, PurgeCommit)
    _same("how many are erased", done.counts.erased + done.counts.anonymised, 1)
    await bench.sees(False, look, "erased")


class _CrashError(Exception):
    """The process died before its transaction committed."""


async def crashed(bench: Bench) -> None:
    """What did not commit did not happen: everything is done in the transaction given."""
    record = await bench.put()
    order = bench.order([record])
    await _crash(bench, order, PurgePrepare)
    await bench.is_now("shown", record, "prepared by a process that died")
    await bench.send(order)
    await _crash(bench, order, PurgeCommit)
    await bench.is_now("hidden", record, "committed by a process that died")
    await _crash(bench, order, PurgeCancel)
    await bench.is_now("hidden", record, "cancelled by a process that died")


async def _crash(bench: Bench, command: PurgeCommand, kind: type[PurgeCommand]) -> None:
    with suppress(_CrashError):
        async with transaction(bench.pool) as tx:
            await bench.take(tx, command, kind)
            raise _CrashError


def _lasting(answer: PurgeResult) -> dict[str, Any]:
    """Return what of an answer stays when it is given again."""
    return answer.model_dump(exclude={"completed_at", "residual_until"})


CHECKS: Final = (
    prepare_hides, commit_erases, cancel_restores, cancel_before_prepare, cancel_too_late,
    commit_needs_prepare, stale_epoch, early_and_expired, forged, changed, unknown, repeated,
    crashed, canary,
)  # fmt: skip


async def check_holder(bench: Bench) -> None:
    """Run every check.

    Raises:
        ContractError: the first one that the holder fails, and what was wrong.
    """
    for check in CHECKS:
        try:
            await check(bench)
        except ContractError as error:
            raise ContractError(f"{check.__name__}: {error}") from error
