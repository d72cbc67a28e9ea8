"""What stands, and which mail about it is due when; pure: instants come as arguments.

The state goes in whole, and what is to be told comes out with the state after it.  What decides is
how things stand and what was told before, never which event came last: so an event that comes twice
changes nothing, and a crash between two looks loses nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Final, Literal
from uuid import UUID

from notifier.alert_policy import (
    NAME,
    PATH_SILENT,
    WEBHOOK,
    Labels,
    Matchers,
    Policy,
    Receiver,
    Severity,
    Way,
    fit,
    gravest,
    rank,
)

_HOUR: Final = timedelta(hours=1)
DIGEST: Final = "(digest)"
HEARTBEAT: Final = "(heartbeat)"

Why = Literal["new", "reminder", "escalation", "unanswered", "over"]
Kind = Literal["alert", "reminder", "escalation", "resolved", "digest", "heartbeat"]


# --- alerts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody looks after an alert, until then."""

    by: str
    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that needs a person, or did.

    Attributes:
        raised_at: When it began, by whoever raised it.
        heard_at: The latest instant that anything said of it is about.
        seen_at: When we first knew of it, by our own clock.
        resolved_at: When it was over; None while it stands.
        gone_at: When we knew that it was over, by our own clock.
        fresh: Nobody has looked since it was raised.
    """

    fingerprint: str
    severity: Severity
    summary: str
    labels: Labels
    runbook: str | None
    raised_at: datetime
    heard_at: datetime
    seen_at: datetime
    resolved_at: datetime | None = None
    gone_at: datetime | None = None
    fresh: bool = False
    acknowledged: Acknowledgement | None = None

    @property
    def stands(self) -> bool:
        """True until it is over."""
        return self.resolved_at is None

    def answered(self, now: datetime) -> bool:
        """Return whether somebody looks after it."""
        return self.acknowledged is not None and now < self.acknowledged.until

    @property
    def all_labels(self) -> Labels:
        """Its labels with those that every alert has: its kind and its severity."""
        kind = self.runbook or self.fingerprint.partition("/")[0]
        return {NAME: kind, **self.labels, "severity": self.severity}


@dataclass(frozen=True, slots=True)
class Said:
    """What an event says of an alert."""

    fingerprint: str
    severity: Severity
    summary: str
    labels: Labels
    runbook: str | None
    over: bool = False


def heard(known: Alert | None, said: Said, at: datetime, now: datetime) -> Alert | None:
    """Return an alert after what was *said* of it at *at* came in; None if that is no news.

    What is older than what we know is no news.  An instant of which both were said is its end.
    """
    at = min(at, now)
    if known is None:
        begun = _begun(said, at, now)
        return replace(begun, resolved_at=at, gone_at=now, fresh=False) if said.over else begun
    if not known.stands:
        if at <= known.heard_at:
            return None
        return replace(known, heard_at=at) if said.over else _begun(said, at, now)
    if said.over:
        over = replace(known, heard_at=at, resolved_at=at, gone_at=now, acknowledged=None)
        return over if at >= known.heard_at else None
    if at < known.heard_at or (at == known.heard_at and not _differs(known, said)):
        return None
    return _again(known, said, at)


def _again(known: Alert, said: Said, at: datetime) -> Alert:
    """Return an alert that stands and was raised once more."""
    grown = rank(said.severity) > rank(known.severity)
    return replace(
        known,
        severity=said.severity,
        summary=said.summary,
        labels=said.labels,
        runbook=said.runbook,
        heard_at=at,
        acknowledged=None if grown else known.acknowledged,
    )


def _differs(known: Alert, said: Said) -> bool:
    """Return whether of two things said at one instant *said* is the one that counts."""
    return (rank(said.severity), said.summary) > (rank(known.severity), known.summary)


def _begun(said: Said, at: datetime, now: datetime) -> Alert:
    return Alert(
        said.fingerprint,
        said.severity,
        said.summary,
        said.labels,
        said.runbook,
        raised_at=at,
        heard_at=at,
        seen_at=now,
        fresh=True,
    )


# --- silences and inhibitions --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Silence:
    """What nobody is to be told of for a while, who says so, and why."""

    id: UUID
    matchers: Matchers
    by: str
    reason: str
    starts_at: datetime
    ends_at: datetime

    def mutes(self, alert: Alert, policy: Policy, now: datetime) -> bool:
        """Return whether it silences an alert now; the policy bounds it for each."""
        labels = alert.all_labels
        longest = policy.silenced_at_most(alert.severity, labels)
        ends_at = min(self.ends_at, self.starts_at + longest)
        return self.starts_at <= now < ends_at and fit(self.matchers, labels)


class Explanations:
    """Which alerts are explained by others that stand, so that nobody is told of them."""

    def __init__(self, policy: Policy, standing: Iterable[Alert]) -> None:
        self._rules = policy.inhibit
        self._sources: list[dict[tuple[str, ...], list[tuple[str, bool]]]] = [
            {} for _ in self._rules
        ]
        for alert in standing:
            labels = alert.all_labels
            for rule, sources in zip(self._rules, self._sources, strict=True):
                if fit(rule.source, labels):
                    found = alert.fingerprint, fit(rule.target, labels)
                    sources.setdefault(_values(rule.equal, labels), []).append(found)

    def of(self, alert: Alert) -> list[str]:
        """Return the fingerprints of what explains *alert*.

        One that is on both sides of a rule is explained only by those that are on one: otherwise
        two could hide each other.
        """
        labels = alert.all_labels
        found: list[str] = []
        for rule, sources in zip(self._rules, self._sources, strict=True):
            if fit(rule.target, labels):
                both = fit(rule.source, labels)
                found += [
                    fingerprint
                    for fingerprint, theirs_too in sources.get(_values(rule.equal, labels), ())
                    if fingerprint != alert.fingerprint and not (both and theirs_too)
                ]
        return found


def _values(names: Sequence[str], labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in names)


# --- what was told -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """What a receiver knows of an alert.

    Attributes:
        severity: How grave it was when it was told; None if that still is to be done, whether or
            not the alert still stands by then.
        first_at: When it was told as that grave.
        at: When it was last told.
    """

    severity: Severity | None
    first_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Track:
    """What a receiver was told of a group.

    Attributes:
        labels: Those that the group's alerts agree in.
        number: How many mails there were.
        told_at: When the last one was.
        held_at: Since when one waits for the morning or for others to be fewer.
        thread: The first mail since all of the group was well.
    """

    group: str
    receiver: str
    labels: Labels
    number: int = 0
    told_at: datetime | None = None
    held_at: datetime | None = None
    thread: str | None = None
    marks: Mapping[str, Mark] = field(default_factory=dict[str, Mark])

    @property
    def id(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.group, self.receiver


@dataclass(frozen=True, slots=True)
class State:
    """All that decides what is due.

    Attributes:
        alerts: Those that stand, and those over of which somebody still is to be told.
        sent: When each receiver got mails in the last hour that count.
    """

    alerts: Sequence[Alert]
    tracks: Sequence[Track] = ()
    silences: Sequence[Silence] = ()
    sent: Mapping[str, Sequence[datetime]] = field(default_factory=dict[str, Sequence[datetime]])


@dataclass(frozen=True, slots=True)
class Section:
    """What a mail says of one group.

    Attributes:
        new: What stands and is told for the first time, or again because nobody came.
        standing: What else stands.
        over: What no longer does.
    """

    group: str
    labels: Labels
    new: tuple[Alert, ...]
    standing: tuple[Alert, ...]
    over: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell one receiver, at the instant it is due.

    Attributes:
        id: The same whenever the same is told.
        thread: The id of the first one that it belongs with.
        counts: Towards the mails that its receiver gets in an hour.
    """

    id: str
    receiver: str
    kind: Kind
    sections: tuple[Section, ...]
    thread: str
    severity: Severity
    counts: bool

    @property
    def standing(self) -> tuple[Alert, ...]:
        """All alerts in it that stand, what is new first."""
        return (
            *(alert for section in self.sections for alert in section.new),
            *(alert for section in self.sections for alert in section.standing),
        )

    @property
    def over(self) -> tuple[Alert, ...]:
        """All alerts in it that are over."""
        return tuple(alert for section in self.sections for alert in section.over)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from the state at an instant.

    Attributes:
        tracks: Those that changed.
        looked_at: Alerts that were fresh.
        ended: Alerts that are over by themselves.
    """

    notices: tuple[Notice, ...]
    tracks: tuple[Track, ...]
    looked_at: tuple[Alert, ...]
    ended: tuple[Alert, ...]


# --- groups --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Alerts that are told together.

    Attributes:
        muted: Fingerprints of those that nobody is to be told of now.
    """

    id: str
    labels: Labels
    way: Way
    alerts: tuple[Alert, ...]
    muted: frozenset[str]

    @cached_property
    def by_fingerprint(self) -> Mapping[str, Alert]:
        """Its alerts by their fingerprints."""
        return {alert.fingerprint: alert for alert in self.alerts}


