"""What the master log commits to: 64 bytes an entry, nothing personal in them; pure.

The content of an entry is split into parts by kind of data and whose it is, each committed to
with a salt of its own.  Destroying a part and its salt together leaves a digest that says nothing
about it, and everything else in the entry still opens to the leaf.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from shared.canonical import canonical

SIZE: Final = 64
SALT: Final = 16
TAG: Final = 20
_FORM: Final = struct.Struct(">2sBBHHI20s32s")
_EPOCH: Final = date(1970, 1, 1)
_SWEDEN: Final = ZoneInfo("Europe/Stockholm")


class Kind(IntEnum):
    """What an entry is."""

    EVENT = 1
    PURGE_RECEIPT = 2
    POLICY_VERSION = 3
    HOLD = 4
    KEY_EVENT = 5
    TENANT_HEAD = 6
    ACCESS = 7
    CORRECTION = 8


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of the log.

    Attributes:
        log_class: The retention class of the content, public on purpose: with it and *day*
            anyone can compute the earliest lawful purge; 0 is for what is not personal.
        day: The civil day in Sweden on which it happened.
        tag: Lets who holds the tenant's key recognise its entries; random to all others.
        commitment: To the parts of the content.
    """

    kind: Kind
    log_class: int
    day: date
    tag: bytes
    commitment: bytes

    def encode(self) -> bytes:
        """Return the 64 bytes."""
        days = (self.day - _EPOCH).days
        return _FORM.pack(b"AL", 1, self.kind, self.log_class, 0, days, self.tag, self.commitment)


def day_of(instant: datetime) -> date:
    """Return the civil day in Sweden of *instant*, and 1970-01-01 for what lies before it.

    >>> day_of(datetime.fromisoformat("2024-12-31T23:30:00Z"))
    datetime.date(2025, 1, 1)
    """
    return max(instant.astimezone(_SWEDEN).date(), _EPOCH)


def tenant_tag(key: bytes, counter: int) -> bytes:
    """Return the tag of a tenant's entry number *counter*."""
    return hmac.digest(key, counter.to_bytes(8, "big"), "sha256")[:TAG]


def part_digest(name: str, salt: bytes, value: bytes) -> bytes:
    """Return the digest of a part, given its *value* as canonical JSON (RFC 8785)."""
    named = b"[" + canonical(name) + b"," + value + b"]"
    return hashlib.sha256(b"part1\x00" + salt + named).digest()


def commitment(parts: Mapping[str, bytes]) -> bytes:
    """Return the commitment to the parts whose digests are *parts*, by name."""
    listed = b"".join(name.encode() + b"\x00" + parts[name] for name in sorted(parts))
    return hashlib.sha256(b"evt1\x00" + listed).digest()


def split_action(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of an action: who did it, and what.

    IP address and user agent are left out: the privacy notice does not list them for this log.
    """
    origin = {"channel": action["origin"]["channel"]}
    what = {name: value for name, value in action.items() if name != "actor"}
    return {"who": {"actor": action["actor"]}, "what": {**what, "origin": origin}}
