"""What a holder of personal data needs to take part in the purge loop.

A holder is a class with three functions over references, each in the transaction it is given:
``quarantine`` hides records and says which may not go, ``erase`` destroys them, ``restore`` takes
them out of quarantine.  :class:`PurgeDesk` does the rest: it checks the command, keeps what was
quarantined under which hash, and answers.

A holder with two functions more takes canaries: records of nobody, by which retention sees whether
what a holder confirms is true.  And one with others more does what persons have a right to: it
gives copies of records, restricts or stops their use; what it has no function for is answered
``by-hand``, and left to people.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, runtime_checkable

from pydantic import TypeAdapter

from shared.canonical import canonical, digest
from shared.clock import Clock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.gallra import (
    CanaryCommand,
    CanaryPlant,
    CanarySeen,
    Counts,
    PurgeCommand,
    PurgeCommit,
    PurgeException,
    PurgePrepare,
    PurgeResult,
    RightsCommand,
    RightsCopy,
    RightsLift,
    RightsObject,
    RightsRestrict,
    RightsResult,
)
from shared.exports import Exports
from shared.outbox import Outbox
from shared.postgres import Connection
from shared.sealing import seal

_HASHED: Final = frozenset(PurgeCommand.model_fields) - {"command_hash"}


def command_hash(command: PurgeCommand) -> str:
    """Return the SHA-256, in hexadecimal, of the canonical JSON of everything else in *command*."""
    return digest(canonical(command.model_dump(mode="json", include=set(_HASHED)))).hex()


def inventory_digest(record_ids: Iterable[str]) -> str:
    """Return the SHA-256, in hexadecimal, of the ids in the order of their code points, one a line.

    A newline stands between two of them; no id contains one.
    """
    return digest("\n".join(sorted(record_ids)).encode()).hex()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a holder did with the references it was given.

    Attributes:
        done: Those erased or anonymised (or, when quarantining, those ready to go).
        missing: Those it does not know; nothing of them is left, so they count as gone.
        exceptions: Those it kept, with a code and, if known, a day until when.
    """

    done: Sequence[str]
    missing: Sequence[str] = ()
    exceptions: Sequence[PurgeException] = ()

    @classmethod
    def of(cls, refs: Sequence[str], known: Sequence[str]) -> "Outcome":
        """Return the outcome of work on *refs* that found only those *known*."""
        return cls(known, sorted(set(refs) - set(known)))


class Holder(Protocol):
    """A system that stores personal data; every function may be called again for the same refs."""

    async def quarantine(self, tx: Connection, category: str, refs: Sequence[str]) -> Outcome:
        """Hide records from use; they must still be restorable."""
        ...

    async def erase(self, tx: Connection, command: PurgeCommand, refs: Sequence[str]) -> Outcome:
        """Destroy *refs*, or strip what identifies a person where the action is ``anonymise``."""
        ...

    async def restore(self, tx: Connection, category: str, refs: Sequence[str]) -> None:
        """Take records out of quarantine again."""
        ...


@runtime_checkable
class CanaryHolder(Holder, Protocol):
    """A holder that takes canaries, too."""

    async def plant(self, tx: Connection, category: str, record_id: str) -> None:
        """Store a record of somebody who obviously does not exist, unless it is there already."""
        ...

    async def find(self, tx: Connection, category: str, record_id: str) -> bool:
        """Return whether anything of a person is left of a record, in quarantine or not.

        Look where the business reads: what the purge code remembers proves nothing.
        """
        ...


@runtime_checkable
class CopyingHolder(Holder, Protocol):
    """A holder that gives copies of records."""

    async def copy(
        self, tx: Connection, category: str, refs: Sequence[str]
    ) -> Sequence[Mapping[str, Any]] | None:
        """Return what is stored in records, those in quarantine too, for people to read.

        What tells of other persons is left out (GDPR article 15(4)).  None leaves it to people.
        """
        ...


@runtime_checkable
class RestrictingHolder(Holder, Protocol):
    """A holder that restricts the use of records (GDPR article 18)."""

    async def restrict(
        self, tx: Connection, category: str, refs: Sequence[str], *, restricted: bool
    ) -> bool:
        """Hide records from every use but storage, or show them again; False leaves it to people.

        That is apart from quarantine: a restricted record is quarantined and erased on its day, and
        one that comes out of quarantine stays restricted.
        """
        ...


@runtime_checkable
class ObjectingHolder(Holder, Protocol):
    """A holder that can stop the use of records that a person objects to (GDPR article 21)."""

    async def stop(self, tx: Connection, category: str, refs: Sequence[str]) -> bool:
        """Stop that use for good, marketing in the first place; False leaves it to people."""
        ...


