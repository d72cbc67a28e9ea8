"""Asking a service that may be starting again."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

from shared.errors import Rejected

PATIENCE: Final = 60.0  # seconds that a service may be away
_WITHIN: Final = 60  # seconds to wait for what is done


def credentials() -> dict[str, str]:
    """Return the header by which a service knows us: ``GALLRA_TOKEN`` is a bearer token."""
    token = os.environ.get("GALLRA_TOKEN")
    return {"authorization": f"Bearer {token}"} if token else {}


async def ask(url: str, **params: Any) -> httpx.Response:
    """Return the answer to a GET, waiting for a service that is away to come back.

    Raises:
        httpx.HTTPError: it stays away, or says no.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            async with httpx.AsyncClient(timeout=30) as http:
                answer = await http.get(url, params=params, headers=credentials())
            if not answer.is_server_error or time.monotonic() > deadline:
                return answer.raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


async def answered(url: str, **params: Any) -> httpx.Response:
    """Return the answer to a GET as :func:`ask` does.

    Raises:
        Rejected: the service says what is wrong with the question.
        httpx.HTTPError: it stays away, or has a fault.
    """
    try:
        return await ask(url, **params)
    except httpx.HTTPStatusError as error:
        if error.response.is_client_error:
            raise Rejected(_detail(error.response), code="refused") from None
        raise


async def act(
    method: str, url: str, body: Any = None, params: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Have a service do something, once; return what it says to that.

    Raises:
        Rejected: it does not answer, or says why not.
    """
    try:
        async with httpx.AsyncClient(timeout=_WITHIN) as http:
            answer = await http.request(
                method, url, json=body, params=params, headers=credentials()
            )
    except httpx.HTTPError as error:
        raise Rejected(f"{url} does not answer: {error}") from error
    if answer.is_error:
        raise Rejected(_detail(answer), code="refused")
    found: dict[str, Any] = answer.json()
    return found


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answers {answer.status_code}"
