"""Who is told of which alerts, when and how often, as data; pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic import model_validator as checked
from pydantic_core import SchemaError, SchemaValidator, core_schema

from shared.addresses import normal
from shared.document import parse
from shared.errors import Rejected

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
NAME: Final = "alertname"
"""The label that says what kind of alert it is, as Alertmanager has it."""
PATH_SILENT: Final = "alert-path-silent"
WEBHOOK: Final = "(webhook)"
"""The receiver that stands for where alerts are passed on to; no policy can name it."""

Labels = Mapping[str, str]


def rank(severity: Severity) -> int:
    """Return how grave it is, as a number."""
    return SEVERITIES.index(severity)


def gravest(severities: Sequence[Severity]) -> Severity:
    """Return the gravest of some, ``info`` of none."""
    ordered = sorted(severities, key=rank)
    return ordered[-1] if ordered else "info"


# --- how values are written ----------------------------------------------------------------------

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a length of time such as 30s, 5m, 4h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A length of time, written as a whole number and its unit."""


def _clock(value: object) -> object:
    # Without quotes YAML takes 22:00 for a number, 1320.
    if isinstance(value, time) or (isinstance(value, str) and _CLOCK.fullmatch(value)):
        return value
    raise ValueError('write a time of day in quotes, such as "22:00"')


Clock = Annotated[time, BeforeValidator(_clock)]


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("write a zone such as Europe/Stockholm") from error
    return value


def _address(value: str) -> str:
    try:
        return normal(value)
    except Rejected as error:
        raise ValueError("a mail address is needed") from error


class Matcher(BaseModel):
    """What a label's value must be; a label that is missing has an empty value.

    Attributes:
        op: ``=`` or ``!=`` the value, or ``=~`` or ``!~`` the regular expression, as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    op: Literal["=", "!=", "=~", "!~"]
    value: Annotated[str, Field(max_length=1000)]

    @checked(mode="after")
    def _can_be_asked(self) -> Self:
        if self.op in ("=~", "!~"):
            try:
                _ = self._pattern
            except SchemaError as error:
                raise ValueError(f"{self.value} is no regular expression") from error
        return self

    @cached_property
    def _pattern(self) -> SchemaValidator:
        # This engine takes a time that grows with the text alone, whatever the expression is.
        text = f"^(?:{self.value})$"
        return SchemaValidator(core_schema.str_schema(pattern=text, regex_engine="rust-regex"))

    def fits(self, labels: Labels) -> bool:
        """Return whether *labels* are as they must be."""
        found = labels.get(self.name, "")
        if self.op in ("=", "!="):
            same = found == self.value
        else:
            same = self._pattern.isinstance_python(found)
        return same == (self.op in ("=", "=~"))

    def __str__(self) -> str:
        """Return it as people write it."""
        return f'{self.name}{self.op}"{self.value}"'


_MATCHER: Final = re.compile(r'\s*([^\s=!~"]+)\s*(=~|!~|!=|=)\s*("?)(.*?)\3\s*', re.DOTALL)


def matcher(text: object) -> object:
    """Return what a text such as ``severity="critical"`` asks for."""
    if not isinstance(text, str):
        return text
    match = _MATCHER.fullmatch(text)
    if match is None:
        raise ValueError('write what a label must be, such as severity = critical or a =~ "b|c"')
    return Matcher(name=match[1], op=match[2], value=match[4])  # pyright: ignore[reportArgumentType]


Matchers = Annotated[tuple[Annotated[Matcher, BeforeValidator(matcher)], ...], Field(max_length=50)]
"""All of them must fit."""


def fit(matchers: Sequence[Matcher], labels: Labels) -> bool:
    """Return whether *labels* fit all of *matchers*."""
    return all(each.fits(labels) for each in matchers)


# --- the policy ----------------------------------------------------------------------------------


class Closed(BaseModel):
    """A part of the policy: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quiet(Closed):
    """When a receiver sleeps.

    Attributes:
        start: The time of day at which it begins.
        end: At which it ends; earlier than *start*, it is that of the next day.
        zone: Whose time of day.
        below: What is less grave waits for the morning.
    """

    start: Annotated[Clock, Field(alias="from")]
    end: Annotated[Clock, Field(alias="to")]
    zone: Annotated[str, AfterValidator(_zone)] = "Europe/Stockholm"
    below: Severity = "critical"

    @checked(mode="after")
    def _begins_and_ends(self) -> Self:
        if self.start == self.end:
            raise ValueError("quiet hours that end when they begin are none: leave them out")
        return self

    def at(self, now: datetime) -> bool:
        """Return whether *now* is in them."""
        there = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start < self.end:
            return self.start <= there < self.end
        return there >= self.start or there < self.end


