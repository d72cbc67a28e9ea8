"""From what is known of a record to the day that its time runs from; pure.

Facts may arrive in any order; only what they say and when they took effect counts.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from retention.calendar import STOCKHOLM, Moment, civil_day, day_after, start_of
from retention.explanation import Phrase, Step, say
from retention.rule import Clock

ServiceChange: TypeAlias = Literal["started", "terminated", "reactivated", "termination-revoked"]

# Of two changes at the same instant the later in this order counts last: when in doubt, it runs.
_RANK: Final[dict[str, int]] = {"started": 0, "terminated": 1, "reactivated": 2}


@dataclass(frozen=True, slots=True)
class Anchor:
    """An occurrence in the life of a record, such as its booking.

    Attributes:
        moment: When it took effect; where both are known, a civil day and not an instant.
        supersedes: The anchor that it corrects, which no longer counts.
        event: The event that told of it.
    """

    anchor_id: str
    kind: str
    moment: Moment
    supersedes: str | None = None
    event: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """A change in the life of one service of a customer.

    A civil day of termination is the last day of service.  A revocation takes back the
    termination of the same day, else the last one before it, else the next one after it.

    Attributes:
        event: The event that told of it.
    """

    service_id: str
    change: ServiceChange
    moment: Moment
    event: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one record.

    Attributes:
        revoked: Ids of anchors that did not happen after all.
        services: Of its customer.
        group: When the other documents of its group are anchored; None for one not yet known.
        purge_issued: Its purge was ordered; no service that runs since brings it back.
        erasure: Its erasure was asked for, be it refused for now.
    """

    anchors: Sequence[Anchor] = ()
    revoked: frozenset[str] = frozenset()
    services: Sequence[ServiceEvent] = ()
    group: Sequence[Moment | None] = ()
    purge_issued: bool = False
    erasure: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """The day that a record's time runs from, or why there is none.

    Attributes:
        state: ``known``; ``open`` while the record is still needed; ``indeterminate`` if a fact
            is missing.
        day: Set if, and only if, known.
        missing: The fact that is missing, if indeterminate.
    """

    state: Literal["known", "open", "indeterminate"]
    day: date | None = None
    missing: Phrase | None = None
    steps: tuple[Step, ...] = ()


def resolve(
    clock: Clock,
    facts: Facts,
    *,
    group: Literal["max", "own"] = "max",
    extension_basis: Literal["c", "f"] = "c",
    zone: ZoneInfo = STOCKHOLM,
) -> Resolved:
    """Return the day that the time of the record with *facts* runs from.

    Args:
        clock: Of its category.
        facts: In any order.
        group: Whether other documents of its group keep it longer.
        extension_basis: The letter of GDPR article 6(1) on which they do; ``f``, our own
            interest, ends when erasure is asked for.
        zone: Of the entity whose record it is.

    Raises:
        Rejected: a moment is not believable.
    """
    gone = facts.revoked | {anchor.supersedes for anchor in facts.anchors}
    valid = [anchor for anchor in facts.anchors if anchor.anchor_id not in gone]
    parts = (
        _end_of_need(clock, valid, facts, zone),
        _anchored(clock, valid, zone),
        _grouped(facts, zone)
        if group == "max" and not _falls_away(facts, extension_basis)
        else None,
    )
    stated = [part for part in parts if part is not None]
    for state in ("open", "indeterminate"):
        for part in stated:
            if part.state == state:
                return part
    steps = tuple(step for part in stated for step in part.steps)
    day = max(part.day for part in stated if part.day is not None)
    runs = Step(say("time runs from {day}", day=day), say("the latest of these counts"))
    return Resolved("known", day, steps=(*steps, runs))


def _falls_away(facts: Facts, extension_basis: str) -> bool:
    return facts.erasure and extension_basis == "f"


def _anchored(clock: Clock, valid: Iterable[Anchor], zone: ZoneInfo) -> Resolved | None:
    if not clock.anchors:
        return None
    days = _days(valid, clock.anchors, zone)
    if not days:
        kinds = ", ".join(clock.anchors)
        return Resolved("indeterminate", missing=say("an occurrence: {kinds}", kinds=kinds))
    latest = clock.resolve == "latest"
    day, kind, event = max(days) if latest else min(days)
    rule = (
        say("the latest valid occurrence counts, by the day on which it took effect")
        if latest
        else say("the first valid occurrence counts, by the day on which it took effect")
    )
    return Resolved("known", day, steps=(_happened(kind, day, rule, event),))


