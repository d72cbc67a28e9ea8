"""What every web app of ours has: headers, problem details, static files, a server."""

import asyncio
import re
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, unquote

import asyncpg
import uvicorn
from litestar import Litestar, Router
from litestar.datastructures import ResponseHeader
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsException
from litestar.static_files import (
    create_static_files_router,  # pyright: ignore[reportUnknownVariableType]
)
from litestar.status_codes import HTTP_400_BAD_REQUEST
from litestar.types import ASGIApp, Receive, Scope, Send

from shared import migrate
from shared.errors import Rejected
from shared.postgres import Pool
from shared.settings import ProcessSettings, SettingsError
from shared.web.access import OPEN

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
"""Pages need nothing but themselves and our own style sheet."""


_ENCODED: Final = re.compile("%2f", re.IGNORECASE)
_SLASH: Final = "\x1f"
"""Stands for a slash that is part of a name until the route is found; no name of ours has it."""


class App(Litestar):
    """An app to whose routes ``%2F`` is part of a name, and does not end it.

    Ids come from others: a case may be called ``2026/17``.  Servers hand over paths decoded, so
    that it could not be told from what separates names.

    Source: RFC 3986 section 2.2.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        raw: bytes = scope.get("raw_path") or b""
        parts = _ENCODED.split(raw.partition(b"?")[0].decode("ascii", "replace"))
        if len(parts) > 1:
            scope = {**scope, "path": _SLASH.join(map(unquote, parts))}
        await super().__call__(scope, receive, send)


class Names(ASGIMiddleware):
    """Gives handlers the names in a path as they are."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on whose route is known."""
        if _SLASH in scope["path"]:
            given = cast("dict[str, Any]", scope["path_params"])
            scope["path_params"] = {
                name: value.replace(_SLASH, "/") if isinstance(value, str) else value
                for name, value in given.items()
            }
        await next_app(scope, receive, send)


def path_of(scope: Scope) -> str:
    """Return the path of a request as it stands in an address."""
    return quote(scope["path"], safe="/:@").replace(quote(_SLASH), "%2F")


def headers(content_policy: str) -> list[ResponseHeader]:
    """Return the headers of every answer."""
    return [
        ResponseHeader(name="content-security-policy", value=content_policy),
        ResponseHeader(name="x-content-type-options", value="nosniff"),
        ResponseHeader(name="referrer-policy", value="no-referrer"),
    ]


def _bad_request(error: Rejected) -> ProblemDetailsException:
    return ProblemDetailsException(str(error), status_code=HTTP_400_BAD_REQUEST, title=error.code)


def _unfit(_: asyncpg.DataError) -> ProblemDetailsException:
    """Answer for a parameter that the database cannot take, such as one with a NUL."""
    return ProblemDetailsException(
        "a parameter holds what cannot be stored or compared",
        status_code=HTTP_400_BAD_REQUEST,
        title="unfit-parameter",
    )


def _problem(error: HTTPException) -> ProblemDetailsException:
    """Return *error* with its own words as the detail; Litestar makes the title of them."""
    return ProblemDetailsException(
        error.detail,
        status_code=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        headers=error.headers,
        extra=error.extra,
    )


PROBLEMS: Final = ProblemDetailsConfig(
    exception_to_problem_detail_map={
        Rejected: _bad_request,
        HTTPException: _problem,
        asyncpg.DataError: _unfit,
    }
)


def folder(package: str, name: str) -> Path:
    """Return a folder inside *package*."""
    return Path(str(files(package).joinpath(name)))


def static_files(*packages: str) -> Router:
    """Return what serves the static files of *packages* under ``/static``."""
    return create_static_files_router(
        "/static", [folder(p, "static") for p in packages], opt={"roles": OPEN}
    )


async def schema_is_current(pool: Pool, package: str) -> None:
    """Check that the database is as *package* needs it.

    Raises:
        SettingsError: it lacks a migration.
    """
    async with pool.acquire() as connection:
        try:
            missing = await migrate.pending(connection, package)
        except asyncpg.UndefinedTableError:
            missing = [m.name for m in migrate.migrations(package)]
    if missing:
        raise SettingsError(
            f"the database lacks {', '.join(missing)}:"
            " run `gallra migrate` with the owner's address"
        )


async def answers(pool: Pool) -> bool:
    """Return whether the database answers soon."""
    try:
        async with asyncio.timeout(2):
            await pool.fetchval("SELECT 1")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def serve(app: Litestar, settings: ProcessSettings) -> bool:
    """Serve *app* until the process is told to stop; return whether it could start."""
    config = uvicorn.Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,  # paths hold ids of people
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    server = uvicorn.Server(config)
    server.run()
    return server.started
