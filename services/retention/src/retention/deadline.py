"""How long a record is kept by the policy of its category and the later versions of it; pure.

``keep_through`` is the last civil day on which data is kept, inclusive; it may be purged from the
next midnight in the entity's zone, and must be gone when the grace of its category has passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Literal
from zoneinfo import ZoneInfo

from retention import law
from retention.anchor import Resolved
from retention.calendar import (
    STOCKHOLM,
    add_months,
    day_after,
    end_of,
    start_of,
)
from retention.explanation import Phrase, Step, say
from retention.rule import (
    Bfl72,
    Bfl76Original,
    Keeping,
    Max,
    Min,
    NeverStored,
    Oss10y,
    Period,
    Terms,
)
from shared.errors import Rejected


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when a record, or all records of a deadline key, are kept, and why.

    Attributes:
        status: ``scheduled`` has dates; ``open`` waits for the need to end; ``indeterminate``
            lacks a fact and is never purged; ``held`` waits for a hold with no end.
        keep_through: Last civil day kept; set if, and only if, scheduled.
        statutory: The law sets a minimum.
        floor: That minimum as the last civil day, if it is known.
        provisional: Rests on a financial year that is not closed and may still change.
        missing: The fact that is missing, if indeterminate.
        steps: How it follows from the facts.
        decided_by: The terms that gave it: of several versions the one promised, or the later one
            that moved it; None for one that was not computed.
    """

    status: Literal["scheduled", "open", "indeterminate", "held"]
    keep_through: date | None = None
    statutory: bool = False
    floor: date | None = None
    provisional: bool = False
    missing: Phrase | None = None
    steps: tuple[Step, ...] = ()
    grace_days: int = 7
    zone: ZoneInfo = STOCKHOLM
    decided_by: Terms | None = None

    @property
    def purge_from(self) -> datetime | None:
        """The first instant, in UTC, at which purging is lawful."""
        return self._midnight(1)

    @property
    def must_purge_by(self) -> datetime | None:
        """The instant, in UTC, by which every holder must have confirmed."""
        return self._midnight(1 + self.grace_days)

    def _midnight(self, days: int) -> datetime | None:
        if self.keep_through is None:
            return None
        return start_of(day_after(self.keep_through, days), self.zone)

    def because(self, fact: Phrase, rule: Phrase, source: str = "") -> "Deadline":
        """Return the same with one more step of explanation."""
        return replace(self, steps=(*self.steps, Step(fact, rule, source)))


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a rule may ask beside the day of the anchor.

    Attributes:
        years: Financial years of the entity.
        vat_scheme: Under which the sale was declared, if under a special one.
        converted: When a paper original was transferred to electronic form.
        as_of: The day for which one asks, where the law itself has changed.
    """

    years: law.FinancialYears = field(default_factory=law.FinancialYears)
    vat_scheme: Literal["oss"] | None = None
    converted: date | None = None
    as_of: date | None = None


def compute(
    terms: Terms,
    resolved: Resolved,
    circumstances: Circumstances | None = None,
    *,
    zone: ZoneInfo = STOCKHOLM,
) -> Deadline:
    """Return the deadline of all records that one version of a policy anchors on the same day.

    Raises:
        Rejected: no such record can exist, for the category is never stored.
    """
    rule = terms.rule
    if isinstance(rule, NeverStored):
        raise Rejected("data of this category is never stored", code="never-stored")
    made = partial(
        Deadline,
        statutory=terms.statutory,
        grace_days=terms.grace_days,
        zone=zone,
        decided_by=terms,
    )
    if resolved.day is None:
        status = "indeterminate" if resolved.state == "indeterminate" else "open"
        return made(status, missing=resolved.missing, steps=resolved.steps)
    try:
        kept = _kept(rule, resolved.day, circumstances or Circumstances())
    except _UnknownError as unknown:
        return made("indeterminate", missing=unknown.fact, steps=resolved.steps)
    if kept is None:
        missing = say("a rule for sales outside the union scheme")
        return made("indeterminate", missing=missing, steps=resolved.steps)
    return made(
        "scheduled",
        keep_through=kept.through,
        floor=kept.through if terms.statute else kept.floor,
        provisional=kept.provisional,
        steps=(*resolved.steps, *kept.steps),
    )


def compute_under(
    versions: Sequence[Terms],
    resolved: Resolved,
    circumstances: Circumstances | None = None,
    *,
    zone: ZoneInfo = STOCKHOLM,
) -> Deadline:
    """Return the deadline under a policy with a history of *versions*, in any order.

    Data is kept as promised when its clock started.  A later version moves it only if it says so,
    or a statute demands more; it never revives a deadline that has passed, and makes nothing due
    before it is in force itself.  Of versions from the same day the one given last is the latest.
    """
    if len(versions) == 1:
        return compute(versions[0], resolved, circumstances, zone=zone)
    ordered = sorted(versions, key=lambda terms: terms.effective_from)
    day = resolved.day or date.max
    promised = max(sum(terms.effective_from <= day for terms in ordered) - 1, 0)
    deadline = compute(ordered[promised], resolved, circumstances, zone=zone)
    for terms in ordered[promised + 1 :]:
        deadline = _changed(deadline, compute(terms, resolved, circumstances, zone=zone), terms)
    return deadline


def _changed(old: Deadline, new: Deadline, terms: Terms) -> Deadline:
    fact = say("the policy changed on {day}", day=terms.effective_from)
    if old.keep_through is not None and old.keep_through < terms.effective_from:
        return old.because(fact, say("a deadline that has passed is not revived"))
    if terms.existing == "keep" and not _demands_more(new, old):
        promised = say("existing data is kept as promised")
        return old.because(fact, promised, "GDPR article 5(1)(b), (e)")
    if new.keep_through is None or (old.keep_through and new.keep_through >= old.keep_through):
        return new.because(fact, say("the change applies to existing data"))
    through = max(new.keep_through, day_after(terms.effective_from, -1))
    return replace(new, keep_through=through).because(
        fact, say("the change applies to existing data, which is never due before it")
    )


def _demands_more(new: Deadline, old: Deadline) -> bool:
    """Return whether the law keeps longer than was promised, or may, for all that is known."""
    if old.keep_through is None:
        return False
    if new.floor is None:
        return new.statutory and new.keep_through is None
    return new.floor > old.keep_through


class _UnknownError(Exception):
    """A fact is missing."""

    def __init__(self, fact: Phrase) -> None:
        super().__init__(str(fact))
        self.fact = fact


@dataclass(frozen=True, slots=True)
class _Kept:
    through: date
    steps: tuple[Step, ...]
    floor: date | None = None
    provisional: bool = False


def _kept(rule: Keeping, day: date, circumstances: Circumstances) -> _Kept | None:
    """Return what *rule* says of a record anchored on *day*; None if it does not concern it."""
    match rule:
        case Bfl72():
            year = _year(day, circumstances)
            text = say("kept through 31 December of the seventh year after the one it ended in")
            step = Step(_named(year), text, law.BFL_7_2, year.event)
            return _statutory(law.bfl_7_2(year), year, step)
        case Bfl76Original():
            return _original(_year(day, circumstances), circumstances)
        case Oss10y():
            if circumstances.vat_scheme != "oss":
                return None
            through = law.oss_10y(day)
            fact = say("sold under the union scheme on {day}", day=day)
            text = say("kept through 31 December of the tenth year after the year of the sale")
            step = Step(fact, text, law.OSS)
            return _Kept(through, (step,), floor=through)
        case Period():
            return _period(rule, day)
        case Max() | Min():
            parts = [_kept(part, day, circumstances) for part in rule.rules]
            return _combined(rule, [part for part in parts if part is not None])


def _year(day: date, circumstances: Circumstances) -> law.FinancialYear:
    year = circumstances.years.containing(day)
    if year is None:
        raise _UnknownError(say("the financial year that {day} belongs to", day=day))
    return year


def _original(year: law.FinancialYear, circumstances: Circumstances) -> _Kept:
    if circumstances.as_of is None:
        raise _UnknownError(say("the day for which one asks"))
    converted, as_of = circumstances.converted, circumstances.as_of
    through = law.bfl_7_6_original(year, converted, as_of)
    fact = say("a paper original of {year}, not converted", year=_named(year))
    if converted:
        fact = say(
            "a paper original of {year}, converted on {day}", year=_named(year), day=converted
        )
    step = Step(fact, say("by the law as it stands on {day}", day=as_of), law.BFL_7_6, year.event)
    return _statutory(through, year, step)


def _statutory(through: date, year: law.FinancialYear, step: Step) -> _Kept:
    return _Kept(through, (step,), floor=through, provisional=not year.closed)


def _named(year: law.FinancialYear) -> Phrase:
    return say("the financial year {first}..{last}", first=year.first_day, last=year.last_day)


def _period(rule: Period, day: date) -> _Kept:
    if rule.months is not None:
        through = add_months(day, rule.months)
        length = say("kept for {count} months", count=rule.months)
    else:
        through = day_after(day, rule.days or 0)
        length = say("kept for {count} days", count=rule.days or 0)
    if rule.end_of is not None:
        through = end_of(through, rule.end_of)
        length = (
            say("{length}, to the end of the month", length=length)
            if rule.end_of == "month"
            else say("{length}, to the end of the year", length=length)
        )
    anchored = say("time runs from {day}", day=day)
    return _Kept(through, (Step(anchored, length, "lag (1930:173) 1 §"),))


def _combined(rule: Max | Min, parts: Sequence[_Kept]) -> _Kept | None:
    if not parts:
        return None
    longest = isinstance(rule, Max)
    through = (max if longest else min)(part.through for part in parts)
    rule_text = say("the longest rule counts") if longest else say("the shortest rule counts")
    step = Step(say("kept through {day}", day=through), rule_text)
    return _Kept(
        through,
        (*(step for part in parts for step in part.steps), step),
        floor=max((part.floor for part in parts if part.floor is not None), default=None),
        provisional=any(part.provisional for part in parts),
    )
