"""The catalogue as files that other teams build upon: JSON Schemas and an AsyncAPI document."""

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from shared import topics
from shared.events import EVENT_TYPES, TOPICS, EventType, Topic

DIALECT: Final = GenerateJsonSchema.schema_dialect
BINDING: Final = "0.5.0"  # of AsyncAPI's Kafka bindings

SENDS: Final = {
    "audit-log": (
        "platform.records.v1", "holders.purge-results.v1", "holders.rights-results.v1",
        "ops.alerts.v1", "ops.decisions.v1", "audit.checkpoints.v1",
    ),
    "notifier": (
        "platform.records.v1", "holders.purge-results.v1", "holders.rights-results.v1",
        "notifier.deliveries.v1", "ops.alerts.v1", "ops.looks.v1", "ops.decisions.v1",
    ),
    "retention": (
        "retention.decisions.v1", "retention.purge-commands.v1", "ops.alerts.v1",
        "ops.decisions.v1", "platform.messages.v1", "ops.looks.v1", "platform.records.v1",
        "retention.rights-commands.v1", "holders.purge-results.v1", "holders.rights-results.v1",
    ),
}  # fmt: skip
"""What each service of ours publishes; everything else comes from the platform and its holders."""

_ABOUT: Final = """\
Events are CloudEvents 1.0. We send binary mode and accept binary and structured mode \
(content-type application/cloudevents+json). Unknown headers are ignored. An environment may set \
a prefix before every address. What a reader cannot accept goes, as it came, to the topic of the \
same name with .dlq after it."""

_ATTRIBUTES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": 500,
            "description": "Unique for its source; the same again with other content is an alarm.",
        },
        "ce_source": {
            "type": "string",
            "format": "uri-reference",
            "minLength": 1,
            "maxLength": 500,
        },
        "ce_type": {"type": "string"},
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When it happened; at most 24 hours ahead of our clock.",
        },
        "ce_sequence": {
            "type": "string",
            "pattern": "^[0-9]{1,18}$",
            "description": "The producer's own count; a gap in it is noticed.",
        },
        "content-type": {"const": "application/json"},
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
}

_WHY: Final[dict[str, Any]] = {
    "type": "object",
    "description": "The original's headers, and why it is here.",
    "required": [
        "dlq_code", "dlq_reason", "dlq_consumer", "dlq_topic", "dlq_partition", "dlq_offset",
        "dlq_time",
    ],
    "properties": {
        "dlq_code": {"type": "string", "description": "A short, stable word."},
        "dlq_reason": {"type": "string", "description": "Names fields and rules, never values."},
        "dlq_consumer": {"type": "string", "description": "Who refused it."},
        "dlq_topic": {"type": "string", "description": "Where it came from, with the prefix."},
        "dlq_partition": {"type": "string", "pattern": "^[0-9]+$"},
        "dlq_offset": {"type": "string", "pattern": "^[0-9]+$"},
        "dlq_time": {"type": "string", "format": "date-time"},
    },
}  # fmt: skip


class _Schema(GenerateJsonSchema):
    """Without a title for each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def schema(event_type: EventType) -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of the content of *event_type*."""
    model = event_type.model.model_json_schema(schema_generator=_Schema)
    return {"$schema": DIALECT, "$id": f"urn:gallra:{event_type.name}", **model}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document of all topics and events, with what our services do there."""
    settings = topics.declared()
    channels = {t.name: _channel(t, settings[t.name]) for t in TOPICS}
    channels |= {
        t.dead_letters: _dead_letters(t, settings[t.dead_letters]) for t in TOPICS if t.readers
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Gallra", "version": version("gallra"), "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": dict(_operations()),
        "components": {
            "messages": {
                **{event_type.name: _message(event_type) for event_type in EVENT_TYPES},
                "dead-letter": {"title": "Dead letter", "headers": _WHY},
            },
            "schemas": {"cloudevent": _ATTRIBUTES},
        },
    }


def write(directory: Path) -> list[Path]:
    """Write ``schemas/<ce_type>.json`` and ``asyncapi.json`` below *directory*; return the paths.

    The same catalogue gives the same bytes.  A schema that is no longer in it is removed.
    """
    documents = {f"schemas/{e.name}.json": schema(e) for e in EVENT_TYPES}
    documents["asyncapi.json"] = asyncapi()
    (directory / "schemas").mkdir(parents=True, exist_ok=True)
    for stale in set((directory / "schemas").glob("*.json")) - {directory / d for d in documents}:
        stale.unlink()
    for name, document in documents.items():
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (directory / name).write_text(text, encoding="utf-8")
    return [directory / name for name in documents]


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _kafka(binding: dict[str, Any]) -> dict[str, Any]:
    return {"kafka": {**binding, "bindingVersion": BINDING}}


def _configured(settings: dict[str, str]) -> dict[str, Any]:
    configuration = {
        "cleanup.policy": settings["cleanup.policy"].split(","),
        "retention.ms": int(settings["retention.ms"]),
        "max.message.bytes": int(settings["max.message.bytes"]),
    }
    return _kafka({"topicConfiguration": configuration})


def _channel(topic: Topic, settings: dict[str, str]) -> dict[str, Any]:
    names = [e.name for e in EVENT_TYPES if e.topic is topic]
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}.",
        "messages": {name: _ref("components", "messages", name) for name in names},
        "bindings": _configured(settings),
    }


def _dead_letters(topic: Topic, settings: dict[str, str]) -> dict[str, Any]:
    return {
        "address": topic.dead_letters,
        "description": f"What a reader of {topic.name} could not accept, with its key and bytes.",
        "messages": {"dead-letter": _ref("components", "messages", "dead-letter")},
        "bindings": _configured(settings),
    }


def _message(event_type: EventType) -> dict[str, Any]:
    return {
        "name": event_type.name,
        "title": event_type.model.__name__,
        "summary": (event_type.model.__doc__ or "").partition("\n")[0],
        "contentType": "application/json",
        "headers": {
            "allOf": [
                _ref("components", "schemas", "cloudevent"),
                {"properties": {"ce_type": {"const": event_type.name}}},
            ]
        },
        "payload": {"$ref": f"schemas/{event_type.name}.json"},
        "bindings": _kafka({"key": {"type": "string", "description": event_type.topic.key}}),
    }


def _operations() -> Iterable[tuple[str, dict[str, Any]]]:
    for service, sent in SENDS.items():
        reads = [t for t in TOPICS if service in t.readers]
        for topic in reads:
            binding = _kafka({"groupId": {"type": "string", "enum": [service]}})
            channel = _ref("channels", topic.name)
            operation = {"action": "receive", "channel": channel, "bindings": binding}
            yield f"{service}.receive.{topic.name}", operation
        for name in (*sent, *(t.dead_letters for t in reads)):
            operation = {"action": "send", "channel": _ref("channels", name)}
            yield f"{service}.send.{name}", operation
