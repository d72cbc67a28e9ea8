"""Whether purges were lawful, found out from what is public: leaves, policies, receipts; pure.

A leaf tells class and day.  The policy of the class tells how long such entries are kept at
least, and how long at most where that follows from the day alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from pyroaring import BitMap64

from audit_log.leaf import PARTS, Kind, day_of
from audit_log.receipt import Receipt

_EPOCH: Final = date(1970, 1, 1)
_ON_REQUEST: Final = "erasure-request"


@dataclass(frozen=True, slots=True)
class Term:
    """How long the entries of a class are kept.

    Attributes:
        fixed: Whether they must go after the period and *grace_days*, whatever else happens.
    """

    months: int
    days: int
    grace_days: int
    fixed: bool

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> "Term | None":
        """Return the term in the statement of a policy version; None if it tells of none."""
        data = policy.get("data", policy)
        if "log_class" not in data or (data.get("keep_months") is None) == (
            data.get("keep_days") is None
        ):
            return None
        return cls(
            data.get("keep_months") or 0,
            data.get("keep_days") or 0,
            data.get("grace_days") or 0,
            bool(data.get("fixed")),
        )

    def purge_from(self, day: date) -> date:
        """Return the first day on which an entry of *day* may be gone."""
        month = day.year * 12 + day.month - 1 + self.months
        year, month = divmod(month, 12)
        last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day  # noqa: PLR2004 - December
        through = date(year, month + 1, min(day.day, last)) + timedelta(days=self.days)
        return through + timedelta(days=1)

    def gone_by(self, day: date) -> date | None:
        """Return the day on which an entry of *day* must be gone; None if that depends."""
        return self.purge_from(day) + timedelta(days=self.grace_days) if self.fixed else None


@dataclass(slots=True)
class Conformity:
    """What is wrong with the purges; indexes of entries."""

    early: BitMap64 = field(default_factory=BitMap64)
    late: BitMap64 = field(default_factory=BitMap64)
    unexplained: BitMap64 = field(default_factory=BitMap64)


def judge(
    leaves: Sequence[bytes],
    receipts: Iterable[tuple[int, Receipt]],
    terms: Mapping[int, Term],
    now: datetime,
) -> Conformity:
    """Return which purges were early, which are late, and which no policy explains."""
    result = Conformity()
    gone = BitMap64()
    for index, receipt in receipts:
        term = terms.get(receipt.log_class)
        asked = receipt.order.get("reason") == _ON_REQUEST
        if set(receipt.parts) == set(PARTS):
            gone |= receipt.indexes
        for entry in receipt.indexes:
            if entry >= index or _class(leaves[entry]) != receipt.log_class or term is None:
                result.unexplained.add(entry)
            elif not asked and day_of(receipt.purged_at) < term.purge_from(_day(leaves[entry])):
                result.early.add(entry)
    today = day_of(now)
    for index, leaf in enumerate(leaves):
        term = terms.get(_class(leaf))
        if leaf[3] == Kind.EVENT and term is not None and index not in gone:
            limit = term.gone_by(_day(leaf))
            if limit is not None and limit < today:
                result.late.add(index)
    return result


def _class(leaf: bytes) -> int:
    return int.from_bytes(leaf[4:6], "big")


def _day(leaf: bytes) -> date:
    return _EPOCH + timedelta(days=int.from_bytes(leaf[8:12], "big"))
