"""CloudEvents 1.0 on Kafka: what we send is binary mode, what we accept is binary or structured.

Own code rather than the ``cloudevents`` library, which parses the content before we can validate
it strictly; tests hold the two against each other.  The binding is the CNCF's
``kafka-protocol-binding`` 1.0.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
from opentelemetry.trace import SpanContext
from pydantic import ValidationError

from shared.canonical import canonical, digest
from shared.errors import Rejected
from shared.events import BY_TYPE, Data, EventType
from shared.events.platform import ActionPerformed
from shared.events.quick import check_for

LARGEST_ACTION: Final = 16 * 1024
STRUCTURED: Final = "application/cloudevents+json"
_LONGEST_ATTRIBUTE: Final = 500  # bytes; source and id together fit into a row of an index
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LONGEST_SEQUENCE: Final = 18  # digits; fits a signed 64-bit integer
_PROBLEMS_NAMED: Final = 5
_JSON: Final = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAMEABLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")

_decoder = msgspec.json.Decoder()

_action_is_valid = check_for(ActionPerformed)

_REQUIRED: Final = ("ce_id", "ce_source", "ce_type", "ce_time")
_PLAIN: Final = ("", "application/json")

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """A record as a Kafka client hands it over."""

    @property
    def topic(self) -> str:
        """The topic, with the prefix of the environment."""
        ...

    @property
    def key(self) -> bytes | None:
        """The key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The body."""
        ...

    @property
    def headers(self) -> Headers:
        """The headers; names may repeat."""
        ...


@dataclass(slots=True)
class Event:
    """One event: the attributes that we use, and its validated content.

    Attributes:
        type: Its entry in the catalogue.
        source: The producer; with *id* the identity of the event.
        time: When it happened, in UTC.
        content: The content as it came, in plain JSON values.
        sequence: The producer's own count, if it keeps one.
        traceparent: The W3C trace context it came with.
        span: The span in which it is handled; what it causes is traced to there.
        prepared: What a consumer made of it before its transaction.
    """

    type: EventType
    source: str
    id: str
    time: datetime
    content: Mapping[str, Any]
    sequence: int | None = None
    traceparent: str | None = None
    span: SpanContext | None = field(default=None, compare=False)
    prepared: Any = field(default=None, compare=False)
    _data: Data | None = field(default=None, compare=False)

    @property
    def data(self) -> Data:
        """The content as its model has it."""
        if self._data is None:
            self._data = self.type.model.model_validate_json(canonical(self.content))
        return self._data

    @property
    def digest(self) -> bytes:
        """SHA-256 of type and content, whatever mode or spelling they came in."""
        return digest(self.type.name.encode(), canonical(self.content))


class _Structured(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    time: str
    data: msgspec.Raw
    sequence: str | int | None = None
    traceparent: str | None = None


class _Numbered(msgspec.Struct):
    source: str
    sequence: str | int


def encode(
    event_type: EventType, *, source: str, id_: str, time: datetime, data: Data
) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return the headers and the body of an event in binary mode."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_source": source,
        "ce_type": event_type.name,
        "ce_time": time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    body = data.model_dump_json(exclude_unset=True).encode()
    return [(name, value.encode()) for name, value in headers.items()], body


def decode(record: Record, *, latest: datetime, prefix: str = "") -> Event:
    """Return the event in *record*, which must not have happened after *latest*.

    Raises:
        Rejected: it is not a CloudEvent, its type is unknown or on the wrong topic, it comes from
            the future, or its content does not fit the model.  The reason names the field, never
            the value.
    """
    headers, body = _open(record)
    for name in _REQUIRED:
        value = headers.get(name, "")
        if not (value.isascii() and value.isprintable() and 0 < len(value) <= _LONGEST_ATTRIBUTE):
            _check_attribute(name, value)
    if headers.get("ce_specversion") != "1.0":
        raise Rejected("ce_specversion is not 1.0", code="missing-header")
    event_type = BY_TYPE.get(headers["ce_type"])
    if event_type is None:
        raise Rejected("ce_type is not in the catalogue", code="unknown-type")
    if prefix + event_type.topic.name != record.topic:
        raise Rejected(f"{event_type.name} does not belong on this topic", code="wrong-topic")
    time = _instant(headers["ce_time"])
    _check_time(time, latest)
    content, data = _content(event_type, body)
    return Event(
        type=event_type,
        source=headers["ce_source"],
        id=headers["ce_id"],
        time=time,
        content=content,
        sequence=_sequence(headers.get("ce_sequence")),
        traceparent=headers.get("traceparent"),
        _data=data,
    )


def check(event: Event, latest: datetime) -> None:
    """Refuse an *event* that came in another format with what no CloudEvent may come with.

    Raises:
        Rejected: its source or id is too long or holds a control character, or it happened before
            1900 or after *latest*.
    """
    _check_attribute("ce_id", event.id)
    _check_attribute("ce_source", event.source)
    _check_time(event.time, latest)


def numbered(record: Record) -> tuple[str, int] | None:
    """Return source and sequence of *record*, even where it is no event; None if it has none."""
    headers = _readable(record.headers)
    try:
        if _is_structured(headers):
            given = msgspec.json.decode(record.value or b"", type=_Numbered)
            source, number = given.source, str(given.sequence)
        else:
            source, number = headers["ce_source"], headers["ce_sequence"]
        _check_attribute("ce_source", source)
        sequence = _sequence(number)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, Rejected):
        return None
    return None if sequence is None else (source, sequence)


def _check_attribute(name: str, value: str) -> None:
    if not value or len(value.encode()) > _LONGEST_ATTRIBUTE or _CONTROLS.search(value):
        problem = f"missing, longer than {_LONGEST_ATTRIBUTE} bytes or holds a control character"
        raise Rejected(f"{name} is {problem}", code="missing-header")


def _check_time(time: datetime, latest: datetime) -> None:
    if time > latest:
        raise Rejected("its time lies in the future", code="from-the-future")
    if time < _EARLIEST:
        raise Rejected("its time lies before 1900", code="invalid-time")


def _open(record: Record) -> tuple[Mapping[str, str], bytes]:
    headers = _text(record.headers)
    body = record.value or b""
    if _is_structured(headers):
        return _open_structured(body)
    content_type = headers.get("content-type", "")
    if content_type not in _PLAIN and not _JSON.fullmatch(content_type):
        raise Rejected("content-type is not JSON", code="content-type")
    return headers, body


def _is_structured(headers: Mapping[str, str]) -> bool:
    """Return True if the body says it all.

    A console client may be unable to send headers: then it must.
    """
    content_type = headers.get("content-type", "")
    binary = "ce_type" in headers or any(name.startswith("ce_") for name in headers)
    return content_type.lower().startswith(STRUCTURED) or not (binary or content_type)


def _open_structured(body: bytes) -> tuple[Mapping[str, str], bytes]:
    try:
        envelope = msgspec.json.decode(body, type=_Structured)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not a CloudEvent: {_spoken(error)}", code="not-cloudevent") from None
    headers = {
        f"ce_{name}": str(value)
        for name in ("specversion", "id", "source", "type", "time", "sequence")
        if (value := getattr(envelope, name)) is not None
    }
    if envelope.traceparent is not None:
        headers["traceparent"] = envelope.traceparent
    return headers, bytes(envelope.data)


def _text(headers: Headers) -> dict[str, str]:
    """Return the headers that are text; foreign binary ones are nobody's business here."""
    try:
        # The first of a name counts.
        return {name.lower(): value.decode() for name, value in reversed(headers)}
    except (UnicodeDecodeError, AttributeError):  # Kafka lets a header have no value at all
        for name, value in headers:
            if name.lower().startswith("ce_") and not _is_text(value):
                spoken = _path([name.lower()])
                raise Rejected(f"{spoken} is not UTF-8", code="missing-header") from None
        return _readable(headers)


