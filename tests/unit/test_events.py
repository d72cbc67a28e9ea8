"""The catalogue: every event has a place, a key without personal data, and strict content."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared import topics
from shared.addresses import normal
from shared.errors import Rejected
from shared.events import BY_TYPE, EVENT_TYPES, TOPICS, EventType, event_type_of
from shared.events.model import ClosedData, Data
from shared.events.platform import ActionPerformed, Contact

EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"
WEEK_MS = 7 * 24 * 60 * 60 * 1000


def example(event_type: EventType) -> Data:
    return event_type.model.model_validate_json((EXAMPLES / f"{event_type.name}.json").read_bytes())


def test_types_models_and_topics_are_named_once():
    assert len(BY_TYPE) == len({e.model for e in EVENT_TYPES}) == len(EVENT_TYPES)
    assert len({t.name for t in TOPICS}) == len(TOPICS)
    assert {e.topic for e in EVENT_TYPES} == set(TOPICS)
    assert all(re.fullmatch(r"[a-z]+(\.[a-z-]+)+\.v\d+", e.name) for e in EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda e: e.name)
def test_content_knows_its_type_and_its_key(event_type: EventType):
    data = example(event_type)
    assert event_type_of(data) is event_type
    assert event_type.key(data)


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda e: e.name)
def test_no_personal_field_gets_into_a_key(event_type: EventType):
    marked = json.loads((EXAMPLES / f"{event_type.name}.json").read_bytes())
    if "email" in marked:
        marked["email"] = "anna.svensson@customer.example"
    if "actor" in marked:
        marked["actor"]["id"] = marked["actor"]["name"] = "anna.svensson"
    data = event_type.model.model_validate_json(json.dumps(marked))
    assert "anna.svensson" not in event_type.key(data)


def test_no_topic_keeps_events_for_more_than_a_week():
    for settings in topics.declared().values():
        assert int(settings["retention.ms"]) <= WEEK_MS
        assert settings["cleanup.policy"] == "delete"


def test_every_topic_that_is_read_has_dead_letters():
    names = topics.declared()
    assert {t.dead_letters for t in TOPICS if t.readers} == names.keys() - {t.name for t in TOPICS}


def _fields(model: type[Data], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in model.model_json_schema()["properties"].items():
        yield f"{path}{name}", part
    for annotation in (f.annotation for f in model.model_fields.values()):
        for inner in [annotation, *getattr(annotation, "__args__", ())]:
            if isinstance(inner, type) and issubclass(inner, Data):
                yield from _fields(inner, f"{path}{inner.__name__}.")


def test_every_field_of_an_action_says_what_it_holds_and_of_whom():
    leaves = {n: p for n, p in _fields(ActionPerformed) if "$ref" not in json.dumps(p)}
    assert {"action", "Actor.id", "Origin.ip", "Change.old"} <= leaves.keys()
    for name, part in leaves.items():
        assert part.get("x-data-class"), name
        assert part.get("x-owner"), name


def test_an_action_is_closed_in_every_part():
    assert issubclass(ActionPerformed, ClosedData)
    closed = ActionPerformed.model_json_schema()
    assert all(d["additionalProperties"] is False for d in [closed, *closed["$defs"].values()])


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda e: e.name)
def test_a_reader_may_be_older_than_a_producer(event_type: EventType):
    body = json.loads((EXAMPLES / f"{event_type.name}.json").read_bytes())
    body["added_next_year"] = 1
    if issubclass(event_type.model, ClosedData):
        with pytest.raises(ValidationError):
            event_type.model.model_validate_json(json.dumps(body))
    else:
        assert event_type.model.model_validate_json(json.dumps(body)) == example(event_type)


@pytest.mark.parametrize("epoch", ["7", 7.0, True])
def test_nothing_is_taken_for_a_number_but_a_number(epoch: object):
    result = BY_TYPE["holders.purge.result.v1"]
    body = json.loads((EXAMPLES / f"{result.name}.json").read_bytes())
    with pytest.raises(ValidationError):
        result.model.model_validate_json(json.dumps({**body, "hold_epoch": epoch}))


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda e: e.name)
def test_content_does_not_change(event_type: EventType):
    data = example(event_type)
    with pytest.raises(ValidationError):
        setattr(data, next(iter(event_type.model.model_fields)), "changed")


def test_an_address_is_kept_as_it_was_written():
    contact = BY_TYPE["platform.contact.added.v1"]
    body = json.loads((EXAMPLES / f"{contact.name}.json").read_bytes())
    data = contact.model.model_validate_json(json.dumps({**body, "email": "Ops@Customer.EXAMPLE"}))
    assert isinstance(data, Contact)
    assert data.email == "Ops@Customer.EXAMPLE"
    assert normal(data.email) == "Ops@customer.example"


def test_an_address_that_is_none_is_refused_without_repeating_it():
    with pytest.raises(Rejected) as refusal:
        normal("anna.svensson@")
    assert "anna" not in str(refusal.value)