def _happened(kind: str, day: date, rule: Phrase, event: str) -> Step:
    return Step(say("{kind} on {day}", kind=kind, day=day), rule, event=event)


def _end_of_need(
    clock: Clock, valid: Iterable[Anchor], facts: Facts, zone: ZoneInfo
) -> Resolved | None:
    """Return when the record was no longer needed: the end of its use or of all services."""
    services = _last_service(facts, zone) if clock.while_service else None
    ended = _days(valid, clock.ended_by, zone)
    if ended:
        day, kind, event = max(ended)
        if services is None or services.day is None or day < services.day:
            step = _happened(kind, day, say("with it the need for the record ended"), event)
            return Resolved("known", day, steps=(step,))
    if services is None and clock.ended_by:
        awaited = say("not yet: {kinds}", kinds=", ".join(clock.ended_by))
        return Resolved("open", steps=(Step(awaited, say("the record is needed until then")),))
    return services


def _grouped(facts: Facts, zone: ZoneInfo) -> Resolved | None:
    if not facts.group:
        return None
    days = [civil_day(moment, zone) for moment in facts.group if moment is not None]
    if len(days) < len(facts.group):
        missing = say("an occurrence of a document in the same group")
        return Resolved("indeterminate", missing=missing)
    rule = say("documents of a group are kept as long as the one kept longest")
    fact = say("the time of the latest other document of the group runs from {day}", day=max(days))
    return Resolved("known", max(days), steps=(Step(fact, rule),))


def _days(
    anchors: Iterable[Anchor], kinds: Sequence[str], zone: ZoneInfo
) -> list[tuple[date, str, str]]:
    return [(civil_day(a.moment, zone), a.kind, a.event) for a in anchors if a.kind in kinds]


def _last_service(facts: Facts, zone: ZoneInfo) -> Resolved:
    """Return the last day of the last service of the customer; open while one runs."""
    by_service: defaultdict[str, list[ServiceEvent]] = defaultdict(list)
    for event in facts.services:
        by_service[event.service_id].append(event)
    if not by_service:
        return Resolved("indeterminate", missing=say("the services of the customer"))
    histories = [_effective(events, zone) for events in by_service.values()]
    terminations = [e for history in histories for e in history if e.change == "terminated"]
    runs = any(not history or history[-1].change != "terminated" for history in histories)
    # What was ordered to be purged when all services had ended stays so.
    if not terminations or (runs and not facts.purge_issued):
        running = Step(say("a service runs"), say("the record is kept while services run"))
        return Resolved("open", steps=(running,))
    day, told = max((civil_day(event.moment, zone), event.event) for event in terminations)
    fact = say("the last service ended on {day}", day=day)
    rule = say("no service needs the record since")
    return Resolved("known", day, steps=(Step(fact, rule, event=told),))


def _effective(events: Iterable[ServiceEvent], zone: ZoneInfo) -> list[ServiceEvent]:
    """Return the changes of one service that stand, by the time they took effect."""
    ordered = sorted(set(events), key=lambda event: _order(event, zone))
    for revocation in [event for event in ordered if event.change == "termination-revoked"]:
        ordered.remove(revocation)
        terminations = [event for event in ordered if event.change == "terminated"]
        if terminations:
            ordered.remove(_meant(revocation, terminations, zone))
    return ordered


def _meant(
    revocation: ServiceEvent, terminations: Sequence[ServiceEvent], zone: ZoneInfo
) -> ServiceEvent:
    revoked = civil_day(revocation.moment, zone)
    before = [event for event in terminations if civil_day(event.moment, zone) <= revoked]
    return before[-1] if before else terminations[0]


def _order(event: ServiceEvent, zone: ZoneInfo) -> tuple[datetime, int]:
    day = civil_day(event.moment, zone)
    rank = _RANK.get(event.change, 3)
    if isinstance(event.moment, datetime):
        return event.moment, rank
    # A service runs from the beginning of a day, and through the day on which it ends; one that
    # is taken up again on that same day goes on.
    return start_of(day if event.change == "started" else day_after(day), zone), rank
