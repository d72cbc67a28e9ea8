"""The policy of alerts: what is wrong with it is said by file, line and field."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from gallra import alerts
from notifier import alert_policy, alert_words
from notifier.alert_policy import Policy
from shared.document import DocumentError
from shared.errors import Rejected

SHIPPED = (Path(__file__).parents[2] / "policies" / "alerts.yaml").read_text(encoding="utf-8")


def test_the_shipped_policy_can_be_read():
    policy = alert_policy.read(SHIPPED)
    critical = {"alertname": "purge-overdue", "severity": "critical", "holder": "crm"}
    way = policy.way(critical)
    assert way.receivers == ("oncall",)
    assert way.group_by == ("alertname", "holder")
    assert (way.group_wait, way.group_interval, way.repeat_interval) == (
        timedelta(seconds=30),
        timedelta(minutes=5),
        timedelta(hours=4),
    )
    assert policy.is_at_once(critical)
    assert not policy.is_at_once({**critical, "severity": "warning"})
    assert policy.silenced_at_most("critical", critical) == timedelta(hours=1)
    assert policy.silenced_at_most("warning", {}) == timedelta(days=30)
    assert policy.over_after({"alertname": "deliveries-unknown"}) == timedelta(days=1)
    assert policy.way({"severity": "info"}).repeat_interval == timedelta(days=1)
    assert policy.heartbeat is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("receivers: {oncall: {}}\ngroup_wait: 30", ":2: group_wait: write a length of time"),
        ("receivers: {oncall: {}}\ngroup_wiat: 30s", ":2: group_wiat: Extra inputs"),
        ("receivers: {}", ":1: receivers: "),
        ("receiver: lead\nreceivers:\n  oncall: {}", "lead is not among the receivers"),
        (
            "receivers:\n  oncall:\n    quiet: {from: 22:00, to: 07:00}",
            ':3: receivers.oncall.quiet.from: write a time of day in quotes, such as "22:00"',
        ),
        (
            'receivers:\n  oncall:\n    quiet: {from: "22:00", to: "22:00"}',
            "quiet hours that end when they begin",
        ),
        (
            'receivers:\n  oncall:\n    quiet: {from: "22:00", to: "07:00", zone: Mars}',
            ":3: receivers.oncall.quiet.zone: write a zone such as Europe/Stockholm",
        ),
        (
            "receivers:\n  oncall:\n    addresses: [nobody]",
            ":3: receivers.oncall.addresses.0: a mail address is needed",
        ),
        (
            "receivers: {oncall: {}}\nroutes:\n  - match: [holder]",
            ":3: routes.0.match.0: write what a label must be",
        ),
        (
            "receivers: {oncall: {}}\nroutes:\n  - match: ['holder =~ \"(\"']",
            "( is no regular expression",
        ),
        (
            "receivers: {oncall: {}}\nescalation:\n  - {wait: 5m, receiver: oncall}",
            "each step must tell another receiver",
        ),
        (
            "receivers: {oncall: {}}\npath: {probe_every: 1h, silent_after: 1h}",
            ":2: path: silent_after must be at least twice",
        ),
        ("receivers: {oncall: {}}\nseverity: page", "severity"),
        ("receivers: {oncall: {}}\ninhibit:\n  - {source: [], target: [a = b]}", "source"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str):
    with pytest.raises(DocumentError) as error:
        alert_policy.read(text)
    [problem] = error.value.problems
    assert problem.startswith("alerts.yaml:")
    assert said in problem


def test_our_own_receiver_cannot_be_named():
    with pytest.raises(DocumentError, match="our own name"):
        alert_policy.read('receiver: "(webhook)"\nreceivers: {"(webhook)": {}}')


def test_what_a_route_does_not_say_the_policy_does():
    policy = Policy.model_validate(
        {
            "receivers": {"oncall": {}, "lead": {}, "boss": {}},
            "escalation": [{"wait": "5m", "receiver": "lead"}, {"wait": "10m", "receiver": "boss"}],
            "routes": [
                {"match": ["a = 1"], "escalation": []},
                {"match": ["a = 2"], "receiver": "boss", "escalation": [], "group_wait": "0s"},
            ],
        }
    )
    assert policy.way({}).waits == tuple(timedelta(minutes=m) for m in (0, 5, 15))
    assert policy.way({"a": "1"}).receivers == ("oncall",)
    assert policy.way({"a": "2"}).receivers == ("boss",)
    assert policy.way({"a": "2"}).group_wait == timedelta(0)


def test_a_night_may_lie_within_a_day():
    noon = alert_policy.Quiet.model_validate({"from": "12:00", "to": "13:00", "zone": "UTC"})
    assert (noon.start, noon.end) == (time(12), time(13))
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert [noon.at(at + timedelta(minutes=m)) for m in (-1, 0, 59, 60)] == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "longest", "said"),
    [("a\x00\r\nb", 9, "a b"), ("word " * 9, 12, "word word …"), ("x" * 9, 4, "…"), ("", 9, "")],
)
def test_words_for_a_mail(text: str, longest: int, said: str):
    made = alert_words.plain(text, longest)
    assert len(made) <= longest
    assert made == said or (said == "…" and made)


def test_the_command_line_writes_matchers_as_the_policy_does():
    for text in ("holder=crm", 'holder =~ "crm|erp"', 'a!="x y"', "a !~ b"):
        posted, read = alerts.matcher(text), alert_policy.matcher(text)
        assert isinstance(read, alert_policy.Matcher)
        assert (posted["name"], posted["value"]) == (read.name, read.value)
        assert posted["isRegex"] == read.op.endswith("~")
        assert posted["isEqual"] == read.op.startswith("=")
    with pytest.raises(Rejected):
        alerts.matcher("holder")
    assert alerts.length("2h") == timedelta(hours=2)
    with pytest.raises(Rejected):
        alerts.length("2 hours")
