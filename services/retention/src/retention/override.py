"""What moves the deadline of a single record: holds, open requests and accepted erasures; pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from retention.calendar import Moment, civil_day, day_after
from retention.deadline import Deadline
from retention.explanation import say
from shared.errors import Rejected

HOLD_GRACE_DAYS: Final = 14
"""Civil days after a legal hold was lifted, for others to object."""

_HOLD: Final = "GDPR article 17(3)(e)"


@dataclass(frozen=True, slots=True)
class Covered:
    """What a hold may ask of a record.

    Attributes:
        subjects: Tokens of the persons it tells of.
        day: That its time runs from, if it is known.
    """

    category: str
    customer_id: str | None = None
    subjects: Collection[str] = ()
    holder: str | None = None
    record_id: str | None = None
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which records a hold covers: those that fit all that is named; what is None, fits any.

    Attributes:
        record_id: With *holder* and *category* one single record.
        first_day: Of the days that time runs from, with *last_day*; a record whose day is not
            known yet is covered, to be on the safe side.

    Raises:
        Rejected: nothing is named, or a record without its holder and category, or the days are
            in the wrong order.
    """

    customer_id: str | None = None
    category: str | None = None
    subject: str | None = None
    holder: str | None = None
    record_id: str | None = None
    first_day: date | None = None
    last_day: date | None = None

    def __post_init__(self) -> None:
        if not any((self.customer_id, self.category, self.subject, self.record_id)):
            raise _wrong("a hold names a customer, a category, a person or a record")
        if self.record_id and not (self.holder and self.category):
            raise _wrong("a record is named by its holder, its category and its id")
        if self.holder and not self.record_id:
            raise _wrong("a holder is named with a record only")
        if self.first_day and self.last_day and self.last_day < self.first_day:
            raise _wrong("the last day of a hold's span lies before the first")

    def covers(self, record: Covered) -> bool:
        """Return whether *record* is in the scope."""
        return (
            self.customer_id in (None, record.customer_id)
            and self.category in (None, record.category)
            and (self.subject is None or self.subject in record.subjects)
            and self.holder in (None, record.holder)
            and self.record_id in (None, record.record_id)
            and (self.first_day is None or record.day is None or record.day >= self.first_day)
            and (self.last_day is None or record.day is None or record.day <= self.last_day)
        )


def _wrong(why: str) -> Rejected:
    return Rejected(why, code="invalid-hold")


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason to keep a record beyond its deadline: a legal hold, an open request, a restriction.

    Attributes:
        from_day: First civil day of the hold.
        through: Last civil day, inclusive; None while nobody has lifted it.
        grace_days: Kept on for so long afterwards, for others to object: 14 days after a legal
            hold, none after an open request.

    Raises:
        Rejected: it ends before it begins.
    """

    from_day: date
    through: date | None = None
    grace_days: int = HOLD_GRACE_DAYS

    def __post_init__(self) -> None:
        if self.through is not None and self.through < self.from_day:
            raise Rejected("a hold ends before it begins")


def override(
    deadline: Deadline,
    *,
    as_of: date,
    holds: Iterable[Hold] = (),
    erasure_accepted: Moment | None = None,
) -> Deadline:
    """Return the deadline of one record on top of *deadline*, that of its key.

    An accepted erasure makes it due on the day of acceptance, though never below a statutory
    minimum; holds push it out, with no grace where erasure waits for their end.

    Args:
        deadline: By policy.
        as_of: The last day on which the record is known to exist: a hold that begins later than
            this and than the deadline finds nothing left to keep.
        holds: Those that cover the record.
        erasure_accepted: When a request to erase it was granted.
    """
    if erasure_accepted is not None:
        deadline = _pulled(deadline, civil_day(erasure_accepted, deadline.zone))
    for hold in sorted(holds, key=lambda hold: hold.from_day):
        deadline = _pushed(deadline, hold, as_of, graced=erasure_accepted is None)
    return deadline


def _pulled(deadline: Deadline, accepted: date) -> Deadline:
    fact, source = say("erasure accepted on {day}", day=accepted), "GDPR article 17(1)"
    if deadline.statutory and deadline.floor is None:
        unknown = say("kept by law for a time that is not known yet")
        return deadline.because(fact, unknown, "GDPR article 17(3)(b)")
    through = min(deadline.keep_through or date.max, day_after(accepted, -1))
    if deadline.floor is not None and through < deadline.floor:
        pulled = replace(deadline, keep_through=deadline.floor)
        minimum = say("not before the statutory minimum")
        return pulled.because(fact, minimum, "GDPR article 17(3)(b)")
    pulled = replace(deadline, status="scheduled", keep_through=through, missing=None)
    return pulled.because(fact, say("due at once"), source)


def _pushed(deadline: Deadline, hold: Hold, as_of: date, *, graced: bool) -> Deadline:
    if deadline.keep_through is None or hold.from_day > max(
        day_after(deadline.keep_through), as_of
    ):
        return deadline
    if hold.through is None:
        held = replace(deadline, status="held", keep_through=None)
        since = say("held since {day}", day=hold.from_day)
        return held.because(since, say("nothing is purged under a hold"), _HOLD)
    through = day_after(hold.through, hold.grace_days if graced else 0)
    if through <= deadline.keep_through:
        return deadline
    fact = say("held from {first} through {last}", first=hold.from_day, last=hold.through)
    rule = say("due when the hold ends")
    if graced:
        rule = say("kept through {day}, so that others can object", day=through)
    return replace(deadline, keep_through=through).because(fact, rule, _HOLD)
