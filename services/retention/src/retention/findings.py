"""What a retention report finds: for each category what is held and why, due, and gone; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, assert_never

from retention.calendar import civil_day, day_after, start_of
from retention.explanation import Phrase, Translate, say
from retention.policy import Policy
from retention.rights_rules import Clock
from retention.rule import (
    Bfl72,
    Bfl76Original,
    Max,
    Min,
    NeverStored,
    Oss10y,
    Period,
    Rule,
)
from shared.errors import Rejected

LONGEST: Final = timedelta(days=366 * 20)
COUNTS: Final = (
    "held", "open", "indeterminate", "scheduled", "due", "overdue", "held_back", "provisional",
)  # fmt: skip
PURGED: Final = ("erased", "anonymised", "not_found", "refused")


@dataclass(frozen=True, slots=True)
class Span:
    """What a report speaks of; all three days belong to it."""

    start: date
    end: date
    as_of: date

    def __post_init__(self) -> None:
        if self.end < self.start or self.end - self.start > LONGEST:
            raise Rejected("the period ends before it begins, or spans over 20 years")

    @property
    def at(self) -> datetime:
        """The last instant of the day that holdings are counted on."""
        return start_of(day_after(self.as_of)) - timedelta(microseconds=1)

    @property
    def instants(self) -> tuple[datetime, datetime]:
        """When the period begins, and when it is over."""
        return start_of(self.start), start_of(day_after(self.end))


@dataclass(frozen=True, slots=True)
class Purge:
    """What one job had one holder purge.

    Attributes:
        on_time: How many records were gone by the day they had to be.
        entry: Index of the decision that closed the job in the master log, if it is known.
    """

    job_id: str
    reason: str
    holder: str
    policy_version: int
    closed_at: datetime | None
    closed_event: str | None
    counts: Mapping[str, int]
    on_time: int
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Inventoried:
    """What a holder said last that it has, beside what the registry knew."""

    holder: str
    as_of: datetime
    count: int
    known: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One category.

    Attributes:
        counts: By name.  Held are open, indeterminate, scheduled, due or held_back, one of them;
            overdue is a part of due, and provisional a part of all.
        awaiting: Records that a holder was told to purge and has not confirmed, by holder.
        missing_facts: What is not known, where a deadline is indeterminate.
    """

    policy: Policy
    counts: Mapping[str, int]
    next_purge_on: date | None
    kept_until: date | None
    awaiting: Mapping[str, int]
    missing_facts: Sequence[str]
    purges: Sequence[Purge]
    inventories: Sequence[Inventoried]

    @property
    def why(self) -> str:
        """The rule in words, with its source."""
        return str(in_words(self.policy.rule))

    def why_in(self, translate: Translate) -> str:
        """Return the rule in words of another language."""
        return in_words(self.policy.rule).said(translate)

    @property
    def _first(self) -> Sequence[Purge]:
        """All purges but replays, which are of what was counted before."""
        return [purge for purge in self.purges if purge.reason != "restore-replay"]

    @property
    def purged(self) -> Mapping[str, int]:
        """The sums over all purges; a replay is of what was counted before."""
        return {name: sum(p.counts[name] for p in self._first) for name in PURGED}

    @property
    def gone(self) -> int:
        """Records that were erased or anonymised."""
        return self.purged["erased"] + self.purged["anonymised"]

    @property
    def on_time(self) -> int:
        """Those of them that were gone by the day they had to be."""
        return sum(purge.on_time for purge in self._first)

    @property
    def proven(self) -> int:
        """Those of them whose purge the master log has the end of."""
        proven = [p for p in self._first if p.entry is not None]
        return sum(p.counts["erased"] + p.counts["anonymised"] for p in proven)

    @property
    def on_request(self) -> int:
        """Those of them that went because of a request."""
        asked = [p for p in self._first if p.reason == "erasure-request"]
        return sum(p.counts["erased"] + p.counts["anonymised"] for p in asked)


Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """All categories, in the order of their names, and what the report says beside them.

    Attributes:
        made_at: No file has it, so that who asks again for the same gets the same bytes.  When a
            file was issued, the master log says.
        looks: How often, and for what, somebody was shown what tells of people; None if the log,
            which has a note of each, could not be asked.
        topics: Topics that keep events for longer than declared; None if the broker could not be
            asked.
    """

    period: Span
    made_at: datetime
    lines: Sequence[Line]
    falls_due: Rows
    holds: Rows
    erasures: Rows
    requests: Rows
    policy_changes: Rows
    looks: Rows | None = None
    topics: Rows | None = None

    @property
    def ahead(self) -> bool:
        """Whether holdings are those of a day to come: what is known now, carried forward."""
        return self.period.as_of > civil_day(self.made_at)

    def total(self, name: str) -> int:
        """Return the sum of a count over all categories."""
        return sum(line.counts[name] for line in self.lines)

    @property
    def purged(self) -> int:
        """Records that are gone, erased or anonymised, in the period."""
        return sum(line.gone for line in self.lines)

    @property
    def requests_open(self) -> int:
        """Requests of persons that wait for their answer."""
        return sum(row["stands"] in {"open", "waits"} for row in self.requests)

    @property
    def requests_late(self) -> int:
        """Requests of persons answered after their day, or not answered yet although it is past."""
        return sum(row["days_late"] > 0 for row in self.requests)


