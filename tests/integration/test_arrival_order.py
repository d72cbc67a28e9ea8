"""The same events in any order of arrival give the same deadlines, on a real database."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Database
from tests.integration.test_closed_loop import Retention

from shared.events import Data
from shared.events.platform import (
    AccountSettled,
    Anchor,
    AnchorRevoked,
    FiscalYearClosed,
    FiscalYearPlanned,
    RecordAnchored,
    RecordRegistered,
    ServiceReactivated,
    ServiceStarted,
    ServiceTerminated,
    TerminationRevoked,
)
from shared.postgres import open_pool

TABLES = "record, anchor, service_event, customer_anchor, fiscal_year, deadline_key, outbox"
DAYS = st.dates(date(2023, 1, 1), date(2026, 12, 31))
NUMBERS = st.sampled_from("123")
SERVICE = {"customer_id": "c-1", "service_id": "s-1"}


def moment(draw: Any) -> dict[str, Any]:
    """Return a civil day, or an instant around which UTC and Stockholm are on different days."""
    day = draw(DAYS)
    if draw(st.booleans()):
        return {"date": day}
    late = datetime(day.year, day.month, day.day, 21, 30, tzinfo=UTC)
    return {"at": late + timedelta(hours=draw(st.integers(0, 5)))}


@st.composite
def facts(draw: Any) -> list[Data]:
    """Return what happened to three invoices and an account of one customer."""
    year = date(2022, 7, 1)
    found: list[Data] = [
        FiscalYearPlanned(entity="ab", start=year, end=date(2023, 6, 30)),
        FiscalYearClosed(entity="ab", start=date(2023, 7, 1), end=date(2024, 12, 31)),
        FiscalYearClosed(entity="ab", start=date(2025, 1, 1), end=date(2025, 12, 31)),
        RecordRegistered(
            holder="portal",
            category="account.master",
            record_id="acc-1",
            entity="ab",
            customer_id="c-1",
        ),
        *(_invoice(n, draw(st.sampled_from((None, "g-1")))) for n in "123"),
    ]
    for place in range(draw(st.integers(1, 8))):
        ref = {"holder": "billing", "category": "billing.invoice", "record_id": draw(NUMBERS)}
        kind = draw(st.sampled_from(("booked", "paid")))
        anchored = {"anchor_id": f"a-{place}", "kind": kind, **moment(draw)}
        corrected = draw(st.none() | st.just(f"{ref['record_id']}-b"))
        found.append(RecordAnchored(**ref, **anchored, supersedes=corrected))
        if draw(st.booleans()):
            found.append(AnchorRevoked(**ref, anchor_id=f"a-{place}"))
    changes = draw(st.permutations((ServiceTerminated, ServiceReactivated)))
    found += [change(**SERVICE, **moment(draw)) for change in changes]
    if draw(st.booleans()):
        found.append(TerminationRevoked(**SERVICE, **moment(draw)))
    if draw(st.booleans()):
        found.append(AccountSettled(customer_id="c-1", **moment(draw)))
    return [*found, ServiceStarted(**SERVICE, date=date(2020, 1, 1))]


def _invoice(number: str, group: str | None) -> RecordRegistered:
    return RecordRegistered(
        holder="billing",
        category="billing.invoice",
        record_id=number,
        entity="ab",
        customer_id="c-1",
        group=group,
        anchors=(Anchor(anchor_id=f"{number}-b", kind="booked", date=date(2024, 3, 15)),),
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_order_of_arrival_changes_a_deadline(retention_db: Database) -> None:
    async def deadlines(events: Sequence[Data], batch: int) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(retention_db.owner)
        await connection.execute(f"TRUNCATE {TABLES} CASCADE")
        await connection.close()
        async with open_pool(retention_db.service, "test") as pool:
            retention = await Retention.on(pool)
            for start in range(0, len(events), batch):
                await retention.take(*events[start : start + batch])
            rows = await pool.fetch(
                """
                SELECT record_id, status, why, provisional, keep_through, purge_from
                  FROM record JOIN deadline_key ON deadline_key.id = record.key
              ORDER BY holder, record_id
                """
            )
        return [tuple(row) for row in rows]

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(facts(), st.data())
    def check(events: list[Data], data: st.DataObject) -> None:
        expected = asyncio.run(deadlines(events, len(events)))
        assert len(expected) == 4
        shuffled = data.draw(st.permutations(events))
        batch = data.draw(st.integers(1, len(events)))
        assert asyncio.run(deadlines(shuffled, batch)) == expected

    check()
