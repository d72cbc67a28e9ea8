"""What the log says of a purge of its own: which parts of which entries went, and why; pure.

A receipt is public.  It names the entries as a Roaring bitmap (64 bit, the portable form of the
RoaringFormatSpec) in base64: a thousand customer days are a few hundred bytes.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from pyroaring import BitMap64

from shared.errors import Rejected

TYPE: Final = "audit.purge.receipt.v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The body of a purge receipt.

    Attributes:
        parts: Which parts of each entry went.
        indexes: The entries.
        order: Whose order it was, and under which policy: the fields of the purge command that
            tell of it.
        purged_at: When, by the clock of the log.
    """

    log_class: int
    parts: Sequence[str]
    indexes: BitMap64
    order: Mapping[str, Any]
    purged_at: datetime

    def body(self) -> dict[str, Any]:
        """Return what is logged and published."""
        return {
            **self.order,
            "log_class": self.log_class,
            "parts": sorted(self.parts),
            "count": len(self.indexes),
            "indexes": written(self.indexes),
            "purged_at": self.purged_at.isoformat(),
        }

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Return the receipt with this body.

        Raises:
            Rejected: it is malformed, or its count is not that of its indexes.
        """
        try:
            indexes = _indexes(body["indexes"])
            if len(indexes) != body["count"]:
                raise Rejected("the receipt's count is not that of its indexes", code="bad-receipt")
            return cls(
                log_class=body["log_class"],
                parts=body["parts"],
                indexes=indexes,
                order={n: v for n, v in body.items() if n not in _OWN},
                # Receipts of the first version name their time in the entry alone.
                purged_at=datetime.fromisoformat(body.get("purged_at", "1970-01-01T00:00:00Z")),
            )
        except (KeyError, TypeError, ValueError):
            raise Rejected("not a purge receipt", code="bad-receipt") from None


_OWN: Final = frozenset({"log_class", "parts", "count", "indexes", "purged_at"})


def written(indexes: BitMap64) -> str:
    """Return *indexes* as they stand in an entry."""
    return base64.b64encode(indexes.serialize()).decode()


def _indexes(given: str | Iterable[tuple[int, int]]) -> BitMap64:
    if isinstance(given, str):
        return BitMap64.deserialize(base64.b64decode(given, validate=True))
    found = BitMap64()  # the first version wrote the first and the last of each run
    for first, last in given:
        found.add_range(first, last + 1)
    return found
