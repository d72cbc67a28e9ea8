"""What an entry must be found by, as its content commits to it; pure.

A row of the verifier is: index, at, bucket, customer, actor, action, the parts who, what and
network, their digests where they were purged, target, outcome, channel.
"""

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec

from audit_log import receipt
from audit_log.checkpoint import KEYS_CHANGED
from audit_log.leaf import PARTS, SALT, Kind, day_of, identity, part_digest

_ACTIONS: Final = b"\x00\x01"  # the retention class of category logs.action, as in a leaf
_NOT_PERSONAL: Final = b"\x00\x00"
_CLASS: Final = slice(4, 6)  # where it lies in a leaf
_DAY: Final = slice(8, 12)
_EPOCH: Final = date(1970, 1, 1).toordinal()

_NETWORK, _WHAT, _WHO = (name.encode() + b"\x00" for name in sorted(PARTS))

_FILED: Final = (
    "time", "customer", "account", "action", "target", "outcome", "channel", "event", "bucket",
)  # fmt: skip

_ACTION_OF: Final = {
    Kind.PURGE_RECEIPT: receipt.TYPE,
    Kind.TENANT_HEAD: "audit.tenant.head.v1",
    Kind.ACCESS: "audit.access.v1",
    Kind.CORRECTION: "audit.correction.v1",
}
_ACTION_OF_KEYS: Final = {
    "log-keys-changed": KEYS_CHANGED,
    "tenant-keys-destroyed": "audit.key.destroyed.v1",
}
_DECIDED_ON: Final = (
    "plan", "record_id", "fingerprint", "silence_id", "purpose", "case_id", "topic",
)  # fmt: skip
_ENVELOPED: Final = (Kind.EVENT, Kind.POLICY_VERSION, Kind.HOLD)
"""Kinds of entries that came as events: their content names time, type, source and id."""

Place = tuple[str, bytes, bytes]
"""Whose the entries in a bucket are, and their retention class and day as in their leaves."""


def committed(digests: bytes) -> bytes:
    """Return the commitment to parts whose names and *digests* are given one after another."""
    return hashlib.sha256(b"evt1\x00" + digests).digest()


def digests(row: Any) -> tuple[bytes, list[str]]:
    """Return what the commitment is made of, and which parts were purged."""
    _, _, _, _, _, _, who, what, network, who_digest, what_digest, network_digest, *_ = row
    if who is not None and what is not None and network is not None:  # as most are
        told = (
            _NETWORK,
            part_digest("network", network),
            _WHAT,
            part_digest("what", what),
            _WHO,
            part_digest("who", who),
        )
        return b"".join(told), []
    listed: list[bytes] = []
    absent: list[str] = []
    for name, opening, part, kept in (
        ("network", _NETWORK, network, network_digest),
        ("what", _WHAT, what, what_digest),
        ("who", _WHO, who, who_digest),
    ):
        if part is not None:
            listed += (opening, part_digest(name, part))
        elif kept is not None:
            listed += (opening, kept)
            absent.append(name)
    return b"".join(listed), absent


class _Id(msgspec.Struct, gc=False):
    id: str | None = None


class _Origin(msgspec.Struct, gc=False):
    channel: str


class _Data(msgspec.Struct, gc=False):
    action: str
    outcome: str
    customer_id: str
    target: _Id
    origin: _Origin


class _Action(msgspec.Struct, gc=False):
    id: str
    source: str
    time: str
    data: _Data


class _Who(msgspec.Struct, gc=False):
    actor: _Id


_read_action = msgspec.json.Decoder(_Action).decode
_read_who = msgspec.json.Decoder(_Who).decode
_read = msgspec.json.Decoder(dict[str, Any]).decode


def misfiled(leaf: bytes, row: Any, places: Mapping[int, Place], event: bytes | None) -> str | None:
    """Return which column of an entry is not what its content says; None if all are.

    Args:
        leaf: Its leaf, which the content in *row* was seen to match.
        row: As the verifier reads it.
        places: What is known of buckets.
        event: The identity under which the entry is known; None if there is none.

    Raises:
        ValueError, KeyError, TypeError, msgspec.DecodeError: the content is not of the leaf's kind.
    """
    _, at, bucket, customer, actor, action, who, what, _, _, _, _, target, outcome, channel = row
    if (leaf[_CLASS] == _NOT_PERSONAL or customer is None) != (bucket is None):
        return "retention class"
    place = None if bucket is None else (customer, leaf[_CLASS], leaf[_DAY])
    filed = (at, customer, actor, action, target, outcome, channel, event, place)
    known = None if bucket is None else places.get(bucket)
    if what is None:
        said = (_at_on_day(leaf, at), customer, actor, action, None, None, None, event, known)
    elif leaf[3] == Kind.EVENT and leaf[_CLASS] == _ACTIONS:
        content = _read_action(what[SALT:])
        data = content.data
        said = (
            datetime.fromisoformat(content.time),
            data.customer_id,
            None if who is None else _read_who(who[SALT:]).actor.id,
            data.action,
            data.target.id,
            data.outcome,
            data.origin.channel,
            None if event is None else identity(content.source, content.id),
            known,
        )
    else:
        person = None if who is None else _read(who[SALT:]).get("by")
        said = (*_said(leaf, at, person, _read(what[SALT:]), event), known)
    if filed == said:
        return None
    return next(n for n, column, true in zip(_FILED, filed, said, strict=True) if column != true)


def _said(
    leaf: bytes, at: datetime, person: str | None, content: dict[str, Any], event: bytes | None
) -> tuple[Any, ...]:
    """Return what the columns of an entry that is no action must be, up to its event."""
    kind = Kind(leaf[3])
    if kind not in _ENVELOPED:
        action = _ACTION_OF_KEYS[content["event"]] if kind is Kind.KEY_EVENT else _ACTION_OF[kind]
        target = f"entry/{content['corrects']}" if kind is Kind.CORRECTION else None
        customer = content.get("customer_id")
        return _at_on_day(leaf, at), customer, person, action, target, None, None, event
    customer = target = outcome = None
    if kind is Kind.HOLD:
        target = content["data"]["hold_id"]
    elif leaf[_CLASS] != _NOT_PERSONAL:
        data = content["data"]
        customer, target, outcome = data["customer_id"] or "", data["message_id"], data["state"]
    elif person is not None:  # who decides: of a plan, an erasure, an alert, a purge, a topic
        data = content["data"]
        found = (data[name] for name in _DECIDED_ON if data.get(name))
        target = next(found, None) or data["category"]
    said = None if event is None else identity(content["source"], content["id"])
    time = datetime.fromisoformat(content["time"])
    return time, customer, person, content["type"], target, outcome, None, said


def written_day(day: date) -> bytes:
    """Return *day* as it stands in a leaf."""
    return (day.toordinal() - _EPOCH).to_bytes(4, "big", signed=True)


def _at_on_day(leaf: bytes, at: datetime) -> datetime | None:
    """Return *at* if it lies on the day of the leaf, which is all that the leaf says of it."""
    return at if written_day(day_of(at)) == leaf[_DAY] else None
