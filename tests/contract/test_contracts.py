"""What other teams rely on: the messages on the bus, their schemas, and that both stay readable."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from audit_log import handlers as audit_log
from notifier import handlers as notifier
from retention import handlers as retention
from shared import contracts, topics
from shared.cloudevents import Event, Headers, decode
from shared.errors import Rejected
from shared.events import BY_TYPE, EVENT_TYPES, TOPICS, EventType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.json"))
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

KEYS = {  # of the examples on the wire that the design gives
    "platform.action.performed.v1": "c-100",
    "platform.record.registered.v1": "billing/billing.invoice/INV-2024-0042",
    "platform.service.terminated.v1": "c-100",
    "finance.fiscal-year.planned.v1": "provider-ab",
    "platform.contact.added.v1": "c-100",
    "platform.message.requested.v1": "m-1",
    "ops.alert.raised.v1": "fp-1",
}

formats = FormatChecker()


@formats.checks("date-time", raises=ValueError)
def _is_instant(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@formats.checks("date", raises=ValueError)
def _is_day(value: object) -> bool:
    return not isinstance(value, str) or date.fromisoformat(value) is not None


@dataclass(frozen=True)
class Record:
    topic: str
    headers: Headers
    value: bytes
    key: bytes | None = None


def binary(event_type: EventType, body: bytes) -> Event:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "e-1",
        "ce_source": "//portal/sto2",
        "ce_type": event_type.name,
        "ce_time": "2026-11-23T10:15:30.123456Z",
        "content-type": "application/json",
        "ce_sequence": "42",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-unknown": "nobody minds",
    }
    pairs = [(name, value.encode()) for name, value in headers.items()]
    return decode(Record(event_type.topic.name, pairs, body), latest=LATEST)


def structured(event_type: EventType, body: bytes) -> Event:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "//portal/sto2",
        "type": event_type.name,
        "time": "2026-11-23T10:15:30.123456Z",
        "datacontenttype": "application/json",
        "sequence": "42",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": json.loads(body),
    }
    headers = [("content-type", b"application/cloudevents+json")]
    record = Record(event_type.topic.name, headers, json.dumps(event).encode())
    return decode(record, latest=LATEST)


def validator(name: str) -> Draft202012Validator:
    document = json.loads((DOCS / "schemas" / f"{name}.json").read_bytes())
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document, format_checker=formats)


# The committed files


def test_the_committed_files_are_those_of_the_catalogue(tmp_path: Path):
    written = {path.relative_to(tmp_path): path.read_bytes() for path in contracts.write(tmp_path)}
    kept = [DOCS / "asyncapi.json", *(DOCS / "schemas").glob("*.json")]
    committed = {path.relative_to(DOCS): path.read_bytes() for path in kept}
    assert written == committed, "run `make contracts`"


def test_what_is_no_longer_in_the_catalogue_goes(tmp_path: Path):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "platform.withdrawn.v1.json").write_text("{}")
    assert set(contracts.write(tmp_path)) == {p for p in tmp_path.rglob("*") if p.is_file()}


# What goes over the wire


def test_every_event_type_has_an_example():
    assert [path.stem for path in EXAMPLES] == sorted(BY_TYPE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_event_ever_sent_can_still_be_read(example: Path):
    event_type, body = BY_TYPE[example.stem], example.read_bytes()
    validator(example.stem).validate(json.loads(body))
    event = binary(event_type, body)
    assert event == structured(event_type, body)
    assert (event.id, event.source, event.sequence) == ("e-1", "//portal/sto2", 42)
    assert event.time == datetime(2026, 11, 23, 10, 15, 30, 123456, UTC)
    assert json.loads(event.data.model_dump_json(exclude_unset=True)) == json.loads(body)


@pytest.mark.parametrize(("name", "key"), KEYS.items())
def test_the_key_follows_from_the_content(name: str, key: str):
    body = (EXAMPLES[0].parent / f"{name}.json").read_bytes()
    assert BY_TYPE[name].key(binary(BY_TYPE[name], body).data) == key


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_schema_and_reader_agree_on_what_is_malformed(example: Path):
    event_type, check = BY_TYPE[example.stem], validator(example.stem)
    verdicts = Counter[bool]()
    for damaged in _damaged(json.loads(example.read_bytes())):
        try:
            binary(event_type, json.dumps(damaged).encode())
        except Rejected:
            readable = False
        else:
            readable = True
        assert check.is_valid(damaged) == readable, damaged
        verdicts[readable] += 1
    assert verdicts[False]


def _damaged(value: Any) -> Iterator[Any]:
    """Yield *value* with each thing in it missing or of another type."""
    yield from (other for other in (None, 7, "", "\x00", "a" * 4001, [], {}) if other != value)
    if isinstance(value, dict):
        yield {**value, "unheard-of": 1}
        for name, content in value.items():
            yield {n: v for n, v in value.items() if n != name}
            yield from ({**value, name: other} for other in _damaged(content))
    elif isinstance(value, list):
        for i, content in enumerate(value):
            yield from ([*value[:i], other, *value[i + 1 :]] for other in _damaged(content))


# AsyncAPI


def test_every_topic_and_type_stands_in_the_asyncapi_document_once():
    document = contracts.asyncapi()
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert sorted(addresses) == sorted(topics.declared())
    carried = Counter(name for c in document["channels"].values() for name in c["messages"])
    assert carried.pop("dead-letter") == sum(bool(t.readers) for t in TOPICS)
    assert carried == Counter(e.name for e in EVENT_TYPES)
    for event_type in EVENT_TYPES:
        assert event_type.name in document["channels"][event_type.topic.name]["messages"]


def test_every_reference_in_the_asyncapi_document_leads_somewhere():
    document = json.loads((DOCS / "asyncapi.json").read_bytes())
    references = list(_references(document))
    assert len(references) > len(EVENT_TYPES)
    for reference in references:
        file, _, pointer = reference.partition("#")
        target = json.loads((DOCS / file).read_bytes()) if file else document
        for step in pointer.split("/")[1:]:
            target = target[step]
        assert target


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for content in value:
            yield from _references(content)


SERVICES = {"audit-log": audit_log, "notifier": notifier, "retention": retention}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_the_topics_that_name_it(service: str):
    read = {event_type.topic.name for event_type in SERVICES[service].CONSUMES}
    assert read == {t.name for t in TOPICS if service in t.readers}
    received = {
        o["channel"]["$ref"].removeprefix("#/channels/")
        for name, o in contracts.asyncapi()["operations"].items()
        if name.startswith(f"{service}.receive.") and o["action"] == "receive"
    }
    assert received == read


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_sends_what_it_makes(service: str):
    folder = ROOT / "services" / service / "src"
    source = "".join(path.read_text() for path in folder.rglob("*.py"))
    made = {
        e.topic.name
        for e in EVENT_TYPES
        # Called with fields, for it is a reader that says `case HoldPlaced():`.
        if re.search(rf"(?<!case )\b{e.model.__name__}\((?!\))", source)
    }
    # shared.bus: the alarm about a conflict; shared.dead_letters: what became of them
    of_the_shared_package = {"ops.alerts.v1", "ops.decisions.v1"}
    if "PurgeDesk(" in source:
        of_the_shared_package |= {"holders.purge-results.v1", "holders.rights-results.v1"}
    if "Looks(" in source:
        of_the_shared_package.add("ops.looks.v1")
    assert made | of_the_shared_package == set(contracts.SENDS[service])
