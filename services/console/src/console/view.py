"""A page as one person sees it: language, time zone, and what templates may call."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import cached_property
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, quote, urlencode
from uuid import uuid4
from zoneinfo import ZoneInfo

from babel.dates import format_timedelta
from babel.numbers import format_decimal
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Template
from markupsafe import Markup

from console import navigation
from console.access import Asked, Connection
from console.backend import Backend, Services
from console.navigation import Place
from console.person import Person
from shared.web.access import Role
from shared.web.frame import path_of
from shared.wording import ENGLISH, Language, translator

Zone = Literal["stockholm", "utc"]

_ZONES: Final[Mapping[Zone, tzinfo]] = {"stockholm": ZoneInfo("Europe/Stockholm"), "utc": UTC}
_LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "sv": "Svenska"}
_YEAR: Final = 365 * 24 * 3600
_BARE: Final = frozenset({"lang", "tz"})


@dataclass(frozen=True)
class View:
    """What a page is made with.

    Attributes:
        path: Of the page, and *query* what was asked of it.
        chosen: Preferences that this very request states; kept in cookies.
    """

    person: Person | None
    language: Language
    zone: Zone
    path: str
    query: Mapping[str, str]
    chosen: Mapping[str, str]
    secure: bool
    now: datetime

    @classmethod
    def of(cls, connection: Connection) -> "View":
        """Return the view of whoever sent a request."""
        scope = cast("dict[str, Any]", connection.scope)
        query = dict(parse_qsl(scope["query_string"].decode(errors="replace")))
        chosen = {
            name: query[name]
            for name, known in (("lang", _LANGUAGES), ("tz", _ZONES))
            if query.get(name) in known
        }
        wanted = {**connection.cookies, **chosen}
        language = wanted.get("lang")
        if language not in _LANGUAGES:
            language = _preferred(connection.headers.get("accept-language", ""))
        zone = wanted.get("tz")
        state = connection.app.state
        return cls(
            person=scope.get("user"),
            language=language,
            zone=zone if zone in _ZONES else "stockholm",
            path=path_of(connection.scope),
            query={name: value for name, value in query.items() if name not in _BARE},
            chosen=chosen,
            secure=state.secure,
            now=state.clock.now(),
        )

    @property
    def tzinfo(self) -> tzinfo:
        """The time zone that instants are shown in."""
        return _ZONES[self.zone]

    @cached_property
    def say(self) -> "Words":
        """What turns English into the language of the page."""
        return Words(self.language)

    def page(self, template: str, place: Place | None = None, **content: Any) -> Template:
        """Return a page; *place* is where in the menu it belongs."""
        context = {
            "view": self,
            "_": self.say,
            "place": place,
            "menu": navigation.menu(self.person.roles) if self.person else [],
            "languages": _LANGUAGES,
            "when": self.when,
            "number": self.number,
            "url": url,
            "once": once,
            "here": self.here,
            **content,
        }
        cookies = [
            Cookie(key=name, value=value, max_age=_YEAR, samesite="lax", secure=self.secure)
            for name, value in self.chosen.items()
        ]
        headers = {"cache-control": "no-store", "vary": "cookie, accept-language"}
        return Template(template, context=context, cookies=cookies, headers=headers)

    def may(self, *roles: Role) -> bool:
        """Return whether the person is in one of *roles*."""
        return self.person is not None and bool(self.person.roles & {*roles})

    def when(self, instant: str | None, *, seconds: bool = False, day: bool = False) -> Markup:
        """Return an instant in the zone of the page, and for machines in full."""
        if not instant:
            return Markup("")
        at = datetime.fromisoformat(instant).astimezone(self.tzinfo)
        clock = "" if day else " %H:%M:%S" if seconds else " %H:%M"
        shown = at.strftime(f"%Y-%m-%d{clock}")
        return Markup('<time datetime="{}">{}</time>').format(instant, shown)

    def number(self, count: int) -> str:
        """Return a number as the language writes it."""
        return format_decimal(count, locale=self.language)

    def away(self, until: str) -> str:
        """Return how far a day or an instant is from now, in words."""
        at = datetime.fromisoformat(until)
        if len(until) == len("2026-01-31"):
            at = at.replace(tzinfo=self.tzinfo)
        return format_timedelta(at - self.now, add_direction=True, locale=self.language)

    def today(self) -> date:
        """Return the day that it is in Sweden, whatever zone the page shows."""
        return self.now.astimezone(_ZONES["stockholm"]).date()

    def here(self, **changes: str | int | None) -> str:
        """Return the address of this page with some of what was asked of it changed."""
        return url(self.path, **{**self.query, **changes})


@dataclass(frozen=True)
class Words:
    """Says English sentences in a language, with what is to be put in."""

    language: Language

    def __call__(self, english: str, **put_in: Any) -> str:
        """Return the sentence."""
        said = translator("console", self.language)(english)
        return said.format(**put_in) if put_in else said


def url(path: str, **params: str | int | None) -> str:
    """Return an address with those of *params* that are given.

    >>> url("/purges", state="open", before=None)
    '/purges?state=open'
    """
    given = {name: value for name, value in params.items() if value not in {None, ""}}
    return f"{path}?{urlencode(given)}" if given else path


def segment(name: str) -> str:
    """Return *name* as one part of a path, whatever it holds.

    >>> segment("2026/17")
    '2026%2F17'
    """
    return quote(name, safe="")


def _preferred(accepted: str) -> Language:
    """Return the first language of a browser that we speak."""
    for named in accepted.lower().split(","):
        for language in _LANGUAGES:
            if named.strip().startswith(language):
                return language
    return ENGLISH


def view_of(request: Asked) -> View:
    """Return the view of who sent *request*; a Litestar dependency."""
    return View.of(request)


async def backend_of(request: Asked) -> Backend:
    """Return the services as who sent *request* may ask them; a Litestar dependency."""
    services: Services = request.app.state.services
    form: Mapping[str, Any] = await request.form() if request.method == "POST" else {}
    return services.asked_by(request.user, str(form.get("once") or ""))


def once() -> Markup:
    """Return what makes a form one that does its work once, however often it is sent."""
    return Markup('<input type="hidden" name="once" value="{}">').format(uuid4())


Seen = NamedDependency[View]
Asking = NamedDependency[Backend]
