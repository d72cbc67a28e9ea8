"""What people look at, over HTTP: holdings, records by deadline, policies, what stands still."""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from aiokafka.errors import KafkaError
from litestar import get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.params import FromPath, FromQuery, QueryParameter

from retention import inventory_store, purge_store, reading_store
from retention.calendar import civil_day, day_after, start_of
from retention.explanation import Translate
from retention.findings import Span, in_words
from retention.policy import Policy
from retention.reading_store import Position, Wanted
from retention.report import lines, make
from retention.tables import content
from shared import topics
from shared.errors import Rejected
from shared.postgres import Pool
from shared.web.access import EVERYBODY
from shared.wording import Language, translator

_PAGE: Final = 100
_LONGEST: Final = timedelta(days=800)

Start = Annotated[date | None, QueryParameter(name="from")]
End = Annotated[date | None, QueryParameter(name="to")]
Stands = Literal[
    "scheduled", "due", "overdue", "held-back", "on-hold", "open", "indeterminate"
]  # fmt: skip


@get("/api/v1/holdings", roles=EVERYBODY)
async def holdings(
    state: State,
    start: Start = None,
    end: End = None,
    as_of: FromQuery[date | None] = None,
    lang: FromQuery[Language] = "en",
) -> dict[str, Any]:
    """Return the figures of the report, to look at: no report is issued, nothing is logged."""
    now: datetime = state.clock.now()
    today = civil_day(now)
    span = Span(start or date(today.year, 1, 1), end or today, as_of or today)
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        history = await state.registry.in_force.read(tx)
        report = await make(tx, history.newest, span, now, {})
    found = content(report)
    translate = translator("retention", lang)
    for line, category in zip(report.lines, found["categories"], strict=True):
        category["why"] = line.why_in(translate)
    return found


@get("/api/v1/standing", roles=EVERYBODY)
async def standing(state: State) -> dict[str, Any]:
    """Return in a few figures how each category stands today; they are the report's."""
    today = civil_day(state.clock.now())
    span = Span(date(today.year, 1, 1), today, today)
    pool: Pool = state.pool
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        history = await state.registry.in_force.read(tx)
        found = await lines(tx, history.newest, span)
    return {
        "from": span.start,
        "as_of": span.as_of,
        "categories": [
            {
                "category": line.policy.category,
                "title": line.policy.title.model_dump(),
                **line.counts,
                "awaiting": sum(line.awaiting.values()),
                "purged": line.gone,
            }
            for line in found
        ],
    }


