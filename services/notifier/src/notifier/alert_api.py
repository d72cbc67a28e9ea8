"""Alerts over HTTP: what stands, what Alertmanager posts, who looks after what, silences."""

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Template
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from notifier import alert_store, alert_words
from notifier.alert_policy import NAME, Matcher, Matchers, Severity
from notifier.alerting import Alert, Said
from notifier.oncall import OnCall
from shared import logs
from shared.errors import Rejected
from shared.postgres import Connection, Pool, transaction
from shared.web.access import EVERYBODY, OPEN, Caller

_NAME: Final = 200  # characters of a label's name or value that are kept
_LABELS: Final = 50
_SUMMARY: Final = 4000
_SEVERITIES: Final[dict[str, Severity]] = {
    **dict.fromkeys(("critical", "page", "fatal", "emergency", "alert", "disaster"), "critical"),
    **dict.fromkeys(("info", "information", "notice", "none", "debug"), "info"),
}  # what is named otherwise is a warning
_PAGE: Final = 100
_log = logs.get(__name__)

Asked = Request[Caller, Any, State]


class Posted(BaseModel):
    """Something that another program posts; what it says beyond this is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class PostedAlert(Posted):
    """An alert as Alertmanager has it."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: AwareDatetime = Field(alias="startsAt")
    ends_at: AwareDatetime | None = Field(default=None, alias="endsAt")
    generator_url: str = Field(default="", alias="generatorURL")
    fingerprint: Annotated[str, Field(max_length=100)] = ""

    def said(self) -> Said:
        """Return what it says in our words."""
        labels = {
            alert_words.plain(name, _NAME): alert_words.plain(value, _NAME)
            for name, value in sorted(self.labels.items())[:_LABELS]
            if name.strip() and name != "severity"
        }
        notes = self.annotations
        named = labels.get(NAME, "an alert without a name")
        summary = next(
            (notes[n] for n in ("summary", "message", "description") if notes.get(n)), named
        )
        runbook = notes.get("runbook_url") or notes.get("runbook")
        labels.setdefault(NAME, named)
        return Said(
            f"alertmanager/{self.fingerprint or self._hash()}",
            _SEVERITIES.get(self.labels.get("severity", "").lower(), "warning"),
            summary.replace("\x00", "")[:_SUMMARY],
            labels,
            runbook and alert_words.plain(runbook, _NAME),
            over=self.status == "resolved",
        )

    def at(self, now: datetime) -> datetime:
        """Return the instant that it is about."""
        if self.status == "firing":
            return self.starts_at
        return max(self.ends_at or now, self.starts_at)

    def _hash(self) -> str:
        said = "\0".join(f"{name}\1{value}" for name, value in sorted(self.labels.items()))
        return sha256(said.encode()).hexdigest()[:32]


class PostedAlerts(Posted):
    """The body of Alertmanager's webhook."""

    version: Literal["4"]
    alerts: Annotated[list[PostedAlert], Field(max_length=10_000)]
    truncated: int = Field(default=0, alias="truncatedAlerts")


@post("/api/v1/alerts", status_code=202, roles={"operator", "producer"})
async def take(state: State, data: JSONBody[PostedAlerts]) -> dict[str, Any]:
    """Take the alerts that an Alertmanager posts; the same ones again change nothing."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    now = oncall.planner.clock.now()
    news = 0
    if data.truncated:
        _log.warning("an Alertmanager posts fewer alerts than it has", left_out=data.truncated)
    async with transaction(pool) as tx:
        said = [(alert.said(), alert.at(now)) for alert in data.alerts]
        for each, at in sorted(said, key=lambda pair: (pair[0].fingerprint, pair[1])):
            news += await oncall.hear(tx, each, at)
    return {"alerts": len(data.alerts), "news": news, "truncated": data.truncated}


@get("/api/v1/alerts", roles=EVERYBODY)
async def standing(state: State) -> dict[str, Any]:
    """Return what stands: its group, who looks after it, and what keeps it quiet."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        return {"alerts": await oncall.overview(tx)}


@get("/api/v1/alert-notices", roles=EVERYBODY)
async def notices(state: State) -> dict[str, Any]:
    """Return what was told about alerts, newest first; of a mail, its id is its message's."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"notices": await alert_store.notices(tx, _PAGE)}


class Acknowledging(Posted):
    """Who looks after which alerts."""

    fingerprints: Annotated[list[str], Field(min_length=1, max_length=1000)]
    by: str = ""


@post("/api/v1/alerts/acknowledgements", status_code=200, roles={"operator"})
async def acknowledge(
    request: Asked, state: State, data: JSONBody[Acknowledging]
) -> dict[str, Any]:
    """Note who looks after alerts; those that do not stand are left out of the answer."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    async with transaction(pool) as tx:
        found = await oncall.acknowledge(tx, data.fingerprints, by=request.user.acting(data.by))
    until = max((a.acknowledged.until for a in found if a.acknowledged), default=None)
    return {"acknowledged": [alert.fingerprint for alert in found], "until": until}


# --- silences ------------------------------------------------------------------------------------