class Receiver(Closed):
    """Who is told.

    Attributes:
        addresses: None for those in the setting ``GALLRA_ONCALL``.
        mails_per_hour: What is above it waits and comes as one digest; critical alerts never wait.
            None for no limit.
    """

    addresses: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    locale: Literal["sv", "en"] = "en"
    mails_per_hour: Annotated[int | None, Field(ge=1)] = 20
    quiet: Quiet | None = None


class Step(Closed):
    """Who is told next if nobody acknowledges.

    Attributes:
        wait: So long after the step before it, or after the first mail.
        at_least: Only of alerts as grave as this.
    """

    wait: Duration
    receiver: str
    at_least: Severity = "critical"


class Timing(Closed):
    """How alerts are put together and how often they are told."""

    group_by: tuple[str, ...] = (NAME,)
    group_wait: Duration = timedelta(seconds=30)
    group_interval: Duration = timedelta(minutes=5)
    repeat_interval: Duration = timedelta(hours=4)


class Route(Closed):
    """Where alerts go that fit; what it does not say is said by the policy."""

    match: Matchers
    receiver: str | None = None
    group_by: tuple[str, ...] | None = None
    group_wait: Duration | None = None
    group_interval: Duration | None = None
    repeat_interval: Duration | None = None
    escalation: tuple[Step, ...] | None = None


class Inhibition(Closed):
    """Alerts that nobody is told of while another stands that explains them.

    Attributes:
        equal: Labels in which both must agree.
    """

    source: Annotated[Matchers, Field(min_length=1)]
    target: Annotated[Matchers, Field(min_length=1)]
    equal: tuple[str, ...] = ()


class Silencing(Closed):
    """For how long alerts may be silenced.

    Attributes:
        longest: Whatever is silenced.
        longest_of: By severity.
        at_once: Alerts that are told at once.
    """

    longest: Duration = timedelta(days=30)
    longest_of: Mapping[Severity, Duration] = {}
    at_once: Duration = timedelta(hours=1)


class Ending(Closed):
    """Alerts that are over by themselves.

    Attributes:
        after: So long after they were last raised; nobody is told.
    """

    match: Annotated[Matchers, Field(min_length=1)]
    after: Duration


class Heartbeat(Closed):
    """A mail that says that alerts reach their receiver; that it does not come is the alarm."""

    receiver: str
    every: Duration = timedelta(days=1)


class Path(Closed):
    """What tells that alerts do not get through.

    Attributes:
        probe_every: After so long without any event, an event is sent the whole way.
        silent_after: So long without one, or with an alert's mail not sent, is too long.
    """

    probe_every: Duration = timedelta(minutes=15)
    silent_after: Duration = timedelta(minutes=40)

    @checked(mode="after")
    def _is_asked_first(self) -> Self:
        if self.silent_after < 2 * self.probe_every:
            raise ValueError("silent_after must be at least twice as long as probe_every")
        return self


