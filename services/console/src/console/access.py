"""Who may see what: every page names its roles, and one that does not is shown to nobody."""

from collections.abc import Iterable, Mapping
from typing import Any

from litestar import Request, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from console.person import Person
from console.sessions import Sessions
from shared.web.access import OPEN, Role

Connection = ASGIConnection[Any, Any, Any, State]
Asked = Request[Person, None, State]


def page(path: str | list[str], roles: Iterable[Role]) -> Any:
    """Return the decorator of a page that people in *roles* may see."""
    return get(path, roles=frozenset(roles), include_in_schema=False)


def deed(path: str, roles: Iterable[Role]) -> Any:
    """Return the decorator of something that people in *roles* may do by sending a form."""
    return post(path, roles=frozenset(roles), include_in_schema=False)


async def filled(request: Asked, *names: str) -> dict[str, str]:
    """Return what somebody filled in of the fields *names* of a form."""
    form: Mapping[str, Any] = await request.form()
    given = {name: str(form.get(name) or "").strip() for name in names}
    return {name: value for name, value in given.items() if value}


def allowed(connection: Connection, handler: BaseRouteHandler) -> None:
    """Refuse who is not in one of the roles that *handler* names (a Litestar guard)."""
    roles = handler.opt.get("roles", frozenset())
    if roles == OPEN:
        return
    person: Person | None = connection.user
    if person is None:
        raise NotAuthorizedException("sign in first")
    if not person.roles & roles:
        raise PermissionDeniedException("none of your roles may see this")


class WhoAsks(AbstractAuthenticationMiddleware):
    """Finds out whose session a request belongs to; nobody's is allowed here, and refused later."""

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        """Return the person, or None."""
        state = connection.app.state
        sessions: Sessions = state.sessions
        id_ = connection.cookies.get(state.cookie)
        person = await sessions.find(state.pool, id_) if id_ else None
        return AuthenticationResult(user=person, auth=None)
