"""Alerts from the command line, by way of the notifier's HTTP API."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gallra.ask import act
from gallra.stackfile import read
from shared.errors import Rejected

_LENGTH: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MATCHER: Final = re.compile(r'\s*([^\s=!~"]+)\s*(=~|!~|!=|=)\s*("?)(.*?)\3\s*', re.DOTALL)


async def standing(data: Path, url: str | None) -> list[dict[str, Any]]:
    """Return what stands."""
    answer: list[dict[str, Any]] = (await _ask(data, url, "GET", "/alerts"))["alerts"]
    return answer


async def acknowledge(
    data: Path, url: str | None, fingerprints: Sequence[str], *, by: str
) -> dict[str, Any]:
    """Say who looks after alerts; return those that stand and until when it holds."""
    said = {"fingerprints": list(fingerprints), "by": by}
    return await _ask(data, url, "POST", "/alerts/acknowledgements", said)


async def silences(data: Path, url: str | None) -> list[dict[str, Any]]:
    """Return the silences that have not ended."""
    answer: list[dict[str, Any]] = (await _ask(data, url, "GET", "/silences"))["silences"]
    return answer


async def silence(
    data: Path, url: str | None, matchers: Sequence[str], *, lasts: str, by: str, reason: str
) -> dict[str, Any]:
    """Silence alerts that fit all of *matchers*."""
    ends_at = datetime.now(UTC) + length(lasts)
    said = {
        "matchers": [matcher(text) for text in matchers],
        "endsAt": ends_at.isoformat(),
        "createdBy": by,
        "comment": reason,
    }
    return await _ask(data, url, "POST", "/silences", said)


async def unsilence(data: Path, url: str | None, silence_id: str, *, by: str) -> None:
    """End a silence before its time."""
    await _ask(data, url, "DELETE", f"/silences/{silence_id}", params={"by": by})


async def _ask(
    data: Path,
    url: str | None,
    method: str,
    path: str,
    said: Any = None,
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    base = url or read(data).urls["notifier"]
    return await act(method, f"{base}/api/v1{path}", said, params)


def length(text: str) -> timedelta:
    """Return a length of time such as ``2h``.

    Raises:
        Rejected: it is none.
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise Rejected("write a length of time such as 30m, 2h or 3d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def matcher(text: str) -> dict[str, Any]:
    """Return a matcher such as ``holder=crm`` or ``holder=~"crm|erp"`` as it is posted.

    Raises:
        Rejected: it is none.
    """
    match = _MATCHER.fullmatch(text)
    if match is None:
        raise Rejected('write what a label must be, such as holder=crm or holder=~"crm|erp"')
    op = match[2]
    return {
        "name": match[1],
        "value": match[4],
        "isRegex": op.endswith("~"),
        "isEqual": op.startswith("="),
    }


def in_words(alert: dict[str, Any]) -> str:
    """Return one line about an alert."""
    why = ""
    if ack := alert["acknowledged"]:
        why = f"  looked after by {ack['by']} until {ack['until'][:16]}"
    elif alert["silenced_by"]:
        why = f"  silenced by {', '.join(alert['silenced_by'])}"
    elif alert["inhibited_by"]:
        why = f"  explained by {', '.join(alert['inhibited_by'])}"
    since = alert["raised_at"][:16]
    return f"{alert['severity']:8}  {since}  {alert['fingerprint']}: {alert['summary']}{why}"


def silence_in_words(silence: dict[str, Any]) -> str:
    """Return one line about a silence."""
    which = ", ".join(f'{m["name"]}{m["op"]}"{m["value"]}"' for m in silence["matchers"])
    until = silence["ends_at"][:16]
    return f"{silence['id']}  until {until}  {which}  {silence['by']}: {silence['reason']}"
