"""What all steps of a request have in common: its file, the master log, letters to the person."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from retention import rights_store
from retention.calendar import civil_day
from retention.policy import Policies
from retention.registry import Registry
from retention.rights_letter import RIGHTS, Answer, as_text
from retention.rights_matrix import Decision
from retention.rights_rules import Step, after
from retention.rights_store import Case
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.gallra import RightsCaseChanged
from shared.events.platform import Addressee, MessageRequested, RecordAnchored
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, transaction
from shared.wording import translator

HOLDER: Final = "retention"
CATEGORY: Final = "rights.case"


@dataclass(frozen=True, slots=True)
class Book:
    """Keeps the files of requests; every step is a decision in the master log.

    Attributes:
        links: Where links in answers lead.
    """

    registry: Registry
    outbox: Outbox
    clock: Clock
    links: str

    @property
    def today(self) -> date:
        """The civil day that it is."""
        return civil_day(self.clock.now())

    @property
    def policies(self) -> Policies:
        """The policies in force, as they were last read."""
        return Policies(self.registry.history.newest, self.registry.in_force.holders)

    @asynccontextmanager
    async def case(self, pool: Pool, case_id: str) -> AsyncGenerator[tuple[Connection, Case]]:
        """Lend a case, in a transaction that has read the policies in force.

        Raises:
            Rejected: there is none of that id.
        """
        async with transaction(pool) as tx:
            await self.registry.in_force.read(tx)
            case = await rights_store.lock(tx, case_id)
            if case is None:
                raise Rejected("there is no such request", code="unknown-request")
            yield tx, case

    async def go(self, tx: Connection, case: Case, step: Step, by: str, **more: Any) -> Case:
        """Take a step, and tell the master log."""
        moved = replace(case, state=after(case.state, step), due_on=case.clock.due)
        await rights_store.keep(tx, moved)
        await self.tell(tx, moved, step, by, **more)
        return moved

    async def tell(self, tx: Connection, case: Case, step: Any, by: str, **more: Any) -> None:
        """Tell the master log of a step."""
        told = RightsCaseChanged(
            case_id=case.id,
            right=case.claim,
            step=step,
            state=case.state,
            by=by,
            due_on=case.due_on,
            **more,
        )
        await self.outbox.announce(tx, self.clock.now(), [told])

    async def over(self, tx: Connection, case: Case) -> Case:
        """Destroy the keys of a case that is over, and start the time that its file is kept."""
        case = replace(case, unseal=None, seal_to=None, fetch_by=None)
        await rights_store.keep(tx, case)
        await rights_store.need_no_copies(tx, case.id, HOLDER)
        closed = RecordAnchored(
            holder=HOLDER,
            category=CATEGORY,
            record_id=case.id,
            anchor_id="closed",
            kind="closed",
            date=self.today,
        )
        await self.outbox.announce(tx, self.clock.now(), [closed])
        return case

    async def write(
        self,
        tx: Connection,
        case: Case,
        decisions: Sequence[Decision] | None,
        link: str | None,
    ) -> None:
        """Send the answer, if there is an address to send it to."""
        answer = Answer(case.id, case.claim, case.received_on, self.today, decisions)
        until = case.fetch_until and civil_day(case.fetch_until)
        params = {"answer": as_text(answer, self.policies, case.locale, until)}
        if link is not None:
            params["link"] = f"{self.links}/r/{link}"
        await self._mail(tx, case, "rights-answer", "answer", params)

    async def notify(self, tx: Connection, case: Case, about: str) -> None:
        """Write to the person how it goes on."""
        params = {"about": about, **({"day": case.due_on.isoformat()} if case.due_on else {})}
        await self._mail(tx, case, "rights-notice", about, params)

    async def _mail(
        self, tx: Connection, case: Case, template: str, what: str, params: dict[str, str]
    ) -> None:
        if case.email is None:
            return
        asked_for = RIGHTS[case.claim].said(translator("retention", case.locale))
        request = MessageRequested(
            message_id=f"rights-{new_id()}-{what}",
            message_type=template,
            to=[Addressee(email=case.email, locale=case.locale)],
            template=template,
            params={"case": case.id, "right": asked_for, **params},
        )
        await self.outbox.announce(tx, self.clock.now(), [request])
