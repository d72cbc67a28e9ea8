"""Requests about the rights of persons: what comes in, and the steps that people take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Literal
from uuid import UUID

from retention import rights_store
from retention.calendar import civil_day
from retention.erasures import Erasures
from retention.purge import CHUNK
from retention.rights_book import CATEGORY, HOLDER, Book
from retention.rights_matrix import (
    Decision,
    Held,
    decide,
    four_eyes,
    kept_by,
    marketing,
    needed,
    propose,
)
from retention.rights_orders import COPIES, order, place
from retention.rights_rules import OVER, after, copies
from retention.rights_store import Case, Task
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.gallra import RightsDecision, RightsResult
from shared.events.platform import RecordRegistered, RightsRequestReceived, Subject
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction
from shared.sealing import new_key


@dataclass(frozen=True, slots=True)
class Rights:
    """Leads each request through its steps.

    Attributes:
        entity: The legal entity whose records the files of cases are.
        by_hand: Nobody has a store for copies, so people collect them.
        answer_within: A holder silent for longer is asked again.
    """

    book: Book
    erasures: Erasures
    entity: str
    by_hand: bool = False
    answer_within: timedelta = timedelta(minutes=2)

    # Receipt and identity.

    async def receive(self, pool: Pool, request: RightsRequestReceived) -> None:
        """Open the case of a request that somebody enters.

        Raises:
            Rejected: as :meth:`take`.
        """
        async with transaction(pool) as tx:
            await self.book.registry.in_force.read(tx)
            await self.take(tx, request)

    async def take(
        self, tx: Connection, request: RightsRequestReceived, cause: Event | None = None
    ) -> None:
        """Open the case of a request.

        An objection to marketing needs neither proof nor a decision (GDPR article 21(3)): holders
        are told at once.

        Raises:
            Rejected: it came on a day to come, or its id is another's.
        """
        now = self.book.clock.now()
        if request.received_on > civil_day(now):
            raise Rejected("a request is received today at the latest", code="invalid")
        claimant = request.claimant
        case = Case(
            id=request.request_id,
            claim=request.right,
            subjects=list(request.subjects),
            received_on=request.received_on,
            channel=request.channel,
            email=claimant and claimant.email,
            name=claimant and claimant.name,
            locale=claimant.locale if claimant else "sv",
            details=request.details,
        )
        case = replace(case, due_on=case.clock.due)
        if not await rights_store.add(tx, case):
            raise Rejected("a request of this id came before", code="conflict")
        registered = RecordRegistered(
            holder=HOLDER,
            category=CATEGORY,
            record_id=case.id,
            entity=self.entity,
            subjects=tuple(Subject(token=token, role="claimant") for token in case.subjects),
        )
        await self.book.outbox.announce(tx, now, [registered], cause=cause)
        await self.book.tell(
            tx, case, "receive", HOLDER, received_on=case.received_on, channel=case.channel
        )
        if case.claim == "object":
            absolute = marketing(self.book.registry.history.newest.values())
            records = await rights_store.held_about(tx, case.subjects, now)
            await self._ask(tx, case, "object", [r for r in records if r.category in absolute])

    async def ask_identity(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Ask the person for proof of who they are; the clock stands still until it comes.

        Raises:
            Rejected: it is not the time for that.
        """
        async with self.book.case(pool, case_id) as (tx, found):
            case = replace(found, asked_on=found.clock.asked(self.book.today).asked_on)
            case = await self.book.go(tx, case, "ask-identity", by)
            await self.book.notify(tx, case, "identity")
            return case

    async def confirm_identity(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Note that the person is who they say, and have the data collected if that is asked for.

        Raises:
            Rejected: it is not the time for that.
        """
        async with self.book.case(pool, case_id) as (tx, found):
            shown = found.clock.shown(self.book.today)
            case = replace(found, shown_on=shown.shown_on)
            if copies(case.claim):
                private, public = new_key()
                case = replace(case, unseal=private, seal_to=public)
            case = await self.book.go(tx, case, "confirm-identity", by)
            if copies(case.claim):
                now = self.book.clock.now()
                records = await rights_store.held_about(tx, case.subjects, now)
                granted = {d.category for d in self._proposed(case, records) if d.grants}
                action = "collect" if case.claim == "access" else "export"
                asked = [r for r in records if r.category in granted]
                await self._ask(tx, case, action, asked)
            return await self._collected(tx, case)

    async def refuse_identity(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """End a case because the proof that was asked for did not come, or proves nothing.

        Raises:
            Rejected: nobody asked for it.
        """
        async with self.book.case(pool, case_id) as (tx, found):
            case = await self.book.go(
                tx, replace(found, answered_on=self.book.today), "refuse-identity", by
            )
            await self.book.write(tx, case, None, None)
            return await self.book.over(tx, case)

    async def extend(
        self, pool: Pool, case_id: str, *, reason: Literal["complexity", "number"], by: str
    ) -> Case:
        """Take two months more, and tell the person so.

        Raises:
            Rejected: the first month is over, it was done before, or it is answered.
        """
        async with self.book.case(pool, case_id) as (tx, found):
            if found.state in {*OVER, "answered"}:
                raise Rejected("the request is answered", code="wrong-step")
            clock = found.clock.extended(self.book.today)
            case = replace(found, extended_on=clock.extended_on, due_on=clock.due)
            await rights_store.keep(tx, case)
            await self.book.tell(tx, case, "extend", by, reason=reason)
            await self.book.notify(tx, case, reason)
            return case

    async def withdraw(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """End a case because the person does not want it any more.

        Raises:
            Rejected: it was approved already.
        """
        async with self.book.case(pool, case_id) as (tx, case):
            return await self.book.over(tx, await self.book.go(tx, case, "withdraw", by))

    # Decision.

    async def proposed(self, tx: Connection, case: Case) -> list[Decision]:
        """Return what the policies answer, in a transaction that has read those in force."""
        records = await rights_store.held_about(tx, case.subjects, self.book.clock.now())
        return self._proposed(case, records)

    async def decide(
        self, pool: Pool, case_id: str, choices: Sequence[Decision] = (), *, by: str
    ) -> Case:
        """Decide a case as the policies propose, but for what *choices* say otherwise.

        Where data goes out or is erased, another person approves it.

        Raises:
            Rejected: it is not the time for that, or a choice is against the law.
        """
        async with self.book.case(pool, case_id) as (tx, found):
            decided = decide(await self.proposed(tx, found), choices)
            eyes = four_eyes(found.claim, decided)
            await rights_store.put_decisions(tx, found.id, decided)
            case = replace(found, decided_by=by, four_eyes=eyes)
            told = [_told(decision) for decision in decided]
            case = await self.book.go(tx, case, "decide", by, decisions=tuple(told))
            return case if eyes else await self._approved(tx, case, by)

    async def send_back(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Have a case decided anew.

        Raises:
            Rejected: it waits for nobody's approval.
        """
        async with self.book.case(pool, case_id) as (tx, case):
            return await self.book.go(tx, replace(case, decided_by=None), "return", by)

    async def approve(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Approve what another person decided, and have it carried out.

        Raises:
            Rejected: the same person decided it, or it waits for nobody's approval.
        """
        async with self.book.case(pool, case_id) as (tx, case):
            if case.decided_by == by:
                raise Rejected("another person must approve it", code="four-eyes")
            return await self._approved(tx, case, by)

    async def _approved(self, tx: Connection, case: Case, by: str) -> Case:
        case = await self.book.go(tx, replace(case, approved_by=by), "approve", by)
        decisions = await rights_store.decisions(tx, case.id)
        records = await rights_store.held_about(tx, case.subjects, self.book.clock.now())
        match case.claim:
            case "erase":
                await self._erase(tx, case, records, decisions, by)
            case "rectify" | "restrict" | "object" as action:
                granted = {d.category for d in decisions if d.grants}
                before = {t.category for t in await rights_store.tasks(tx, case.id)}
                asked = [r for r in records if r.category in granted - before]
                await self._ask(tx, case, action, asked)
            case _:
                pass  # the copy is there; it goes out with the answer
        return case

    async def _erase(
        self,
        tx: Connection,
        case: Case,
        records: Sequence[Held],
        decisions: Iterable[Decision],
        by: str,
    ) -> None:
        """Accept what may be erased; what a law, a hold or a service keeps, for when it may."""
        of = {decision.category: decision for decision in decisions}
        accepted: list[Held] = []
        later: list[int] = []
        for record in records:
            decision = of.get(record.category)
            if decision is None or (decision.by_hand and not decision.grants):
                continue
            answer = self.book.registry.history.newest[record.category].rights.erase.answer
            kept = kept_by(record, answer, self.book.today)
            granted = decision.by_hand and decision.decision == "granted"
            if needed(record, answer) and not granted:
                later.append(record.id)
            elif kept != "policy" or granted:
                accepted.append(record)
        if accepted:
            refs = [(r.holder, r.category, r.record_id) for r in accepted]
            await self.erasures.accept_within(tx, refs, by=by)
        await rights_store.wait_to_erase(tx, case.id, later, by)

    # What holders do.

    async def on_result(self, tx: Connection, result: RightsResult) -> None:
        """Take a holder's answer; the first one to a task counts.

        Raises:
            Rejected: it answers nothing that this holder was asked.
        """
        task = _uuid(result.command_id)
        case_id = await rights_store.case_of_task(tx, task, result.holder)
        if case_id is None:
            raise Rejected("no such order was given to this holder", code="unknown-reference")
        if result.object not in {None, place(task)}:
            raise Rejected("the copy lies elsewhere than it should", code="mismatched-result")
        case = await rights_store.lock(tx, case_id)
        await rights_store.answered(tx, task, result.outcome, result.records)
        if case is not None:
            await self._collected(tx, case)

    async def done(self, pool: Pool, task: UUID, *, by: str) -> Case:
        """Note that somebody did what a holder left to people.

        Raises:
            Rejected: it was not left to people.
        """
        async with pool.acquire() as connection:
            case_id = await rights_store.case_of_task(connection, task)
        async with self.book.case(pool, case_id or "") as (tx, case):
            if not await rights_store.done_by_hand(tx, task, by):
                raise Rejected("it was not left to people", code="wrong-step")
            return await self._collected(tx, case)

    async def lift(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """End a restriction, and tell the person so (GDPR article 18(3)).

        Raises:
            Rejected: there is none.
        """
        async with self.book.case(pool, case_id) as (tx, case):
            if case.claim != "restrict":
                raise Rejected("it is no restriction", code="wrong-step")
            after(case.state, "close")
            records = await rights_store.held_about(tx, case.subjects, self.book.clock.now())
            tasks = await rights_store.tasks(tx, case.id)
            restricted = {t.category for t in tasks if t.action == "restrict"}
            await self.book.tell(tx, case, "lift", by)
            await self.book.notify(tx, case, "lift")
            await self._ask(tx, case, "lift", [r for r in records if r.category in restricted])
            return await self.book.over(tx, await self.book.go(tx, case, "close", by))

    async def _collected(self, tx: Connection, case: Case) -> Case:
        """Open a case for its decision once nothing is waited for."""
        if case.state != "collecting":
            return case
        tasks = await rights_store.tasks(tx, case.id)
        if any(task.state != "done" for task in tasks if task.action in COPIES):
            return case
        return await self.book.go(tx, case, "collected", HOLDER)

    async def _ask(self, tx: Connection, case: Case, action: str, records: Iterable[Held]) -> None:
        """Ask each holder to do something about records of a person."""
        now = self.book.clock.now()
        copied = action in COPIES
        by_hand = copied and self.by_hand
        tasks: list[Task] = []
        ordered = sorted(records, key=_whose)
        for (holder, category), group in groupby(ordered, key=_whose):
            refs = [record.record_id for record in group]
            for start in range(0, len(refs), CHUNK):
                task = new_id()
                tasks.append(
                    Task(
                        task,
                        case.id,
                        holder,
                        category,
                        action,
                        refs[start : start + CHUNK],
                        "by-hand" if by_hand else "asked",
                        next_try_at=None if by_hand else now + self.answer_within,
                        object=place(task) if copied else None,
                    )
                )
        await rights_store.add_tasks(tx, tasks)
        asked = [order(case, task, now) for task in tasks if task.state == "asked"]
        await self.book.outbox.announce(tx, now, asked)

    def _proposed(self, case: Case, records: Iterable[Held]) -> list[Decision]:
        policies = self.book.registry.history.newest.values()
        return propose(policies, records, case.claim, self.book.today)


def _whose(record: Held) -> tuple[str, str]:
    return record.holder, record.category


def _told(decision: Decision) -> RightsDecision:
    names = ("category", "decision", "article", "records", "until_first", "until_last", "by_hand")
    return RightsDecision(**{name: getattr(decision, name) for name in names})


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Rejected("command_id is not one of ours", code="unknown-reference") from None
