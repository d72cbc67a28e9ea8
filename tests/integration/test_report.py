"""What a report says is what the database has, on any day: the figures are counted here again."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pypdf import PdfReader
from tests.conftest import PATIENCE, Database
from tests.integration.test_closed_loop import Retention, answer, invoice, named
from tests.integration.test_policy_plan import SIX_MONTHS, apply, changed, planner

from gallra.stack.infrastructure import Infrastructure
from retention import report
from retention.findings import Line, Report, Span
from retention.override import Scope
from retention.paper import as_pdf, evidence
from shared import topics
from shared.events.platform import (
    Anchor,
    FiscalYearClosed,
    RecordGone,
    RecordRegistered,
    RightsRequestReceived,
)
from shared.postgres import open_pool

YEAR = date(2032, 1, 1)
DAY = timedelta(days=1)


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)


async def made(retention: Retention, as_of: date, start: date = YEAR) -> Report:
    async with retention.pool.acquire() as tx:
        policies = retention.in_force.history.newest
        span = Span(start, start + 365 * DAY, as_of)
        return await report.make(tx, policies, span, retention.clock.now(), {})


def of(found: Report, category: str = "billing.invoice") -> Line:
    return next(line for line in found.lines if line.policy.category == category)


def lead(number: str, day: date) -> RecordRegistered:
    return RecordRegistered(
        holder="crm",
        category="lead.form",
        record_id=number,
        entity="ab",
        anchors=(Anchor(anchor_id=f"{number}-a", kind="submitted", date=day),),
    )


async def purge(retention: Retention, **late: Any) -> None:
    """Bring all that is due to its end."""
    for prepare in named(await retention.sweep(), "PurgePrepare"):
        await retention.take(answer(prepare, retention.clock.now()))
    retention.clock.advance(timedelta(**late))
    for commit in named(await retention.announced(), "PurgeCommit"):
        await retention.take(answer(commit, retention.clock.now()))
    await retention.sweep()


async def test_figures_are_those_of_sql(retention: Retention) -> None:
    await retention.invoices("i-1", "i-2", "i-3")
    await retention.take(
        lead("l-1", date(2031, 1, 1)), lead("l-2", date(2031, 6, 1)), lead("l-3", date(2030, 1, 1))
    )
    await retention.hold(Scope(category="lead.form", holder="crm", record_id="l-1"))
    await retention.erasures.accept(retention.pool, [("crm", "lead.form", "l-2")], by="u-1")
    await retention.erasures.accept(
        retention.pool, [("billing", "billing.invoice", "i-1")], by="u-1"
    )
    retention.clock.advance(timedelta(hours=1))
    await retention.sweep()
    for as_of in (date(2031, 12, 31), date(2032, 1, 1), date(2032, 3, 1), date(2040, 1, 1)):
        found = await made(retention, as_of)
        rows = await retention.pool.fetch(
            """
            WITH stood AS (
                SELECT record.category, purge_from, must_purge_by,
                       (record_id = 'l-1') AS kept,
                       (($1::date + 1)::timestamp AT TIME ZONE 'Europe/Stockholm') AS over
                  FROM record JOIN deadline_key ON deadline_key.id = record.key
            )
            SELECT category, count(*) AS held,
                   count(*) FILTER (WHERE purge_from < over AND NOT kept) AS due,
                   count(*) FILTER (WHERE must_purge_by < over AND NOT kept) AS overdue,
                   count(*) FILTER (WHERE purge_from < over AND kept) AS held_back,
                   count(*) FILTER (WHERE purge_from >= over) AS scheduled
              FROM stood GROUP BY category
            """,
            as_of,
        )
        assert len(rows) == 2
        for row in rows:
            line = of(found, row["category"])
            counted = {name: n for name, n in row.items() if name != "category"}
            assert {name: line.counts[name] for name in counted} == counted
            due = [f for f in found.falls_due if f["category"] == row["category"]]
            assert sum(f["records"] for f in due) == row["due"] + row["held_back"]
            assert sum(f["held_back"] for f in due) == row["held_back"]
    [held] = found.holds
    assert (held["record_id"], held["placed_by"], held["reason"]) == ("l-1", "u-1", "a dispute")
    erasures = {row["category"]: row for row in (await made(retention, YEAR)).erasures}
    assert (erasures["lead.form"]["waiting"], erasures["lead.form"]["kept"]) == (1, 0)
    assert erasures["billing.invoice"]["waiting"] == 1


async def test_the_purge_of_a_financial_year_is_seen_years_before(retention: Retention) -> None:
    """What was booked in 2025 is kept through 2032, the seventh year after the year that ended."""
    await retention.invoices("i-2024")
    booked = Anchor(anchor_id="b", kind="booked", date=date(2025, 6, 30))
    of_2025 = invoice("i-2025").model_copy(update={"anchors": (booked,)})
    year = FiscalYearClosed(entity="ab", start=date(2025, 1, 1), end=date(2025, 12, 31))
    await retention.take(year, of_2025)
    found = await made(retention, date(2034, 1, 1))
    assert found.falls_due == [
        {
            "category": "billing.invoice",
            "year_from": date(first, 1, 1),
            "year_to": date(first, 12, 31),
            "due_from": date(first + 8, 1, 1),
            "records": 1,
            "held_back": 0,
        }
        for first in (2024, 2025)
    ]
    pages = PdfReader(io.BytesIO(as_pdf(found, evidence(found, {}), "en"))).pages
    told = " ".join("".join(page.extract_text() for page in pages).split())
    assert "What falls due by 2034-01-01" in told
    assert re.search(r"2033-01-01 Invoices.{,60}2025-01-01 . 2025-12-31 1\b", told)
    assert (await made(retention, date(2032, 12, 31))).falls_due[1:] == []
    assert len((await made(retention, date(2033, 1, 1))).falls_due) == 2


async def test_a_day_that_is_past_is_as_it_was(retention: Retention) -> None:
    await retention.invoices("i-1", "i-2")
    await retention.take(lead("l-1", date(2031, 6, 1)))
    before = retention.clock.now().date()
    then = await made(retention, before)
    retention.clock.advance(timedelta(days=1))
    await retention.take(lead("l-2", date(2031, 7, 1)))
    await purge(retention)
    retention.clock.advance(timedelta(days=1))
    await retention.take(
        RecordGone(
            holder="crm",
            category="lead.form",
            record_id="l-1",
            why="merged",
            at=retention.clock.now(),
        )
    )
    assert await retention.records() == ["l-2"]
    again = await made(retention, before)
    for category in ("billing.invoice", "lead.form"):
        line, was = of(again, category), of(then, category)
        assert line.counts == was.counts
        assert (line.next_purge_on, line.kept_until) == (was.next_purge_on, was.kept_until)
    assert of(await made(retention, date(2032, 1, 1)), "lead.form").counts["held"] == 2
    assert of(await made(retention, date(2032, 1, 1))).counts["held"] == 0, "gone that day"


async def test_what_was_gone_in_time_and_what_was_late(retention: Retention) -> None:
    await retention.invoices("i-1", "i-2")
    retention.clock.advance(timedelta(hours=1))
    await purge(retention)
    await retention.invoices("i-3")
    await purge(retention, days=20)
    line = of(await made(retention, date(2032, 3, 1)))
    assert (line.gone, line.on_time, line.proven) == (3, 2, 0)
    assert sum(p.on_time for p in line.purges) == 2


async def test_who_approved_a_policy(retention: Retention) -> None:
    changes = (await made(retention, YEAR, date(2031, 1, 1))).policy_changes
    in_force = await retention.pool.fetch("SELECT category, version FROM policy_version")
    assert {(c["category"], c["version"]) for c in changes} == {tuple(row) for row in in_force}
    assert {c["plan"] for c in changes} == {None}, "there was no data to plan for"
    retention.clock.advance(timedelta(days=1))
    wanted = changed(retention, "lead.form", effective_from="2032-06-01", **SIX_MONTHS)
    await apply(retention, await planner(retention).plan(retention.pool, wanted))
    [change] = (await made(retention, YEAR)).policy_changes
    assert (change["category"], change["version"]) == ("lead.form", 2)
    assert (change["first_by"], change["second_by"]) == ("anna", "bo")


async def test_a_wider_topic_is_told(infra: Infrastructure, topic_prefix: str) -> None:
    assert await topics.wider(infra.kafka, topic_prefix) == []
    name = f"{topic_prefix}platform.actions.v1"
    admin = AIOKafkaAdminClient(bootstrap_servers=infra.kafka)
    await admin.start()
    for settings in ({"retention.ms": "-1"}, {"cleanup.policy": "compact,delete"}):
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, settings)])
        async with asyncio.timeout(PATIENCE):  # the broker takes a moment to have it
            while not (found := await topics.wider(infra.kafka, topic_prefix)):
                await asyncio.sleep(0.05)
        [told] = found
        [(setting, value)] = settings.items()
        assert (told.topic, told.setting, told.found) == (name, setting, value)
    await admin.close()


async def test_requests_are_those_of_sql(retention: Retention) -> None:
    """Received through four months; every second one is refused for want of proof, on its day."""
    day = retention.clock.now().date()
    for month in range(4):
        asked = RightsRequestReceived(
            request_id=f"r-{month}",
            right="access",
            subjects=("s-1",),
            received_on=day - month * 31 * DAY,
            channel="letter",
        )
        await retention.take(asked)
        if month % 2:
            await retention.rights.ask_identity(retention.pool, f"r-{month}", by="anna")
            await retention.rights.refuse_identity(retention.pool, f"r-{month}", by="anna")
    for as_of in (day - 40 * DAY, day, day + 90 * DAY):
        found = await made(retention, as_of, day - 20 * DAY)
        rows = await retention.pool.fetch(
            """
            SELECT id FROM rights_case
             WHERE received_on <= $1 AND (answered_on IS NULL OR answered_on > $2::date - 20)
            """,
            as_of,
            day,
        )
        assert {row["case_id"] for row in found.requests} == {row["id"] for row in rows}
        open_ = await retention.pool.fetchval(
            "SELECT count(*) FROM rights_case"
            " WHERE received_on <= $1 AND (answered_on IS NULL OR answered_on > $1)",
            as_of,
        )
        assert found.requests_open == open_ > 0
        late = await retention.pool.fetchval(
            "SELECT count(*) FROM rights_case WHERE received_on <= $1"
            " AND coalesce(CASE WHEN answered_on <= $1 THEN answered_on END, $1) > due_on",
            as_of,
        )
        assert found.requests_late >= late
    assert found.requests_late >= 2