@dataclass(frozen=True, slots=True)
class Way:
    """What a policy says of an alert.

    Attributes:
        receivers: First the one who is told; each next one if nobody acknowledges.
        waits: How long after the first mail each of them is told.
        at_least: How grave an alert must be for each of them.
    """

    receivers: tuple[str, ...]
    waits: tuple[timedelta, ...]
    at_least: tuple[Severity, ...]
    group_by: tuple[str, ...]
    group_wait: timedelta
    group_interval: timedelta
    repeat_interval: timedelta


class Policy(Timing):
    """All that decides who is told of which alert and when.

    Attributes:
        receiver: Who is told of what no route is for.
        routes: The first that fits is taken.
        at_once: Alerts that wait for no others; any of the lists must fit.
        runbooks: Where runbooks are read; their name is added.
        acknowledged_for: So long an alert that somebody acknowledged is not told again.
    """

    receiver: str = "oncall"
    receivers: Annotated[Mapping[str, Receiver], Field(min_length=1)]
    routes: tuple[Route, ...] = ()
    escalation: tuple[Step, ...] = ()
    at_once: tuple[Annotated[Matchers, Field(min_length=1)], ...] = ()
    inhibit: tuple[Inhibition, ...] = ()
    silences: Silencing = Silencing()
    endings: tuple[Ending, ...] = ()
    acknowledged_for: Duration = timedelta(hours=8)
    heartbeat: Heartbeat | None = None
    path: Path | None = Path()
    runbooks: str = ""

    @checked(mode="after")
    def _names_are_known(self) -> Self:
        for name in self._named():
            if name not in self.receivers:
                raise ValueError(f"{name} is not among the receivers: add it there")
        if WEBHOOK in self.receivers:
            raise ValueError(f"{WEBHOOK} is our own name: take another")
        for route in (None, *self.routes):
            told = self._way(route).receivers
            if len(set(told)) < len(told):
                raise ValueError(f"{', '.join(told)}: each step must tell another receiver")
        return self

    def _named(self) -> Iterator[str]:
        yield self.receiver
        yield from (step.receiver for step in self.escalation)
        for route in self.routes:
            if route.receiver is not None:
                yield route.receiver
            yield from (step.receiver for step in route.escalation or ())
        if self.heartbeat is not None:
            yield self.heartbeat.receiver

    def way(self, labels: Labels) -> Way:
        """Return what is done about an alert with *labels*."""
        return self._way(next((r for r in self.routes if fit(r.match, labels)), None))

    def _way(self, route: Route | None) -> Way:
        said: dict[str, Any] = {}
        for name in ("receiver", "escalation", *Timing.model_fields):
            own = None if route is None else getattr(route, name)
            said[name] = getattr(self, name) if own is None else own
        steps: tuple[Step, ...] = said.pop("escalation")
        waits = [timedelta()]
        for step in steps:
            waits.append(waits[-1] + step.wait)
        return Way(
            receivers=(said.pop("receiver"), *(step.receiver for step in steps)),
            waits=tuple(waits),
            at_least=("info", *(step.at_least for step in steps)),
            **said,
        )

    def is_at_once(self, labels: Labels) -> bool:
        """Return whether an alert with *labels* waits for no others."""
        return any(fit(matchers, labels) for matchers in self.at_once)

    def silenced_at_most(self, severity: Severity, labels: Labels) -> timedelta:
        """Return how long one silence keeps an alert quiet, however long it lasts."""
        limits = [self.silences.longest]
        if (of := self.silences.longest_of.get(severity)) is not None:
            limits.append(of)
        if self.is_at_once(labels):
            limits.append(self.silences.at_once)
        return min(limits)

    def over_after(self, labels: Labels) -> timedelta | None:
        """Return how long after it was last raised an alert is over by itself."""
        return next((e.after for e in self.endings if fit(e.match, labels)), None)


_policy: Final = TypeAdapter(Policy)


def read(text: str) -> Policy:
    """Return the policy in the YAML *text* of alerts.yaml.

    Raises:
        DocumentError: a field is missing, unknown or unfit; the text says where.
    """
    return parse("alerts.yaml", text, _policy)