@get("/api/v1/records", roles=EVERYBODY)
async def records(  # noqa: PLR0913, PLR0917 - each is one thing to look for
    state: State,
    category: FromQuery[str | None] = None,
    holder: FromQuery[str | None] = None,
    customer: FromQuery[str | None] = None,
    status: FromQuery[Stands | None] = None,
    start: Start = None,
    end: End = None,
    cursor: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Return records and when they go, the first to go first, a hundred at a time.

    Both days belong to the time asked for.
    """
    wanted = Wanted(
        category,
        holder,
        customer,
        status,
        start and _bound(start),
        end and _bound(end, over=True),
    )
    after = Position.parse(cursor) if cursor else None
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await reading_store.records(tx, wanted, state.clock.now(), after, _PAGE + 1)
    shown = found[:_PAGE]
    last = shown[-1] if len(found) > _PAGE else None
    return {
        "records": [_shown(row) for row in shown],
        "cursor": last and str(Position(last["purge_from"], last["key"], last["id"])),
    }


def _bound(day: date, *, over: bool = False) -> datetime:
    """Return when *day* begins, or when it is over."""
    try:
        return start_of(day_after(day) if over else day)
    except OverflowError:
        raise Rejected("a day is out of range", code="bad-day") from None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    ref = "/".join(row[name] for name in ("holder", "category", "record_id"))
    return {"record": ref, **{n: v for n, v in row.items() if n not in {"id", "key"}}}


@get("/api/v1/calendar", roles=EVERYBODY)
async def calendar(
    state: State,
    start: Annotated[date, QueryParameter(name="from")],
    end: Annotated[date, QueryParameter(name="to")],
    category: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Return how many records of each category may go on each day, as known now."""
    if not timedelta(0) <= end - start <= _LONGEST:
        raise Rejected("the period ends before it begins, or spans over 800 days")
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await reading_store.days(tx, _bound(start), _bound(end, over=True), category)
    return {"days": found}


@get("/api/v1/policies", roles=EVERYBODY)
async def policies(state: State, lang: FromQuery[Language] = "en") -> dict[str, Any]:
    """Return the policies in force, in words."""
    translate = translator("retention", lang)
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        history = await state.registry.in_force.read(tx)
    return {
        "policies": [_policy(policy, translate) for _, policy in sorted(history.newest.items())]
    }


@get("/api/v1/policies/{category:str}", roles=EVERYBODY)
async def policy(
    state: State, category: FromPath[str], lang: FromQuery[Language] = "en"
) -> dict[str, Any]:
    """Return a policy with every version of it that was put in force."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        history = await state.registry.in_force.read(tx)
        found = [row for row in await reading_store.versions(tx) if row["category"] == category]
    if not found:
        raise NotFoundException("there is no such category")
    shown = _policy(history.newest[category], translator("retention", lang))
    return {**shown, "versions": found}


def _policy(policy: Policy, translate: Translate) -> dict[str, Any]:
    return {**policy.model_dump(mode="json"), "why": in_words(policy.rule).said(translate)}


@get("/api/v1/plans", roles=EVERYBODY)
async def plans(state: State) -> dict[str, Any]:
    """Return plans to change policies: what each would do, and who agreed to it."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return {"plans": await reading_store.plans(tx)}


@get("/api/v1/freezes", roles=EVERYBODY)
async def freezes(state: State) -> dict[str, Any]:
    """Return what is not purged until people have looked at it."""
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        return await reading_store.freezes(tx, civil_day(state.clock.now()))


@get("/api/v1/holders", roles=EVERYBODY)
async def holders(state: State) -> dict[str, Any]:
    """Return the holders: what they said last that they have, and what they leave unanswered.

    ``silent`` is one that leaves something unanswered for longer than on-call is to know of.
    """
    now: datetime = state.clock.now()
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        waiting = {row["holder"]: row for row in await reading_store.silent(tx)}
        silent = await purge_store.silent_holders(tx, now - state.alert_after)
        heard = await purge_store.last_answers(tx)
        compared = await inventory_store.compared_by(tx, now)
    return {
        "holders": [
            {
                **entry.model_dump(mode="json", include={"id", "title", "location", "kind"}),
                "heard_at": heard.get(name),
                "silent": name in silent,
                "unanswered": waiting.get(name),
                "inventories": [
                    {n: getattr(i, n) for n in ("category", "as_of", "count", "known", "agrees")}
                    for i in compared
                    if i.holder == name
                ],
            }
            for name, entry in sorted(state.registry.in_force.holders.items())
        ]
    }


@get("/api/v1/topics", roles=EVERYBODY)
async def bus_topics(state: State) -> dict[str, Any]:
    """Return each setting of each topic as it is declared and as it is on the broker.

    ``wider`` is one by which events are kept otherwise, and so maybe for longer, than declared.
    """
    try:
        found = await topics.compare(state.kafka, state.topic_prefix)
    except KafkaError as error:
        raise ServiceUnavailableException(
            "the broker is away, or does not let retention describe its topics:"
            f" {type(error).__name__}"
        ) from None
    return {"settings": [asdict(each) for each in found]}


ROUTES: Final = [
    holdings, standing, records, calendar, policies, policy, plans, freezes, holders, bus_topics,
]  # fmt: skip
