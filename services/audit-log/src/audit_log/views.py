"""Entries as people and programs get them: plain values, CSV, JSON Lines, OCSF; pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit_log.leaf import PARTS, SALT
from audit_log.ocsf import api_activity
from shared.canonical import canonical
from shared.spreadsheet import inert

COLUMNS: Final = (
    "index", "at", "customer_id", "actor", "action", "target", "outcome", "channel",
)  # fmt: skip
_ACTION: Final = "platform.action.performed.v1"

Row = Mapping[str, Any]
"""An entry: the columns and the parts that are left, by name."""


def values(row: Row) -> dict[str, Any]:
    """Return the value of each part that is left."""
    return {name: json.loads(row[name][SALT:]) for name in PARTS if row[name] is not None}


def summary(row: Row) -> dict[str, Any]:
    """Return an entry as it stands in a list."""
    what = values(row).get("what", {})
    told = {name: what.get(name) for name in ("id", "source", "type")}
    return {
        **{name: row[name] for name in COLUMNS},
        "event_id": told["id"],
        "source": told["source"],
        "type": told["type"] or row["action"],
    }


def as_csv(rows: Sequence[Row], *, head: bool) -> bytes:
    """Return lines of CSV; a cell that a spreadsheet would compute is quoted with an apostrophe."""
    written = io.StringIO()
    writer = csv.writer(written)
    if head:
        writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([inert(row[name]) for name in COLUMNS])
    return written.getvalue().encode()


def as_jsonl(rows: Sequence[Row]) -> bytes:
    """Return a line of JSON for each entry, with all its parts."""
    plain = ({**{n: row[n] for n in COLUMNS}, "parts": values(row)} for row in rows)
    return b"".join(json.dumps(line, default=str).encode() + b"\n" for line in plain)


def as_ocsf(rows: Sequence[Row], leaves: Mapping[int, bytes], origin: str) -> bytes:
    """Return a line of OCSF API Activity for each action among the entries."""
    return b"".join(
        canonical(line) + b"\n" for row in rows if (line := _ocsf(row, leaves, origin)) is not None
    )


def _ocsf(row: Row, leaves: Mapping[int, bytes], origin: str) -> dict[str, Any] | None:
    parts = values(row)
    what = parts.get("what", {})
    if what.get("type") != _ACTION:
        return None
    action = dict(what["data"])
    action["origin"] = {**action["origin"], **parts.get("network", {})}
    entry = {
        "index": row["index"],
        "leaf": leaves[row["index"]],
        "origin": origin,
        "id": what["id"],
        "source": what["source"],
        "time": row["at"],
        "action": {**action, **parts.get("who", {})},
    }
    return api_activity(entry)
