"""What holders are ordered to do for a request; pure."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from retention.rights_store import Case, Task
from shared.events.gallra import (
    RightsCollect,
    RightsCommand,
    RightsExport,
    RightsLift,
    RightsObject,
    RightsRectify,
    RightsRestrict,
)

COPIES: Final = ("collect", "export")
"""Orders to give a copy."""

_COPY_LIVES: Final = timedelta(days=1)


def place(task: UUID) -> str:
    """Return the name of the object that a copy is laid at."""
    return f"rights/{task}"


def order(case: Case, task: Task, now: datetime) -> RightsCommand:
    """Return the order for a task."""
    fields: dict[str, Any] = {
        "command_id": str(task.id),
        "request_id": case.id,
        "holder": task.holder,
        "category": task.category,
        "refs": task.refs,
    }
    copied: dict[str, Any] = {
        "seal_to": case.seal_to,
        "object": place(task.id),
        "not_after": now + _COPY_LIVES,
    }
    match task.action:
        case "collect":
            return RightsCollect(**fields, **copied)
        case "export":
            return RightsExport(**fields, **copied)
        case "rectify":
            return RightsRectify(**fields)
        case "restrict":
            return RightsRestrict(**fields)
        case "lift":
            return RightsLift(**fields)
        case _:
            return RightsObject(**fields)