def group_of(policy: Policy, alert: Alert) -> tuple[str, Labels, Way]:
    """Return the id of an alert's group, the labels that it is by, and what is done about it."""
    labels = alert.all_labels
    way = policy.way(labels)
    by = {name: labels[name] for name in way.group_by if labels.get(name)}
    said = "\0".join((way.receivers[0], *(f"{name}\1{value}" for name, value in by.items())))
    return sha256(said.encode()).hexdigest()[:32], by, way


def _groups(policy: Policy, alerts: Iterable[Alert], muted: frozenset[str]) -> list[Group]:
    found: dict[str, tuple[Labels, Way, list[Alert]]] = {}
    for alert in alerts:
        id_, labels, way = group_of(policy, alert)
        found.setdefault(id_, (labels, way, []))[2].append(alert)
    return [
        Group(id_, labels, way, tuple(sorted(members, key=_order)), muted)
        for id_, (labels, way, members) in sorted(found.items())
    ]


def _order(alert: Alert) -> tuple[int, datetime, str]:
    return -rank(alert.severity), alert.raised_at, alert.fingerprint


# --- what is due ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Due:
    """What would be told of a group to one receiver."""

    group: Group
    track: Track
    at: datetime
    why: Why
    section: Section
    severity: Severity


@dataclass(frozen=True, slots=True)
class _View:
    """One receiver's view of a group: the *place*-th that is told of it."""

    policy: Policy
    group: Group
    place: int
    track: Track
    first: Track
    now: datetime

    def due(self) -> _Due | None:
        """Return what is to be told, and since when; None if nothing is."""
        moments: list[tuple[datetime, Why]] = []
        new: list[Alert] = []
        standing: list[Alert] = []
        over: list[Alert] = []
        for alert in self.group.alerts:
            mark = self.track.marks.get(alert.fingerprint)
            if not alert.stands:
                if mark is not None:
                    over.append(alert)
                    moments.append((self._over_from(alert, mark), "over"))
            elif alert.fingerprint not in self.group.muted:
                moment = self._from(alert, mark)
                if moment is None or (self.place and moment[0] > self.now):
                    standing.append(alert)
                else:
                    new.append(alert)
                    moments.append(moment)
        moments += self._reminder(standing)
        # Of those that are due, news before what was known.
        ripe = sorted((m for m in moments if m[0] <= self.now), key=lambda m: (_WEIGHT[m[1]], m[0]))
        if not ripe:
            return None
        section = Section(
            self.group.id, self.group.labels, tuple(new), tuple(standing), tuple(over)
        )
        changed = [*new, *over] if new or over else self._unanswered(standing)
        severity = gravest([alert.severity for alert in changed])
        return _Due(self.group, self.track, ripe[0][0], ripe[0][1], section, severity)

    def _from(self, alert: Alert, mark: Mark | None) -> tuple[datetime, Why] | None:
        """Return from when on an alert that stands is to be told as news; None if it is not."""
        if alert.answered(self.now):
            return None
        if self.place:
            return self._escalated(alert, mark)
        if mark is None or mark.severity is None or _graver(alert, mark):
            return self._waited(alert, mark), "new"
        until = None if alert.acknowledged is None else alert.acknowledged.until
        if until is not None and mark.at < until:
            return until, "unanswered"
        return None

    def _waited(self, alert: Alert, mark: Mark | None) -> datetime:
        if self.policy.is_at_once(alert.all_labels):
            return alert.seen_at
        waited = alert.seen_at + self.group.way.group_wait
        # What is marked and not told was grave, whatever it is by now.
        grave = alert.severity == "critical" or (mark is not None and mark.severity is None)
        return waited if grave else self._spaced(waited)

    def _spaced(self, moment: datetime) -> datetime:
        """Return *moment*, or later if the group's last mail is not long ago."""
        if self.track.told_at is None:
            return moment
        return max(moment, self.track.told_at + self.group.way.group_interval)

    def _escalated(self, alert: Alert, mark: Mark | None) -> tuple[datetime, Why] | None:
        way = self.group.way
        told = self.first.marks.get(alert.fingerprint)
        if told is None or told.severity is None:
            return None
        if rank(alert.severity) < rank(way.at_least[self.place]):
            return None
        since = told.first_at
        if alert.acknowledged is not None:
            since = max(since, alert.acknowledged.until)
        moment = since + way.waits[self.place]
        if mark is not None and mark.severity is not None and mark.at >= moment:
            return None
        return moment, "escalation"

    def _over_from(self, alert: Alert, mark: Mark) -> datetime:
        if mark.severity is None:  # it came and went, and nobody was told yet
            return self._waited(alert, mark)
        return self._spaced((alert.gone_at or self.now) + self.group.way.group_wait)

    def _unanswered(self, standing: Iterable[Alert]) -> list[Alert]:
        """Return those that this receiver was told of and nobody looks after."""
        return [
            a for a in standing if a.fingerprint in self.track.marks and not a.answered(self.now)
        ]

    def _reminder(self, standing: Sequence[Alert]) -> Iterator[tuple[datetime, Why]]:
        if self.track.told_at is not None and self._unanswered(standing):
            yield self.track.told_at + self.group.way.repeat_interval, "reminder"