@dataclass(frozen=True, slots=True)
class PurgeDesk:
    """Takes purge commands for one holder and answers each with a result; canaries and rights, too.

    The answer commits with the deed.  A command that came before is answered again from memory,
    so that a lost answer is healed by asking again.

    Attributes:
        name: The holder id that commands are addressed to.
        method: How data is destroyed, in the terms of NIST SP 800-88.
        backups_kept: How long a backup may still hold what was purged.
        exports: Where copies of records are laid; without it people give them.
    """

    name: str
    holder: Holder
    outbox: Outbox
    clock: Clock
    method: Literal["clear", "purge", "destroy"] = "clear"
    backups_kept: timedelta = timedelta(0)
    exports: Exports | None = None

    def wants(self, event: Event) -> bool:
        """Return False for a command to somebody else, or about canaries, which few take."""
        # Cheaper than to look at the content.
        if not issubclass(event.type.model, PurgeCommand | CanaryCommand | RightsCommand):
            return True
        match event.data:
            case PurgeCommand(holder=holder) | RightsCommand(holder=holder):
                return holder == self.name
            case CanaryCommand(holder=holder):
                return holder == self.name and isinstance(self.holder, CanaryHolder)
            case _:
                return False

    async def take(self, tx: Connection, event: Event) -> None:
        """Carry out the command in *event* and queue the answer.

        Raises:
            Rejected: the command is not what its hash says, or not the one its chunk began with.
        """
        match event.data:
            case PurgeCommand() as command:
                answer = await self._purge(tx, command)
            case CanaryCommand() as asked:
                answer = await self._seek(tx, asked)
            case RightsCopy(not_after=not_after) if not_after < self.clock.now():
                return  # nobody has the key any more; retention asks again
            case RightsCommand() as asked:
                answer = await self._serve(tx, asked)
            case _:
                raise Rejected(f"{event.type.name} is no order to a holder", code="unknown-type")
        await self.outbox.announce(tx, self.clock.now(), [answer], cause=event)

    async def _purge(self, tx: Connection, command: PurgeCommand) -> PurgeResult:
        if command_hash(command) != command.command_hash:
            raise Rejected("command_hash does not fit the command", code="forged-command")
        seen = await _seen(tx, command.chunk_id)
        if seen is not None and seen.command_hash != command.command_hash:
            raise Rejected("the chunk began with another command", code="forged-command")
        match command:
            case PurgePrepare():
                return await self._prepare(tx, command, seen)
            case PurgeCommit():
                return await self._commit(tx, command, seen)
            case _:
                return await self._cancel(tx, command, seen)

    async def _seek(self, tx: Connection, asked: CanaryCommand) -> CanarySeen:
        if not isinstance(self.holder, CanaryHolder):
            raise Rejected(f"{self.name} takes no canaries", code="unknown-type")
        plants = isinstance(asked, CanaryPlant)
        if plants:
            await self.holder.plant(tx, asked.category, asked.record_id)
        found = await self.holder.find(tx, asked.category, asked.record_id)
        return CanarySeen(**asked.model_dump(), phase="plant" if plants else "look", found=found)

    async def _serve(self, tx: Connection, asked: RightsCommand) -> RightsResult:
        """Do what a person has a right to, as far as the holder can by itself."""
        done: dict[str, Any] = {
            "command_id": asked.command_id,
            "request_id": asked.request_id,
            "holder": self.name,
        }
        able = False
        match asked, self.holder:
            case RightsCopy(), CopyingHolder() as holder if self.exports is not None:
                found = await holder.copy(tx, asked.category, asked.refs)
                if found is not None:
                    sealed = seal(canonical(list(found)), asked.seal_to, asked.object)
                    # Before the answer commits; to lay it there again changes nothing.
                    await self.exports.put(asked.object, sealed)
                    done |= {"object": asked.object, "sha256": digest(sealed).hex()}
                    able = True
            case RightsRestrict() | RightsLift(), RestrictingHolder() as holder:
                hidden = isinstance(asked, RightsRestrict)
                able = await holder.restrict(tx, asked.category, asked.refs, restricted=hidden)
            case RightsObject(), ObjectingHolder() as holder:
                able = await holder.stop(tx, asked.category, asked.refs)
            case _:
                pass
        if not able:
            return RightsResult(**done, outcome="by-hand")
        return RightsResult(**done, outcome="done", records=len(asked.refs))

    async def _prepare(
        self, tx: Connection, command: PurgeCommand, seen: "_Seen | None"
    ) -> PurgeResult:
        if seen is not None:
            return self._answer(command, "prepare", seen.outcome)
        if refusal := await self._refusal(tx, command):
            return self._answer(command, "prepare", _all_refused(command, refusal))
        outcome = await self.holder.quarantine(tx, command.category, command.refs)
        await _remember(tx, command, "quarantined", outcome)
        return self._answer(command, "prepare", outcome)

    async def _commit(
        self, tx: Connection, command: PurgeCommand, seen: "_Seen | None"
    ) -> PurgeResult:
        if seen is None or seen.state == "cancelled":
            return self._answer(command, "commit", _all_refused(command, "not-prepared"))
        if seen.state == "erased":
            return self._answer(command, "commit", seen.outcome)
        before = seen.outcome
        if refusal := await self._refusal(tx, command):
            # The chunk ends here: what stays is not to be hidden any longer.
            await self.holder.restore(tx, command.category, before.done)
            await _remember(tx, command, "cancelled", Outcome(()))
            return self._answer(command, "commit", _all_refused(command, refusal))
        now = await self.holder.erase(tx, command, before.done)
        outcome = Outcome(
            now.done, (*before.missing, *now.missing), (*before.exceptions, *now.exceptions)
        )
        await _remember(tx, command, "erased", outcome)
        return self._answer(command, "commit", outcome)

    async def _cancel(
        self, tx: Connection, command: PurgeCommand, seen: "_Seen | None"
    ) -> PurgeResult:
        if seen is None:
            # A cancel that overtook its prepare: the prepare must find nothing to do.
            await _remember(tx, command, "cancelled", Outcome(()))
        elif seen.state == "erased":
            return self._answer(command, "commit", seen.outcome)  # too late: say what was done
        elif seen.state == "quarantined":
            await self.holder.restore(tx, command.category, seen.outcome.done)
            await _remember(tx, command, "cancelled", Outcome(()))
        return self._answer(command, "cancel", Outcome(()))

    async def _refusal(self, tx: Connection, command: PurgeCommand) -> str | None:
        """Return why *command* may not be carried out now, as a code."""
        now = self.clock.now()
        if command.purge_from > now:
            return "too-early"
        if command.not_after < now:
            return "command-expired"
        newest = await tx.fetchval("SELECT coalesce(max(hold_epoch), 0) FROM purge_chunk_seen")
        return "stale-hold-epoch" if command.hold_epoch < newest else None

    def _answer(
        self,
        command: PurgeCommand,
        phase: Literal["prepare", "commit", "cancel"],
        outcome: Outcome,
    ) -> PurgeResult:
        now = self.clock.now()
        gone = len(outcome.done) if phase == "commit" else 0
        erase = command.action == "erase"
        return PurgeResult(
            chunk_id=command.chunk_id,
            holder=self.name,
            phase=phase,
            command_hash=command.command_hash,
            hold_epoch=command.hold_epoch,
            counts=Counts(
                erased=gone if erase else 0,
                anonymised=0 if erase else gone,
                not_found=len(outcome.missing),
                refused=len(outcome.exceptions),
            ),
            exceptions=tuple(outcome.exceptions),
            method=self.method,
            completed_at=now,
            residual_until=now + self.backups_kept,
        )


