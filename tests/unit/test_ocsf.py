"""Actions in the terms of OCSF; the required fields of class 6003 are those of its schema 1.8.0."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from audit_log.ocsf import api_activity

REQUIRED = {
    "activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id",
    "src_endpoint", "time", "type_uid",
}  # fmt: skip


def entry(**changed: Any) -> dict[str, Any]:
    action = {
        "v": 1,
        "action": "compute.server.delete",
        "phase": "result",
        "outcome": "denied",
        "actor": {"type": "user", "id": "u-1", "name": "Kim"},
        "origin": {"channel": "portal", "ip": "192.0.2.1"},
        "target": {"type": "compute.server", "id": "srv-1"},
        "customer_id": "c-1",
        "reason": {"code": "403"},
    } | changed
    return {
        "index": 7,
        "leaf": bytes(64),
        "origin": "log.example/1",
        "id": "e-1",
        "source": "//portal",
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "action": {name: value for name, value in action.items() if value is not None},
    }


def test_an_action_has_all_that_the_class_requires() -> None:
    event = api_activity(entry())
    assert event.keys() >= REQUIRED
    assert (event["class_uid"], event["category_uid"], event["type_uid"]) == (6003, 6, 600304)
    assert (event["activity_id"], event["status_id"], event["severity_id"]) == (4, 2, 1)
    assert event["time"] == 1767225600000
    assert event["actor"]["user"] == {"uid": "u-1", "name": "Kim"}
    assert event["src_endpoint"] == {"ip": "192.0.2.1"}
    assert event["resources"] == [{"role_id": 1, "type": "compute.server", "uid": "srv-1"}]
    tlog = event["unmapped"]["tlog"]
    assert (tlog["index"], base64.b64decode(tlog["leaf_b64"])) == (7, bytes(64))


def test_what_is_purged_leaves_a_valid_event() -> None:
    event = api_activity(entry(actor=None, origin={"channel": "api"}))
    assert event.keys() >= REQUIRED
    assert event["actor"] == {"user": {"uid": "purged"}}
    assert event["src_endpoint"] == {"name": "api"}


@pytest.mark.parametrize(
    ("verb", "activity"),
    [("create", 1), ("list", 2), ("update", 3), ("remove", 4), ("reboot", 99)],
)
def test_activities(verb: str, activity: int) -> None:
    event = api_activity(entry(action=f"compute.server.{verb}"))
    assert (event["activity_id"], event["type_uid"]) == (activity, 600300 + activity)