def request_on(day: date, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a request of a person stood at the end of *day*, and its clock.

    Args:
        day: What came later is left out, but for decisions: they carry no day.
        row: Its facts as they are known now.
    """
    known = {n: row[n] if row[n] and row[n] <= day else None for n in _STEPS_OF_REQUEST}
    clock = Clock(row["received_on"], known["asked_on"], known["shown_on"], known["extended_on"])
    answered: date | None = known["answered_on"]
    if row["state"] == "withdrawn":
        stands = "withdrawn"
    elif answered:
        stands = "refused" if row["state"] == "refused" else "answered"
    else:
        stands = "waits" if clock.stands_still else "open"
    late = (answered or day) - clock.due if clock.due and stands != "withdrawn" else timedelta(0)
    return {
        **{name: row[name] for name in ("case_id", "right", "channel", "received_on")},
        "stands": stands,
        "due_on": clock.due,
        "extended_on": clock.extended_on,
        "days_waited": clock.waited,
        "answered_on": answered,
        "days_late": max(late.days, 0),
        "decided_by": row["decided_by"] if answered else None,
        "approved_by": row["approved_by"] if answered else None,
    }


_STEPS_OF_REQUEST: Final = ("asked_on", "shown_on", "extended_on", "answered_on")


def in_words(rule: Rule) -> Phrase:  # noqa: PLR0911 - one for each rule
    """Return what a rule says, with its source."""
    match rule:
        case Bfl72():
            return say(
                "through the seventh year after the calendar year in which the financial year"
                " ended (Bokföringslagen 7 kap. 2 §)"
            )
        case Oss10y():
            return say("ten years after the year of the sale (Directive 2006/112/EC art. 369k)")
        case Bfl76Original():
            return say("paper originals, until converted (Bokföringslagen 7 kap. 6 §)")
        case Period(end_of=None):
            return _length(rule)
        case Period(end_of="month"):
            return say("{length}, to the end of the month", length=_length(rule))
        case Period():
            return say("{length}, to the end of the year", length=_length(rule))
        case Max():
            return say("the longest of: {rules}", rules=_all(rule.rules))
        case Min():
            return say("the shortest of: {rules}", rules=_all(rule.rules))
        case NeverStored():
            return say("never stored")
    assert_never(rule)


def _length(rule: Period) -> Phrase:
    if rule.months is not None:
        return say("{count} months", count=rule.months)
    return say("{count} days", count=rule.days)


def _all(rules: Sequence[Rule]) -> Phrase:
    first, *rest = map(in_words, rules)
    for other in rest:
        first = say("{one}, or {another}", one=first, another=other)
    return first
