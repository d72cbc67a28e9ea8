"""The composition root: the only place that knows which parts make up the console."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.config.csrf import CSRFConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.middleware import DefineMiddleware
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template import TemplateConfig

from console import (
    dead_letters,
    deadlines,
    holds,
    log,
    notifications,
    operations,
    overview,
    policies,
    purges,
    reports,
    rights,
    sign_in,
)
from console.access import WhoAsks, allowed
from console.backend import connected
from console.provider import Provider
from console.sessions import Sessions
from console.settings import Settings
from console.tokens import Signer
from console.view import View, backend_of, segment, url, view_of
from shared import logs
from shared.clock import SystemClock
from shared.postgres import open_pool
from shared.settings import SettingsError
from shared.web.frame import (
    App,
    Names,
    answers,
    folder,
    headers,
    schema_is_current,
    static_files,
)
from shared.web.health import health_routes

_CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_UNGUARDED: Final = ["^/static", "^/livez", "^/readyz", "^/metrics"]
_PER_MINUTE: Final = 600
_log = logs.get(__name__)
_MODULES: Final = (
    overview, deadlines, policies, purges, holds, rights, log, notifications, reports, operations,
    dead_letters, sign_in,
)  # fmt: skip


def build(settings: Settings) -> Litestar:
    """Assemble the console; nothing connects before it runs.

    Raises:
        SettingsError: the key is not one.
    """
    try:
        signer = Signer.read(settings.token_key.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"GALLRA_TOKEN_KEY: {error}") from None
    clock = SystemClock()
    public = settings.public_url.rstrip("/")
    secure = public.startswith("https://")
    prefix = "__Host-" if secure else ""  # a cookie that no other host can have set
    provider = Provider(
        issuer=settings.oidc_issuer.rstrip("/"),
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        scope=settings.oidc_scope,
        callback=f"{public}/sign-in/callback",
        groups_claim=settings.oidc_groups_claim,
    )
    urls = {
        "audit_log": settings.audit_log_url,
        "retention": settings.retention_url,
        "notifier": settings.notifier_url,
    }
    app: Litestar

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        async with (
            open_pool(settings.database.get_secret_value(), "console") as pool,
            connected(urls, signer, clock) as services,
        ):
            await schema_is_current(pool, "console")
            app.state.pool, app.state.services = pool, services
            yield

    async def ready() -> list[str]:
        return [] if await answers(app.state.pool) else ["database"]

    app = App(
        route_handlers=[
            *health_routes(ready),
            static_files("shared.web", "console"),
            *(route for module in _MODULES for route in module.ROUTES),
        ],
        lifespan=[lifespan],
        guards=[allowed],
        dependencies={
            "view": Provide(view_of, sync_to_thread=False),
            "backend": Provide(backend_of),
        },
        state=State(
            {
                "clock": clock,
                "signer": signer,
                "provider": provider,
                "sessions": Sessions(clock, settings.session_lasts, settings.session_idles),
                "secure": secure,
                "cookie": f"{prefix}gallra-session",
                "attempt_cookie": f"{prefix}gallra-sign-in",
            }
        ),
        middleware=[
            Names(),
            RateLimitConfig(
                rate_limit=("minute", _PER_MINUTE),
                exclude=_UNGUARDED,
                store="requests",
                set_rate_limit_headers=False,
            ).middleware,
            DefineMiddleware(WhoAsks, exclude=_UNGUARDED),
        ],
        csrf_config=CSRFConfig(
            secret=signer.csrf_secret,
            cookie_name=f"{prefix}gallra-csrf",
            cookie_httponly=True,
            cookie_secure=secure,
        ),
        exception_handlers={HTTPException: _explain, Exception: _fault},
        template_config=TemplateConfig(
            directory=[folder("shared.web", "templates"), folder("console", "templates")],
            engine=JinjaTemplateEngine,
            engine_callback=_filters,
        ),
        response_headers=headers(_CONTENT_POLICY),
        openapi_config=None,
        logging_config=None,  # ours stands
    )
    return app


def _filters(engine: JinjaTemplateEngine) -> None:
    engine.engine.filters["segment"] = segment  # pyright: ignore[reportUnknownMemberType]


def _explain(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any] | Template:
    """Return a page that says what is wrong, or lead to the one for signing in."""
    view = View.of(request)
    if isinstance(error, NotAuthorizedException) and view.person is None:
        return Redirect(url("/sign-in", after=view.here() if request.method == "GET" else "/"))
    page = view.page(
        "error.html",
        status=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        detail=error.detail,
    )
    page.status_code = error.status_code
    return page


def _fault(request: Request[Any, Any, Any], _: Exception) -> Response[Any] | Template:
    """Say that the fault is ours; what it was is for our log alone."""
    _log.exception("a page failed")
    return _explain(request, HTTPException("the console has a fault", status_code=500))
