"""The report of each month, made when the month is over, kept, and told of by mail."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from retention import scheduled_store
from retention.calendar import add_months, civil_day, day_after, start_of
from retention.findings import Report, Span
from retention.issuing import File, Reports
from shared import logs
from shared.events.platform import Addressee, MessageRequested
from shared.postgres import Pool, transaction
from shared.wording import Language

_PATIENCE: Final = timedelta(days=1)
"""So long a report waits for what nobody could be asked for."""

_log = logs.get(__name__)


def months_over(since: date, reported: date | None, today: date) -> Iterator[Span]:
    """Yield each month that is over and not reported, holdings as of its last day.

    Args:
        since: The first day of which there is something to report.
        reported: The first day of the newest month that has its report.
        today: The months before this one are over.

    >>> [str(span.end) for span in months_over(date(2026, 9, 24), None, date(2026, 11, 1))]
    ['2026-09-30', '2026-10-31']
    """
    month = since.replace(day=1) if reported is None else add_months(reported, 1)
    while (following := add_months(month, 1)) <= today:
        last = day_after(following, -1)
        yield Span(month, last, last)
        month = following


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Issues what is due.

    Attributes:
        to: Addresses that are told.
        console: Where people read it.
    """

    reports: Reports
    to: Sequence[str]
    language: Language
    console: str

    async def sweep(self, pool: Pool) -> None:
        """Issue the report of each month that is over and has none.

        File, entry in the master log and mail are one transaction: of two processes, one does it.
        """
        now = self.reports.clock.now()
        async with pool.acquire() as tx:
            since, reported = await scheduled_store.so_far(tx)
        if since is None:
            return
        for span in months_over(civil_day(since), reported, civil_day(now)):
            file = await self.reports.write(pool, span, "pdf", self.language)
            lacks = file.report.looks is None or file.report.topics is None
            if lacks and now < start_of(day_after(span.end)) + _PATIENCE:
                _log.warning("the report of a month waits for the master log or the broker")
                return
            async with transaction(pool) as tx:
                if not await scheduled_store.keep(tx, span.start, file.body, file.sha256, now):
                    return
                await self.reports.announce(tx, file)
                await self.reports.outbox.announce(tx, now, [self._message(file)])

    def _message(self, file: File) -> MessageRequested:
        month = f"{file.report.period.start:%Y-%m}"
        return MessageRequested(
            message_id=f"report-{month}",
            message_type="report",
            to=[Addressee(email=address, locale=self.language) for address in self.to],
            template="report",
            params={
                **_figures(file.report),
                "sha256": file.sha256,
                "link": f"{self.console}/reports/months/{month}",
            },
        )


def _figures(report: Report) -> dict[str, Any]:
    span = report.period
    return {
        "first_day": span.start.isoformat(),
        "last_day": span.end.isoformat(),
        "held": report.total("held"),
        "due_records": report.total("due"),
        "overdue": report.total("overdue"),
        "purged": report.purged,
        "late": sum(line.gone - line.on_time for line in report.lines),
        "unconfirmed": sum(sum(line.awaiting.values()) for line in report.lines),
        "requests_open": report.requests_open,
        "requests_late": report.requests_late,
    }
