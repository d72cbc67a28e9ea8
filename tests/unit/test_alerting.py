"""The alert engine under a virtual clock: which mail goes when, to the second."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.alert_policy import (
    PATH_SILENT,
    SEVERITIES,
    WEBHOOK,
    Labels,
    Policy,
    Severity,
    matcher,
)
from notifier.alerting import (
    Alert,
    Explanations,
    Notice,
    Said,
    Silence,
    State,
    Track,
    acknowledged,
    heard,
    step,
)

START = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday, 13:00 in Stockholm
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def policy(**changes: Any) -> Policy:
    fields: dict[str, Any] = {
        "receivers": {"oncall": {}, "lead": {}, "boss": {}},
        "group_by": ["alertname", "holder"],
        "at_once": [["urgent = yes"]],
    }
    return Policy.model_validate({**fields, **changes})


@dataclass
class World:
    """A notifier without anything around it."""

    policy: Policy = field(default_factory=policy)
    now: datetime = START
    webhook: bool = False
    alerts: dict[str, Alert] = field(default_factory=dict[str, Alert])
    tracks: dict[tuple[str, str], Track] = field(default_factory=dict[tuple[str, str], Track])
    silences: list[Silence] = field(default_factory=list[Silence])
    told: list[tuple[datetime, Notice]] = field(default_factory=list[tuple[datetime, Notice]])

    def say(
        self,
        name: str,
        severity: Severity = "warning",
        *,
        over: bool = False,
        at: datetime | None = None,
        **labels: str,
    ) -> None:
        said = Said(name, severity, f"{name} is bad", labels, name.partition("/")[0], over=over)
        after = heard(self.alerts.get(name), said, at or self.now, self.now)
        if after is not None:
            self.alerts[name] = after

    def over(self, name: str, *, at: datetime | None = None, **labels: str) -> None:
        self.say(name, over=True, at=at, **labels)

    def look(self) -> None:
        counted: dict[str, list[datetime]] = {}
        for at, notice in self.told:
            if notice.counts and at > self.now - HOUR:
                counted.setdefault(notice.receiver, []).append(at)
        marked = {f for track in self.tracks.values() for f in track.marks}
        known = [a for a in self.alerts.values() if a.stands or a.fresh or a.fingerprint in marked]
        state = State(known, list(self.tracks.values()), self.silences, counted)
        outcome = step(self.policy, state, self.now, webhook=self.webhook)
        self.told += [(self.now, notice) for notice in outcome.notices]
        self.tracks.update({track.id: track for track in outcome.tracks})
        for alert in outcome.looked_at:
            self.alerts[alert.fingerprint] = replace(self.alerts[alert.fingerprint], fresh=False)
        for alert in outcome.ended:
            ended = replace(alert, resolved_at=self.now, gone_at=self.now, fresh=False)
            self.alerts[alert.fingerprint] = ended

    def run(self, length: timedelta, every: timedelta = SECOND) -> None:
        """Look at once and then *every* so often until *length* has passed."""
        end = self.now + length
        self.look()
        while self.now < end:
            self.now += every
            self.look()

    def acknowledge(self, *names: str, told_at: datetime | None = None, by: str = "ann") -> None:
        until = self.now + self.policy.acknowledged_for
        for name in names:
            after = acknowledged(self.alerts[name], by, told_at, self.now, until)
            if after is not None:
                self.alerts[name] = after

    def silence(self, *matchers: str, lasts: timedelta) -> Silence:
        made = Silence(
            uuid4(), tuple(map(read, matchers)), "ann", "we know", self.now, self.now + lasts
        )
        self.silences.append(made)
        return made

    @property
    def mails(self) -> list[tuple[float, str, str, list[str]]]:
        """When, to whom, which kind, about what."""
        return [
            (
                (at - START).total_seconds(),
                notice.receiver,
                notice.kind,
                [a.fingerprint for a in (*notice.standing, *notice.over)],
            )
            for at, notice in self.told
        ]

    @property
    def times(self) -> list[float]:
        return [at for at, *_ in self.mails]


def read(text: str) -> Any:
    return matcher(text)


def test_the_first_of_a_group_waits_for_company():
    world = World()
    world.say("purge-overdue/a", holder="crm")
    world.run(10 * SECOND)
    world.say("purge-overdue/b", holder="crm")
    world.run(10 * MINUTE)
    assert world.mails == [(30, "oncall", "alert", ["purge-overdue/a", "purge-overdue/b"])]


def test_what_differs_in_a_label_comes_in_a_mail_of_its_own():
    world = World()
    world.say("purge-overdue/a", holder="crm")
    world.say("purge-overdue/b", holder="billing")
    world.say("hold-review/c", holder="crm")
    world.run(MINUTE)
    about = sorted(fingerprints for _, _, _, fingerprints in world.mails)
    assert about == [["hold-review/c"], ["purge-overdue/a"], ["purge-overdue/b"]]
    assert world.times == [30, 30, 30]


def test_what_joins_a_group_waits_for_the_interval():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.say("x/b")
    world.run(10 * MINUTE)
    assert world.mails == [
        (30, "oncall", "alert", ["x/a"]),
        (330, "oncall", "alert", ["x/b", "x/a"]),
    ]


def test_what_joins_later_waits_for_company_alone():
    world = World()
    world.say("x/a")
    world.run(HOUR)
    world.say("x/b")
    world.run(HOUR)
    assert world.times == [30, 3630]


def test_critical_news_does_not_wait_for_the_interval():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.say("x/b", "critical")
    world.run(MINUTE)
    world.say("x/c", urgent="yes")
    world.run(MINUTE)
    assert world.times == [30, 90, 120]


def test_what_stands_is_told_again():
    world = World()
    world.say("x/a")
    world.run(9 * HOUR, every=10 * SECOND)
    assert world.times == [30, 30 + 4 * 3600, 30 + 8 * 3600]
    assert [kind for _, _, kind, _ in world.mails] == ["alert", "reminder", "reminder"]


def test_what_is_raised_again_and_again_is_told_once():
    world = World()
    for _ in range(100):
        world.say("x/a")
        world.run(10 * SECOND)
    assert world.times == [30]


def test_what_is_over_is_told_in_the_same_thread():
    world = World()
    world.say("x/a")
    world.run(10 * MINUTE)
    world.over("x/a")
    world.run(10 * MINUTE)
    assert world.mails == [(30, "oncall", "alert", ["x/a"]), (630, "oncall", "resolved", ["x/a"])]
    first, second = (notice for _, notice in world.told)
    assert second.thread == first.thread == first.id != second.id
    world.say("x/a")
    world.run(10 * MINUTE)
    assert world.told[-1][1].thread == world.told[-1][1].id != first.id, "a new story"


def test_what_is_over_soon_waits_for_the_interval():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.over("x/a")
    world.run(HOUR)
    assert world.times == [30, 330]


def test_what_comes_and_goes_before_its_turn_is_not_told():
    world = World()
    world.say("x/a")
    world.run(10 * SECOND)
    world.over("x/a")
    world.run(HOUR)
    assert world.mails == []


@pytest.mark.parametrize("seconds", [0, 1, 10])
def test_but_it_is_where_it_is_critical(seconds: int):
    world = World()
    world.say("x/a", "critical")
    if seconds:
        world.run(seconds * SECOND)
    world.now += SECOND
    world.over("x/a")
    world.run(HOUR)
    assert [(kind, about) for _, _, kind, about in world.mails] == [("resolved", ["x/a"])]
    assert world.times[0] <= seconds + 1 + 30


def test_flapping_is_told_at_intervals():
    world = World()
    for _ in range(60):
        world.say("x/a")
        world.run(10 * SECOND)
        world.over("x/a")
        world.run(10 * SECOND)
    assert all(b - a >= 300 for a, b in zip(world.times, world.times[1:], strict=False))
    assert len(world.times) <= 5


def test_what_gets_worse_is_told_again():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.acknowledge("x/a")
    world.say("x/a", "critical")
    world.run(MINUTE)
    assert world.times == [30, 60]
    assert world.told[-1][1].severity == "critical"


def test_what_came_out_of_order_changes_nothing():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.over("x/a")
    world.say("x/a", at=START)  # the first event once more
    world.run(10 * MINUTE)
    world.say("x/a", over=True, at=START + MINUTE)  # and the second
    world.run(10 * MINUTE)
    assert [kind for _, _, kind, _ in world.mails] == ["alert", "resolved"]


def test_a_clock_that_is_ahead_keeps_nothing_quiet():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.say("x/a", over=True, at=world.now + 5 * HOUR)
    world.run(10 * MINUTE)
    world.say("x/a")
    world.run(10 * MINUTE)
    assert [kind for _, _, kind, _ in world.mails] == ["alert", "resolved", "alert"]


# --- silences and inhibitions


def test_what_is_silenced_is_told_when_the_silence_ends():
    world = World()
    world.silence('holder = "crm"', lasts=HOUR)
    world.say("x/a", holder="crm")
    world.say("x/b", holder="billing")
    world.run(2 * HOUR, every=10 * SECOND)
    assert [(at, about) for at, _, _, about in world.mails] == [(30, ["x/b"]), (3600, ["x/a"])]


def test_what_was_told_and_then_silenced_is_still_told_to_be_over():
    world = World()
    world.say("x/a")
    world.run(MINUTE)
    world.silence("alertname = x", lasts=10 * HOUR)
    world.run(5 * HOUR, every=10 * SECOND)
    assert world.times == [30], "no reminder"
    world.over("x/a")
    world.run(MINUTE)
    assert [kind for _, _, kind, _ in world.mails] == ["alert", "resolved"]


def test_a_silence_does_not_keep_grave_alerts_quiet_for_long():
    world = World(policy(silences={"longest": "7d", "longest_of": {"critical": "2h"}}))
    world.silence('alertname =~ ".+"', lasts=timedelta(days=7))
    world.say("x/a")
    world.say("y/a", "critical")
    world.say("z/a", urgent="yes")
    world.run(10 * HOUR, every=10 * SECOND)
    assert [(at, about) for at, _, kind, about in world.mails if kind == "alert"] == [
        (3600, ["z/a"]),
        (7200, ["y/a"]),
    ]


def test_what_another_explains_is_not_told():
    rule = {"source": ["alertname = away"], "target": ["alertname = late"], "equal": ["holder"]}
    world = World(policy(inhibit=[rule]))
    world.say("away/crm", holder="crm")
    world.say("late/crm", holder="crm")
    world.say("late/billing", holder="billing")
    world.run(HOUR)
    assert sorted(about for _, _, _, about in world.mails) == [["away/crm"], ["late/billing"]]
    world.over("away/crm", holder="crm")
    world.run(MINUTE)
    assert ["late/crm"] in [about for _, _, _, about in world.mails], "it stands and is told"


def test_two_do_not_hide_each_other():
    rule = {"source": ["tier = 1"], "target": ["tier = 1"]}
    alerts = [
        replace(example("a"), labels={"tier": "1"}),
        replace(example("b"), labels={"tier": "1"}),
    ]
    explanations = Explanations(policy(inhibit=[rule]), alerts)
    assert [explanations.of(alert) for alert in alerts] == [[], []]


def example(name: str) -> Alert:
    return Alert(name, "warning", name, {}, None, START, START, START)


# --- escalation and acknowledgement

STEPS = [{"wait": "15m", "receiver": "lead"}, {"wait": "30m", "receiver": "boss"}]


def test_whom_nobody_answers_asks_others():
    world = World(policy(escalation=STEPS))
    world.say("x/a", "critical")
    world.run(2 * HOUR)
    assert world.mails == [
        (30, "oncall", "alert", ["x/a"]),
        (30 + 15 * 60, "lead", "escalation", ["x/a"]),
        (30 + 45 * 60, "boss", "escalation", ["x/a"]),
    ]
    world.over("x/a")
    world.run(10 * MINUTE)
    assert sorted(mail[1:3] for mail in world.mails[3:]) == [
        ("boss", "resolved"),
        ("lead", "resolved"),
        ("oncall", "resolved"),
    ]


def test_only_what_is_grave_goes_further():
    world = World(policy(escalation=STEPS))
    world.say("x/a")
    world.run(2 * HOUR)
    assert world.times == [30]


def test_an_answer_stops_it():
    world = World(policy(escalation=STEPS))
    world.say("x/a", "critical")
    world.run(20 * MINUTE)
    world.acknowledge("x/a", told_at=START + 30 * SECOND)
    world.run(6 * HOUR, every=10 * SECOND)
    assert [mail[1] for mail in world.mails] == ["oncall", "lead"]
    world.over("x/a")
    world.run(10 * MINUTE)
    assert [mail[1:3] for mail in world.mails[2:]] in (
        [("lead", "resolved"), ("oncall", "resolved")],
        [("oncall", "resolved"), ("lead", "resolved")],
    )


def test_an_answer_expires():
    world = World(policy(escalation=STEPS[:1], acknowledged_for="2h"))
    world.say("x/a", "critical")
    world.run(MINUTE)
    world.acknowledge("x/a")
    world.run(150 * MINUTE, every=10 * SECOND)
    at = 60 + 2 * 3600
    assert world.mails == [
        (30, "oncall", "alert", ["x/a"]),
        (at, "oncall", "alert", ["x/a"]),
        (at + 15 * 60, "lead", "escalation", ["x/a"]),
    ]


def test_an_answer_is_to_what_was_told():
    world = World()
    world.say("x/a", "critical")
    world.run(MINUTE)
    world.over("x/a")
    world.run(10 * MINUTE)
    world.say("x/a", "critical")
    world.acknowledge("x/a", told_at=START + 30 * SECOND)  # the link in the first mail
    assert world.alerts["x/a"].acknowledged is None


def test_what_joins_after_the_answer_is_told():
    world = World(policy(escalation=STEPS[:1]))
    world.say("x/a", "critical")
    world.run(MINUTE)
    world.acknowledge("x/a")
    world.say("x/b", "critical")
    world.run(HOUR)
    assert world.mails == [
        (30, "oncall", "alert", ["x/a"]),
        (90, "oncall", "alert", ["x/b", "x/a"]),
        (90 + 15 * 60, "lead", "escalation", ["x/b", "x/a"]),
    ]


# --- how much, and at night


def test_too_many_come_as_a_digest():
    world = World(policy(receivers={"oncall": {"mails_per_hour": 3}}))
    for number in range(10):
        world.say(f"k{number}/a")
        world.run(MINUTE)
    world.run(2 * HOUR)
    at_first, later = world.mails[:3], world.mails[3:]
    assert [kind for _, _, kind, _ in at_first] == ["alert"] * 3
    assert [at for at, *_ in at_first] == [30, 90, 150]
    assert [(at, kind, len(about)) for at, _, kind, about in later] == [(3630, "digest", 7)]


def test_critical_ones_come_however_many_there_are():
    world = World(policy(receivers={"oncall": {"mails_per_hour": 1}}))
    for number in range(5):
        world.say(f"k{number}/a", "critical")
    world.run(MINUTE)
    assert world.times == [30] * 5
    world.say("w/a")
    world.run(MINUTE)
    assert world.times[5:] == [90], "they do not count"


QUIET = {"oncall": {"quiet": {"from": "22:00", "to": "07:00", "below": "critical"}}}


def test_at_night_only_what_is_critical_is_mailed():
    world = World(policy(receivers=QUIET))
    world.now = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)  # 22:30 in Stockholm
    world.say("x/a")
    world.say("y/a")
    world.say("z/a", "critical")
    world.run(HOUR, every=10 * SECOND)
    world.over("y/a")
    world.run(10 * HOUR, every=10 * SECOND)
    morning = datetime(2026, 11, 24, 6, tzinfo=UTC)
    assert [(at, n.kind) for at, n in world.told if n.kind != "reminder"] == [
        (datetime(2026, 11, 23, 21, 30, 30, tzinfo=UTC), "alert"),
        (morning, "digest"),
    ]
    [digest] = [notice for at, notice in world.told if at == morning and notice.kind == "digest"]
    assert [a.fingerprint for a in digest.standing] == ["x/a"]
    assert [a.fingerprint for a in digest.over] == ["y/a"], "it came and went in the night"


@pytest.mark.parametrize(
    ("now", "morning"),
    [
        (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 5, tzinfo=UTC)),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 6, tzinfo=UTC)),
    ],
)
def test_the_night_is_as_long_as_the_clocks_say(now: datetime, morning: datetime):
    world = World(policy(receivers=QUIET), now)
    world.say("x/a")
    world.run(9 * HOUR, every=10 * SECOND)
    assert world.told[0][0] == morning


def test_what_is_told_first_at_night_is_told_to_be_over_in_the_morning():
    world = World(policy(receivers=QUIET))
    for name in ("x/a", "y/a"):
        world.say(name)
    world.run(MINUTE)
    world.now = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)
    for name in ("x/a", "y/a"):
        world.over(name)
    world.run(10 * HOUR, every=10 * SECOND)
    assert [n.kind for _, n in world.told] == ["alert", "alert", "digest"]
    assert not world.told[-1][1].standing


# --- signs of life


def test_a_heartbeat_comes_while_all_is_well():
    world = World(policy(heartbeat={"receiver": "lead", "every": "1d"}))
    world.run(timedelta(days=3), every=MINUTE)
    assert [mail[:3] for mail in world.mails] == [
        (86400.0 * day, "lead", "heartbeat") for day in (1, 2, 3)
    ]
    assert len({notice.id for _, notice in world.told}) == 3


def test_it_does_not_come_while_alerts_do_not_get_through():
    world = World(policy(heartbeat={"receiver": "lead", "every": "1d"}))
    world.look()
    world.say(f"{PATH_SILENT}/consumer", "critical")
    world.run(timedelta(days=2), every=MINUTE)
    assert "heartbeat" not in [kind for _, _, kind, _ in world.mails]
    world.over(f"{PATH_SILENT}/consumer")
    world.run(MINUTE)
    assert "heartbeat" in [kind for _, _, kind, _ in world.mails]


def test_what_nobody_ends_ends_by_itself_and_quietly():
    world = World(policy(endings=[{"match": ["alertname = doubt"], "after": "1d"}]))
    world.say("doubt/1")
    world.run(timedelta(days=2), every=MINUTE)
    assert {kind for _, _, kind, _ in world.mails} == {"alert", "reminder"}
    assert max(world.times) < 86400
    assert not world.alerts["doubt/1"].stands


# --- to another program


def test_what_is_passed_on_goes_its_own_way():
    asleep = {"oncall": {"mails_per_hour": 1, "quiet": {"from": "00:00", "to": "23:59"}}}
    world = World(policy(receivers=asleep), webhook=True)
    world.say("x/a")
    world.run(MINUTE)
    world.over("x/a")
    world.run(10 * MINUTE)
    assert [mail[1:3] for mail in world.mails] == [(WEBHOOK, "alert"), (WEBHOOK, "resolved")]


# --- the policy decides


def test_a_route_decides_for_what_fits():
    routes = [
        {"match": ["team = db"], "receiver": "lead", "group_wait": "5m", "group_by": ["team"]},
        {"match": ["severity = info"], "repeat_interval": "1d"},
    ]
    world = World(policy(routes=routes))
    world.say("x/a", team="db")
    world.say("y/a", team="db")
    world.say("z/a", "info")
    world.run(5 * HOUR, every=10 * SECOND)
    assert world.mails[:2] == [
        (30, "oncall", "alert", ["z/a"]),
        (300, "lead", "alert", ["x/a", "y/a"]),
    ]
    assert [mail[1] for mail in world.mails[2:]] == ["lead"], "reminded after four hours"


# --- whatever happens

NAMES = ["a/1", "a/2", "b/1", "b/2"]
Act = tuple[int, str, Severity, bool]
acts = st.lists(
    st.tuples(
        st.integers(0, 400), st.sampled_from(NAMES), st.sampled_from(SEVERITIES), st.booleans()
    ),
    max_size=12,
)


def play(done: Iterable[Act], again: Iterable[tuple[int, int]] = (), **changes: Any) -> World:
    """Let things happen at their seconds; of *again* (which, how much later) once more."""
    history = sorted(done, key=lambda act: act[0])
    moments: dict[int, list[tuple[datetime, Act]]] = {}
    for act in history:
        moments.setdefault(act[0], []).append((START + act[0] * SECOND, act))
    for which, later in again:
        if history:
            act = history[which % len(history)]
            moments.setdefault(act[0] + later, []).append((START + act[0] * SECOND, act))
    world = World(policy(**changes))
    for second in range(700):
        for at, (_, name, severity, over) in moments.get(second, ()):
            world.say(name, severity, over=over, at=at)
        world.look()
        world.now += SECOND
    return world


@settings(max_examples=25)
@given(acts)
@also([
    (0, "a/1", "info", False), (31, "a/1", "info", True),
    (32, "a/1", "critical", False), (33, "a/1", "info", False),
])  # fmt: skip
def test_no_critical_alert_is_lost(done: Sequence[Act]):
    world = play(done)
    for begun, raised in critical_ones(done).items():
        told = [
            (at, alert in notice.standing and alert.severity == "critical")
            for at, notice in world.told
            for alert in (*notice.standing, *notice.over)
            if alert.fingerprint == raised and at <= begun + 31 * SECOND
        ]
        since = [at for at, _ in told if at >= begun]
        # Nobody need hear of it twice who was never told that it was over for a while.
        known = bool(told) and told[-1][1]
        assert since or known, f"{raised} of {begun}"


def critical_ones(done: Iterable[Act]) -> dict[datetime, str]:
    """Return the alerts that became critical, by the instant, if nothing else happened then."""
    stands: dict[str, Severity | None] = {}
    found: dict[datetime, str] = {}
    seconds = [act[0] for act in done]
    for second, name, severity, over in sorted(done, key=lambda act: act[0]):
        if over:
            stands[name] = None
        else:
            if severity == "critical" and stands.get(name) is None and seconds.count(second) == 1:
                found[START + second * SECOND] = name
            stands[name] = severity
    return found


@settings(max_examples=25)
@given(acts, st.lists(st.tuples(st.integers(0, 11), st.integers(0, 300)), max_size=8))
def test_what_comes_twice_changes_nothing(done: Sequence[Act], again: Sequence[tuple[int, int]]):
    assert play(done, again).mails == play(done).mails


@settings(max_examples=25)
@given(acts, st.integers(1, 5))
def test_nothing_is_told_twice(done: Sequence[Act], looks: int):
    world = play(done, receivers={"oncall": {"mails_per_hour": 3}})
    ids = [notice.id for _, notice in world.told]
    assert len(ids) == len(set(ids))
    before = len(world.told)
    for _ in range(looks):  # the same state at the same instant
        world.look()
        world.look()
    assert len(world.told) - before <= 2  # at most what became due at this instant
    known: dict[str, Severity | None] = {}
    for _, notice in world.told:
        for section in notice.sections:
            for alert in section.over:
                known[alert.fingerprint] = None
            for alert in section.new:
                assert known.get(alert.fingerprint) != alert.severity, "told, and nothing changed"
                known[alert.fingerprint] = alert.severity


@settings(max_examples=200)
@given(st.permutations([("a", 1, False), ("b", 3, False), ("c", 5, True), ("d", 4, False)]))
def test_in_whatever_order_it_is_heard_it_ends_the_same(
    events: Sequence[tuple[str, int, bool]],
):
    alert: Alert | None = None
    now = START + MINUTE
    for summary, second, over in events:
        said = Said("f", "warning", summary, {}, None, over=over)
        alert = heard(alert, said, START + second * SECOND, now) or alert
    assert alert is not None
    assert (alert.stands, alert.heard_at) == (False, START + 5 * SECOND)


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("a = b", {"a": "b"}, {"a": "c"}),
        ('a="b c"', {"a": "b c"}, {}),
        ("a != b", {}, {"a": "b"}),
        ('a =~ "b|c.*"', {"a": "cd"}, {"a": "bd"}),
        ("a !~ b", {"a": "bb"}, {"a": "b"}),
        ('a = ""', {}, {"a": "b"}),
        ('a =~ "(x+x+)+y"', {"a": "xxxy"}, {"a": "x" * 5000}),
    ],
)
def test_matchers(text: str, fits: Labels, does_not: Labels):
    made = read(text)
    assert made.fits(fits)
    assert not made.fits(does_not)
    assert read(str(made)) == made
