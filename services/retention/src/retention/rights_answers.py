"""Requests by the clock: who is silent is asked again, answers are given, copies run out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from retention import rights_package, rights_store
from retention.erasures import Erasures
from retention.rights_book import HOLDER, Book
from retention.rights_letter import Answer, as_json
from retention.rights_orders import order
from retention.rights_paper import as_pdf
from retention.rights_store import Case, Task
from shared import logs
from shared.errors import Rejected
from shared.exports import Exports
from shared.ids import new_id
from shared.postgres import Connection, Pool, sole, transaction
from shared.sealing import unseal

_LIMIT: Final = 1000  # tasks asked again at once
_LONGEST_PAUSE: Final = timedelta(hours=6)

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Answers:
    """Gives the answers that are ready.

    Attributes:
        exports: Where copies are laid; without it people collect them by hand.
        answer_within: A holder silent for longer is asked again.
        fetch_within: So long a copy can be fetched.
    """

    book: Book
    erasures: Erasures
    exports: Exports | None
    answer_within: timedelta = timedelta(minutes=2)
    fetch_within: timedelta = timedelta(days=14)

    async def sweep(self, pool: Pool) -> None:
        """Ask silent holders again, give the answers that are ready, end what has run out."""
        async with transaction(pool) as tx:
            if not await sole(tx, "rights"):
                return
            await self.book.registry.in_force.read(tx)
            now = self.book.clock.now()
            for task in await rights_store.silent(tx, now, _LIMIT):
                await self._ask_again(tx, task, now)
            for ref, by in await rights_store.needed_no_more(tx):
                await self.erasures.accept_within(tx, [ref], by=by)
            ready = await rights_store.to_answer(tx)
            run_out = await rights_store.run_out(tx, now)
        for case_id in ready:
            await self._answer(pool, case_id)
        for case_id in run_out:
            async with self.book.case(pool, case_id) as (tx, case):
                if case.state == "answered":
                    await self.book.over(tx, await self.book.go(tx, case, "close", HOLDER))
        await self._shred(pool)

    async def _ask_again(self, tx: Connection, task: Task, now: datetime) -> None:
        pause = min(self.answer_within * 2**task.attempts, _LONGEST_PAUSE)
        await rights_store.asked_again(tx, task.id, now + pause)
        case = await rights_store.case(tx, task.case_id)
        if case is not None:
            await self.book.outbox.announce(tx, now, [order(case, task, now)])

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
        answer = Answer(case.id, case.claim, case.received_on, self.book.today, decisions)
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
            letter = await asyncio.to_thread(as_pdf, answer, self.book.policies, case.locale)
            told = as_json(answer, self.book.policies, case.locale)
            made = rights_package.pack(told, letter, parts)
            await self.exports.put(package, rights_package.seal(made, link))
        async with self.book.case(pool, case_id) as (tx, found):
            if found.state != "approved":
                return
            case = replace(found, answered_on=self.book.today, unseal=None)
            if link is not None:
                case = replace(
                    case,
                    package=package,
                    fetch_by=rights_package.fetched_by(link),
                    fetch_until=self.book.clock.now() + self.fetch_within,
                )
            case = await self.book.go(tx, case, "answer", HOLDER)
            await self.book.write(tx, case, decisions, link)
            restricts = case.claim == "restrict" and any(d.grants for d in decisions)
            if link is None and not restricts:
                await self.book.over(tx, await self.book.go(tx, case, "close", HOLDER))

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
                    await rights_store.ask_anew(tx, task.id, self.book.clock.now())
                return None
            parts.append((task.holder, task.category, body))
        return parts

    async def fetch(self, pool: Pool, link: str) -> bytes:
        """Return the copy that a link leads to; that it was fetched is noted.

        Raises:
            Rejected: the link leads nowhere, or no more.
        """
        now = self.book.clock.now()
        async with transaction(pool) as tx:
            case = await rights_store.fetchable(tx, rights_package.fetched_by(link), now)
            sealed = None
            if case is not None and case.package is not None and self.exports is not None:
                sealed = await self.exports.get(case.package)
            if case is None or sealed is None:
                raise Rejected("the link has run out, or is not all there", code="unknown-link")
            package = rights_package.unseal(sealed, link)
            await self.book.tell(tx, case, "fetch", HOLDER)
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
