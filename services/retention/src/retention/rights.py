"""Requests about the rights of persons, from their receipt to the answer and beyond."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Final, Literal
from uuid import UUID

from retention import rights_package, rights_store
from retention.calendar import civil_day
from retention.erasures import Erasures
from retention.policy import Policies
from retention.purge import CHUNK
from retention.registry import Registry
from retention.rights_letter import RIGHTS, Answer, as_json, as_text
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
from retention.rights_rules import OVER, Step, after, copies
from retention.rights_store import Case, Task
from shared import logs
from shared.clock import Clock
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.gallra import (
    RightsCaseChanged,
    RightsCollect,
    RightsCommand,
    RightsDecision,
    RightsExport,
    RightsLift,
    RightsObject,
    RightsRectify,
    RightsRestrict,
    RightsResult,
)
from shared.events.platform import (
    Addressee,
    MessageRequested,
    RecordAnchored,
    RecordRegistered,
    RightsRequestReceived,
    Subject,
)
from shared.exports import Exports
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, sole, transaction
from shared.sealing import new_key, unseal
from shared.wording import translator

HOLDER: Final = "retention"
CATEGORY: Final = "rights.case"

_LIMIT: Final = 1000  # tasks asked again at once
_COPY_LIVES: Final = timedelta(days=1)
_LONGEST_PAUSE: Final = timedelta(hours=6)

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Rights:
    """Leads each request through its steps; every step is a decision in the master log.

    Attributes:
        exports: Where copies are laid; without it people collect them by hand.
        entity: The legal entity whose records the files of cases are.
        links: Where links in answers lead.
        answer_within: A holder silent for longer is asked again.
        fetch_within: So long a copy can be fetched.
    """

    registry: Registry
    erasures: Erasures
    outbox: Outbox
    clock: Clock
    exports: Exports | None
    entity: str
    links: str
    answer_within: timedelta = timedelta(minutes=2)
    fetch_within: timedelta = timedelta(days=14)

    # Receipt and identity.

    async def receive(self, pool: Pool, request: RightsRequestReceived) -> None:
        """Open the case of a request that somebody enters.

        Raises:
            Rejected: as :meth:`take`.
        """
        async with transaction(pool) as tx:
            await self.registry.in_force.read(tx)
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
        now = self.clock.now()
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
        await self.outbox.announce(tx, now, [registered], cause=cause)
        await self._tell(
            tx, case, "receive", HOLDER, received_on=case.received_on, channel=case.channel
        )
        if case.claim == "object":
            absolute = marketing(self.registry.history.newest.values())
            records = await rights_store.held_about(tx, case.subjects, now)
            await self._ask(tx, case, "object", [r for r in records if r.category in absolute])

    async def ask_identity(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Ask the person for proof of who they are; the clock stands still until it comes.

        Raises:
            Rejected: it is not the time for that.
        """
        async with self._case(pool, case_id) as (tx, found):
            case = replace(found, asked_on=found.clock.asked(self._today).asked_on)
            case = await self._go(tx, case, "ask-identity", by)
            await self._notify(tx, case, "identity")
            return case

    async def confirm_identity(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Note that the person is who they say, and have the data collected if that is asked for.

        Raises:
            Rejected: it is not the time for that.
        """
        async with self._case(pool, case_id) as (tx, found):
            shown = found.clock.shown(self._today)
            case = replace(found, shown_on=shown.shown_on)
            if copies(case.claim):
                private, public = new_key()
                case = replace(case, unseal=private, seal_to=public)
            case = await self._go(tx, case, "confirm-identity", by)
            if copies(case.claim):
                now = self.clock.now()
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
        async with self._case(pool, case_id) as (tx, found):
            case = await self._go(
                tx, replace(found, answered_on=self._today), "refuse-identity", by
            )
            await self._write(tx, case, None, None)
            return await self._over(tx, case)

    async def extend(
        self, pool: Pool, case_id: str, *, reason: Literal["complexity", "number"], by: str
    ) -> Case:
        """Take two months more, and tell the person so.

        Raises:
            Rejected: the first month is over, it was done before, or it is answered.
        """
        async with self._case(pool, case_id) as (tx, found):
            if found.state in {*OVER, "answered"}:
                raise Rejected("the request is answered", code="wrong-step")
            clock = found.clock.extended(self._today)
            case = replace(found, extended_on=clock.extended_on, due_on=clock.due)
            await rights_store.keep(tx, case)
            await self._tell(tx, case, "extend", by, reason=reason)
            await self._notify(tx, case, reason)
            return case

    async def withdraw(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """End a case because the person does not want it any more.

        Raises:
            Rejected: it was approved already.
        """
        async with self._case(pool, case_id) as (tx, case):
            return await self._over(tx, await self._go(tx, case, "withdraw", by))

    # Decision.

    async def proposed(self, tx: Connection, case: Case) -> list[Decision]:
        """Return what the policies answer, in a transaction that has read those in force."""
        records = await rights_store.held_about(tx, case.subjects, self.clock.now())
        return self._proposed(case, records)

    async def decide(
        self, pool: Pool, case_id: str, choices: Sequence[Decision] = (), *, by: str
    ) -> Case:
        """Decide a case as the policies propose, but for what *choices* say otherwise.

        Where data goes out or is erased, another person approves it.

        Raises:
            Rejected: it is not the time for that, or a choice is against the law.
        """
        async with self._case(pool, case_id) as (tx, found):
            decided = decide(await self.proposed(tx, found), choices)
            eyes = four_eyes(found.claim, decided)
            await rights_store.put_decisions(tx, found.id, decided)
            case = replace(found, decided_by=by, four_eyes=eyes)
            told = [_told(decision) for decision in decided]
            case = await self._go(tx, case, "decide", by, decisions=tuple(told))
            return case if eyes else await self._approved(tx, case, by)

    async def send_back(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Have a case decided anew.

        Raises:
            Rejected: it waits for nobody's approval.
        """
        async with self._case(pool, case_id) as (tx, case):
            return await self._go(tx, replace(case, decided_by=None), "return", by)

    async def approve(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """Approve what another person decided, and have it carried out.

        Raises:
            Rejected: the same person decided it, or it waits for nobody's approval.
        """
        async with self._case(pool, case_id) as (tx, case):
            if case.decided_by == by:
                raise Rejected("another person must approve it", code="four-eyes")
            return await self._approved(tx, case, by)

    async def _approved(self, tx: Connection, case: Case, by: str) -> Case:
        case = await self._go(tx, replace(case, approved_by=by), "approve", by)
        decisions = await rights_store.decisions(tx, case.id)
        records = await rights_store.held_about(tx, case.subjects, self.clock.now())
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
            answer = self.registry.history.newest[record.category].rights.erase.answer
            kept = kept_by(record, answer, self._today)
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
        if result.object not in {None, _place(task)}:
            raise Rejected("the copy lies elsewhere than it should", code="mismatched-result")
        await rights_store.answered(tx, task, result.outcome, result.records)
        case = await rights_store.lock(tx, case_id)
        if case is not None:
            await self._collected(tx, case)

    async def done(self, pool: Pool, task: UUID, *, by: str) -> Case:
        """Note that somebody did what a holder left to people.

        Raises:
            Rejected: it was not left to people.
        """
        async with pool.acquire() as connection:
            case_id = await rights_store.case_of_task(connection, task)
        async with self._case(pool, case_id or "") as (tx, case):
            if not await rights_store.done_by_hand(tx, task, by):
                raise Rejected("it was not left to people", code="wrong-step")
            return await self._collected(tx, case)

    async def lift(self, pool: Pool, case_id: str, *, by: str) -> Case:
        """End a restriction, and tell the person so (GDPR article 18(3)).

        Raises:
            Rejected: there is none.
        """
        async with self._case(pool, case_id) as (tx, case):
            if case.claim != "restrict":
                raise Rejected("it is no restriction", code="wrong-step")
            after(case.state, "close")
            records = await rights_store.held_about(tx, case.subjects, self.clock.now())
            tasks = await rights_store.tasks(tx, case.id)
            restricted = {t.category for t in tasks if t.action == "restrict"}
            await self._tell(tx, case, "lift", by)
            await self._notify(tx, case, "lift")
            await self._ask(tx, case, "lift", [r for r in records if r.category in restricted])
            return await self._over(tx, await self._go(tx, case, "close", by))

    async def _collected(self, tx: Connection, case: Case) -> Case:
        """Open a case for its decision once nothing is waited for."""
        if case.state != "collecting":
            return case
        tasks = await rights_store.tasks(tx, case.id)
        if any(task.state != "done" for task in tasks if task.action in {"collect", "export"}):
            return case
        return await self._go(tx, case, "collected", HOLDER)

    async def _ask(self, tx: Connection, case: Case, action: str, records: Iterable[Held]) -> None:
        """Ask each holder to do something about records of a person."""
        now = self.clock.now()
        copied = action in {"collect", "export"}
        by_hand = copied and self.exports is None
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
                        object=_place(task) if copied else None,
                    )
                )
        await rights_store.add_tasks(tx, tasks)
        asked = [_command(case, task, now) for task in tasks if task.state == "asked"]
        await self.outbox.announce(tx, now, asked)

    # By the clock.

    async def sweep(self, pool: Pool) -> None:
        """Ask silent holders again, give the answers that are ready, end what has run out."""
        async with transaction(pool) as tx:
            if not await sole(tx, "rights"):
                return
            await self.registry.in_force.read(tx)
            now = self.clock.now()
            for task in await rights_store.silent(tx, now, _LIMIT):
                await self._ask_again(tx, task, now)
            for ref, by in await rights_store.needed_no_more(tx):
                await self.erasures.accept_within(tx, [ref], by=by)
            ready = await rights_store.to_answer(tx)
            run_out = await rights_store.run_out(tx, now)
        for case_id in ready:
            await self._answer(pool, case_id)
        for case_id in run_out:
            async with self._case(pool, case_id) as (tx, case):
                if case.state == "answered":
                    await self._over(tx, await self._go(tx, case, "close", HOLDER))
        await self._shred(pool)

    async def _ask_again(self, tx: Connection, task: Task, now: datetime) -> None:
        pause = min(self.answer_within * 2**task.attempts, _LONGEST_PAUSE)
        await rights_store.asked_again(tx, task.id, now + pause)
        case = await rights_store.case(tx, task.case_id)
        if case is not None:
            await self.outbox.announce(tx, now, [_command(case, task, now)])

    async def _answer(self, pool: Pool, case_id: str) -> None:
        """Give the answer to a case; a copy of the data lies ready before anybody is told of it.

        A crash in between leaves a package that nobody can open.
        """
        async with pool.acquire() as tx:
            case = await rights_store.case(tx, case_id)
            decisions = await rights_store.decisions(tx, case_id)
            tasks = await rights_store.tasks(tx, case_id)
        if case is None:
            return
        answer = Answer(case.id, case.claim, case.received_on, self._today, decisions)
        link = package = None
        if (
            self.exports is not None
            and case.unseal is not None
            and any(d.grants for d in decisions)
        ):
            granted = {d.category for d in decisions if d.grants}
            parts = await self._parts(pool, case, [t for t in tasks if t.category in granted])
            if parts is None:
                return
            link, package = rights_package.new_link(), f"rights/{new_id()}"
            made = rights_package.pack(as_json(answer, self._policies, case.locale), parts)
            await self.exports.put(package, rights_package.seal(made, link))
        async with self._case(pool, case_id) as (tx, found):
            if found.state != "approved":
                return
            case = replace(found, answered_on=self._today, unseal=None)
            if link is not None:
                case = replace(
                    case,
                    package=package,
                    fetch_by=rights_package.fetched_by(link),
                    fetch_until=self.clock.now() + self.fetch_within,
                )
            case = await self._go(tx, case, "answer", HOLDER)
            await self._write(tx, case, decisions, link)
            restricts = case.claim == "restrict" and any(d.grants for d in decisions)
            if link is None and not restricts:
                await self._over(tx, await self._go(tx, case, "close", HOLDER))

    async def _parts(
        self, pool: Pool, case: Case, tasks: Sequence[Task]
    ) -> list[tuple[str, str, bytes]] | None:
        """Return holder, category and content of each copy; None if one must be asked for anew."""
        parts: list[tuple[str, str, bytes]] = []
        for task in tasks:
            if task.object is None or self.exports is None or case.unseal is None or task.done_by:
                continue  # given by hand
            sealed = await self.exports.get(task.object)
            try:
                # What is not there is as good as what was changed.
                body = unseal(sealed or b"", case.unseal, task.object)
            except Rejected as error:
                _log.warning("a copy cannot be used", holder=task.holder, code=error.code)
                async with transaction(pool) as tx:
                    await rights_store.ask_anew(tx, task.id, self.clock.now())
                return None
            parts.append((task.holder, task.category, body))
        return parts

    async def fetch(self, pool: Pool, link: str) -> bytes:
        """Return the copy that a link leads to; that it was fetched is noted.

        Raises:
            Rejected: the link leads nowhere, or no more.
        """
        now = self.clock.now()
        async with transaction(pool) as tx:
            case = await rights_store.fetchable(tx, rights_package.fetched_by(link), now)
            sealed = None
            if case is not None and case.package is not None and self.exports is not None:
                sealed = await self.exports.get(case.package)
            if case is None or sealed is None:
                raise Rejected("the link has run out, or is not all there", code="unknown-link")
            package = rights_package.unseal(sealed, link)
            await self._tell(tx, case, "fetch", HOLDER)
        return package

    async def _shred(self, pool: Pool) -> None:
        """Delete the objects that nobody can open any more."""
        if self.exports is None:
            return
        async with pool.acquire() as connection:
            useless = await rights_store.useless_objects(connection)
        for name in useless:
            await self.exports.delete(name)
        async with transaction(pool) as tx:
            await rights_store.objects_gone(tx, useless)

    # What all steps share.

    @property
    def _today(self) -> date:
        return civil_day(self.clock.now())

    @property
    def _policies(self) -> Policies:
        return Policies(self.registry.history.newest, self.registry.in_force.holders)

    def _proposed(self, case: Case, records: Iterable[Held]) -> list[Decision]:
        return propose(self.registry.history.newest.values(), records, case.claim, self._today)

    @asynccontextmanager
    async def _case(self, pool: Pool, case_id: str) -> AsyncGenerator[tuple[Connection, Case]]:
        async with transaction(pool) as tx:
            await self.registry.in_force.read(tx)
            case = await rights_store.lock(tx, case_id)
            if case is None:
                raise Rejected("there is no such request", code="unknown-request")
            yield tx, case

    async def _go(self, tx: Connection, case: Case, step: Step, by: str, **more: Any) -> Case:
        """Take a step, and tell the master log."""
        moved = replace(case, state=after(case.state, step), due_on=case.clock.due)
        await rights_store.keep(tx, moved)
        await self._tell(tx, moved, step, by, **more)
        return moved

    async def _tell(self, tx: Connection, case: Case, step: Any, by: str, **more: Any) -> None:
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

    async def _over(self, tx: Connection, case: Case) -> Case:
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
            date=self._today,
        )
        await self.outbox.announce(tx, self.clock.now(), [closed])
        return case

    async def _write(
        self,
        tx: Connection,
        case: Case,
        decisions: Sequence[Decision] | None,
        link: str | None,
    ) -> None:
        """Send the answer, if there is an address to send it to."""
        answer = Answer(case.id, case.claim, case.received_on, self._today, decisions)
        until = case.fetch_until and civil_day(case.fetch_until)
        params = {"answer": as_text(answer, self._policies, case.locale, until)}
        if link is not None:
            params["link"] = f"{self.links}/r/{link}"
        await self._mail(tx, case, "rights-answer", "answer", params)

    async def _notify(self, tx: Connection, case: Case, about: str) -> None:
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


def _whose(record: Held) -> tuple[str, str]:
    return record.holder, record.category


def _told(decision: Decision) -> RightsDecision:
    names = ("category", "decision", "article", "records", "until_first", "until_last", "by_hand")
    return RightsDecision(**{name: getattr(decision, name) for name in names})


def _place(task: UUID) -> str:
    return f"rights/{task}"


def _command(case: Case, task: Task, now: datetime) -> RightsCommand:
    fields: dict[str, Any] = {
        "command_id": str(task.id),
        "request_id": case.id,
        "holder": task.holder,
        "category": task.category,
        "refs": task.refs,
    }
    copied: dict[str, Any] = {
        "seal_to": case.seal_to,
        "object": _place(task.id),
        "not_after": now + _COPY_LIVES,
    }
    match task.action:
        case "collect":
            return RightsCollect(**fields, **copied)
        case "export":
            return RightsExport(**fields, **copied)
        case "rectify":
            return RightsRectify(**fields)
        case "restrict":
            return RightsRestrict(**fields)
        case "lift":
            return RightsLift(**fields)
        case _:
            return RightsObject(**fields)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Rejected("command_id is not one of ours", code="unknown-reference") from None
