"""What is not sent to an address: it does not work, or whoever has it does not want it.

What stands against an address is kept by the address's keyed hash, so that it outlives the address
itself, and is a record of its own with retention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from notifier import return_store, store
from notifier.audience import OPTIONAL, Suppression, chosen, concerns
from notifier.catalogue import MessageType, Suppressed
from notifier.planning import HOLDER
from shared.clock import Clock
from shared.events.gallra import SuppressionLifted
from shared.events.platform import RecordGone, RecordRegistered, Subject
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection

CATEGORY: Final = "suppression"


@dataclass(frozen=True, slots=True)
class Choice:
    """An optional type of message, as it stands for an address.

    Attributes:
        sent: True if its messages are sent there.
    """

    name: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Preference:
    """A type of message, as it stands for an address.

    Attributes:
        sent: True if its messages are sent there; *reason* has why not, or what they wait for.
        basis_since: Since when it is on record why an optional one may be sent.
    """

    name: str
    mandatory: bool
    sent: bool
    reason: str | None
    basis_since: datetime | None


class ObjectionError(Exception):
    """Whoever has the address does not want such mail: nobody else takes that back."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Keeps what is not sent to addresses, and tells retention of it."""

    outbox: Outbox
    clock: Clock
    types: Mapping[str, MessageType]
    entity: str

    @property
    def optional(self) -> list[str]:
        """The types that may be declined."""
        return [name for name, kind in self.types.items() if not kind.mandatory]

    async def refuse(self, tx: Connection, recipient: str, scope: str, reason: Suppressed) -> bool:
        """Send an address no more mail of *scope*, nor what waits for it; False if it was purged.

        The address is named by its token.  To do so again changes nothing.
        """
        lookup = await store.lookup_of(tx, recipient)
        if lookup is None:
            return False
        now = self.clock.now()
        await self._refuse(tx, recipient, lookup, scope, Suppression(scope, reason, now))
        return True

    async def _refuse(
        self, tx: Connection, recipient: str, lookup: bytes, scope: str, why: Suppression
    ) -> None:
        record_id = new_id()
        if await store.suppress(tx, lookup, scope, why.reason, why.since, record_id):
            registered = RecordRegistered(
                holder=HOLDER,
                category=CATEGORY,
                record_id=str(record_id),
                entity=self.entity,
                subjects=(Subject(token=recipient, role="recipient"),),
            )
            await self.outbox.announce(tx, why.since, [registered])
        held = [name for name, kind in self.types.items() if concerns(why, name, kind)]
        await store.stop_suppressed(tx, lookup, held, why.reason, why.since)

    async def allow(self, tx: Connection, recipient: str, name: str) -> bool:
        """Send an address messages of an optional type again; return whether they are sent now.

        They are not where nobody ever asked for them, or the address does not work.  An objection
        to all optional types then stands against the others alone.
        """
        lookup = await store.lookup_of(tx, recipient)
        if lookup is None or Choice(name, sent=False) not in await self.choices(tx, recipient):
            return False
        now = self.clock.now()
        gone = await return_store.lift(tx, lookup, [name, OPTIONAL])
        if OPTIONAL in gone:
            for other in self.optional:
                if other != name:
                    objection = Suppression(other, "unsubscribed", now)
                    await self._refuse(tx, recipient, lookup, other, objection)
        why = "whoever objected asked for such mail again"
        facts = [_gone(str(record_id), now, why) for record_id in gone.values()]
        await self.outbox.announce(tx, now, facts)
        return Choice(name, sent=True) in await self.choices(tx, recipient)

    async def choices(self, tx: Connection, recipient: str) -> list[Choice]:
        """Return the optional types for which a basis is on record, and how each stands."""
        found: list[Choice] = []
        for name in self.optional:
            people = await store.candidate(tx, recipient, name)
            with_basis = [person for person in people if person.basis_since is not None]
            for _, verdict in chosen(with_basis, name, self.types[name]).values():
                found.append(Choice(name, verdict.state == "queued"))
        return found

    async def preferences(self, tx: Connection, recipient: str) -> list[Preference]:
        """Return how each type of the privacy notice stands for the contacts of an address."""
        found: list[Preference] = []
        noticed = {name: kind for name, kind in self.types.items() if kind.notice is not None}
        for name, kind in noticed.items():
            people = await store.candidate(tx, recipient, name)
            for person, verdict in chosen(people, name, kind).values():
                sent = verdict.state == "queued"
                since = None if kind.mandatory else person.basis_since
                found.append(Preference(name, kind.mandatory, sent, verdict.reason, since))
        return found

    async def lift(self, tx: Connection, record_id: UUID, by: str) -> bool:
        """Send mail again to an address that had not worked; False if nothing stood against it.

        Raises:
            ObjectionError: what stands against it is the will of whoever has the address.
        """
        held = await return_store.taken_up(tx, record_id)
        if held is None:
            return False
        if held.reason != "hard-bounce":
            raise ObjectionError
        await return_store.end(tx, record_id)
        lifted = SuppressionLifted(
            record_id=str(record_id), scope=held.scope, reason=held.reason, by=by
        )
        now = self.clock.now()
        gone = _gone(str(record_id), now, "somebody saw that the address works again")
        await self.outbox.announce(tx, now, [gone, lifted])
        return True


def _gone(record_id: str, now: datetime, why: str) -> RecordGone:
    return RecordGone(
        holder=HOLDER,
        category=CATEGORY,
        record_id=record_id,
        at=now,
        why=why,
    )
