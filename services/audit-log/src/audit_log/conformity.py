"""Whether purges were lawful, found out from what is public: leaves, policies, receipts; pure.

A leaf tells class and day.  The policy of the class tells how long such entries are kept at
least, and how long at most where that follows from the day alone.  A purge is judged by the
version of the policy that its receipt names, which must have been in force when it was ordered.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from pyroaring import BitMap64

from audit_log.leaf import PARTS, Kind, day_of
from audit_log.receipt import Receipt

_EPOCH: Final = date(1970, 1, 1)
_ON_REQUEST: Final = "erasure-request"
_ORDERS_LIVE: Final = timedelta(days=7)
"""How long after its successor's day a version still explains a purge: as long as orders live."""


@dataclass(frozen=True, slots=True)
class Term:
    """How long the entries of a class are kept.

    Attributes:
        fixed: Whether they must go after the period and *grace_days*, whatever else happens.
        parts: Those that must go; the others may stay.
    """

    months: int
    days: int
    grace_days: int
    fixed: bool
    parts: Collection[str] = PARTS

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Term | None":
        """Return the term that a policy version tells of; None if it tells of none."""
        if data.get("log_class") is None or (data.get("keep_months") is None) == (
            data.get("keep_days") is None
        ):
            return None
        return cls(
            data.get("keep_months") or 0,
            data.get("keep_days") or 0,
            data.get("grace_days") or 0,
            bool(data.get("fixed")),
            ("who",) if data.get("action") == "anonymise" else PARTS,
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


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the policy of a class, and the day on which the log tells of it."""

    number: int
    since: date
    term: Term


@dataclass(slots=True)
class Conformity:
    """What is wrong with the purges; indexes of entries.

    A legal hold makes a purge late by right; whether one stood is for whoever placed it to show.
    """

    early: BitMap64 = field(default_factory=BitMap64)
    late: BitMap64 = field(default_factory=BitMap64)
    unexplained: BitMap64 = field(default_factory=BitMap64)


def judge(
    leaves: Sequence[bytes],
    receipts: Iterable[tuple[int, Receipt]],
    policies: Mapping[int, Sequence[Version]],
    now: datetime,
) -> Conformity:
    """Return which purges were early, which are late, and which no policy explains.

    Args:
        leaves: All of the log.
        receipts: Each with its index.
        policies: By class, oldest version first.
        now: By it, what is not purged is late or not.
    """
    result = Conformity()
    gone = BitMap64()
    for index, receipt in receipts:
        purged_on = leaf_day(leaves[index])
        term = _term(policies.get(receipt.log_class, ()), receipt, purged_on)
        asked = receipt.order.get("reason") == _ON_REQUEST
        if term is not None and set(term.parts) <= set(receipt.parts):
            gone |= receipt.indexes
        for entry in receipt.indexes:
            if entry >= index or _class(leaves[entry]) != receipt.log_class or term is None:
                result.unexplained.add(entry)
            elif not asked and purged_on < term.purge_from(leaf_day(leaves[entry])):
                result.early.add(entry)
            elif (limit := term.gone_by(leaf_day(leaves[entry]))) and limit < purged_on:
                result.late.add(entry)
    today = day_of(now)
    for index, leaf in enumerate(leaves):
        versions = policies.get(_class(leaf))
        if leaf[3] == Kind.EVENT and versions and index not in gone:
            limit = versions[-1].term.gone_by(leaf_day(leaf))
            if limit is not None and limit < today:
                result.late.add(index)
    return result


def _term(versions: Sequence[Version], receipt: Receipt, day: date) -> Term | None:
    """Return the term that a receipt of *day* goes by, if it was in force when it was ordered."""
    for place, version in enumerate(versions, 1):
        if version.number == receipt.order.get("policy_version"):
            successor = versions[place] if place < len(versions) else None
            outdated = successor is not None and successor.since + _ORDERS_LIVE < day
            return None if outdated or version.since > day else version.term
    return None


def _class(leaf: bytes) -> int:
    return int.from_bytes(leaf[4:6], "big")


def leaf_day(leaf: bytes) -> date:
    """Return the day that a leaf tells."""
    return _EPOCH + timedelta(days=int.from_bytes(leaf[8:12], "big"))