def _readable(headers: Headers) -> dict[str, str]:
    return {name.lower(): value.decode() for name, value in reversed(headers) if _is_text(value)}


def _is_text(value: bytes | None) -> bool:
    try:
        str(value or b"", "utf-8")
    except UnicodeDecodeError:
        return False
    return value is not None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected("ce_time is not an RFC 3339 timestamp", code="invalid-time") from None
    if instant.tzinfo is UTC:
        return instant
    if instant.tzinfo is None:
        raise Rejected("ce_time has no offset from UTC", code="invalid-time")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise Rejected("ce_time is out of range", code="invalid-time") from None


def _content(event_type: EventType, body: bytes) -> tuple[Any, Data | None]:
    """Return the content in plain values, and validated if it took more than a quick look."""
    if event_type.model is not ActionPerformed:
        return _json(body), validated(event_type.model, body)
    if len(body) > LARGEST_ACTION:
        raise Rejected(f"an action is at most {LARGEST_ACTION} bytes", code="too-large")
    data = None if _action_is_valid(body) else validated(ActionPerformed, body)
    return _json(body), data


def validated(model: type[Data], body: bytes) -> Data:
    """Return *body* as its model has it.

    Raises:
        Rejected: it does not fit; the reason names the fields, never a value.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Rejected(_fields(error), code="invalid-content") from None


def _json(body: bytes) -> Any:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not JSON: {_spoken(error)}", code="invalid-content") from None


def _sequence(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > _LONGEST_SEQUENCE:
        raise Rejected("ce_sequence is not a whole number", code="missing-header")
    return int(text)


def _spoken(error: Exception) -> str:
    """Return what msgspec says of a body: its messages name fields and types, never values."""
    return str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__


def _fields(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    listed = [
        f"{_path(problem['loc'])}: {problem['type']}" for problem in problems[:_PROBLEMS_NAMED]
    ]
    unnamed = len(problems) - len(listed)
    return "; ".join(listed) + (f" and {unnamed} more" if unnamed else "")


def _path(location: Iterable[str | int]) -> str:
    """Return the path to a field; a name that could be anything but a name is not repeated."""
    parts = [str(part) for part in location]
    return ".".join(p if _NAMEABLE.fullmatch(p) else "?" for p in parts) or "body"
