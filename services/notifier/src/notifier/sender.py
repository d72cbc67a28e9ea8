"""Sends what waits, so that a crash can leave a few mails in doubt but never lose or repeat one.

The intent (state ``sending``) is committed before the mail relay is spoken to, the outcome after.
Each of a few connections has so many mails marked at once, and no more than that are in doubt when
the process dies: they become ``unknown``, and their type says what is done about it.
"""

import asyncio
import random
import secrets
import sys
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from notifier import letter, store, tokens
from notifier.audience import ALL, Limits, limit_of, verdict
from notifier.catalogue import MessageType
from notifier.delivery import Patience
from notifier.planning import HOLDER, Library, form
from notifier.refusals import Refusals
from notifier.smtp import Answer, Connection, Outgoing, Relay, RelayAwayError
from shared import logs
from shared.addresses import on_the_wire
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.gallra import AlertRaised, AlertResolved
from shared.events.platform import RecordAnchored
from shared.outbox import Outbox
from shared.postgres import Pool, transaction

_FORMS: Final = 64  # messages of which a process remembers what their mails share
_BROKEN: Final = 1000  # that are seen to in one transaction
_COUNTED: Final = 100  # messages, the same
_AWAY: Final = "mail-relay-away"
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is on its way at once.

    Attributes:
        connections: To the relay.
        batch: Mails marked at once for each of them.
    """

    connections: int = 4
    batch: int = 10

    @property
    def doubtful(self) -> int:
        """So many mails at most are in doubt when the process dies."""
        return self.connections * self.batch


@dataclass(frozen=True, slots=True)
class _Said:
    """What the mails of a message share, and until when they may be sent."""

    send_before: datetime | None
    form: letter.Form | None


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the mails of one notifier.

    Attributes:
        links: Where links in mails lead.
        link_key: By which such links are recognised.
    """

    relay: Relay
    outbox: Outbox
    clock: Clock
    types: Mapping[str, MessageType]
    library: Library
    limits: Limits
    refusals: Refusals
    sender: str
    links: str
    link_key: bytes
    pace: Pace = Pace()
    patience: Patience = field(default_factory=Patience)
    _said: OrderedDict[tuple[str, str], _Said] = field(
        default_factory=OrderedDict[tuple[str, str], _Said]
    )
    _busy: Counter[str] = field(default_factory=Counter[str])
    _chance: random.Random = field(default_factory=random.Random)

    async def send_waiting(self, pool: Pool) -> None:
        """Send everything whose time has come, over a few connections at once.

        Cancelled, it marks nothing more and waits for what is on its way: no doubt comes of it.
        """
        async with pool.acquire() as connection:
            if await store.anything_due(connection, self.clock.now()):
                worker = secrets.randbits(63)
                async with store.working(connection, worker):
                    await self._send_all(pool, worker)
        async with transaction(pool) as tx:
            now = self.clock.now()
            done = await store.finish_messages(tx, now)
            await self.outbox.announce(tx, now, [_body_sent(id_, now) for id_ in done])
        async with transaction(pool) as tx:
            await store.count_states(tx, _COUNTED)

    async def _send_all(self, pool: Pool, worker: int) -> None:
        stopping = asyncio.Event()
        lanes = asyncio.gather(
            *(self._drain(pool, worker, stopping) for _ in range(self.pace.connections))
        )
        try:
            await asyncio.shield(lanes)
        except asyncio.CancelledError:
            stopping.set()
            await lanes
            raise

    async def _drain(self, pool: Pool, worker: int, stopping: asyncio.Event) -> None:
        outcomes: list[store.Outcome] = []
        async with Connection(self.relay) as connection:
            try:
                while not stopping.is_set():
                    await self._open(pool, connection)
                    batch = await self._turn(pool, worker, outcomes, self.pace.batch)
                    outcomes = []
                    if not batch:
                        return
                    outcomes = await self._send(pool, connection, batch)
            except RelayAwayError as away:
                _log.warning("the mail relay is away", job="send", step=str(away))
            if outcomes:
                await self._turn(pool, worker, outcomes, 0)

    async def _open(self, pool: Pool, connection: Connection) -> None:
        """Connect before anything is marked: while the relay is away nothing is in doubt."""
        if connection.stands:
            return
        try:
            await connection.open()
        except RelayAwayError as away:
            await self._tell(pool, AlertRaised, f"no mail can be handed over: {away}")
            raise
        await self._tell(pool, AlertResolved, "mail is handed over again")

    async def _tell(self, pool: Pool, kind: type[AlertRaised], summary: str) -> None:
        """Tell on-call that the relay is away, or is back; once each."""
        async with transaction(pool) as tx:
            if await store.note_relay(tx, away=kind is AlertRaised):
                alert = kind(fingerprint=_AWAY, severity="critical", summary=summary, runbook=_AWAY)
                await self.outbox.announce(tx, self.clock.now(), [alert])

    async def _turn(
        self, pool: Pool, worker: int, outcomes: Sequence[store.Outcome], limit: int
    ) -> list[store.Claimed]:
        """Settle what was sent and mark what comes next, in one transaction."""
        busy = [name for name, count in self._busy.items() if count >= self._most(name)]
        dead = [outcome.dead for outcome in outcomes if outcome.dead is not None]
        # One statement is a transaction by itself, without turns to the server to begin and end it.
        async with transaction(pool) if dead else pool.acquire() as tx:
            claimed = await store.turn(tx, outcomes, self.clock.now(), worker, limit, busy)
            for recipient in dead:
                await self.refusals.refuse(tx, recipient, ALL, "hard-bounce")
        return claimed

    def _most(self, domain: str) -> int:
        """Return over how many connections at once mail may go to a domain that has a limit."""
        return limit_of(self.limits, domain).connections or sys.maxsize

    async def _send(
        self, pool: Pool, connection: Connection, batch: Sequence[store.Claimed]
    ) -> list[store.Outcome]:
        """Hand over a batch; return what became of each mail."""
        now = self.clock.now()
        outcomes: list[store.Outcome] = []
        mails: list[tuple[store.Claimed, Outgoing]] = []
        for claimed in batch:
            made = await self._made(pool, claimed, now)
            if isinstance(made, store.Outcome):
                outcomes.append(made)
            else:
                mails.append((claimed, made))
        domains = {claimed.domain or "" for claimed, _ in mails}
        limited = {name for name in domains if limit_of(self.limits, name).connections}
        self._busy.update(limited)
        try:
            answers = await connection.hand_over([mail for _, mail in mails])
        finally:
            self._busy.subtract(limited)
        after = self.clock.now()
        outcomes += [
            self._outcome(claimed, answer, after)
            for (claimed, _), answer in zip(mails, answers, strict=True)
        ]
        return outcomes

    async def _made(
        self, pool: Pool, claimed: store.Claimed, now: datetime
    ) -> Outgoing | store.Outcome:
        """Return the mail to be sent, or why none is."""
        kind = self.types.get(claimed.message_type)
        if claimed.email is None or kind is None:
            return store.Outcome(claimed.id, "suppressed", "purged")
        if claimed.reason == "unverified":
            return store.Outcome(claimed.id, "expired", "unverified")
        if claimed.held and (held := await self._held(pool, claimed, kind)):
            return held
        said = await self._what(pool, claimed, kind)
        if said.form is None:
            return store.Outcome(claimed.id, "suppressed", "purged")
        if said.send_before is not None and said.send_before < now:
            return store.Outcome(claimed.id, "expired", "too-late")
        link = None if kind.mandatory else self._unsubscribe(claimed)
        return self._sealed(said.form, letter.Envelope(claimed.id, claimed.email, link), now)

    def _sealed(
        self, form: letter.Form, envelope: letter.Envelope, now: datetime
    ) -> Outgoing | store.Outcome:
        try:
            content = letter.seal(form, envelope, now)
        except Rejected:
            return store.Outcome(envelope.delivery, "bounced", "unfit")
        return Outgoing(
            letter.return_path(envelope.delivery, form.domain),
            on_the_wire(envelope.recipient),
            str(envelope.delivery),
            content,
        )

    def _unsubscribe(self, claimed: store.Claimed) -> str:
        payload = f"{claimed.recipient} {claimed.message_type}".encode()
        return f"{self.links}/u/{tokens.sign(self.link_key, 'unsubscribe', payload)}"

    async def _held(
        self, pool: Pool, claimed: store.Claimed, kind: MessageType
    ) -> store.Outcome | None:
        """Ask again whether the recipient may be written to: something was held back since."""
        async with pool.acquire() as tx:
            found = await store.candidate(tx, claimed.recipient, claimed.message_type)
        verdicts = [verdict(candidate, claimed.message_type, kind) for candidate in found]
        if not verdicts or any(v.state == "queued" for v in verdicts):
            return None
        return store.Outcome(claimed.id, verdicts[0].state, verdicts[0].reason)

    async def _what(self, pool: Pool, claimed: store.Claimed, kind: MessageType) -> _Said:
        place = claimed.message_id, claimed.locale
        if place not in self._said:
            async with pool.acquire() as tx:
                message = await store.message(tx, claimed.message_id)
            if message is None:
                return _Said(None, None)
            try:
                made = form(self.library.templates, message, kind, claimed.locale, self.sender)
            except Rejected:
                return _Said(message.send_before, None)  # not remembered: it is never asked again
            self._said[place] = _Said(message.send_before, made)
            if len(self._said) > _FORMS:
                self._said.popitem(last=False)
        return self._said[place]

    def _outcome(self, claimed: store.Claimed, answer: Answer, now: datetime) -> store.Outcome:
        reply = None if answer.reply is None else f"{answer.reply.code} {answer.reply.text}"
        match answer.verdict:
            case "not-sent":
                return store.Outcome(claimed.id, "queued", next_try=now, counts=False)
            case "deferred" if claimed.attempts >= self.patience.attempts:
                return store.Outcome(claimed.id, "expired", "given-up", reply)
            case "deferred":
                pause = self.patience.pause(claimed.attempts, self._chance)
                return store.Outcome(claimed.id, "deferred", None, reply, now + pause)
            case "unknown":
                return store.Outcome(claimed.id, "unknown", "lost-answer")
            case state:
                dead = answer.reply is not None and answer.reply.bad_address
                recipient = claimed.recipient if dead else None
                return store.Outcome(claimed.id, state, None, reply, dead=recipient)

    async def report_broken(self, pool: Pool) -> None:
        """See to what is in doubt: what a lost sender left, and what was never answered.

        What the type says is done: it is sent again under the same Message-ID, or on-call is told.
        """
        async with transaction(pool) as tx:
            now = self.clock.now()
            await store.give_up_broken(tx, now, _BROKEN)
            doubtful = await store.new_doubts(tx, _BROKEN)
            policies = [self._policy(doubt) for doubt in doubtful]
            again = [d.id for d, p in zip(doubtful, policies, strict=True) if p == "resend"]
            await store.send_again(tx, again, now)
            if doubtful:
                asked = policies.count("ask")
                alert = AlertRaised(
                    fingerprint=f"deliveries-unknown/{now:%Y-%m-%dT%H:%M}",
                    severity="warning",
                    summary=(
                        f"{len(doubtful)} mail(s) may or may not have been sent;"
                        f" {len(again)} are sent again, {asked} wait for a decision"
                    ),
                    runbook="deliveries-unknown",
                )
                await self.outbox.announce(tx, now, [alert])

    def _policy(self, doubt: store.Doubt) -> str:
        kind = self.types.get(doubt.message_type)
        if kind is None or (kind.in_doubt == "resend" and doubt.attempts >= self.patience.attempts):
            return "report"
        return kind.in_doubt


def _body_sent(message_id: str, now: datetime) -> RecordAnchored:
    return RecordAnchored(
        holder=HOLDER,
        category="contact.message_body",
        record_id=message_id,
        anchor_id="sent",
        kind="sent",
        at=now,
    )
