"""Actions in the terms of OCSF 1.8.0, API Activity (class 6003), for a SIEM; pure."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

VERSION: Final = "1.8.0"
_CLASS: Final = 6003
_CATEGORY: Final = 6
_OTHER: Final = 99
_ACTIVITIES: Final = {
    "create": 1, "read": 2, "get": 2, "list": 2, "show": 2, "update": 3, "modify": 3, "patch": 3,
    "resize": 3, "delete": 4, "remove": 4,
}  # fmt: skip
_NAMES: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
_STATUS: Final = {"success": 1, "failure": 2, "denied": 2}
_PURGED: Final = {"uid": "purged"}  # a user must be named somehow
_INFORMATIONAL: Final = 1
_TARGET: Final = 1


def api_activity(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return *entry* as an OCSF event.

    Args:
        entry: index, leaf, origin (of the log), id, source, time, and the action, of which the
            actor, the address and the agent may be missing.
    """
    action: Mapping[str, Any] = entry["action"]
    service, _, verb = action["action"].rpartition(".")
    activity = _ACTIVITIES.get(verb, _OTHER)
    request: Mapping[str, Any] = action.get("request") or {}
    reason: Mapping[str, Any] = action.get("reason") or {}
    time: datetime = entry["time"]
    return _without_none(
        {
            "activity_id": activity,
            "activity_name": _NAMES.get(activity, verb),
            "actor": _actor(action.get("actor")),
            "api": {
                "operation": action["action"],
                "service": {"name": service},
                "request": {"uid": request.get("id")},
            },
            "category_uid": _CATEGORY,
            "class_uid": _CLASS,
            "cloud": {"provider": "openstack", "project_uid": action["customer_id"]},
            "http_request": {
                "user_agent": action["origin"].get("agent"),
                "url": {"path": request.get("path")},
            },
            "metadata": {
                "product": {"name": "Gallra", "vendor_name": "Gallra"},
                "profiles": ["cloud"],
                "tenant_uid": action["customer_id"],
                "uid": entry["id"],
                "version": VERSION,
                "log_provider": entry["source"],
            },
            "resources": [_resource(action["target"])],
            "severity_id": _INFORMATIONAL,
            "src_endpoint": _endpoint(action["origin"]),
            "status_code": reason.get("code"),
            "status_detail": reason.get("text"),
            "status_id": _STATUS.get(action["outcome"], 0),
            "time": int(time.timestamp() * 1000),
            "type_uid": _CLASS * 100 + activity,
            "unmapped": {
                "tlog": {
                    "index": entry["index"],
                    "leaf_b64": base64.b64encode(entry["leaf"]).decode(),
                    "origin": entry["origin"],
                }
            },
        }
    )


def _actor(actor: Mapping[str, Any] | None) -> dict[str, Any]:
    if actor is None:
        return {"user": _PURGED}
    if actor["type"] == "service":
        return {"app_uid": actor["id"], "app_name": actor.get("name")}
    return {"user": {"uid": actor["id"], "name": actor.get("name")}}


def _resource(target: Mapping[str, Any]) -> dict[str, Any]:
    named = {"type": target["type"], "uid": target.get("id"), "name": target.get("name")}
    return {"role_id": _TARGET, **named}


def _endpoint(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return where it came from: the address if it was kept, or else the channel."""
    return {"ip": origin["ip"]} if origin.get("ip") else {"name": origin["channel"]}


def _without_none(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_none(v) for v in cast("list[Any]", value)]
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        kept = {name: _without_none(v) for name, v in named.items() if v is not None}
        return {name: v for name, v in kept.items() if v != {}}
    return value
