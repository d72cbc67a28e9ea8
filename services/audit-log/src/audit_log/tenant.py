"""What a customer can find in the public log with its own key, and what it misses; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from audit_log.leaf import Kind, tenant_tag

HEAD: Final = 1 << 63
"""Counters from here on tag the heads: ``HEAD | n`` says that there are n entries so far."""

_AHEAD: Final = 1000  # so many missing entries in a row are looked past, however short the log is
_TAG: Final = slice(12, 32)


@dataclass(slots=True)
class Entries:
    """The entries of one tenant.

    Attributes:
        found: Index by counter.
        told: The highest number of entries that a head says there are.
        missing: Counters of entries that must be there and are not.
    """

    found: dict[int, int] = field(default_factory=dict[int, int])
    told: int = 0
    missing: list[int] = field(default_factory=list[int])


def find(key: bytes, leaves: Sequence[bytes]) -> Entries:
    """Return what *key* recognises among all *leaves* of the log, in order."""
    entries: dict[bytes, int] = {}
    heads: set[bytes] = set()
    for index, leaf in enumerate(leaves):
        if leaf[3] == Kind.TENANT_HEAD:
            heads.add(leaf[_TAG])
        else:
            entries[leaf[_TAG]] = index
    result = Entries()
    counter = 0
    last = 0  # what is known to exist lies below
    ahead = max(_AHEAD, len(leaves))
    while counter < last + ahead:
        if (index := entries.get(tenant_tag(key, counter))) is not None:
            result.found[counter] = index
            last = counter + 1
        if tenant_tag(key, HEAD | counter + 1) in heads:
            result.told = counter + 1
            last = max(last, counter + 1)
        counter += 1
    end = max(result.told, max(result.found, default=-1) + 1)
    result.missing = [n for n in range(end) if n not in result.found]
    return result
