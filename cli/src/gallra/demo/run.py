"""Runs the demo against a stack that is up, and counts what came of it.

Every figure is taken from where a user would look: the services' own APIs, the platform's tables,
the mail sink and the dead-letter topics.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaConsumer

from audit_log.verify import Verdict
from gallra.ask import ask
from gallra.demo.platform import GROUP, Platform, platform
from gallra.demo.story import ACTIONS, Story, broken, tell
from gallra.stackfile import Stack
from gallra.verification import verdict_of
from retention import guard_store
from retention.guard import Guard
from retention.holds import Holds
from retention.override import Scope
from shared.broker import readings
from shared.clock import SystemClock
from shared.errors import Rejected
from shared.events import TOPICS
from shared.events.catalogue import COMMANDS
from shared.exports import Exports
from shared.outbox import Outbox
from shared.postgres import open_pool

PATIENCE: Final = 180.0  # seconds for everything to come to rest


class DemoError(Exception):
    """The demo did not end as it should; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in one demo.

    Attributes:
        actions: Sent by the portal and the API.
        logged: Of those, found in the master log.
        verdict: Of the walk through the whole log.
        purged: Records gone, by category, as the platform's own tables show.
        kept: Records still there, by category.
        lines: What the retention report says of each of these categories.
        held: Of those, due but under a legal hold.
        log_entries_purged: Of the customer who left, whose log's time is up.
        mails: Deliveries of all messages, by state.
        mails_received: Of all messages, at the mail server.
        alert_mails: To on-call, at the mail server.
        canaries: Seconds from due to gone of the newest canary of each holder and category; None
            while one is on its way.
        dead_letters: By code.
        problems: What is not as the story, the notice and the law want it.
    """

    run: str
    actions: int
    logged: int
    verdict: Verdict
    purged: dict[str, int]
    kept: dict[str, int]
    lines: dict[str, dict[str, Any]]
    held: int
    log_entries_purged: int
    mails: dict[str, int]
    mails_received: int
    alert_mails: int
    canaries: dict[str, float | None]
    dead_letters: dict[str, int]
    problems: list[str]


Say = Callable[[str], None]


async def run(stack: Stack, say: Say, name: str, exports: str) -> Figures:
    """Play the story called *name*, wait until all has come to rest, and count.

    Copies of personal data that somebody has a right to are laid at *exports*.

    Raises:
        DemoError: something that should have happened did not, within :data:`PATIENCE`.
    """
    today = datetime.now(UTC).date()
    story = tell(name, today)
    place = Exports(exports)
    async with platform(story, stack.databases["retention"], stack.kafka, place) as running:
        say(f"{len(story.customers)} customers, {len(story.rows)} records, {ACTIONS} actions")
        await _hold(stack, story)
        await running.tell_facts()
        await _rest(stack, running, say, "what it builds on")
        watch = _Watch(stack, story, running, before=await verdict_of(stack))
        await running.tell_rest()
        await _rest(stack, running, say, "events taken")
        await _until(say, "records purged", watch.purges_left)
        await _until(say, "log entries purged", watch.log_entries_left)
        await _until(say, "canaries gone", watch.canaries_left)
        await _until(say, "mails sent", watch.mails_left)
        await _rest(stack, running, say, "answers taken")
        await _until(say, "log signed", watch.unsigned)
        return await watch.count()


async def _hold(stack: Stack, story: Story) -> None:
    """Place a legal hold on the records of one customer."""
    holds = Holds(Outbox("//gallra/retention"), SystemClock())
    async with open_pool(stack.databases["retention"], "gallra-demo") as pool:
        await holds.place(
            pool,
            Scope(customer_id=story.sued, category="billing.invoice"),
            reason="dispute about invoices (demo)",
            review_on=story.today + timedelta(days=180),
            by="demo",
        )


async def _approve(stack: Stack, story: Story) -> None:
    """Approve, as two people, what the mass-purge guard froze.

    On a stack that was up yesterday, nobody forecast for today what a demo registers.
    """
    guard = Guard(Outbox("//gallra/retention"), SystemClock())
    ours = {row.event.category for row in story.rows} | {"logs.action"}
    async with open_pool(stack.databases["retention"], "gallra-demo") as pool:
        async with pool.acquire() as connection:
            frozen = await guard_store.frozen(connection)
        for category, person in product(ours & frozen.keys(), ("demo-1", "demo-2")):
            with suppress(Rejected):  # somebody was faster
                await guard.approve(pool, category, by=person)


async def _until(say: Say, what: str, left: Callable[[], Awaitable[int]]) -> None:
    """Wait until nothing is *left*, telling how it goes."""
    deadline = time.monotonic() + PATIENCE
    before = -1
    while (now := await left()) != 0:
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: {now} still missing after {PATIENCE:.0f} s")
        if now != before:
            say(f"{what}: {now} to go")
            before = now
        await asyncio.sleep(0.5)
    say(f"{what}: done")


async def _rest(stack: Stack, running: Platform, say: Say, what: str) -> None:
    """Wait until all that was published has been taken by every service."""

    async def left() -> int:
        unsent = 0 if await running.told() else 1
        return unsent + await _lag(stack.kafka)

    await _until(say, what, left)


async def _lag(kafka: str) -> int:
    """Return how many records our groups have not committed yet."""
    found = [await readings(kafka, group, topics) for group, topics in _reads().items()]
    return sum(reading.behind for of_group in found for reading in of_group)


def _reads() -> dict[str, list[str]]:
    """Return which topics each group reads."""
    groups = {reader for topic in TOPICS for reader in topic.readers}
    reads = {group: [t.name for t in TOPICS if group in t.readers] for group in groups}
    return {**reads, GROUP: [COMMANDS.name]}


@dataclass(frozen=True, slots=True)
class _Watch:
    """Looks at what a demo has come to."""

    stack: Stack
    story: Story
    running: Platform
    before: Verdict

    async def purges_left(self) -> int:
        await _approve(self.stack, self.story)
        left = await self.running.left()
        return len(self.story.due & set().union(*left.values()))

    async def log_entries_left(self) -> int:
        await _approve(self.stack, self.story)
        return sum(map(_is_action, await self._entries(self.story.terminated)))

    async def canaries_left(self) -> int:
        await _approve(self.stack, self.story)
        return sum(seconds is None for seconds in (await self._canaries()).values())

    async def mails_left(self) -> int:
        states = await self._states()
        planned = sum(states.values())
        waiting = states["queued"] + states["sending"] + states["deferred"]
        return waiting + len(self.story.technical) * len(self.story.messages) - planned

    async def unsigned(self) -> int:
        """Return how many entries the newest checkpoint does not cover."""
        note = (await self._get("audit_log", "/log/checkpoint")).text
        async with open_pool(self.stack.databases["audit_log"], "gallra-demo") as pool:
            size: int = await pool.fetchval("SELECT size FROM tree")
        return size - int(note.splitlines()[1])

    async def count(self) -> Figures:
        left = await self.running.left()
        rows = Counter(row.event.category for row in self.story.rows)
        mails = await self._mails()
        states = await self._states()
        verdict = await verdict_of(self.stack)
        forgotten = verdict.purged - self.before.purged
        present = 0
        for customer in self.story.customers:
            present += sum(map(_is_action, await self._entries(customer)))
        report = (await self._get("retention", "/api/v1/report")).json()
        figures = Figures(
            run=self.story.run,
            actions=len(self.story.actions),
            logged=present + forgotten,
            log_entries_purged=forgotten,
            verdict=verdict,
            purged={c: rows[c] - len(ids) for c, ids in left.items()},
            kept={c: len(ids) for c, ids in left.items()},
            lines={
                line["category"]: line for line in report["categories"] if line["category"] in left
            },
            held=len(self.story.held & left["billing.invoice"]),
            mails=dict(states),
            mails_received=sum(self._is_ours(mail) for mail in mails),
            alert_mails=sum(self.story.fingerprint in mail["subject"] for mail in mails),
            canaries=await self._canaries(),
            dead_letters=await _dead_letters(self.stack.kafka, self.story),
            problems=[],
        )
        return replace(figures, problems=self._problems(figures, rows))

    def _problems(self, figures: Figures, rows: Counter[str]) -> list[str]:
        story = self.story
        due = Counter(r.event.category for r in story.rows if r.event.record_id in story.due)
        mails = len(story.technical) * len(story.messages)
        expected = {
            "actions in the log": (figures.logged, len(story.actions)),
            "log entries purged": (figures.log_entries_purged, story.actions_due),
            "invoices under hold": (figures.held, len(story.held)),
            "mails accepted": (figures.mails, {"accepted": mails}),
            "mails received": (figures.mails_received, mails if self.stack.mail_api else 0),
            "alert mails": (figures.alert_mails, 1 if self.stack.mail_api else 0),
            "dead letters": (sum(figures.dead_letters.values()), len(broken(story))),
            **{f"{c} purged": (n, due[c]) for c, n in figures.purged.items()},
            **{f"{c} kept": (n, rows[c] - due[c]) for c, n in figures.kept.items()},
        }
        wrong = [
            f"{what}: {is_} instead of {want}"
            for what, (is_, want) in expected.items()
            if is_ != want
        ]
        return [*wrong, *figures.verdict.problems]

    async def _mails(self) -> list[dict[str, Any]]:
        if not self.stack.mail_api:
            return []
        mails: list[dict[str, Any]] = (await ask(f"{self.stack.mail_api}/api/v1/mails")).json()
        return mails

    def _is_ours(self, mail: dict[str, Any]) -> bool:
        """Return whether it is of a message, and not the question whose address it is."""
        asked = any(value.startswith("verify-address/") for _, value in mail["headers"])
        return not asked and any(f"@{self.story.run}-" in to for to in mail["to"])

    async def _get(self, service: str, path: str, **params: Any) -> httpx.Response:
        return await ask(self.stack.urls[service] + path, **params)

    async def _entries(self, customer: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: int | None = None
        while True:
            params = {"customer": customer} | ({"cursor": cursor} if cursor else {})
            page = (await self._get("audit_log", "/api/v1/entries", **params)).json()
            found += page["entries"]
            cursor = page["cursor"]
            if cursor is None:
                return found

    async def _canaries(self) -> dict[str, float | None]:
        found = (await self._get("retention", "/api/v1/canaries")).json()["canaries"]
        return {f"{c['holder']}/{c['category']}": c["seconds"] for c in found}

    async def _states(self) -> Counter[str]:
        """Return how many deliveries of all messages are in each state."""
        found = Counter[str]()
        for message in self.story.messages:
            path = f"/api/v1/messages/{message.message_id}"
            answer = await self._get("notifier", path)
            found.update(answer.json()["states"])
        return found


def _is_action(entry: dict[str, Any]) -> bool:
    return entry["type"] == "platform.action.performed.v1"


async def _dead_letters(kafka: str, story: Story) -> dict[str, int]:
    """Return how many events of this demo were set aside, by code."""
    topics = [topic.dead_letters for topic in TOPICS if topic.readers]
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        starts = await consumer.beginning_offsets(list(ends))
        waiting = {place for place in ends if starts[place] < ends[place]}
        found: dict[tuple[str, str, str], str] = {}
        while waiting:
            for place, records in (await consumer.getmany(timeout_ms=1000)).items():
                for record in records:
                    headers = {n: v.decode("utf-8", "replace") for n, v in record.headers}
                    if headers.get("ce_source") == story.broken_source:
                        # By where it lay, for a dead letter too may be published twice.
                        origin = (headers["dlq_topic"], headers["dlq_partition"])
                        found[(*origin, headers["dlq_offset"])] = headers["dlq_code"]
                if await consumer.position(place) >= ends[place]:
                    waiting.discard(place)
        return dict(Counter(found.values()))
    finally:
        await consumer.stop()
