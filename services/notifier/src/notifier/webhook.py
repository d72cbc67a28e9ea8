"""Passes alerts on to another program, beside the mails and without any bearing on them."""

import hmac
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import httpx

from notifier import alert_store
from notifier.delivery import Patience
from shared import logs
from shared.clock import Clock
from shared.postgres import Pool, transaction

_ANSWER_WITHIN: Final = 10.0  # seconds; the transaction that waits for it may last thirty
_AT_ONCE: Final = 20
_DAY: Final = timedelta(days=1)
PATIENCE: Final = Patience(first=timedelta(seconds=5), longest=timedelta(minutes=10), attempts=100)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts are passed on to.

    Attributes:
        secret: Of the HMAC by which the other side knows that they are from us.
    """

    url: str
    secret: bytes
    clock: Clock
    patience: Patience = PATIENCE
    transport: httpx.AsyncBaseTransport | None = None
    _chance: random.Random = field(default_factory=random.Random)

    async def pass_on(self, pool: Pool) -> None:
        """Post what waits, the oldest first; what is not taken is tried again later.

        Killed between an answer and its note, it posts the same again, under the same id.
        """
        async with httpx.AsyncClient(timeout=_ANSWER_WITHIN, transport=self.transport) as client:
            for _ in range(_AT_ONCE):
                if not await self._one(pool, client):
                    return

    async def _one(self, pool: Pool, client: httpx.AsyncClient) -> bool:
        """Post one; return False if none waits or it was not taken."""
        async with transaction(pool) as tx:
            waiting = await alert_store.take_waiting(tx, self.clock.now())
            if waiting is None:
                return False
            taken, answer = await self._post(client, waiting)
            now = self.clock.now()
            if taken:
                await alert_store.passed_on(tx, waiting.id, "accepted", answer, None)
                return True
            attempts = waiting.attempts + 1
            _log.warning("an alert is not passed on", notice=waiting.id, answer=answer)
            if attempts >= self.patience.attempts or now - waiting.at > _DAY:
                await alert_store.passed_on(tx, waiting.id, "expired", answer, None)
            else:
                later = now + self.patience.pause(attempts, self._chance)
                await alert_store.passed_on(tx, waiting.id, "queued", answer, later)
            return False

    async def _post(
        self, client: httpx.AsyncClient, waiting: alert_store.Waiting
    ) -> tuple[bool, str]:
        body = waiting.body.encode()
        headers = {
            "content-type": "application/json",
            "gallra-delivery": waiting.id,
            "gallra-signature": signature(self.secret, body, self.clock.now()),
        }
        try:
            answer = await client.post(self.url, content=body, headers=headers)
        except httpx.HTTPError as error:  # its text may hold the address, which may hold a secret
            return False, type(error).__name__
        return answer.is_success, str(answer.status_code)


def signature(secret: bytes, body: bytes, now: datetime) -> str:
    """Return the header by which a body is known to be ours, and not an old one sent again.

    >>> signature(b"k", b"{}", datetime.fromisoformat("2026-11-23T12:00:00Z"))[:18]
    't=1795435200,v1=f9'
    """
    at = str(int(now.timestamp()))
    made = hmac.digest(secret, f"{at}.".encode() + body, "sha256").hex()
    return f"t={at},v1={made}"
