"""What moves the deadline of a single record: holds, open requests and accepted erasures; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from retention.calendar import Moment, civil_day, day_after
from retention.deadline import Deadline
from retention.explanation import say
from shared.errors import Rejected

_HOLD = "GDPR article 17(3)(e)"


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason to keep a record beyond its deadline: a legal hold, an open request, a restriction.

    Attributes:
        from_day: First civil day of the hold.
        through: Last civil day, inclusive; None while nobody has lifted it.
        grace_days: Kept on for so long afterwards, for others to object: 14 days after a legal
            hold, none after an open request.
        category: What it covers; None for any.
        customer_id: Whose records it covers; None for any.

    Raises:
        Rejected: it ends before it begins.
    """

    from_day: date
    through: date | None = None
    grace_days: int = 14
    category: str | None = None
    customer_id: str | None = None

    def __post_init__(self) -> None:
        if self.through is not None and self.through < self.from_day:
            raise Rejected("a hold ends before it begins")

    def covers(self, category: str, customer_id: str | None = None) -> bool:
        """Return whether records of this category and customer are in its scope."""
        return self.category in (None, category) and self.customer_id in (None, customer_id)


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
