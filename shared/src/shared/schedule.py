"""Work that a service does by the clock rather than by event."""

from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from shared import logs, telemetry

_log = logs.get(__name__)


class Schedule:
    """Repeats jobs at intervals while it is started.

    A job never overlaps itself.  A late run still happens, and several late runs become one.  A
    run that fails is logged and counted; the next one tries again.  Stopping cancels a job where
    it waits: it must commit its work in one transaction.
    """

    def __init__(self) -> None:
        # By default a job that is a second late is skipped.
        late_is_fine = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC, job_defaults=late_is_fine)

    def every(self, interval: timedelta, name: str, job: Callable[[], Awaitable[object]]) -> None:
        """Run *job* once per *interval*."""

        async def run() -> None:  # anything but a coroutine function would run in a thread
            try:
                await job()
            except Exception:  # noqa: BLE001 - one failed run must not end the schedule
                telemetry.JOB_FAILURES.labels(name).inc()
                _log.exception("job failed", job=name)

        self._scheduler.add_job(run, "interval", seconds=interval.total_seconds(), name=name)

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Cancel what runs and start nothing more."""
        self._scheduler.shutdown(wait=False)
