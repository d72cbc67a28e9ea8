"""Sends what waits, so that a crash can leave a mail in doubt but never send it twice.

The intent (state ``sending``) is committed before the mail server is spoken to, the outcome after.
A mail whose sender died in between is ``unknown``: reported, not repeated.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from notifier import letter, store
from notifier.catalogue import MessageType
from notifier.handlers import ALERT, HOLDER, record_of
from notifier.smtp import Answer, Connection, Relay
from shared.clock import Clock
from shared.errors import Rejected
from shared.events import Data
from shared.events.gallra import AlertRaised, DeliveryChanged
from shared.events.platform import RecordAnchored
from shared.outbox import Outbox
from shared.postgres import Pool, transaction

CONNECTIONS: Final = 4  # so many mails at most are in doubt after a crash
FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=4)
GIVE_UP: Final = 12  # attempts; about a day and a half


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the mails of one notifier."""

    relay: Relay
    outbox: Outbox
    clock: Clock
    types: Mapping[str, MessageType]
    sender: str
    domain: str
    entity: str

    async def send_waiting(self, pool: Pool) -> None:
        """Send everything whose time has come, over a few connections at once."""
        worker = secrets.randbits(63)
        async with (
            pool.acquire() as connection,
            store.working(connection, worker),
            asyncio.TaskGroup() as group,
        ):
            for _ in range(CONNECTIONS):
                group.create_task(self._drain(pool, worker))
        async with transaction(pool) as tx:
            now = self.clock.now()
            done = await store.finish_messages(tx, now)
            await self.outbox.announce(tx, now, [_body_sent(id_, self.clock) for id_ in done])

    async def _drain(self, pool: Pool, worker: int) -> None:
        async with Connection(self.relay) as connection:
            while True:
                async with transaction(pool) as tx:
                    mail = await store.claim(tx, self.clock.now(), worker)
                if mail is None:
                    return
                answer = await self._send(connection, mail)
                await self._settle(pool, mail.delivery, answer)

    async def _send(self, connection: Connection, mail: store.Mail) -> tuple[str, str | None]:
        """Return the state that sending *mail* leads to, and the server's code."""
        now = self.clock.now()
        if mail.send_before is not None and mail.send_before < now:
            return "expired", None
        if mail.email is None or mail.params is None:
            return "suppressed", None  # purged before it could be sent
        envelope = letter.Envelope(
            delivery=mail.delivery.id,
            sender=self.sender,
            domain=self.domain,
            recipient=mail.email,
            locale=mail.delivery.locale,
        )
        try:
            written = letter.write(mail.template, mail.delivery.locale, json.loads(mail.params))
            raw = letter.seal(written, envelope, now)
        except Rejected:
            return "bounced", None
        answer: Answer = await connection.send(envelope.return_path, mail.email, raw)
        if answer.verdict == "deferred" and mail.delivery.attempts >= GIVE_UP:
            return "expired", answer.code
        return answer.verdict, answer.code

    async def _settle(
        self, pool: Pool, delivery: store.Delivery, outcome: tuple[str, str | None]
    ) -> None:
        state, code = outcome
        now = self.clock.now()
        pause = min(FIRST_PAUSE * 2 ** (delivery.attempts - 1), LONGEST_PAUSE)
        next_try = now + pause if state == "deferred" else None
        news = self._news(delivery, state)
        async with transaction(pool) as tx:
            await store.settle(tx, delivery.id, state, now, reply=code, next_try=next_try)
            await self.outbox.announce(tx, now, news)

    def _news(self, delivery: store.Delivery, state: str) -> list[Data]:
        """Return what is to be told of a delivery that is now in *state*."""
        if delivery.message_type == ALERT:
            return []
        now = self.clock.now()
        changed = DeliveryChanged.model_validate(
            {
                "delivery_id": str(delivery.id),
                "message_id": delivery.message_id,
                "message_type": delivery.message_type,
                "customer_id": delivery.customer_id,
                "recipient_token": delivery.recipient,
                "state": state,
                "at": now,
            }
        )
        if state == "deferred":
            return [changed]
        category = self.types[delivery.message_type].category
        return [changed, record_of(delivery, category, self.entity, now)]

    async def report_broken(self, pool: Pool) -> None:
        """Mark as ``unknown`` what a lost sender left in the middle, and tell on-call."""
        now = self.clock.now()
        async with transaction(pool) as tx:
            broken = await store.claim_broken(tx, 1000)
            for delivery in broken:
                await store.settle(tx, delivery.id, "unknown", now, reply=None, next_try=None)
                await self.outbox.announce(tx, now, self._news(delivery, "unknown"))
            if broken:
                alert = AlertRaised(
                    fingerprint=f"deliveries-unknown/{now:%Y-%m-%dT%H:%M}",
                    severity="warning",
                    summary=f"{len(broken)} mail(s) may or may not have been sent",
                    runbook="deliveries-unknown",
                )
                await self.outbox.announce(tx, now, [alert])


def _body_sent(message_id: str, clock: Clock) -> RecordAnchored:
    return RecordAnchored(
        holder=HOLDER,
        category="contact.message_body",
        record_id=message_id,
        anchor_id="sent",
        kind="sent",
        at=clock.now(),
    )
