"""Where links in mails lead: declining mail (RFC 8058), and confirming an address.

Nobody signs in here: the link itself says who follows it.  A GET changes nothing, for the scanners
of mail servers follow every link; what a POST does may be done again.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from litestar import HttpMethod, Request, post, route
from litestar.datastructures import State
from litestar.exceptions import ServiceUnavailableException
from litestar.params import FromPath
from litestar.response import Template
from litestar.status_codes import HTTP_200_OK, HTTP_400_BAD_REQUEST, HTTP_404_NOT_FOUND

from notifier import return_store, store, tokens
from notifier.audience import OPTIONAL
from notifier.handlers import VERIFY
from notifier.refusals import Choice, Refusals
from shared.errors import Rejected
from shared.postgres import Connection, Pool, transaction
from shared.web.access import OPEN
from shared.wording import ENGLISH, Language, translator

_LARGEST: Final = 16_384  # octets of a form
_AT_ONCE: Final = 4  # transactions: visitors must not keep senders from the database
_WAITING: Final = 200
_LANGUAGE: Final = re.compile(r"\b(sv|en)\b")
_HEADERS: Final = {"cache-control": "no-store", "x-robots-tag": "noindex, nofollow"}

Visit = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Links:
    """What the pages need to know.

    Attributes:
        key: By which links are recognised.
        domain: Of our mails; pages name it, so that people know whose they are.
    """

    key: bytes
    refusals: Refusals
    domain: str
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _waiting: list[None] = field(default_factory=list[None])

    @asynccontextmanager
    async def visit(self, pool: Pool) -> AsyncGenerator[Connection]:
        """Lend a transaction when its turn comes.

        Raises:
            ServiceUnavailableException: too many wait already.
        """
        if len(self._waiting) >= _WAITING:
            raise ServiceUnavailableException(
                "too many people are here; try again in a minute", headers={"retry-after": "60"}
            )
        self._waiting.append(None)
        try:
            async with self._turns, transaction(pool) as tx:
                yield tx
        finally:
            self._waiting.pop()


@dataclass(frozen=True, slots=True)
class _Visitor:
    """Who follows a link.

    Attributes:
        type: Of the message that the link came in.
    """

    recipient: str
    type: str
    language: Language


@route(
    "/u/{token:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    include_in_schema=False,
    roles=OPEN,
)
async def choices(state: State, request: Visit, token: FromPath[str]) -> Template:
    """Show which mail may be declined."""
    links: Links = state.links
    async with links.visit(state.pool) as tx:
        visitor = await _visitor(tx, links, request, token)
        if visitor is None:
            return _nowhere(links, request)
        return await _choices(tx, links, visitor)


@post(
    "/u/{token:str}",
    status_code=HTTP_200_OK,
    include_in_schema=False,
    request_max_body_size=_LARGEST,
    roles=OPEN,
)
async def choose(state: State, request: Visit, token: FromPath[str]) -> Template:
    """Do what a mail program (RFC 8058) or a person asks; show how it stands then."""
    links: Links = state.links
    form = await request.form()
    asked, name = str(form.get("choice", "")), str(form.get("type", ""))
    one_click = form.get("List-Unsubscribe") == "One-Click"
    async with links.visit(state.pool) as tx:
        visitor = await _visitor(tx, links, request, token)
        if visitor is None:
            return _nowhere(links, request)
        if one_click:
            asked, name = "stop", visitor.type
        done = await _choose(tx, links.refusals, visitor.recipient, asked, name)
        return await _choices(tx, links, visitor, asked if done else "nothing", name)


async def _choose(
    tx: Connection, refusals: Refusals, recipient: str, asked: str, name: str
) -> bool:
    match asked:
        case "stop" if name in refusals.optional:
            return await refusals.refuse(tx, recipient, name, "unsubscribed")
        case "stop-all":
            return await refusals.refuse(tx, recipient, OPTIONAL, "unsubscribed")
        case "allow":
            return await refusals.allow(tx, recipient, name)
        case _:
            return False


async def _choices(
    tx: Connection, links: Links, visitor: _Visitor, done: str = "", name: str = ""
) -> Template:
    offered = await links.refusals.choices(tx, visitor.recipient)
    types = links.refusals.types
    return _page(
        "choices.html",
        links,
        visitor.language,
        HTTP_400_BAD_REQUEST if done == "nothing" else HTTP_200_OK,
        type=visitor.type,
        choices=offered,
        sent={choice.name: choice.sent for choice in offered}.get(visitor.type, False),
        any_sent=any(map(_is_sent, offered)),
        mandatory=[kind.notice for kind in types.values() if kind.mandatory and kind.notice],
        words={name: kind.notice or name for name, kind in types.items()},
        done=done,
        about=name,
    )


def _is_sent(choice: Choice) -> bool:
    return choice.sent


async def _visitor(tx: Connection, links: Links, request: Visit, token: str) -> _Visitor | None:
    """Return who follows a link to decline mail; None if it leads nowhere."""
    try:
        said = tokens.verify(links.key, "unsubscribe", token).decode()
    except (Rejected, UnicodeDecodeError):
        return None
    recipient, _, name = said.partition(" ")
    known = await store.lookup_of(tx, recipient)
    if known is None or name not in links.refusals.optional:
        return None
    return _Visitor(recipient, name, await _language(tx, recipient, request))


@route(
    "/v/{token:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    include_in_schema=False,
    roles=OPEN,
)
async def question(state: State, request: Visit, token: FromPath[str]) -> Template:
    """Ask whether an address is somebody's."""
    links: Links = state.links
    recipient = _confirming(links, token)
    async with links.visit(state.pool) as tx:
        if recipient is None or not await return_store.had_by_somebody(tx, recipient):
            return _nowhere(links, request)
        language = await _language(tx, recipient, request)
    return _page("confirm.html", links, language, done=False)


@post(
    "/v/{token:str}",
    status_code=HTTP_200_OK,
    include_in_schema=False,
    request_max_body_size=_LARGEST,
    roles=OPEN,
)
async def confirm(state: State, request: Visit, token: FromPath[str]) -> Template:
    """Note that an address was confirmed, and let the mail go that waited for that."""
    links: Links = state.links
    recipient = _confirming(links, token)
    async with links.visit(state.pool) as tx:
        if recipient is None or not await store.verify_address(tx, recipient):
            return _nowhere(links, request)
        await store.release_verified(tx, recipient, VERIFY, links.refusals.clock.now())
        language = await _language(tx, recipient, request)
    return _page("confirm.html", links, language, done=True)


def _confirming(links: Links, token: str) -> str | None:
    try:
        return tokens.verify(links.key, "verify", token).decode()
    except (Rejected, UnicodeDecodeError):
        return None


async def _language(tx: Connection, recipient: str, request: Visit) -> Language:
    known = await return_store.locale_of(tx, recipient)
    return _wished(request) if known is None else cast("Language", known)


def _wished(request: Visit) -> Language:
    """Return the language that a browser asks for first, of those that there are."""
    match = _LANGUAGE.search(request.headers.get("accept-language", "")[:200].lower())
    return cast("Language", match[1]) if match else ENGLISH


def _nowhere(links: Links, request: Visit) -> Template:
    return _page("nowhere.html", links, _wished(request), HTTP_404_NOT_FOUND)


def _page(
    name: str, links: Links, language: Language, status: int = HTTP_200_OK, **content: object
) -> Template:
    around = {"_": translator("notifier", language), "language": language, "domain": links.domain}
    return Template(name, context={**content, **around}, status_code=status, headers=dict(_HEADERS))


ROUTES: Final = [choices, choose, question, confirm]
