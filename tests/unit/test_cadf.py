"""OpenStack's audit notifications as actions."""

import json
from typing import Any

import pytest

from audit_log import cadf
from shared.errors import Rejected

SERVER = "0f3a5a4e-8f5f-4f55-9d6b-6f1c7f3d2a10"


def notification(event_type: str = "audit.http.response", **changed: Any) -> dict[str, Any]:
    """Return what keystonemiddleware's audit filter makes of a call of Nova."""
    payload = {
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
        "eventType": "activity",
        "id": "openstack:5d1b9b0a-7a57-5d9b-a0f6-43b2e22b4c17",
        "eventTime": "2026-11-02T12:00:00.123456+0000",
        "action": "delete",
        "outcome": "success",
        "observer": {"id": "target"},
        "initiator": {
            "typeURI": "service/security/account/user",
            "id": "u-1",
            "name": "kim",
            "project_id": "c-1",
            "credential": {"token": "gAAAA-secret", "identity_status": "Confirmed"},
            "host": {"address": "192.0.2.9", "agent": "python-novaclient"},
        },
        "target": {"typeURI": "service/compute/servers/server", "id": "nova", "name": "nova"},
        "reason": {"reasonType": "HTTP", "reasonCode": "204"},
        "requestPath": f"/v2.1/servers/{SERVER}?force=true",
        "tags": ["correlation_id?value=7b9c"],
    } | changed
    return {
        "message_id": "9a1c",
        "publisher_id": "nova-api.sto2 a",
        "event_type": event_type,
        "priority": "INFO",
        "payload": payload,
        "timestamp": "2026-11-02 12:00:00.200000",
    }


def wrapped(message: Any) -> bytes:
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def test_a_call_becomes_an_action() -> None:
    call = cadf.read(wrapped(notification()))
    assert call.id == "openstack:5d1b9b0a-7a57-5d9b-a0f6-43b2e22b4c17:audit.http.response"
    assert call.source == "//openstack/nova-api.sto2-a"
    assert call.time.isoformat() == "2026-11-02T12:00:00.123456+00:00"
    assert call.action == {
        "v": 1,
        "action": "compute.servers.server.delete",
        "phase": "result",
        "outcome": "success",
        "actor": {"type": "api_user", "id": "u-1", "name": "kim"},
        "origin": {"channel": "api", "ip": "192.0.2.9", "agent": "python-novaclient"},
        "target": {"type": "compute.servers.server", "id": SERVER, "name": "nova"},
        "customer_id": "c-1",
        "request": {"path": f"/v2.1/servers/{SERVER}"},
        "reason": {"code": "204"},
    }
    assert "secret" not in str(call), "the token is nobody's business"


def test_request_and_response_are_two_events_of_one_call() -> None:
    asked = cadf.read(wrapped(notification("audit.http.request", outcome="pending", reason=None)))
    assert asked.id != cadf.read(wrapped(notification())).id
    assert (asked.action["phase"], asked.action["outcome"]) == ("attempt", "unknown")


@pytest.mark.parametrize("name", ['Kim "K" Lind', "DOMAIN\\kim", "Åsa \u2028", "kim/😀"])
def test_any_name_will_do(name: str) -> None:
    initiator = {"id": name, "name": name, "project_id": "c-1"}
    call = cadf.read(wrapped(notification(initiator=initiator, requestPath=f"/v2/{name}")))
    assert call.action["actor"] == {"type": "api_user", "id": name, "name": name}


def test_what_does_not_fit_is_named() -> None:
    initiator = {"id": "u-1", "name": "kim" * 100, "project_id": "c-1"}
    with pytest.raises(Rejected, match=r"^actor\.name: string_too_long$"):
        cadf.read(wrapped(notification(initiator=initiator)))


@pytest.mark.parametrize(
    ("code", "outcome", "told"),
    [("403", "failure", "denied"), ("401", "failure", "denied"), ("500", "failure", "failure"),
     ("200", "success", "success"), ("404", "failure", "failure"), ("202", "odd", "unknown")],
)  # fmt: skip
def test_outcomes(code: str, outcome: str, told: str) -> None:
    reason = {"reasonCode": code, "reasonType": "HTTP"}
    call = cadf.read(wrapped(notification(outcome=outcome, reason=reason)))
    assert call.action["outcome"] == told


@pytest.mark.parametrize(
    "value",
    [
        b"", b"[]", b"null", b"\xff", b"{", b"[" * 5000, b'{"oslo.message": 7}',
        b'{"oslo.message": "{}"}', wrapped([1]), wrapped(notification("compute.instance.update")),
        wrapped(notification(id=None)), wrapped(notification(initiator={"name": "kim"})),
        wrapped(notification(eventTime="2026-11-02T12:00:00")),
        wrapped(notification(eventTime="yesterday")), wrapped(notification(eventTime=7)),
        wrapped(notification(action="")), wrapped(notification(action="x\0y" * 200)),
    ],
)  # fmt: skip
def test_what_is_no_notification_is_refused_and_not_quoted(value: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        cadf.read(value)
    assert "kim" not in str(refused.value)