def _graver(alert: Alert, mark: Mark | None) -> bool:
    """Return whether an alert is graver than when it was told last, if it was told."""
    return mark is None or (
        mark.severity is not None and rank(alert.severity) > rank(mark.severity)
    )


_WEIGHT: Final[dict[Why, int]] = {
    "new": 0,
    "escalation": 0,
    "unanswered": 0,
    "over": 1,
    "reminder": 2,
}


@dataclass(slots=True)
class _Work:
    """One look at everything."""

    policy: Policy
    now: datetime
    tracks: dict[tuple[str, str], Track]
    sent: dict[str, list[datetime]]
    notices: list[Notice] = field(default_factory=list[Notice])

    def look(self, groups: Sequence[Group], *, webhook: bool) -> None:
        dues: dict[str, list[_Due]] = defaultdict(list)
        for group in groups:
            first, *others = group.way.receivers
            self._remember_fresh(group, first)
            firsts = [first]
            if webhook:
                self._remember_fresh(group, WEBHOOK)
                firsts.append(WEBHOOK)
            views = [(0, receiver) for receiver in firsts]
            views += list(enumerate(others, 1))
            for place, receiver in views:
                track = self._track(group, receiver)
                seen_first = self._track(group, first)
                due = _View(self.policy, group, place, track, seen_first, self.now).due()
                if due is not None:
                    dues[receiver].append(due)
                elif track.held_at is not None:
                    self._keep(replace(track, held_at=None))
        for receiver, wanted in sorted(dues.items()):
            self._tell(receiver, wanted)

    def _track(self, group: Group, receiver: str) -> Track:
        known = self.tracks.get((group.id, receiver))
        return known or Track(group.id, receiver, group.labels)

    def _keep(self, track: Track) -> None:
        self.tracks[track.id] = track

    def _remember_fresh(self, group: Group, receiver: str) -> None:
        """Note what is so grave that it is told even if it is over before its turn comes."""
        track = self._track(group, receiver)
        grave = {
            alert.fingerprint: Mark(None, self.now, self.now)
            for alert in group.alerts
            if alert.fresh
            and _graver(alert, track.marks.get(alert.fingerprint))
            and alert.fingerprint not in group.muted
            and (alert.severity == "critical" or self.policy.is_at_once(alert.all_labels))
        }
        if grave:
            self._keep(replace(track, marks={**track.marks, **grave}))

    def _tell(self, receiver: str, dues: Sequence[_Due]) -> None:
        """Tell what may be told now; hold the rest, to be told together."""
        known = self.policy.receivers.get(receiver)
        held: list[_Due] = []
        rest: list[_Due] = []
        for due in sorted(dues, key=_place):
            if self._exempt(known, due.severity):
                self._say(due)
            else:
                (rest if due.track.held_at is None else held).append(due)
        if held and self._open(known, receiver, gravest([due.severity for due in held])):
            if len(held) == 1:
                self._say(held[0])
            else:
                self._digest(receiver, held)
            held = []
        for due in rest:
            if self._open(known, receiver, due.severity):
                self._say(due)
            else:
                held.append(due)
        for due in held:
            self._hold(due)

    def _exempt(self, receiver: Receiver | None, severity: Severity) -> bool:
        return receiver is None or (severity == "critical" and not self._sleeps(receiver, severity))

    def _sleeps(self, receiver: Receiver, severity: Severity) -> bool:
        quiet = receiver.quiet
        return quiet is not None and rank(severity) < rank(quiet.below) and quiet.at(self.now)

    def _open(self, receiver: Receiver | None, name: str, severity: Severity) -> bool:
        """Return whether something as grave as *severity* may be mailed to a receiver now."""
        if receiver is None:
            return True
        if self._sleeps(receiver, severity):
            return False
        if severity == "critical" or receiver.mails_per_hour is None:
            return True
        lately = [at for at in self.sent.get(name, ()) if at > self.now - _HOUR]
        return len(lately) < receiver.mails_per_hour

    def _hold(self, due: _Due) -> None:
        marks = dict(due.track.marks)
        for alert in due.section.new:
            marks.setdefault(alert.fingerprint, Mark(None, self.now, self.now))
        held_at = due.track.held_at or self.now
        self._keep(replace(due.track, marks=marks, held_at=held_at))

    def _say(self, due: _Due) -> None:
        id_ = notice_id(due.track)
        told = self._told(due, id_)
        self._add(id_, due.track.receiver, _kind(due), [due], thread=told.thread or id_)
        self._keep(_closed(told))

    def _digest(self, receiver: str, dues: Sequence[_Due]) -> None:
        track = self.tracks.get((DIGEST, receiver)) or Track(DIGEST, receiver, {})
        id_ = notice_id(track)
        self._add(id_, receiver, "digest", dues, thread=id_)
        for due in dues:
            self._keep(_closed(self._told(due, id_)))
        self._keep(replace(track, number=track.number + 1, told_at=self.now))

    def _add(
        self, id_: str, receiver: str, kind: Kind, dues: Sequence[_Due], *, thread: str
    ) -> None:
        severity = gravest([due.severity for due in dues])
        counts = severity != "critical" and receiver != WEBHOOK
        sections = tuple(due.section for due in dues)
        self.notices.append(Notice(id_, receiver, kind, sections, thread, severity, counts))
        if counts:
            self.sent.setdefault(receiver, []).append(self.now)

    def _told(self, due: _Due, id_: str) -> Track:
        """Return a track after all that is due was told."""
        track, now = due.track, self.now
        marks = {f: m for f, m in track.marks.items() if f not in _fingerprints(due.section.over)}
        for alert in due.section.new:
            marks[alert.fingerprint] = Mark(alert.severity, now, now)
        for alert in due.section.standing:
            mark = marks.get(alert.fingerprint)
            if mark is not None and mark.severity is not None:
                marks[alert.fingerprint] = replace(mark, at=now)
        return replace(
            track,
            number=track.number + 1,
            told_at=now,
            held_at=None,
            thread=track.thread or id_,
            marks=marks,
        )

    def heartbeat(self, alerts: Iterable[Alert]) -> None:
        """Say that all is well, if it is and it is time to."""
        wanted = self.policy.heartbeat
        if wanted is None:
            return
        known = self.tracks.get((HEARTBEAT, wanted.receiver))
        if known is None or known.told_at is None:  # from now on
            self._keep(Track(HEARTBEAT, wanted.receiver, {}, told_at=self.now))
            return
        well = not any(a.stands and a.all_labels[NAME] == PATH_SILENT for a in alerts)
        if well and known.told_at + wanted.every <= self.now:
            id_ = notice_id(known)
            self.notices.append(
                Notice(id_, wanted.receiver, "heartbeat", (), id_, "info", counts=False)
            )
            self._keep(replace(known, number=known.number + 1, told_at=self.now))


