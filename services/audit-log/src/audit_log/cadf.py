"""OpenStack's audit notifications (CADF, DSP0262) as oslo.messaging puts them on Kafka; pure.

Both messages of a call, the request and the response, bear one CADF id: an event is told apart by
that id and the event type together.  The initiator's token is never read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from shared.canonical import canonical
from shared.cloudevents import validated
from shared.errors import Rejected
from shared.events.platform import ActionPerformed
from shared.events.quick import check_for

_PHASES: Final = {"audit.http.request": "attempt", "audit.http.response": "result"}
_OUTCOMES: Final = {"success": "success", "failure": "failure", "pending": "unknown"}
_DENIED: Final = frozenset({"401", "403"})
_NOT_A_VERB: Final = re.compile(r"[^a-z0-9_.-]+")
_LONGEST_PATH: Final = 4000
_is_valid = check_for(ActionPerformed)


class _Host(msgspec.Struct):
    address: str | None = None
    agent: str | None = None


class _Initiator(msgspec.Struct):
    id: str
    name: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    host: _Host | None = None


class _Target(msgspec.Struct):
    id: str
    typeURI: str  # noqa: N815 - as CADF has it
    name: str | None = None
    project_id: str | None = None


class _Reason(msgspec.Struct):
    reasonCode: str | None = None  # noqa: N815


class _Cadf(msgspec.Struct):
    id: str
    eventTime: str  # noqa: N815
    action: str
    outcome: str
    initiator: _Initiator
    target: _Target
    requestPath: str | None = None  # noqa: N815
    reason: _Reason | None = None


class _Message(msgspec.Struct):
    event_type: str
    publisher_id: str
    payload: msgspec.Raw


_read_envelope = msgspec.json.Decoder(dict[str, Any])
_read_message = msgspec.json.Decoder(_Message)
_read_cadf = msgspec.json.Decoder(_Cadf)


@dataclass(frozen=True, slots=True)
class Call:
    """One notification: its identity as an event, and the action it tells of."""

    id: str
    source: str
    time: datetime
    action: Mapping[str, Any]


def read(value: bytes) -> Call:
    """Return what the Kafka message *value* tells of.

    Raises:
        Rejected: it is no CADF notification, or its values do not fit an action; the text names
            fields, never values.
    """
    try:
        envelope = _read_envelope.decode(value)
        message = _read_message.decode(str(envelope.get("oslo.message", "")).encode())
        cadf = _read_cadf.decode(message.payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        said = str(error) if isinstance(error, msgspec.ValidationError) else "not JSON"
        raise Rejected(f"not a CADF notification: {said}", code="not-cadf") from None
    phase = _PHASES.get(message.event_type)
    if phase is None:
        raise Rejected("event_type is none of an audited request", code="not-cadf")
    action = _action(cadf, phase)
    if not _is_valid(body := canonical(action)):
        validated(ActionPerformed, body)
    source = f"//openstack/{re.sub(r'[^A-Za-z0-9._~-]+', '-', message.publisher_id)}"
    return Call(f"{cadf.id}:{message.event_type}", source, _instant(cadf.eventTime), action)


def _action(cadf: _Cadf, phase: str) -> dict[str, Any]:
    who, on = cadf.initiator, cadf.target
    code = cadf.reason.reasonCode if cadf.reason else None
    origin = {"ip": who.host and who.host.address, "agent": who.host and who.host.agent}
    customer = who.project_id or on.project_id or who.domain_id
    path = cadf.requestPath and cadf.requestPath.partition("?")[0][:_LONGEST_PATH]
    denied = code in _DENIED
    return {
        "v": 1,
        "action": _verb(on.typeURI, cadf.action),
        "phase": phase,
        "outcome": "denied" if denied else _OUTCOMES.get(cadf.outcome, "unknown"),
        "actor": _some({"type": "api_user", "id": who.id, "name": who.name}),
        "origin": _some({"channel": "api", **origin}),
        "target": _some(
            {"type": _dotted(on.typeURI), "id": _resource(path) or on.id, "name": on.name}
        ),
        "customer_id": customer or "",
        **({"request": {"path": path}} if path else {}),
        **({"reason": {"code": code}} if code else {}),
    }


def _some(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _dotted(type_uri: str) -> str:
    words = type_uri.lower().removeprefix("service/").replace("/", ".")
    return _NOT_A_VERB.sub("-", words).strip(".") or "resource"


def _verb(type_uri: str, action: str) -> str:
    return f"{_dotted(type_uri)}.{_NOT_A_VERB.sub('-', action.lower().replace('/', '.'))}"


def _resource(path: str | None) -> str | None:
    """Return the id in the path of a request: its last part that looks like one."""
    for part in reversed((path or "").split("/")):
        if re.fullmatch(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", part):
            return part
    return None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise Rejected("eventTime has no offset from UTC", code="invalid-time")
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Rejected("eventTime is not a timestamp", code="invalid-time") from None