class PostedMatcher(Posted):
    """A matcher as Alertmanager has it."""

    name: str
    value: str
    is_regex: bool = Field(default=False, alias="isRegex")
    is_equal: bool = Field(default=True, alias="isEqual")

    def matcher(self) -> Matcher:
        """Return it in our words."""
        op = (
            ("=~" if self.is_equal else "!~") if self.is_regex else ("=" if self.is_equal else "!=")
        )
        try:
            return Matcher(name=self.name, op=op, value=self.value)
        except ValueError as error:
            raise Rejected("a matcher's name or expression is not one") from error


class PostedSilence(Posted):
    """A silence as Alertmanager has it."""

    matchers: Annotated[list[PostedMatcher], Field(min_length=1, max_length=50)]
    starts_at: AwareDatetime | None = Field(default=None, alias="startsAt")
    ends_at: AwareDatetime = Field(alias="endsAt")
    created_by: str = Field(default="", alias="createdBy")
    comment: str


@post("/api/v1/silences", roles={"operator"})
async def silence(request: Asked, state: State, data: JSONBody[PostedSilence]) -> dict[str, Any]:
    """Silence alerts; grave ones are silenced for no longer than the policy allows."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    matchers: Matchers = tuple(each.matcher() for each in data.matchers)
    async with transaction(pool) as tx:
        made = await oncall.silence(
            tx,
            matchers,
            by=request.user.acting(data.created_by),
            reason=data.comment,
            starts_at=data.starts_at,
            ends_at=data.ends_at,
        )
    bounds = {"at_once": oncall.policy.silences.at_once, **oncall.policy.silences.longest_of}
    shorter = {
        kind: made.starts_at + longest
        for kind, longest in bounds.items()
        if made.starts_at + longest < made.ends_at
    }
    return {"silenceID": str(made.id), "ends_at": made.ends_at, "ends_earlier_for": shorter}


@get("/api/v1/silences", roles=EVERYBODY)
async def silences(state: State) -> dict[str, Any]:
    """Return the silences that have not ended."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    async with pool.acquire() as tx:
        found = await alert_store.silences(tx, oncall.planner.clock.now())
    return {"silences": alert_store.silences_as_rows(found)}


@delete("/api/v1/silences/{silence_id:uuid}", status_code=200, roles={"operator"})
async def unsilence(
    request: Asked, state: State, silence_id: FromPath[UUID], by: FromQuery[str] = ""
) -> dict[str, Any]:
    """End a silence before its time."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    async with transaction(pool) as tx:
        if not await oncall.unsilence(tx, silence_id, by=request.user.acting(by)):
            raise NotFoundException("there is no such silence, or it has ended")
    return {"silenceID": str(silence_id)}


# --- the link in a mail --------------------------------------------------------------------------


@get("/a/{token:str}", include_in_schema=False, roles=OPEN)
async def asked(state: State, token: FromPath[str]) -> Template:
    """Show what the link in a mail acknowledges, and a button; nothing changes yet.

    Programs that look through mail follow links: only the button does anything.
    """
    return await _page(state, token)


@post("/a/{token:str}", include_in_schema=False, status_code=200, roles=OPEN)
async def answered(state: State, token: FromPath[str], request: Request[Any, Any, Any]) -> Template:
    """Acknowledge what a mail told, as far as it still stands."""
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    form = await request.form()
    by = str(form.get("by") or "")
    problem = ""
    async with transaction(pool) as tx:
        told, at = await _told(oncall, tx, token)
        try:
            await oncall.acknowledge(tx, [a.fingerprint for a in told], by=by, told_at=at)
        except Rejected:
            problem = "Say who you are, in at most 200 characters."
    return await _page(state, token, done=not problem, problem=problem)


async def _told(oncall: OnCall, tx: Connection, token: str) -> tuple[list[Alert], datetime]:
    try:
        return await oncall.told(tx, token)
    except Rejected as error:
        raise ClientException("The link is not one of ours: copy all of it.") from error


async def _page(state: State, token: str, *, done: bool = False, problem: str = "") -> Template:
    pool: Pool = state.pool
    oncall: OnCall = state.oncall
    async with pool.acquire() as tx:
        told, at = await _told(oncall, tx, token)
    now = oncall.planner.clock.now()
    alerts = [
        {
            "severity": alert.severity,
            "summary": alert.summary,
            "labels": alert_words.labels(alert.labels),
            "runbook": alert.runbook,
            "since": alert.raised_at,
            "lasts": alert_words.spoken(now - alert.raised_at),
            "by": alert.acknowledged.by if alert.acknowledged and alert.answered(now) else None,
            "until": alert.acknowledged.until if alert.acknowledged else None,
        }
        for alert in told
    ]
    context = {
        "alerts": alerts,
        "told_at": at,
        "open": any(alert["by"] is None for alert in alerts),
        "lasts": alert_words.spoken(oncall.policy.acknowledged_for),
        "done": done,
        "problem": problem,
    }
    return Template("acknowledge.html", context=context)


ROUTES: Final = [
    take, standing, notices, acknowledge, silence, silences, unsilence, asked, answered,
]  # fmt: skip
