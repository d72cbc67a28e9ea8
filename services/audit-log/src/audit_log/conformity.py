"""Whether purges were lawful, found out from what is public: leaves, policies, receipts; pure.

A leaf tells class and day.  The policy of the class tells how long such entries are kept at
least, and how long at most where that follows from the day alone.  An entry is kept as promised
when its time began to run, unless a later version says that it goes by that one.  The receipt of a
purge names the version that decided; it must be the one that did when the purge was ordered.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Final

from pyroaring import BitMap64

from audit_log.leaf import PARTS, Kind, day_of
from audit_log.receipt import Receipt

_EPOCH: Final = date(1970, 1, 1)
_ON_REQUEST: Final = "erasure-request"
_ORDERS_LIVE: Final = timedelta(days=7)
"""How long a purge may take to be carried out, by a version that decides no more."""


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


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the policy of a class.

    Attributes:
        since: The day on which the log tells of it.
        effective_from: Entries of this day and later are kept by it.
        applies: Whether entries from before are, too; unless their time is up by then.
        statute: Whether those are if it keeps them longer, since the law demands it.
    """

    number: int
    since: date
    term: Term
    effective_from: date
    applies: bool = False
    statute: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any], told_on: date) -> "Version | None":
        """Return the version that the log told of on a day; None if it has no term."""
        term = Term.of(data)
        if term is None:
            return None
        effective_from = data.get("effective_from")
        return cls(
            data["version"],
            told_on,
            term,
            told_on if effective_from is None else date.fromisoformat(effective_from),
            data.get("existing") == "apply",
            bool(data.get("statute")),
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """Until when an entry is kept, and by which version."""

    version: Version
    purge_from: date

    @property
    def gone_by(self) -> date | None:
        """The day on which it must be gone; None if that depends."""
        term = self.version.term
        return self.purge_from + timedelta(days=term.grace_days) if term.fixed else None


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
        versions = policies.get(receipt.log_class, ())
        named = receipt.order.get("policy_version")
        asked = receipt.order.get("reason") == _ON_REQUEST
        if any(v.number == named and set(v.term.parts) <= set(receipt.parts) for v in versions):
            gone |= receipt.indexes
        for entry in receipt.indexes:
            own = entry < index and _class(leaves[entry]) == receipt.log_class
            day = leaf_day(leaves[entry])
            kept = _kept_by(versions, named, day, purged_on, asked=asked) if own else None
            if kept is None:
                result.unexplained.add(entry)
            elif not asked and purged_on < kept.purge_from:
                result.early.add(entry)
            elif kept.gone_by is not None and kept.gone_by < purged_on:
                result.late.add(entry)
    result.late |= _overdue(leaves, policies, day_of(now)) - gone
    return result


def _overdue(
    leaves: Sequence[bytes], policies: Mapping[int, Sequence[Version]], today: date
) -> BitMap64:
    """Return the entries that must be gone by now, whether they are or not."""

    @cache
    def is_overdue(log_class: int, day: date) -> bool:
        versions = policies.get(log_class)
        limit = keep(versions, day).gone_by if versions else None
        return limit is not None and limit < today

    return BitMap64(
        index
        for index, leaf in enumerate(leaves)
        if leaf[3] == Kind.EVENT and is_overdue(_class(leaf), leaf_day(leaf))
    )


def keep(versions: Sequence[Version], day: date) -> Kept:
    """Return until when an entry of *day* is kept under a policy with these *versions*."""
    ordered = sorted(versions, key=lambda version: version.effective_from)
    promised = max(sum(version.effective_from <= day for version in ordered) - 1, 0)
    kept = Kept(ordered[promised], ordered[promised].term.purge_from(day))
    for later in ordered[promised + 1 :]:
        purge_from = later.term.purge_from(day)
        longer = purge_from > kept.purge_from
        if kept.purge_from > later.effective_from and (later.applies or (later.statute and longer)):
            kept = Kept(later, max(purge_from, min(later.effective_from, kept.purge_from)))
    return kept


def _kept_by(
    versions: Sequence[Version], named: object, day: date, purged_on: date, *, asked: bool
) -> Kept | None:
    """Return until when an entry of *day* was kept; None if it was not by the version *named*.

    The order may have been given before the newest version was known.
    """
    for told_by in (purged_on, purged_on - _ORDERS_LIVE - timedelta(days=1)):
        known = tuple(version for version in versions if version.since <= told_by)
        for began in _beginnings(known, day, None if asked else purged_on) if known else ():
            if (kept := keep(known, began)).version.number == named:
                return kept
    return None


def _beginnings(versions: tuple[Version, ...], day: date, through: date | None) -> Iterator[date]:
    """Return from when the time of an entry of *day* may run, of the days that make a difference.

    Unless its term is fixed, it runs from something that nothing public tells of, such as the end
    of a service: at any time since; not at all yet, if it was purged on request (*through* None).
    """
    yield day
    if not all(version.term.fixed for version in versions):
        for turn in _turns(versions):
            if day < turn and (through is None or turn <= through):
                yield turn


@lru_cache
def _turns(versions: tuple[Version, ...]) -> tuple[date, ...]:
    """Return the days from which on it is another version that decides in the end."""
    days = sorted(version.effective_from for version in versions)
    longest = max(31 * version.term.months + version.term.days for version in versions)
    first = days[0] - timedelta(days=longest)
    numbers = [
        (day, keep(versions, day).version.number)
        for day in (first + timedelta(days=n) for n in range((days[-1] - first).days + 1))
    ]
    return tuple(day for (_, old), (day, new) in pairwise(numbers) if old != new)


def _class(leaf: bytes) -> int:
    return int.from_bytes(leaf[4:6], "big")


def leaf_day(leaf: bytes) -> date:
    """Return the day that a leaf tells."""
    return _EPOCH + timedelta(days=int.from_bytes(leaf[8:12], "big"))