def _fingerprints(alerts: Iterable[Alert]) -> frozenset[str]:
    return frozenset(alert.fingerprint for alert in alerts)


def _closed(track: Track) -> Track:
    """Return *track*, its thread ended if all that was told is over."""
    return track if track.marks else replace(track, thread=None)


def _kind(due: _Due) -> Kind:
    if due.why == "over":
        return "alert" if due.section.new or due.section.standing else "resolved"
    return due.why if due.why in ("reminder", "escalation") else "alert"


def _place(due: _Due) -> tuple[datetime, str]:
    return due.at, due.group.id


def notice_id(track: Track) -> str:
    """Return the id of the next notice on a track."""
    said = f"{track.group}\0{track.receiver}\0{track.number}"
    return f"alert-{sha256(said.encode()).hexdigest()[:32]}"


def step(policy: Policy, state: State, now: datetime, *, webhook: bool = False) -> Outcome:
    """Return what is to be told now, and what is known of it after that.

    With *webhook* alerts are passed on as well, whatever becomes of the mails.
    """
    ended = [alert for alert in state.alerts if _is_ended(policy, alert, now)]
    gone = _fingerprints(ended)
    alerts = [alert for alert in state.alerts if alert.fingerprint not in gone]
    explanations = Explanations(policy, [alert for alert in alerts if alert.stands])
    muted = frozenset(
        alert.fingerprint
        for alert in alerts
        if any(silence.mutes(alert, policy, now) for silence in state.silences)
        or explanations.of(alert)
    )
    groups = _groups(policy, alerts, muted)
    before = {track.id: track for track in state.tracks}
    kept = {track.id: _swept(track, groups) for track in state.tracks}
    sent = {receiver: list(moments) for receiver, moments in state.sent.items()}
    work = _Work(policy, now, kept, sent)
    work.look(groups, webhook=webhook)
    work.heartbeat(alerts)
    changed = tuple(t for id_, t in work.tracks.items() if before.get(id_) != t)
    fresh = tuple(alert for alert in state.alerts if alert.fresh)
    return Outcome(tuple(work.notices), changed, fresh, tuple(ended))


def _is_ended(policy: Policy, alert: Alert, now: datetime) -> bool:
    after = policy.over_after(alert.all_labels)
    return alert.stands and after is not None and alert.heard_at + after <= now


def _swept(track: Track, groups: Sequence[Group]) -> Track:
    """Return *track* without what is no longer in its group."""
    if not track.marks:
        return track
    known = {f for group in groups if group.id == track.group for f in group.by_fingerprint}
    marks = {f: mark for f, mark in track.marks.items() if f in known}
    return track if len(marks) == len(track.marks) else _closed(replace(track, marks=marks))


def acknowledged(
    alert: Alert, by: str, told_at: datetime | None, now: datetime, until: datetime
) -> Alert | None:
    """Return an alert that *by* looks after, until then; None if it is over.

    One who followed a link says so of what stood when the mail was made, *told_at*, not of what
    has come since.
    """
    if not alert.stands or (told_at is not None and alert.seen_at > told_at):
        return None
    return replace(alert, acknowledged=Acknowledgement(by, now, until))
