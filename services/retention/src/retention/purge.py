"""The closed purge loop: orders what is due, takes answers, chases silence, closes jobs.

A chunk of at most 500 references goes to one holder in two phases: ``prepare`` quarantines and may
refuse, ``commit`` erases.  Between the two, and before an order is given again, everything is
looked at again; what is no longer due, or came under a hold, is cancelled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from retention import (
    canary,
    certificate,
    guard,
    inventory_store,
    replay_store,
    rights_watch,
    second_engine,
)
from retention import purge_store as store
from retention.calendar import civil_day
from retention.guard import Guard
from retention.in_force import InForce
from retention.limits import Limits
from retention.purge_store import Chunk, Due
from retention.store import hold_epoch
from shared.canonical import canonical
from shared.clock import Clock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.gallra import (
    AlertRaised,
    AlertResolved,
    Counts,
    PurgeCancel,
    PurgeCommand,
    PurgeCommit,
    PurgeJobClosed,
    PurgeJobOpened,
    PurgePrepare,
    PurgeResult,
)
from shared.events.platform import Addressee, MessageRequested
from shared.holder import command_hash
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, sole, transaction

CHUNK: Final = 500  # references in a command, by contract
COMMAND_LIVES: Final = timedelta(days=7)
REFUSED_RETRY: Final = timedelta(days=1)  # where a holder gives no date
_SWEDEN: Final = ZoneInfo("Europe/Stockholm")

_PHASE: Final[Mapping[str, type[PurgeCommand]]] = {
    "preparing": PurgePrepare,
    "committing": PurgeCommit,
    "cancelling": PurgeCancel,
}


@dataclass(frozen=True, slots=True)
class PurgeLoop:
    """Brings every record that is due to a confirmed end.

    Attributes:
        in_force: The policies.
        answer_within: How long a holder may take before it is asked again.
        alert_after: How long a holder may be silent before on-call is told.
        limit: Records ordered per sweep.
        limits: How much of a category may go in a day before people are asked.
    """

    outbox: Outbox
    clock: Clock
    in_force: InForce
    answer_within: timedelta
    alert_after: timedelta
    limit: int
    limits: Limits = field(default_factory=Limits)

    async def run(self, pool: Pool) -> None:
        """Order all that is due, however many transactions it takes; then see to what was ordered.

        Each order commits together with its announcement.
        """
        for keys in await self._windows(pool):
            while await self._order(pool, keys) >= self.limit:
                pass
        await self._chase(pool)

    async def sweep(self, pool: Pool) -> None:
        """Order a part of what is due, as much as :attr:`limit`; see to what was ordered."""
        for keys in await self._windows(pool):
            if await self._order(pool, keys):
                break
        await self._chase(pool)

    async def _windows(self, pool: Pool) -> list[list[int]]:
        """Return the deadline keys that are due, cut into parts of at most :attr:`limit` records.

        There is at least one part: what the purge came to before may be due without a key.
        """
        async with pool.acquire() as tx:
            due = await store.due_keys(tx, self.clock.now())
        windows: list[list[int]] = [[]]
        records = 0
        for key, count in due:
            if windows[-1] and records + count > self.limit:
                windows.append([])
                records = 0
            windows[-1].append(key)
            records += count
        return windows

    async def _order(self, pool: Pool, keys: Sequence[int]) -> int:
        """Order what is due of *keys*; return how many records were looked at for that."""
        now = self.clock.now()
        async with transaction(pool) as tx:
            if not await sole(tx, "purge"):
                return 0
            history = await self.in_force.read(tx)
            epoch = await hold_epoch(tx)
            guarding = Guard(self.outbox, self.clock, self.limits)
            if await guarding.foresee(tx, history.stored, now):
                await second_engine.inspect(tx, history.as_json, now)
            frozen = await second_engine.frozen(tx, history.as_json)
            categories = await guarding.passing(tx, history.stored - frozen, now)
            found = await store.due(tx, now, categories, keys, self.limit)
            items = await second_engine.agreed(tx, history.as_json, found, now)
            await store.come_to(tx, items)
            free = [item for item in items if not item.held]
            for _, group in groupby(sorted(free, key=_job), _job):
                await self._open(tx, list(group), epoch, now)
        return len(items)

    async def _chase(self, pool: Pool) -> None:
        """Ask silent holders again, close the jobs that are done, tell on-call what is wrong."""
        now = self.clock.now()
        async with transaction(pool) as tx:
            if not await sole(tx, "purge"):
                return
            await self.in_force.read(tx)
            for chunk in await store.silent_chunks(tx, now, self.limit):
                await self._ask_again(tx, chunk, now)
            for job in await store.finished_jobs(tx):
                await self._close(tx, job, now)
            await self._watch(tx, now)
            await store.sum_up(tx)

    async def _open(self, tx: Connection, items: Sequence[Due], epoch: int, now: datetime) -> None:
        job, first = new_id(), items[0]
        must_purge_by = min(item.must_purge_by for item in items)
        await store.open_job(tx, job, items, must_purge_by, now, first.reason)
        commands: list[PurgePrepare] = []
        pairs: list[tuple[Due, UUID]] = []
        for _, group in groupby(sorted(items, key=lambda d: d.holder), lambda d: d.holder):
            owned = list(group)
            for start in range(0, len(owned), CHUNK):
                part, chunk = owned[start : start + CHUNK], new_id()
                commands.append(self._prepare(job, chunk, part, epoch, now))
                pairs += [(item, chunk) for item in part]
        await store.add_chunks(tx, commands, now, now + self.answer_within)
        await store.put_in_chunks(tx, pairs)
        opened = PurgeJobOpened(
            job_id=str(job),
            category=first.category,
            reason=first.reason,
            policy_version=first.policy_version,
            records=len(items),
            chunks=len(commands),
            holders=sorted({command.holder for command in commands}),
            must_purge_by=must_purge_by,
        )
        await self.outbox.announce(tx, now, [*commands, opened])

    def _prepare(
        self, job: UUID, chunk: UUID, items: Sequence[Due], epoch: int, now: datetime
    ) -> PurgePrepare:
        first = items[0]
        action = self.in_force.history.action(first.category, first.policy_version)
        return hashed(
            {
                "job_id": str(job),
                "chunk_id": str(chunk),
                "holder": first.holder,
                "category": first.category,
                "action": action,
                "refs": [item.record_id for item in items],
                "reason": first.reason,
                "policy_version": first.policy_version,
                "purge_from": max(item.purge_from for item in items),
                "hold_epoch": epoch,
                "not_after": now + COMMAND_LIVES,
            }
        )

    async def _ask_again(self, tx: Connection, chunk: Chunk, now: datetime) -> None:
        """Send the command of a silent chunk again, waiting twice as long each time.

        An order to erase is recalled instead if it would not be given any more.
        """
        if chunk.state == "committing" and not await self._stands(tx, chunk, now):
            next_try = now + self.answer_within
            await store.advance(tx, chunk.id, "cancelling", chunk.refs, next_try)
            await self.outbox.announce(tx, now, [_as(PurgeCancel, _command(chunk))])
            return
        pause = min(self.answer_within * 2**chunk.attempts, timedelta(hours=6))
        await store.asked_again(tx, chunk.id, now + pause)
        await self.outbox.announce(tx, now, [_command(chunk)])

    async def _close(self, tx: Connection, job: Mapping[str, Any], now: datetime) -> None:
        counted = {name: job[name] for name in Counts.model_fields}
        names = ("category", "reason", "policy_version", "records", "opened_at", "must_purge_by")
        stated = canonical(
            certificate.statement(
                {"job_id": str(job["id"]), **{name: job[name] for name in names}},
                await store.attested(tx, job["id"]),
                self.in_force.history.rule(job["category"], job["policy_version"]),
            )
        )
        closed = PurgeJobClosed(
            job_id=str(job["id"]),
            category=job["category"],
            policy_version=job["policy_version"],
            counts=Counts(**counted),
            holders=sorted(job["holders"]),
            completed_at=job["completed_at"],
            statement=certificate.fingerprint(stated),
        )
        [event_id] = await self.outbox.announce(tx, now, [closed])
        await store.close_job(tx, job["id"], event_id, stated, now)

    async def on_result(self, tx: Connection, event: Event) -> None:
        """Take a holder's answer.

        Raises:
            Rejected: it is not the answer to what was asked: another holder's, another command's,
                or from before the last hold.
        """
        result = event.data
        if not isinstance(result, PurgeResult):
            raise Rejected(f"{event.type.name} is no purge result", code="unknown-type")
        chunk = await store.lock_chunk(tx, _uuid(result.chunk_id))
        if chunk is None:
            raise Rejected("the chunk is not known here", code="unknown-reference")
        command = _command(chunk)
        echoed = (result.holder, result.command_hash, result.hold_epoch)
        if echoed != (command.holder, command.command_hash, command.hold_epoch):
            raise Rejected("the answer does not echo the command", code="mismatched-result")
        match chunk.state, result.phase:
            case "preparing", "prepare":
                await self._prepared(tx, event, chunk, result)
            case "committing", "commit":
                await self._committed(tx, chunk, result)
            case "cancelling", "cancel":
                await store.release(tx, chunk.id, chunk.refs, None)
                await store.finish(tx, chunk.id, result, 0)
            case "cancelling", "commit":  # the order to erase was carried out before the recall
                await self._committed(tx, chunk, result)
            case _:
                pass  # an answer given twice: the first one counted

    async def _prepared(
        self, tx: Connection, event: Event, chunk: Chunk, result: PurgeResult
    ) -> None:
        now = self.clock.now()
        refused = await self._release_refused(tx, chunk, result, now)
        left = [ref for ref in chunk.refs if ref not in refused]
        if not left:
            await store.finish(tx, chunk.id, result, len(refused))
            return
        go = await self._stands(tx, chunk, now)
        state = "committing" if go else "cancelling"
        await store.advance(tx, chunk.id, state, left, now + self.answer_within)
        command = _as(_PHASE[state], _command(chunk))
        await self.outbox.announce(tx, now, [command], cause=event)

    async def _stands(self, tx: Connection, chunk: Chunk, now: datetime) -> bool:
        """Return True if nothing has happened that a chunk should not be erased for."""
        if await hold_epoch(tx) != _command(chunk).hold_epoch:
            return False
        records = await store.records_in(tx, chunk.id)
        if not await second_engine.agrees_on(tx, self.in_force.history.as_json, records):
            return False
        return await store.still_due(tx, chunk.id, records, now)

    async def _committed(self, tx: Connection, chunk: Chunk, result: PurgeResult) -> None:
        refused = await self._release_refused(tx, chunk, result, self.clock.now())
        await store.forget_purged(tx, chunk.id, civil_day(result.completed_at))
        asked = len(_command(chunk).refs) - len(chunk.refs)
        await store.finish(tx, chunk.id, result, asked + len(refused & set(chunk.refs)))
        await replay_store.replay_undone(tx, chunk.id, self.clock.now())

    async def _release_refused(
        self, tx: Connection, chunk: Chunk, result: PurgeResult, now: datetime
    ) -> set[str]:
        """Let go of the records that the holder kept, until the day it named."""
        for exception in result.exceptions:
            day = exception.until
            until = (
                datetime.combine(day + timedelta(days=1), time.min, _SWEDEN)
                if day is not None
                else now + REFUSED_RETRY
            )
            await store.release(tx, chunk.id, [exception.ref], until)
        return {exception.ref for exception in result.exceptions}

    async def _watch(self, tx: Connection, now: datetime) -> None:
        """Raise an alert for each silent holder and overdue category, and resolve those past."""
        silent = await store.silent_holders(tx, now - self.alert_after)
        alerts = [
            AlertRaised(
                fingerprint=f"purge-unconfirmed/{holder}",
                severity="warning",
                summary=f"holder {holder} has not confirmed {chunks} purge chunk(s)",
                labels={"holder": holder},
                runbook="purge-unconfirmed",
            )
            for holder, (chunks, _) in silent.items()
        ]
        alerts += [
            AlertRaised(
                fingerprint=f"purge-overdue/{category}",
                severity="critical",
                summary=f"{records} record(s) of {category} are past the day they had to be gone",
                labels={"category": category},
                runbook="purge-overdue",
            )
            for category, records in (await store.overdue(tx, now, now - self.alert_after)).items()
        ]
        alerts += [
            AlertRaised(
                fingerprint=f"hold-review/{hold}",
                severity="warning",
                summary=f"legal hold {hold} was to be reviewed",
                labels={"hold": str(hold)},
                runbook="hold-review",
            )
            for hold in await store.holds_to_review(tx, civil_day(now))
        ]
        alerts += await second_engine.alerts(tx)
        alerts += await guard.alerts(tx)
        alerts += await canary.alerts(tx, now)
        alerts += await rights_watch.alerts(tx, civil_day(now))
        alerts += [
            AlertRaised(
                fingerprint=f"inventory/{told.holder}/{told.category}",
                severity="warning",
                summary=f"{told.holder} has other records of {told.category} than the registry:"
                f" it counts {told.count}, the registry {told.known}",
                labels={"holder": told.holder, "category": told.category},
                runbook="inventory-differs",
            )
            for told in await inventory_store.differing(tx)
        ]
        known = await store.open_alerts(tx)
        standing = {alert.fingerprint for alert in alerts}
        for alert in alerts:
            if alert.fingerprint not in known:
                await store.note_alert(tx, alert.fingerprint, alert.summary, now)
                await self.outbox.announce(tx, now, [alert])
                if alert.runbook == "purge-unconfirmed":
                    _, since = silent[alert.labels["holder"]]
                    await self._notify(tx, alert, since + self.answer_within, now)
        for fingerprint in known.keys() - standing:
            await store.drop_alert(tx, fingerprint)
            summary = known[fingerprint]
            over = AlertResolved(fingerprint=fingerprint, severity="info", summary=summary)
            await self.outbox.announce(tx, now, [over])

    async def _notify(
        self, tx: Connection, alert: AlertRaised, due: datetime, now: datetime
    ) -> None:
        """Write to whoever looks after a silent holder, if we know an address."""
        holder = self.in_force.holders.get(alert.labels["holder"])
        if holder is None or holder.contact is None:
            return
        notice = MessageRequested(
            message_id=f"holder-notice-{new_id()}",
            message_type="holder-notice",
            to=[Addressee(email=holder.contact.email, locale=holder.contact.locale)],
            template="holder-notice",
            params={"holder": holder.id, "what": alert.summary, "due": due.isoformat()},
        )
        await self.outbox.announce(tx, now, [notice])


def _job(item: Due) -> tuple[str, int, str]:
    """Return what the records of a job have in common."""
    return item.category, item.policy_version, item.reason


def hashed(fields: Mapping[str, Any]) -> PurgePrepare:
    """Return the command with its hash, which covers all the rest."""
    blank = PurgePrepare(**fields, command_hash="0" * 64)
    return PurgePrepare(**fields, command_hash=command_hash(blank))


def _command(chunk: Chunk) -> PurgeCommand:
    """Return what the holder is being asked at present."""
    kind = _PHASE.get(chunk.state, PurgePrepare)
    return kind.model_validate_json(chunk.command)


def _as(kind: type[PurgeCommand], command: PurgeCommand) -> PurgeCommand:
    return kind.model_validate_json(command.model_dump_json())


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Rejected("chunk_id is not one of ours", code="unknown-reference") from None
