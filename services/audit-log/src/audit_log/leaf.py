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
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from shared.canonical import canonical

SIZE: Final = 64
SALT: Final = 16
TAG: Final = 20
PARTS: Final = ("who", "what", "network")
IDENTIFYING: Final = ("who", "network")
"""The parts that are destroyed where an entry is only to be anonymised."""
_OPENING: Final = {name: canonical([name])[:-1] + b"," for name in PARTS}
_UUID: Final = 36  # characters
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


PUBLIC: Final = frozenset({Kind.PURGE_RECEIPT, Kind.POLICY_VERSION, Kind.KEY_EVENT})
"""Kinds whose content anyone may read: nothing in it is personal."""


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


def leaves_in(bundle: bytes) -> list[bytes]:
    """Return the leaves that lie one after another in *bundle*."""
    return [bundle[i : i + SIZE] for i in range(0, len(bundle), SIZE)]


def kind_of(leaf: bytes) -> Kind:
    """Return what kind of entry *leaf* is of."""
    return Kind(leaf[3])


def day_of(instant: datetime) -> date:
    """Return the civil day in Sweden of *instant*, and 1970-01-01 for what lies before it.

    >>> day_of(datetime.fromisoformat("2024-12-31T23:30:00Z"))
    datetime.date(2025, 1, 1)
    """
    return _day_of_hour(instant.replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=4096)
def _day_of_hour(hour: datetime) -> date:
    # Every offset that Sweden had since 1970 is whole hours.
    return max(hour.astimezone(_SWEDEN).date(), _EPOCH)


def tenant_tag(key: bytes, counter: int) -> bytes:
    """Return the tag of a tenant's entry number *counter*."""
    return hmac.digest(key, counter.to_bytes(8, "big"), "sha256")[:TAG]


def identity(source: str, event_id: str) -> bytes:
    """Return 16 bytes that stand for an event for ever; ids in the order of time keep it.

    They say nothing about the event: its id is random, and its source a system.
    """
    hashed = hashlib.sha256(f"{source}\x00{event_id}".encode()).digest()
    if len(event_id) == _UUID and event_id[14] == "7":  # UUIDv7 begins with the time (RFC 9562)
        try:
            return bytes.fromhex(event_id[:8] + event_id[9:13]) + hashed[:10]
        except ValueError:
            pass
    return hashed[:16]


def part_digest(name: str, part: bytes) -> bytes:
    """Return the digest of a *part*: its salt and then its value in canonical JSON (RFC 8785)."""
    salted = b"".join((b"part1\x00", part[:SALT], _OPENING[name], part[SALT:], b"]"))
    return hashlib.sha256(salted).digest()


def commitment(digests: Mapping[str, bytes]) -> bytes:
    """Return the commitment to the parts whose digests are given by name."""
    listed = b"".join([name.encode() + b"\x00" + digests[name] for name in sorted(digests)])
    return hashlib.sha256(b"evt1\x00" + listed).digest()


def split_action(action: Mapping[str, Any], *, keep_network: bool) -> dict[str, Any]:
    """Return the parts of an action: who did it, what, and from which address and program.

    The last is left empty unless a policy keeps it: the privacy notice does not list IP address
    and user agent for this log.
    """
    origin = action["origin"]
    what = dict(action)
    del what["actor"]
    what["origin"] = {"channel": origin["channel"]}
    network = {n: origin[n] for n in ("ip", "agent") if n in origin} if keep_network else {}
    return {"who": {"actor": action["actor"]}, "what": what, "network": network}
