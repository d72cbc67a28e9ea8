"""Requests to erase that were accepted: carried out as soon as neither a law nor a hold forbids."""

from collections.abc import Sequence
from dataclasses import dataclass

from retention import store
from retention.calendar import civil_day
from retention.deadline import Deadline
from retention.registry import Registry
from retention.store import Ref
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.gallra import ErasureAccepted
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, transaction


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that is to be erased, and until when something keeps it."""

    ref: Ref
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Erasures:
    """Accepts requests to erase.

    What the law keeps is refused until its last day, and what is under a hold waits for its end;
    either is done then without another request.
    """

    registry: Registry
    outbox: Outbox
    clock: Clock

    async def accept(self, pool: Pool, refs: Sequence[Ref], *, by: str) -> list[Accepted]:
        """Accept to erase records.

        Raises:
            Rejected: one of them is not registered.
        """
        async with transaction(pool) as tx:
            await self.registry.in_force.read(tx)
            return await self.accept_within(tx, refs, by=by)

    async def accept_within(
        self, tx: Connection, refs: Sequence[Ref], *, by: str
    ) -> list[Accepted]:
        """Accept to erase records, in a transaction that has read the policies in force.

        Raises:
            Rejected: one of them is not registered.
        """
        now = self.clock.now()
        today = civil_day(now)
        known = await store.records_by_ref(tx, refs, lock=True)
        found = {record.ref: record for record in known}
        if not refs or set(refs) - found.keys():
            raise Rejected("no such record is registered", code="unknown-reference")
        records = [found[ref] for ref in refs]
        await store.accept_erasure(tx, [record.id for record in records], today, by, now)
        await self.registry.refresh(tx, records)
        accepted = [Accepted(ref, (await self.registry.explain(tx, ref, today))[1]) for ref in refs]
        told = [
            ErasureAccepted(
                holder=ref.ref[0],
                category=ref.ref[1],
                record_id=ref.ref[2],
                keep_through=ref.deadline.keep_through,
                by=by,
            )
            for ref in accepted
        ]
        await self.outbox.announce(tx, now, told)
        return accepted

    async def accept_all_of(self, pool: Pool, token: str, *, by: str) -> list[Accepted]:
        """Accept to erase every record that tells of a person.

        Raises:
            Rejected: no record does.
        """
        async with pool.acquire() as connection:
            refs = await store.refs_of_subject(connection, token)
        return await self.accept(pool, refs, by=by)
