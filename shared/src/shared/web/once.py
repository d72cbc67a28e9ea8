"""A request that is sent twice is done once, if it carries an ``Idempotency-Key``.

Who does not know whether a request arrived sends it again under the same key, and gets the answer
of the first time.  The key is noted in the transaction of the work, so that a crash leaves both or
neither; who comes while the first is at work waits for it.  A key belongs to who brings it and to
one request, and is kept for a day.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import asyncpg
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.types import Message, Scope

from shared import logs
from shared.errors import Rejected
from shared.postgres import Connection, Pool, beginning
from shared.web.access import OPEN, Caller

HEADER: Final = "idempotency-key"
KEPT: Final = timedelta(days=1)
_CHANGES: Final = frozenset(("POST", "PUT", "PATCH", "DELETE"))
# A structured string (RFC 9651), or what most clients send: the same without quotes.
_KEY: Final = re.compile(r'"(?P<quoted>[!#-\[\]-~]{1,255})"|(?P<bare>[!#-\[\]-~]{1,255})')
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
_ERRORS: Final = 400
_STATE: Final = "done_once"
_log = logs.get(__name__)


@dataclass(slots=True)
class Once:
    """A request under a key.

    Attributes:
        noted: Whether its work has noted the key.
    """

    pool: Pool
    caller: str
    key: str
    digest: bytes
    noted: bool = False
    status: int = 0
    content_type: str = ""
    body: bytearray = field(default_factory=bytearray)

    async def known(self) -> Response[bytes] | None:
        """Return the answer of the first time; None if this is the first.

        Raises:
            ClientException: the key is another request's, or its answer is not known.
        """
        row = await self.pool.fetchrow(
            "SELECT digest, status, content_type, body FROM request_key"
            " WHERE (caller, key) = ($1, $2)",
            self.caller,
            self.key,
        )
        if row is None:
            return None
        if row["digest"] != self.digest:
            raise ClientException(
                "this Idempotency-Key is that of another request: use a new one",
                status_code=_UNPROCESSABLE,
            )
        if row["status"] is None:
            raise ClientException(
                "this was done, but its answer was lost: look at what came of it",
                status_code=_CONFLICT,
            )
        return Response(
            row["body"],
            status_code=row["status"],
            media_type=row["content_type"],
            headers={"idempotency-replayed": "true"},
        )

    async def note(self, tx: Connection) -> None:
        """Note the key with the work of *tx*, unless the request has done so before.

        Raises:
            ClientException: another has noted it meanwhile.
        """
        if self.noted:
            return
        status = await tx.execute(
            "INSERT INTO request_key (caller, key, digest) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING",
            self.caller,
            self.key,
            self.digest,
        )
        if status != "INSERT 0 1":
            raise ClientException(
                "the same request was under way: send it again for its answer",
                status_code=_CONFLICT,
            )
        self.noted = True

    async def keep(self) -> None:
        """Keep the answer for who sends the request again."""
        try:
            await self.pool.execute(
                "UPDATE request_key SET status = $3, content_type = $4, body = $5"
                " WHERE (caller, key) = ($1, $2)",
                self.caller,
                self.key,
                self.status,
                self.content_type,
                bytes(self.body),
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("an answer could not be kept", error=type(error).__name__)


async def recall(request: Request[Caller, Any, State]) -> Response[bytes] | None:
    """Answer as the first time, if there was one; before any other work on *request*."""
    given = request.headers.get(HEADER)
    if given is None:
        return None
    found = _KEY.fullmatch(given)
    if found is None:
        text = "Idempotency-Key is 1 to 255 visible ASCII characters without quotes and backslash"
        raise Rejected(text, code="bad-idempotency-key")
    asked = f"{request.method} {request.url.path}?{request.url.query}\0".encode()
    digest = hashlib.sha256(asked + await request.body()).digest()
    key = found["quoted"] or found["bare"]
    once = Once(request.app.state.pool, request.user.subject or "", key, digest)
    answer = await once.known()
    if answer is None:
        request.state[_STATE] = once
        beginning.set(once.note)
    return answer


async def remember(message: Message, scope: Scope) -> None:
    """Keep the answer to a request under a key, before it is sent (a Litestar hook)."""
    once: Once | None = scope["state"].get(_STATE)
    if once is None:
        return
    beginning.set(None)  # the task may go on to something else
    if not once.noted:
        return
    if message["type"] == "http.response.start":
        headers = dict(message["headers"])
        once.status = message["status"]
        once.content_type = headers.get(b"content-type", b"").decode("latin-1")
    elif message["type"] == "http.response.body":
        once.body += message.get("body", b"")
        if not message.get("more_body") and once.status < _ERRORS:
            await once.keep()


async def forget(pool: Pool) -> None:
    """Delete the keys that are older than :data:`KEPT`."""
    await pool.execute("DELETE FROM request_key WHERE noted_at < now() - $1::interval", KEPT)


class _Write(Operation):
    """Says in the OpenAPI document that a route takes the header."""

    def __post_init__(self) -> None:
        header = Parameter(
            name="Idempotency-Key",
            param_in="header",
            description="Who sends a request again under the same key gets the first answer.",
            schema=Schema(type=OpenAPIType.STRING, max_length=255),
        )
        self.parameters = [*(self.parameters or []), header]


def once_each(routes: Sequence[HTTPRouteHandler]) -> Sequence[HTTPRouteHandler]:
    """Return *routes*, of which those that change something take the header."""
    for route in routes:
        if (
            route.http_methods & _CHANGES
            and route.opt.get("roles") != OPEN
            and not route.opt.get("own_key")
        ):
            route.before_request = recall
            route.operation_class = _Write
    return routes
