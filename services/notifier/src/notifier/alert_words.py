"""What a mail about alerts says: the parameters of the template ``ops-alert``; pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from textwrap import shorten
from typing import Any, Final

from notifier.alert_policy import NAME, Labels, Severity, gravest
from notifier.alerting import Alert, Notice, Section

LISTED: Final = 20
_LABELS: Final = 10  # of an alert that a mail shows
_VALUE: Final = 100  # characters of one
_SUMMARY: Final = 500
_LONGEST_LINK: Final = 500
_HEADLINE: Final = 250
# What no mail may hold, see notifier.letter: a service that names things oddly must be heard too.
_UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ue000]"
)


def plain(text: str, longest: int) -> str:
    """Return *text* as one line that any mail may hold.

    >>> plain("a =?utf-8?Q?x?=", 40)
    'a = ?utf-8?Q?x? ='
    """
    clean = _UNFIT.sub(" ", text).replace("=?", "= ?").replace("?=", "? =")
    return shorten(clean, longest, placeholder=" …") or clean.strip()[:longest]


def spoken(length: timedelta) -> str:
    """Return a length of time in the units of any language.

    >>> spoken(timedelta(days=1, minutes=5)), spoken(timedelta(seconds=3))
    ('1 d 5 min', '3 s')
    """
    minutes, seconds = divmod(max(int(length.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if not (days or hours or minutes):
        return f"{seconds} s"
    units = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in units if number)


def params(notice: Notice, now: datetime, *, link: str, runbooks: str) -> dict[str, Any]:
    """Return what the mails of *notice* are made from.

    Args:
        notice: What is told.
        now: When.
        link: Where it is acknowledged; empty where there is nothing to acknowledge.
        runbooks: Where runbooks are read; empty if nobody said.
    """
    standing, over = notice.standing, notice.over
    new = {alert.fingerprint for section in notice.sections for alert in section.new}
    return {
        "kind": notice.kind,
        "severity": _severity(notice),
        "about": _about(notice),
        "count": len(standing),
        "count_over": len(over),
        "alerts": [
            {
                **_shown(alert, runbooks),
                "new": alert.fingerprint in new,
                "acknowledged": alert.answered(now),
            }
            for alert in standing[:LISTED]
        ],
        "more": max(len(standing) - LISTED, 0),
        "over": [{**_shown(alert, runbooks), **_ended(alert)} for alert in over[:LISTED]],
        "more_over": max(len(over) - LISTED, 0),
        "link": link if standing else "",
    }


def _severity(notice: Notice) -> Severity:
    alerts = notice.standing or notice.over
    return gravest([alert.severity for alert in alerts])


def _about(notice: Notice) -> dict[str, Any]:
    """Return what the subject says: the one thing that is told, or the kind that all are of.

    ``summary`` is of one alert; ``name`` of their kind, with the values that all have in common.
    """
    if notice.kind in ("digest", "heartbeat"):
        return {"summary": "", "name": "", "others": 0}
    [section] = notice.sections
    told = section.new or section.standing or section.over
    if len(told) == 1:
        others = len(section.new) + len(section.standing) - 1 if notice.standing else 0
        summary = plain(told[0].summary, _HEADLINE) or _name(section)
        return {"summary": summary, "name": "", "others": max(others, 0)}
    return {"summary": "", "name": _name(section), "others": len(told)}


def _name(section: Section) -> str:
    told = section.new or section.standing or section.over
    names = {alert.all_labels[NAME] for alert in told}
    name = plain(names.pop().replace("-", " "), 80) if len(names) == 1 else ""
    common = ", ".join(
        plain(f"{label} {value}", 60)
        for label, value in section.labels.items()
        if label not in (NAME, "severity")
    )
    return plain(f"{name} ({common})" if common else name, _HEADLINE)


def _shown(alert: Alert, runbooks: str) -> dict[str, Any]:
    runbook = plain(alert.runbook or "", _VALUE * 2)
    base = f"{runbooks.rstrip('/')}/" if runbooks and "://" not in runbook else ""
    return {
        "severity": alert.severity,
        "summary": plain(alert.summary, _SUMMARY),
        "labels": labels(alert.labels),
        "since": alert.raised_at.isoformat(),
        "runbook": runbook and f"{base}{runbook}"[:_LONGEST_LINK],
    }


def labels(of: Labels) -> list[list[str]]:
    """Return labels and their values as a mail shows them."""
    some = sorted(of.items())[:_LABELS]
    return [[plain(name, _VALUE), plain(value, _VALUE)] for name, value in some]


def _ended(alert: Alert) -> dict[str, str]:
    ended = alert.resolved_at or alert.heard_at
    return {"until": ended.isoformat(), "lasted": spoken(ended - alert.raised_at)}


def in_short(alerts: Sequence[Alert] | Iterable[Alert]) -> dict[str, Any]:
    """Return parameters of a mail that says only how much there is to be told.

    It is what is sent where no mail can be made of what the alerts say.
    """
    told = list(alerts)
    return {
        "kind": "alert",
        "severity": gravest([alert.severity for alert in told]),
        "about": {"summary": "alerts that cannot be shown in a mail", "name": "", "others": 0},
        "count": len(told),
        "count_over": 0,
        "alerts": [],
        "more": len(told),
        "over": [],
        "more_over": 0,
        "link": "",
    }


# --- for other programs --------------------------------------------------------------------------

_NEVER: Final = "0001-01-01T00:00:00Z"


def as_webhook(notice: Notice, external_url: str) -> dict[str, Any]:
    """Return what Alertmanager would post of one group (its webhook, version 4)."""
    [section] = notice.sections
    alerts = [*notice.standing, *notice.over]
    first, *rest = [alert.all_labels for alert in alerts]
    common = {
        name: value for name, value in first.items() if all(o.get(name) == value for o in rest)
    }
    return {
        "version": "4",
        "groupKey": section.group,
        "truncatedAlerts": 0,
        "status": "firing" if notice.standing else "resolved",
        "receiver": "gallra",
        "groupLabels": dict(section.labels),
        "commonLabels": common,
        "commonAnnotations": {},
        "externalURL": external_url,
        "alerts": [
            {
                "status": "firing" if alert.stands else "resolved",
                "labels": dict(alert.all_labels),
                "annotations": _annotations(alert),
                "startsAt": alert.raised_at.isoformat(),
                "endsAt": _NEVER if alert.resolved_at is None else alert.resolved_at.isoformat(),
                "generatorURL": external_url,
                "fingerprint": alert.fingerprint,
            }
            for alert in alerts
        ],
    }


def _annotations(alert: Alert) -> dict[str, str]:
    runbook = {} if alert.runbook is None else {"runbook": alert.runbook}
    return {"summary": alert.summary, **runbook}
