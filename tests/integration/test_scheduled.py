"""The report of a month: issued once when the month is over, kept as it was, and told of."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
from tests.conftest import Database
from tests.integration import served
from tests.integration.test_closed_loop import Retention, named

from gallra.stack.infrastructure import Infrastructure
from notifier.template import shipped
from retention import api
from retention.issuing import Reports
from retention.master_log import MasterLog
from retention.scheduled import Scheduled, months_over
from shared.postgres import open_pool

DAY = timedelta(days=1)
NOBODY = "http://127.0.0.1:9"  # where no audit-log is


@pytest.fixture
async def retention(retention_db: Database) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        yield await Retention.on(pool)  # a second before the year 2032


@pytest.fixture
def scheduled(retention: Retention, infra: Infrastructure) -> Scheduled:
    reports = Reports(
        retention.in_force,
        retention.outbox,
        retention.clock,
        MasterLog(NOBODY),
        infra.kafka,
        "",
    )
    return Scheduled(reports, ["compliance@example.org"], "sv", "https://console.example")


async def issued(retention: Retention, scheduled: Scheduled) -> tuple[list[Any], list[Any]]:
    await scheduled.sweep(retention.pool)
    told = await retention.announced()
    return named(told, "ReportIssued"), named(told, "MessageRequested")


async def test_a_month_has_its_report_when_it_is_over(
    retention: Retention, scheduled: Scheduled
) -> None:
    await retention.invoices("i-1", "i-2")
    await retention.announced()
    assert await issued(retention, scheduled) == ([], []), "December is not over"
    retention.clock.advance(DAY / 2)
    assert await issued(retention, scheduled) == ([], []), "the log may answer within the day"
    retention.clock.advance(DAY)
    [entry], [message] = await issued(retention, scheduled)
    assert (entry.period_from, entry.period_to) == (date(2031, 12, 1), date(2031, 12, 31))
    assert (entry.as_of, entry.format) == (date(2031, 12, 31), "pdf")
    assert (message.message_id, message.to[0].email) == (
        "report-2031-12",
        "compliance@example.org",
    )
    shipped().newest(message.template).check(message.params)
    assert (message.params["held"], message.params["overdue"]) == (2, 0)
    assert message.params["sha256"] == entry.sha256
    assert await issued(retention, scheduled) == ([], []), "once"

    routes = served.client(
        "retention", api.ROUTES, retention.pool, "http://retention", {"without_token": ["viewer"]}
    )
    async with routes:
        [listed] = (await routes.get("/api/v1/month-reports")).json()["reports"]
        assert (listed["month"], listed["sha256"]) == ("2031-12", entry.sha256)
        file = await routes.get("/api/v1/month-reports/2031-12")
        assert hashlib.sha256(file.content).hexdigest() == entry.sha256
        assert file.headers["content-type"] == "application/pdf"
        for unknown in ("2031-11", "2031-13", "2031-12-01", "x", "٢٠٣١-12"):
            answer = await routes.get(f"/api/v1/month-reports/{unknown}")
            assert answer.status_code == 404, unknown


async def test_months_in_which_nobody_was_there_are_made_up_for(
    retention: Retention, scheduled: Scheduled
) -> None:
    retention.clock.advance(100 * DAY)
    entries, messages = await issued(retention, scheduled)
    assert [e.period_from.month for e in entries] == [12, 1, 2, 3]
    assert len({m.message_id for m in messages}) == 4


async def test_of_two_processes_one_issues(retention: Retention, scheduled: Scheduled) -> None:
    retention.clock.advance(2 * DAY)
    await asyncio.gather(*(scheduled.sweep(retention.pool) for _ in range(3)))
    told = await retention.announced()
    assert [len(named(told, kind)) for kind in ("ReportIssued", "MessageRequested")] == [1, 1]


@pytest.mark.parametrize(
    ("since", "reported", "today", "months"),
    [
        (date(2026, 2, 3), None, date(2026, 2, 28), []),
        (date(2026, 2, 3), None, date(2026, 3, 1), ["2026-02"]),
        (date(2026, 1, 31), None, date(2026, 3, 31), ["2026-01", "2026-02"]),
        (date(2025, 1, 1), date(2026, 1, 1), date(2026, 3, 31), ["2026-02"]),
        (date(2025, 1, 1), date(2026, 2, 1), date(2026, 3, 31), []),
    ],
)
def test_which_months_are_over(
    since: date, reported: date | None, today: date, months: list[str]
) -> None:
    found = list(months_over(since, reported, today))
    assert [f"{span.start:%Y-%m}" for span in found] == months
    assert all((span.end + DAY).day == 1 and span.as_of == span.end for span in found)
