"""Signing in at the provider and out again."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.datastructures import Cookie, State
from litestar.handlers import HTTPRouteHandler
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.params import FromQuery, QueryParameter
from litestar.response import Redirect, Template

from console.access import Asked
from console.provider import Attempt, Provider, SignInError
from console.sessions import Sessions
from console.tokens import Signer
from console.view import Seen, View
from shared.web.access import OPEN

_ATTEMPT_LASTS: Final = timedelta(minutes=10)
_PURPOSE: Final = "sign-in"
_LIMIT: Final = RateLimitConfig(rate_limit=("minute", 60), store="sign-ins").middleware


@get("/sign-in", roles=OPEN, include_in_schema=False)
async def sign_in(view: Seen, after: FromQuery[str] = "/") -> Template:
    """Show how to sign in."""
    return view.page("sign-in.html", after=local(after))


@get("/sign-in/start", roles=OPEN, include_in_schema=False, middleware=[_LIMIT])
async def start(state: State, view: Seen, after: FromQuery[str] = "/") -> Response[str] | Template:
    """Send a person to the provider; the attempt goes along in a cookie that we signed."""
    provider: Provider = state.provider
    signer: Signer = state.signer
    attempt = Attempt.new(local(after))
    try:
        address = await provider.address(attempt)
    except SignInError as error:
        return _refused(view, error)
    sealed = signer.sealed(_PURPOSE, asdict(attempt), state.clock.now(), _ATTEMPT_LASTS)
    return Redirect(address, cookies=[_attempt_cookie(state, sealed)])


@get("/sign-in/callback", roles=OPEN, include_in_schema=False, middleware=[_LIMIT])
async def callback(
    request: Asked,
    state: State,
    view: Seen,
    code: FromQuery[str | None] = None,
    given: Annotated[str | None, QueryParameter(name="state")] = None,
    iss: FromQuery[str | None] = None,
) -> Response[str] | Template:
    """Open a session for who comes back from the provider, in answer to an attempt of theirs."""
    provider: Provider = state.provider
    sessions: Sessions = state.sessions
    try:
        attempt = _attempt(request, state, given)
        person = await provider.redeem(attempt, code or "", iss)
    except SignInError as error:
        return _refused(view, error)
    if old := request.cookies.get(state.cookie):
        await sessions.close(state.pool, old)
    made = await sessions.open(state.pool, person)
    kept = Cookie(
        key=state.cookie, value=made, path="/", httponly=True, secure=state.secure, samesite="lax"
    )
    return Redirect(attempt.back, cookies=[kept, _attempt_cookie(state, None)])


def _attempt(request: Asked, state: State, given: str | None) -> Attempt:
    signer: Signer = state.signer
    sealed = request.cookies.get(state.attempt_cookie, "")
    content = signer.opened(_PURPOSE, sealed, state.clock.now())
    if content is None:
        raise SignInError("This browser has not begun to sign in, or it took too long.")
    if given != content["state"]:
        raise SignInError("The answer does not belong to this attempt to sign in.")
    return Attempt(content["state"], content["nonce"], content["verifier"], content["back"])


def _refused(view: View, error: SignInError) -> Template:
    page = view.page("sign-in.html", after="/", problem=str(error))
    page.status_code = 403
    return page


def _attempt_cookie(state: State, sealed: str | None) -> Cookie:
    return Cookie(
        key=state.attempt_cookie,
        value=sealed or "",
        path="/",
        max_age=int(_ATTEMPT_LASTS.total_seconds()) if sealed else 0,
        httponly=True,
        secure=state.secure,
        samesite="lax",  # the way back from the provider is a navigation from another site
    )


@post("/sign-out", roles=OPEN, include_in_schema=False)
async def sign_out(request: Asked, state: State) -> Redirect:
    """End a person's session."""
    sessions: Sessions = state.sessions
    if id_ := request.cookies.get(state.cookie):
        await sessions.close(state.pool, id_)
    gone = Cookie(
        key=state.cookie, value="", path="/", max_age=0, httponly=True, secure=state.secure
    )
    return Redirect("/signed-out", status_code=303, cookies=[gone])


@get("/signed-out", roles=OPEN, include_in_schema=False)
async def signed_out(view: Seen) -> Template:
    """Say that somebody is signed out."""
    return view.page("signed-out.html")


def local(path: str) -> str:
    r"""Return *path* if it leads to a page of ours, or else to the first one.

    >>> [local(p) for p in ("/holds?a=1", "//evil.example", "/\\evil.example", "https://evil")]
    ['/holds?a=1', '/', '/', '/']
    """
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe else "/"


ROUTES: Final[list[HTTPRouteHandler]] = [sign_in, start, callback, sign_out, signed_out]
