"""Routes of a service as it serves them, without its other parts."""

from collections.abc import Sequence
from typing import Any, cast

import httpx
from pydantic import SecretStr

from shared.postgres import Pool
from shared.service import Service, make_app
from shared.settings import ServiceSettings


def client(
    package: str, routes: Sequence[Any], pool: Pool, base_url: str, access: Any, **state: Any
) -> httpx.AsyncClient:
    """Return a client of *routes*; *access* are settings that say who may use them."""
    service = Service(
        name=package,
        package=package,
        settings=ServiceSettings(database=SecretStr("none"), **access),
        consumer=cast("Any", None),
        routes=routes,
        state={"pool": pool, **state},
    )
    transport = httpx.ASGITransport(app=cast("Any", make_app(service)))
    return httpx.AsyncClient(transport=transport, base_url=base_url)
