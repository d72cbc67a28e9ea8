"""Processes that tests kill.

Each is forked off one that has imported everything: to start Python takes longer than what they do.
"""

import asyncio
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any, Final

import asyncpg
from aiokafka import ConsumerRecord
from tests.conftest import PATIENCE
from tests.integration.test_alerts import replaced
from tests.integration.test_sending import Notifier

from notifier.delivery import Patience
from notifier.oncall import OnCall
from notifier.smtp import Relay
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.events import BY_TYPE
from shared.outbox import Outbox
from shared.postgres import Connection, Pool, open_pool

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__])
_GONE: Final = BY_TYPE["platform.record.gone.v1"]
_AGAIN_SOON: Final = Patience(first=timedelta(seconds=0.5), jitter=0.25)


def start(do: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a process that calls *do*, one of those below."""
    victim = _CONTEXT.Process(target=do, args=args)
    victim.start()
    return victim


def ends(do: Callable[..., None], *args: Any) -> int:
    """Return how a process that calls *do* ends: 0, or minus the signal that it died of."""
    victim = start(do, *args)
    victim.join(PATIENCE)
    assert victim.exitcode is not None, "it hangs"
    return victim.exitcode


def _pool(dsn: str, last: int) -> Any:
    """Return a pool whose process dies at its statement number *last*; none is number 0."""
    statements = itertools.count(1)

    def die(_: object) -> None:
        if next(statements) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    async def watch(connection: Connection) -> None:
        connection.add_query_logger(die)

    return asyncpg.create_pool(dsn, init=watch, min_size=1)


def look(dsn: str, last: int) -> None:
    """Look at alerts once, a minute after three of two groups were raised, with a webhook."""

    async def run() -> None:
        async with _pool(dsn, last) as pool:
            notifier = Notifier(pool, Relay("127.0.0.1", 9))
            kept = {name: getattr(notifier.oncall, name) for name in OnCall.__slots__}
            oncall = replaced(notifier, **{**kept, "webhook": True})
            notifier.clock.advance(timedelta(minutes=1))
            await oncall.look(pool)

    asyncio.run(run())


def take(dsn: str, last: int) -> None:
    """Take a batch of three good events, one of them twice, and one that nobody can read.

    The service writes a row and announces an event for each.
    """
    outbox = Outbox("//test")

    async def handle(tx: Connection, events: Any) -> None:
        for event in events:
            name = event.data.record_id
            await tx.execute("INSERT INTO lead VALUES ($1, 'n', 'e', '2026-01-01')", name)
            await outbox.announce(tx, event.time, [event.data], cause=event)

    async def run() -> None:
        consumer = Consumer("retention", [_GONE], handle, outbox, SystemClock())
        batch = [_record(n, name) for n, name in enumerate([b"a", b"b", None, b"a", b"c"])]
        async with _pool(dsn, last) as pool:
            await consumer.take(pool, tuple(batch))

    asyncio.run(run())


def _record(offset: int, name: bytes | None) -> Any:
    body = b"{" if name is None else (
        b'{"holder":"h","category":"c","record_id":"%s","date":"2026-01-01","why":"w"}' % name
    )  # fmt: skip
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", name or b"x"),
        ("ce_source", b"//p"),
        ("ce_type", _GONE.name.encode()),
        ("ce_time", b"2026-01-01T00:00:00Z"),
    )
    return ConsumerRecord("platform.records.v1", 0, offset, 1, 0, None, body, None, 0, 0, headers)


def send(dsn: str, port: int) -> None:
    """Be a notifier: see to what is in doubt and send what waits, until killed."""

    async def run(pool: Pool) -> None:
        relay = Relay("127.0.0.1", port)
        notifier = Notifier(pool, relay, clock=SystemClock(), patience=_AGAIN_SOON)
        while True:
            await notifier.sender.report_broken(pool)
            await notifier.send()
            await asyncio.sleep(0.05)

    async def lend() -> None:
        async with open_pool(dsn, "test") as pool:
            await run(pool)

    asyncio.run(lend())
