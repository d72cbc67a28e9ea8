"""Reading and writing CloudEvents: against the reference library, and against all that is bad."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.cloudevents import LARGEST_ACTION, Event, check, decode, encode, numbered
from shared.errors import Rejected
from shared.events import BY_TYPE
from shared.events.platform import ActionPerformed

EXAMPLES = sorted((Path(__file__).parents[1] / "contract" / "examples").glob("*.json"))
ACTION = BY_TYPE["platform.action.performed.v1"]
CONTENT = {
    "v": 1,
    "action": "compute.server.delete",
    "phase": "result",
    "outcome": "success",
    "actor": {"type": "user", "id": "u-4711"},
    "origin": {"channel": "portal"},
    "target": {"type": "compute.server", "id": "srv-1"},
    "customer_id": "c-100",
}
HEADERS = {
    "ce_specversion": b"1.0",
    "ce_id": b"e-1",
    "ce_source": b"//portal/sto2",
    "ce_type": b"platform.action.performed.v1",
    "ce_time": b"2026-11-23T10:15:30.123456Z",
    "content-type": b"application/json",
}
ENVELOPE = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "//portal/sto2",
    "type": "platform.action.performed.v1",
    "time": "2026-11-23T10:15:30.123456Z",
    "data": CONTENT,
}
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MARKER = "anna.svensson@example.org"


@dataclass(frozen=True)
class Record:
    value: bytes | None = json.dumps(CONTENT).encode()
    headers: tuple[tuple[str, bytes], ...] = tuple(HEADERS.items())
    topic: str = "platform.actions.v1"
    key: bytes | None = b"c-100"


def structured(envelope: Any = ENVELOPE, content_type: str = "application/cloudevents+json"):
    return Record(json.dumps(envelope).encode(), (("content-type", content_type.encode()),))


def content(**changes: Any) -> Record:
    return Record(json.dumps({**CONTENT, **changes}).encode())


def header(name: str, value: bytes | None) -> Record:
    """Return the good record with another value of one header, or without it."""
    changed = {**HEADERS, name: value}
    return Record(headers=tuple((n, v) for n, v in changed.items() if v is not None))


def read(record: Record) -> Event:
    return decode(record, latest=NOW)


# The reference library as a peer

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=50)
instants = st.timedeltas(timedelta(0), timedelta(days=20_000)).map(
    lambda since: datetime(1970, 1, 1, tzinfo=UTC) + since
)


def peer(id_: str, actor: str, time: datetime) -> CloudEvent:
    data = {**CONTENT, "actor": {"type": "user", "id": actor}}
    attributes = {
        "id": id_,
        "source": "//portal/sto2",
        "type": ACTION.name,
        "time": time,
        "specversion": "1.0",
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, data)


@given(names, names, instants)
def test_we_read_what_the_reference_library_writes(id_: str, actor: str, time: datetime):
    event = peer(id_, actor, time)
    binary, whole = (
        kafka.to_binary(event, JSONFormat()),
        kafka.to_structured(event, JSONFormat()),
    )
    ours = read(Record(binary.value, tuple(binary.headers.items())))
    assert ours == read(Record(whole.value, tuple(whole.headers.items())))
    assert (ours.id, ours.source, ours.type, ours.time) == (id_, "//portal/sto2", ACTION, time)
    assert isinstance(ours.data, ActionPerformed)
    assert ours.data.actor.id == actor


@given(names, names, instants)
def test_the_reference_library_reads_what_we_write(id_: str, actor: str, time: datetime):
    data = ActionPerformed.model_validate_json(
        json.dumps({**CONTENT, "actor": {"type": "user", "id": actor}})
    )
    headers, body = encode(ACTION, source="//portal/sto2", id_=id_, time=time, data=data)
    theirs = kafka.from_binary(kafka.KafkaMessage(dict(headers), None, body), JSONFormat())
    assert (theirs.get_id(), theirs.get_source()) == (id_, "//portal/sto2")
    assert (theirs.get_type(), theirs.get_time()) == (ACTION.name, time)
    assert theirs.get_datacontenttype() == "application/json"
    assert theirs.get_data() == {**CONTENT, "actor": {"type": "user", "id": actor}}
    assert read(Record(body, tuple(headers))).data == data


def test_a_time_is_written_in_utc_whatever_zone_it_came_in():
    time = datetime(2026, 11, 23, 11, 15, tzinfo=timezone(timedelta(hours=1)))
    data = ActionPerformed.model_validate_json(json.dumps(CONTENT))
    headers, _ = encode(ACTION, source="//portal", id_="e-1", time=time, data=data)
    assert dict(headers)["ce_time"] == b"2026-11-23T10:15:00.000000Z"


# What is accepted besides

ACCEPTED = {
    "structured": structured(),
    "structured, with a charset": structured(
        content_type="Application/CloudEvents+JSON; charset=utf-8"
    ),
    "structured, from a console without headers": replace(structured(), headers=()),
    "another JSON content type": header("content-type", b"application/vnd.portal+json"),
    "JSON with a charset": header("content-type", b"application/json; charset=UTF-8"),
    "no content type": header("content-type", None),
    "upper-case headers": Record(headers=tuple((n.upper(), v) for n, v in HEADERS.items())),
    "a binary header of somebody else": header("x-trace", b"\xff\xfe"),
    "a header twice; the first counts": Record(headers=(*HEADERS.items(), ("ce_id", b"e-2"))),
    "another offset": header("ce_time", b"2026-11-23T11:15:30.123456+01:00"),
    "other spelling": Record(json.dumps(dict(reversed(CONTENT.items())), indent=4).encode()),
    "no key": Record(key=None),
    "a header without a value": Record(
        headers=(*HEADERS.items(), ("x-trace", cast("bytes", None)))
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_says_the_same_is_the_same_event(case: str):
    assert read(ACCEPTED[case]) == read(Record())


@pytest.mark.parametrize("sequence", [b"0", b"42", b"9" * 18])
def test_a_sequence_is_a_number(sequence: bytes):
    assert read(header("ce_sequence", sequence)).sequence == int(sequence)
    assert read(structured({**ENVELOPE, "sequence": int(sequence)})).sequence == int(sequence)


def test_the_topic_may_have_a_prefix():
    record = replace(Record(), topic="test.platform.actions.v1")
    assert decode(record, latest=NOW, prefix="test.") == read(Record())


def test_an_action_of_16_kb_just_fits():
    short = json.dumps(CONTENT)
    record = Record((short + " " * (LARGEST_ACTION - len(short))).encode())
    assert read(record) == read(Record())


def test_the_digest_tells_type_and_content_and_nothing_else():
    digests = Counter(
        read(record).digest
        for record in (
            Record(),
            header("ce_id", b"e-2"),
            header("ce_time", b"2026-01-01T00:00:00Z"),
            header("ce_source", b"//portal/kna1"),
        )
    )
    assert list(digests.values()) == [4]
    assert read(content(customer_id="c-101")).digest not in digests


# What is refused

REFUSED = {
    "no body": (Record(None), "invalid-content"),
    "an empty body": (Record(b""), "invalid-content"),
    "broken JSON": (Record(b'{"v":1,'), "invalid-content"),
    "two values": (Record(json.dumps(CONTENT).encode() + b"{}"), "invalid-content"),
    "not an object": (Record(b"[1,2]"), "invalid-content"),
    "null": (Record(b"null"), "invalid-content"),
    "not UTF-8": (Record(json.dumps(CONTENT).encode("utf-16")), "invalid-content"),
    "bad UTF-8 in a string": (
        Record(json.dumps(CONTENT).encode().replace(b"c-100", b"c-\xff")),
        "invalid-content",
    ),
    "half a surrogate pair": (
        Record(json.dumps(CONTENT).encode().replace(b"c-100", b"\\ud800")),
        "invalid-content",
    ),
    "nested beyond reason": (Record(b"[" * 12_000), "invalid-content"),
    "a name nested beyond reason": (Record(b'{"v":' * 3_000), "invalid-content"),
    "a number as text": (content(v="1"), "invalid-content"),
    "text as a number": (content(customer_id=100), "invalid-content"),
    "a missing field": (Record(b'{"v":1}'), "invalid-content"),
    "an unknown field": (content(shoe_size=43), "invalid-content"),
    "an unknown word": (content(outcome="splendid"), "invalid-content"),
    "a NUL in a name": (content(customer_id="c\x00"), "invalid-content"),
    "a line break in a name": (content(customer_id="c-100\n"), "invalid-content"),
    "an empty name": (content(customer_id=""), "invalid-content"),
    "a name too long": (content(customer_id="c" * 201), "invalid-content"),
    "an action without a dot": (content(action="delete"), "invalid-content"),
    "one byte more than 16 kB": (
        Record(json.dumps(CONTENT).encode().ljust(LARGEST_ACTION + 1)),
        "too-large",
    ),
    "no headers and no JSON": (Record(b"hello", ()), "not-cloudevent"),
    "no headers and no body": (Record(None, ()), "not-cloudevent"),
    "no headers and no envelope": (Record(headers=()), "not-cloudevent"),
    "an envelope without data": (
        structured({n: v for n, v in ENVELOPE.items() if n != "data"}),
        "not-cloudevent",
    ),
    "an envelope with a number as id": (structured({**ENVELOPE, "id": 7}), "not-cloudevent"),
    "a list of envelopes": (structured([ENVELOPE]), "not-cloudevent"),
    "an envelope nested beyond reason": (
        Record(b'{"data":' + b"[" * 100_000, structured().headers),
        "not-cloudevent",
    ),
    "an envelope around bad content": (structured({**ENVELOPE, "data": 7}), "invalid-content"),
    "an envelope of the future": (
        structured({**ENVELOPE, "time": "2026-11-24T00:00:00Z"}),
        "from-the-future",
    ),
    "XML": (header("content-type", b"application/xml"), "content-type"),
    "text": (header("content-type", b"text/plain"), "content-type"),
    "JSON lines": (header("content-type", b"application/jsonl"), "content-type"),
    "a batch": (
        structured([ENVELOPE], "application/cloudevents-batch+json"),
        "missing-header",
    ),
    "another specversion": (header("ce_specversion", b"0.3"), "missing-header"),
    "an unknown type": (header("ce_type", b"platform.action.performed.v9"), "unknown-type"),
    "a type of another topic": (header("ce_type", b"platform.contact.added.v1"), "wrong-topic"),
    "another environment": (replace(Record(), topic="test.platform.actions.v1"), "wrong-topic"),
    "no date": (header("ce_time", b"yesterday"), "invalid-time"),
    "an impossible date": (header("ce_time", b"2026-02-29T00:00:00Z"), "invalid-time"),
    "a date alone": (header("ce_time", b"2026-11-23"), "invalid-time"),
    "a time without offset": (header("ce_time", b"2026-11-23T10:15:30"), "invalid-time"),
    "before all time": (header("ce_time", b"0001-01-01T00:00:00+14:00"), "invalid-time"),
    "before 1900": (header("ce_time", b"1899-12-31T23:59:59Z"), "invalid-time"),
    "just in the future": (header("ce_time", b"2026-11-23T12:00:00.000001Z"), "from-the-future"),
    "far in the future": (header("ce_time", b"9999-12-31T23:59:59Z"), "from-the-future"),
    "a sequence in words": (header("ce_sequence", b"many"), "missing-header"),
    "a negative sequence": (header("ce_sequence", b"-1"), "missing-header"),
    "a sequence that no database holds": (header("ce_sequence", b"9" * 19), "missing-header"),
} | {
    f"{name} {fault}": (header(name, value), "missing-header")
    for name in ("ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion")
    for fault, value in {
        "missing": None,
        "empty": b"",
        "with a NUL": b"e\x00",
        "with a line break": b"e\n",
        "with a delete": b"e\x7f",
        "too long": b"e" * 501,
        "too long in bytes": "é".encode() * 251,
        "not UTF-8": b"\xff",
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_malformed_is_refused_with_a_code(case: str):
    record, code = REFUSED[case]
    with pytest.raises(Rejected) as refusal:
        read(record)
    assert (refusal.value.code, bool(str(refusal.value))) == (code, True)


@pytest.mark.parametrize("length", [250, 500])
def test_a_source_of_500_bytes_just_fits(length: int):
    source = ("é" if length == 250 else "e") * length
    assert read(header("ce_source", source.encode())).source == source


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"id": ""}, "missing-header"),
        ({"id": "e\x00"}, "missing-header"),
        ({"source": "e" * 501}, "missing-header"),
        ({"time": NOW + timedelta(microseconds=1)}, "from-the-future"),
        ({"time": datetime(1899, 12, 31, tzinfo=UTC)}, "invalid-time"),
    ],
)
def test_an_event_of_another_format_has_the_same_bounds(changed: dict[str, Any], code: str):
    event = read(Record())
    check(event, NOW)
    with pytest.raises(Rejected) as refusal:
        check(replace(event, **changed), NOW)
    assert refusal.value.code == code


NUMBERED = {
    "binary": (header("ce_sequence", b"42"), 42),
    "structured": (structured({**ENVELOPE, "sequence": "42"}), 42),
    "structured, with a number": (structured({**ENVELOPE, "sequence": 42}), 42),
    "structured, with bad content": (structured({**ENVELOPE, "sequence": 42, "data": 7}), 42),
    "structured, without an id": (structured({"source": "//portal/sto2", "sequence": 42}), 42),
    "not JSON": (replace(header("ce_sequence", b"42"), value=b"{"), 42),
    "none": (Record(), None),
    "none, structured": (structured(), None),
    "nothing at all": (Record(None, ()), None),
    "negative": (header("ce_sequence", b"-5"), None),
    "negative, structured": (structured({**ENVELOPE, "sequence": -5}), None),
    "of 40 digits": (header("ce_sequence", b"9" * 40), None),
    "not UTF-8": (header("ce_sequence", b"\xff"), None),
    "without a value": (header("ce_sequence", cast("bytes", None)), None),
    "no source": (replace(structured({"sequence": 1}), topic="x"), None),
    "a body that breaks off": (replace(structured(), value=b'{"source": "a", "sequence": 1'), None),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_of_what_is_no_event_the_number_counts_all_the_same(case: str):
    record, number = NUMBERED[case]
    assert numbered(record) == (None if number is None else ("//portal/sto2", number))


@pytest.mark.parametrize("source", [b"", b"a\x00b", b"a\nb", b"\xff", b"a" * 20_000])
def test_a_number_of_nobody_counts_for_nobody(source: bytes):
    given = {**HEADERS, "ce_sequence": b"1", "ce_source": source}
    assert numbered(Record(headers=tuple(given.items()))) is None


def test_content_that_names_no_moment_is_refused():
    event_type = BY_TYPE["platform.service.started.v1"]
    body = json.dumps({"customer_id": "c-100", "service_id": "sv-1"}).encode()
    record = replace(header("ce_type", event_type.name.encode()), value=body)
    with pytest.raises(Rejected) as refusal:
        read(replace(record, topic=event_type.topic.name))
    assert refusal.value.code == "invalid"


def test_a_reason_names_the_field():
    with pytest.raises(Rejected, match=r"^actor\.id: missing$"):
        read(content(actor={"type": "user"}))


# Never a personal value in a reason


def _planted(value: Any) -> Iterator[Any]:
    """Yield *value* with the marker in the place of each thing in it, in forms that do not fit."""
    yield from (MARKER, f"{MARKER}\x00", MARKER * 200, [MARKER], {"x": MARKER}, {MARKER: 1})
    if isinstance(value, dict):
        yield {**value, MARKER: MARKER}
        for name, inner in value.items():
            yield from ({**value, name: other} for other in _planted(inner))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from ([*value[:i], other, *value[i + 1 :]] for other in _planted(inner))


def _reason(record: Record) -> str | None:
    try:
        read(record)
    except Rejected as refusal:
        return f"{refusal.code} {refusal}"
    return None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_reason_holds_no_value_of_the_content(example: Path):
    event_type = BY_TYPE[example.stem]
    refused = 0
    for planted in _planted(json.loads(example.read_bytes())):
        for record in (
            replace(
                header("ce_type", event_type.name.encode()), value=json.dumps(planted).encode()
            ),
            structured({**ENVELOPE, "type": event_type.name, "data": planted}),
        ):
            reason = _reason(replace(record, topic=event_type.topic.name))
            refused += reason is not None
            assert MARKER not in (reason or "")
    assert refused


@pytest.mark.parametrize("name", [*HEADERS, "ce_sequence", "traceparent", f"ce_{MARKER}"])
@pytest.mark.parametrize("form", [MARKER.encode(), MARKER.encode() + b"\x00", b"\xff", b"x" * 600])
def test_a_reason_holds_no_value_of_a_header(name: str, form: bytes):
    assert MARKER not in (_reason(header(name, form)) or "")


def test_a_reason_holds_no_value_of_an_envelope():
    reasons = [_reason(structured(planted)) for planted in _planted(ENVELOPE)]
    assert any(reasons)
    assert MARKER not in str(reasons)


@pytest.mark.parametrize("cut", range(0, len(json.dumps(ENVELOPE)), 7))
def test_a_reason_quotes_nothing_of_broken_json(cut: int):
    envelope = json.dumps(ENVELOPE).replace("c-100", MARKER).encode()
    for broken in (envelope[:cut], envelope[:cut] + b"\xff" + envelope[cut:]):
        for record in (replace(structured(), value=broken), Record(broken)):
            assert MARKER not in (_reason(record) or "")
