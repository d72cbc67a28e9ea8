"""The mail server: one connection, used for one mail after the other."""

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

import aiosmtplib

Verdict = Literal["accepted", "deferred", "bounced", "unknown"]

_ANSWER_WITHIN: Final = 600.0  # seconds after the final dot (RFC 5321 4.5.3.2.6); less makes doubts
_PERMANENT: Final = 500


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail is handed over, and with what credentials."""

    host: str
    port: int
    user: str | None
    password: str | None
    starttls: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server made of a mail, and its code (never its text, which quotes addresses)."""

    verdict: Verdict
    code: str | None


class Connection:
    """Hands mails to the relay; opens itself when needed and after a fault."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._client: aiosmtplib.SMTP | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Say goodbye, if the connection is still there."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _open(self) -> aiosmtplib.SMTP:
        if self._client is None or not self._client.is_connected:
            client = aiosmtplib.SMTP(
                hostname=self._relay.host,
                port=self._relay.port,
                username=self._relay.user,
                password=self._relay.password,
                start_tls=self._relay.starttls,
                timeout=60,
            )
            await client.connect()
            self._client = client
        return self._client

    async def send(self, return_path: str, email: str, mail: bytes) -> Answer:
        """Hand over one mail for one recipient.

        A connection that breaks before the mail's content was sent leaves it ``deferred``.  One
        that breaks after leaves it ``unknown``: the server may have taken it (RFC 1047).
        """
        try:
            client = await self._open()
            options = [] if email.isascii() else ["SMTPUTF8"]
            await client.mail(return_path, options=options)
            await client.rcpt(email)
        except aiosmtplib.SMTPResponseException as refused:
            await self.close()
            return _refused(refused)
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            await self.close()
            return Answer("deferred", None)
        try:
            response = await client.data(mail, timeout=_ANSWER_WITHIN)
        except aiosmtplib.SMTPResponseException as refused:
            await self.close()
            return _refused(refused)
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            await self.close()
            return Answer("unknown", None)
        return Answer("accepted", str(response.code))


def _refused(refusal: aiosmtplib.SMTPResponseException) -> Answer:
    permanent = refusal.code >= _PERMANENT
    return Answer("bounced" if permanent else "deferred", str(refusal.code))
