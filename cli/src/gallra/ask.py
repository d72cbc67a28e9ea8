"""Asking a service that may be starting again."""

import asyncio
import time
from typing import Any, Final

import httpx

PATIENCE: Final = 60.0  # seconds that a service may be away


async def ask(url: str, **params: Any) -> httpx.Response:
    """Return the answer to a GET, waiting for a service that is away to come back.

    Raises:
        httpx.HTTPError: it stays away, or says no.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            async with httpx.AsyncClient(timeout=30) as http:
                answer = await http.get(url, params=params)
            if not answer.is_server_error or time.monotonic() > deadline:
                return answer.raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)