def _all_refused(command: PurgeCommand, code: str) -> Outcome:
    return Outcome((), (), [PurgeException(ref=ref, code=code) for ref in command.refs])


@dataclass(frozen=True, slots=True)
class _Seen:
    command_hash: str
    state: str
    outcome: Outcome


_exceptions = TypeAdapter(list[PurgeException])


async def _seen(tx: Connection, chunk_id: str) -> _Seen | None:
    row = await tx.fetchrow("SELECT * FROM purge_chunk_seen WHERE chunk_id = $1", chunk_id)
    if row is None:
        return None
    exceptions = _exceptions.validate_json(row["exceptions"])
    return _Seen(
        row["command_hash"], row["state"], Outcome(row["refs"], row["missing"], exceptions)
    )


async def _remember(tx: Connection, command: PurgeCommand, state: str, outcome: Outcome) -> None:
    await tx.execute(
        """
        INSERT INTO purge_chunk_seen
                    (chunk_id, command_hash, hold_epoch, state, refs, missing, exceptions)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (chunk_id) DO UPDATE
                SET state = EXCLUDED.state,
                    refs = EXCLUDED.refs,
                    missing = EXCLUDED.missing,
                    exceptions = EXCLUDED.exceptions
        """,
        command.chunk_id,
        command.command_hash,
        command.hold_epoch,
        state,
        list(outcome.done),
        list(outcome.missing),
        _exceptions.dump_json(list(outcome.exceptions)).decode(),
    )
