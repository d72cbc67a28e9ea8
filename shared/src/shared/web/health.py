"""Is the process alive, is it ready, and what does it measure."""

from collections.abc import Awaitable, Callable, Sequence

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.web.access import OPEN

Ready = Callable[[], Awaitable[list[str]]]


def health_routes(ready: Ready) -> Sequence[HTTPRouteHandler]:
    """Return ``/livez``, ``/readyz`` and ``/metrics``; *ready* lists what is not ready yet.

    A broken dependency makes a service unready, never dead: restarting it would not help.
    """

    @get("/livez", include_in_schema=False, roles=OPEN)
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @get("/readyz", include_in_schema=False, roles=OPEN)
    async def readyz() -> Response[dict[str, object]]:
        missing = await ready()
        return Response(
            {"status": "not ready" if missing else "ready", "missing": missing},
            status_code=HTTP_503_SERVICE_UNAVAILABLE if missing else HTTP_200_OK,
        )

    @get("/metrics", include_in_schema=False, roles=OPEN)
    async def metrics() -> Response[bytes]:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [livez, readyz, metrics]
