"""What mails are made from: a template in each language, versioned; pure.

A version never changes once a mail was made from it.  Beside its text it says which parameters it
takes, as a JSON Schema (2020-12).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal, cast, get_args
from zoneinfo import ZoneInfo

import jsonschema
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from jinja2 import StrictUndefined, Template, TemplateError, UndefinedError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from shared.errors import Rejected

Locale = Literal["sv", "en"]
LOCALES: Final[tuple[Locale, ...]] = get_args(Locale)
LAYOUT: Final = "layout"
_ZONE: Final = ZoneInfo("Europe/Stockholm")


@pass_context
def _moment(context: Context, value: object) -> str:
    """Return an instant as people of the locale write it, in the provider's zone.

    Words that are no instant ("tonight") stay as they are.
    """
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    if instant.tzinfo is None:
        return str(value)
    there = instant.astimezone(_ZONE)
    return format_datetime(there, "EEEE d MMMM y HH:mm", locale=context["locale"]) + (
        f" ({there:%Z})"
    )


@pass_context
def _day(context: Context, value: object) -> str:
    """Return a civil date as people of the locale write it; other words as they are."""
    try:
        return format_date(date.fromisoformat(str(value)), "d MMMM y", locale=context["locale"])
    except ValueError:
        return str(value)


@pass_context
def _month(context: Context, value: object) -> str:
    """Return the month of a civil date as people of the locale write it; other words stay."""
    try:
        return format_date(date.fromisoformat(str(value)), "LLLL y", locale=context["locale"])
    except ValueError:
        return str(value)


@pass_context
def _number(context: Context, value: float) -> str:
    """Return a number as people of the locale write it."""
    return format_decimal(value, locale=context["locale"])


def _lines(value: object) -> Markup:
    """Return text for a page, its line breaks kept."""
    return Markup("<br>\n").join(str(value).splitlines())


def _environment(*, autoescape: bool) -> SandboxedEnvironment:
    made = SandboxedEnvironment(undefined=StrictUndefined, autoescape=autoescape)
    filters = cast("dict[str, Any]", made.filters)
    filters.update(
        {"moment": _moment, "day": _day, "month": _month, "number": _number, "lines": _lines}
    )
    return made


_text: Final = _environment(autoescape=False)
_html: Final = _environment(autoescape=True)


@dataclass(frozen=True)
class Version:
    """One version of a template.

    Attributes:
        schema: Of its parameters.
        sources: Its text by locale: Jinja blocks ``subject``, ``text`` and ``html``.
        layout: The version of the layout that it is set in.
    """

    name: str
    number: int
    schema: Mapping[str, Any]
    sources: Mapping[str, str]
    layout: int

    @property
    def label(self) -> str:
        """By which a mail names it, such as ``news/2``."""
        return f"{self.name}/{self.number}"

    @classmethod
    def of(cls, name: str, number: int, content: str) -> "Version":
        """Return the version that was stored as *content*."""
        said = json.loads(content)
        return cls(name, number, said["params"], said["sources"], said["layout"])

    @property
    def content(self) -> str:
        """All of it as one JSON text."""
        said = {"params": self.schema, "sources": self.sources, "layout": self.layout}
        return json.dumps(said, sort_keys=True, ensure_ascii=False)

    def check(self, params: Mapping[str, Any]) -> None:
        """See that *params* are those that the template takes.

        Raises:
            Rejected: one is missing, unknown or unfit; the text names it and never its value.
        """
        for error in self._checker.iter_errors(dict(params)):
            place = error.json_path.removeprefix("$.")
            match error.validator:
                case "required":
                    lacking = [n for n in error.validator_value or () if n not in params]
                    text, code = f"{', '.join(lacking)} is missing", "missing-parameter"
                case "additionalProperties":
                    text, code = "there is a parameter that it does not take", "unknown-parameter"
                case rule:
                    text, code = f"{place} does not fit: {rule}", "unfit-parameter"
            raise Rejected(f"the template {self.label}: {text}", code=code)

    @cached_property
    def _checker(self) -> Any:
        return jsonschema.Draft202012Validator(dict(self.schema))

    @cached_property
    def _compiled(self) -> dict[tuple[str, str], Template]:
        return {
            (locale, block): environment.from_string(source)
            for locale, source in self.sources.items()
            for block, environment in (("subject", _text), ("text", _text), ("html", _html))
        }

    def render(self, block: str, locale: str, params: Mapping[str, Any]) -> str:
        """Return what a block says, given *params*.

        Raises:
            Rejected: a parameter is missing or unfit.
        """
        template = self._compiled[locale, block]
        optional = dict.fromkeys(self.schema.get("properties", ()), "")
        values = {**optional, **params, "locale": locale}
        try:
            said = "".join(template.blocks[block](template.new_context(values)))
        except UndefinedError as error:
            text = f"a parameter of {self.label} is missing"
            raise Rejected(text, code="missing-parameter") from error
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            text = f"a parameter of {self.label} is unfit"
            raise Rejected(text, code="unfit-parameter") from error
        # A line break that a parameter brings into the subject stays, and is found out.
        return said if block == "subject" else said.strip("\n")


@dataclass(frozen=True)
class Templates:
    """All versions of all templates."""

    versions: Mapping[tuple[str, int], Version]

    def version(self, name: str, number: int) -> Version:
        """Return one version.

        Raises:
            Rejected: it is not known.
        """
        found = self.versions.get((name, number))
        if found is None:
            raise Rejected("the template is not known", code="unknown-template")
        return found

    def newest(self, name: str) -> Version:
        """Return the newest version of a template.

        Raises:
            Rejected: there is none of this name.
        """
        numbers = [number for known, number in self.versions if known == name != LAYOUT]
        return self.version(name, max(numbers, default=0))

    def layout(self, version: Version) -> Version:
        """Return what *version* is set in."""
        return self.version(LAYOUT, version.layout)


def shipped() -> Templates:
    """Return the templates that come with this program, from the folder ``mails``."""
    return Templates({(v.name, v.number): v for v in _shipped()})


def _shipped() -> Iterator[Version]:
    for folder in files("notifier").joinpath("mails").iterdir():
        for place in folder.iterdir():
            said: dict[str, Any] = json.loads(_read(place, "template.json"))
            sources = {locale: _read(place, f"{locale}.j2") for locale in LOCALES}
            yield Version(folder.name, int(place.name), said["params"], sources, said["layout"])


def _read(place: Traversable, name: str) -> str:
    return place.joinpath(name).read_text(encoding="utf-8")
