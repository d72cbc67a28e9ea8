"""The three services, asked over HTTP in the name of the person who looks."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

import httpx
from litestar.exceptions import (
    ClientException,
    HTTPException,
    NotFoundException,
    PermissionDeniedException,
    ServiceUnavailableException,
)
from litestar.response import Stream

from console.person import Person
from console.tokens import Signer
from shared import logs
from shared.clock import Clock

Name = Literal["audit_log", "retention", "notifier"]
Params = Mapping[str, str | int | None]

_PATIENCE: Final = httpx.Timeout(15, read=60)
_FORBIDDEN: Final = frozenset((401, 403))
_NOT_FOUND: Final = 404
_SERVER: Final = 500
_HANDED_ON: Final = ("content-disposition", "x-total-count")
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """Connections to the services, and what signs for the people who ask."""

    clients: Mapping[str, httpx.AsyncClient]
    signer: Signer
    clock: Clock

    def asked_by(self, person: Person, once: str = "") -> "Backend":
        """Return the services as *person* may ask them; see :class:`Backend` for *once*."""
        return Backend(self, person, once)


@asynccontextmanager
async def connected(
    urls: Mapping[str, str], signer: Signer, clock: Clock
) -> AsyncGenerator[Services]:
    """Lend connections to the services."""
    clients = {n: httpx.AsyncClient(base_url=url, timeout=_PATIENCE) for n, url in urls.items()}
    try:
        yield Services(clients, signer, clock)
    finally:
        for client in clients.values():
            await client.aclose()


@dataclass(frozen=True, slots=True)
class Backend:
    """What one person asks of the services.

    Attributes:
        once: Of the form that was sent: a form that is sent twice does one thing.
    """

    services: Services
    person: Person
    once: str = ""

    async def get(self, service: Name, path: str, params: Params | None = None) -> Any:
        """Return what a service answers.

        Raises:
            HTTPException: it refuses, does not know, or cannot be reached.
        """
        return (await self._send(service, "GET", path, params=_given(params))).json()

    async def text(self, service: Name, path: str) -> str:
        """Return what a service answers in plain text."""
        return (await self._send(service, "GET", path)).text

    async def maybe(self, service: Name, path: str, params: Params | None = None) -> Any:
        """Return what a service answers; None where it does not, for whatever reason."""
        try:
            return await self.get(service, path, params)
        except HTTPException:
            return None

    async def post(self, service: Name, path: str, body: Any = None) -> Any:
        """Have a service do something."""
        headers = {"idempotency-key": self.once} if self.once else {}
        return (await self._send(service, "POST", path, headers=headers, json=body)).json()

    async def download(self, service: Name, path: str, params: Params | None = None) -> Stream:
        """Return a file of a service, handed on as it comes."""
        client = self.services.clients[service]
        request = client.build_request("GET", path, params=_given(params), headers=self._headers())
        try:
            answer = await client.send(request, stream=True)
        except httpx.TransportError as error:
            _away(service, error)
        if answer.is_error:
            await answer.aread()
            await answer.aclose()
            _refuse(answer)

        async def body() -> AsyncGenerator[bytes]:
            try:
                async for piece in answer.aiter_bytes():
                    yield piece
            finally:
                await answer.aclose()

        headers = {name: answer.headers[name] for name in _HANDED_ON if name in answer.headers}
        headers["cache-control"] = "no-store"
        return Stream(body(), headers=headers, media_type=answer.headers["content-type"])

    async def _send(
        self,
        service: Name,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        client = self.services.clients[service]
        headers = {**self._headers(), **(headers or {})}
        try:
            answer = await client.request(method, path, headers=headers, **more)
        except httpx.TransportError as error:
            _away(service, error)
        if answer.is_error:
            _refuse(answer)
        return answer

    def _headers(self) -> dict[str, str]:
        token = self.services.signer.of_person(self.person, self.services.clock.now())
        return {"authorization": f"Bearer {token}"}


def _given(params: Params | None) -> dict[str, str | int]:
    return {name: value for name, value in (params or {}).items() if value not in {None, ""}}  # pyright: ignore[reportReturnType]


def _away(service: Name, error: httpx.TransportError) -> NoReturn:
    _log.warning("a service cannot be asked", names=service, error=type(error).__name__)
    raise ServiceUnavailableException(f"the service {service} does not answer") from None


def _refuse(answer: httpx.Response) -> NoReturn:
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = ""
    if answer.status_code in _FORBIDDEN:
        raise PermissionDeniedException(said or "the service refuses this to you")
    if answer.status_code == _NOT_FOUND:
        raise NotFoundException(said or "there is no such thing")
    if answer.status_code >= _SERVER:
        raise ServiceUnavailableException(said or "the service has a fault")
    raise ClientException(said or "the service does not take this", status_code=answer.status_code)
