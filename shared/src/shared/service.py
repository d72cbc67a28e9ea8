"""How a service runs: one process, one event loop, started and stopped in one place."""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from faststream.kafka import KafkaBroker
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.plugins.problem_details import (
    ProblemDetailsPlugin,
)
from litestar.template import TemplateConfig

from shared import duties, logs, telemetry
from shared.bus import Consumer, make_broker
from shared.clock import SystemClock
from shared.dead_letters import DeadLetters
from shared.outbox import backlog, make_producer, relay
from shared.postgres import Pool, open_pool
from shared.schedule import Schedule
from shared.settings import ServiceSettings, SettingsError
from shared.web import dead_letters, once, vitals
from shared.web.access import OPEN, Access, guard
from shared.web.frame import (
    CONTENT_POLICY,
    PROBLEMS,
    App,
    Names,
    answers,
    folder,
    headers,
    schema_is_current,
    serve,
    static_files,
)
from shared.web.health import health_routes
from shared.web.problems import documented

RELAY_PAUSE: Final = 0.05  # seconds between looks into an empty outbox

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Work by the clock, given the service's pool."""

    name: str
    every: timedelta
    work: Callable[[Pool], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one service; :func:`main` brings them to life.

    Attributes:
        name: Of the service, its consumer group and its Kafka client.
        package: Where its migrations lie.
        routes: What it serves over HTTP besides health; handlers find the pool in ``state.pool``.
        dependencies: What handlers of requests may ask for by name, as Litestar has it.
        on_start: Done once with the pool before anything is consumed or served.
        alongside: What else runs, given the pool, from when events are consumed to when it stops.
    """

    name: str
    package: str
    settings: ServiceSettings
    consumer: Consumer
    jobs: Sequence[Job] = ()
    routes: Sequence[Any] = ()
    on_start: Callable[[Pool], Awaitable[object]] | None = None
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    dependencies: dict[str, Any] = field(default_factory=dict[str, Any])
    alongside: Sequence[Callable[[Pool], AbstractAsyncContextManager[object]]] = ()


def make_app(service: Service) -> Litestar:
    """Return the service as an ASGI application; nothing connects before it starts."""
    settings = service.settings
    app: Litestar

    async def ready() -> list[str]:
        return await _missing(app.state.pool, app.state.broker, app.state.producer)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        try:
            async with running(app):
                yield
        except Exception:
            _log.exception("the service cannot go on")
            raise

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncGenerator[None]:
        async with open_pool(settings.database.get_secret_value(), service.name) as pool:
            await schema_is_current(pool, service.package)
            if service.on_start is not None:
                await service.on_start(pool)
            async with taking_part(pool, service.consumer, settings.kafka) as (broker, producer):
                app.state.pool, app.state.broker, app.state.producer = pool, broker, producer
                app.state.dead_letters = _dead_letters(service)
                app.state.consumer = service.consumer
                schedule = _schedule(service, pool)
                schedule.start()
                async with AsyncExitStack() as stack:
                    for beside in service.alongside:
                        await stack.enter_async_context(beside(pool))
                    yield
                schedule.stop()

    app = App(
        route_handlers=[
            *health_routes(ready),
            static_files("shared.web"),
            *documented(once.once_each([*service.routes, *dead_letters.ROUTES, *vitals.ROUTES])),
        ],
        lifespan=[lifespan],
        dependencies=service.dependencies,
        state=State(service.state),
        guards=[guard(Access.read(settings.token_keys, SystemClock(), settings.without_token))],
        openapi_config=OpenAPIConfig(
            title=f"Gallra {service.name}",
            version="1",
            openapi_router=Router(
                "/openapi", route_handlers=[], opt={"roles": OPEN}, include_in_schema=False
            ),
            render_plugins=[JsonRenderPlugin()],  # the others load scripts from elsewhere
        ),
        template_config=TemplateConfig(
            directory=[folder("shared.web", "templates"), folder(service.package, "templates")],
            engine=JinjaTemplateEngine,
        ),
        response_headers=headers(CONTENT_POLICY),
        before_send=[once.remember],
        middleware=[Names()],
        logging_config=None,  # ours stands
        plugins=[ProblemDetailsPlugin(PROBLEMS)],
    )
    return app


def _dead_letters(service: Service) -> DeadLetters:
    consumer = service.consumer
    return DeadLetters(
        group=consumer.group,
        kafka=service.settings.kafka,
        outbox=consumer.outbox,
        clock=consumer.clock,
        prefix=consumer.prefix,
    )


def _schedule(service: Service, pool: Pool) -> Schedule:
    schedule = Schedule()
    process = service.settings.instance or f"{socket.gethostname()}/{os.getpid()}"

    async def measure(pool: Pool) -> None:
        await _measure(pool, process)

    own = (
        Job("measure", timedelta(seconds=5), measure),
        Job("forget-request-keys", timedelta(hours=1), once.forget),
    )
    for job in (*service.jobs, *own):

        async def run(job: Job = job) -> object:
            return await job.work(pool)

        schedule.every(job.every, job.name, run)
    return schedule


@asynccontextmanager
async def taking_part(
    pool: Pool, consumer: Consumer, kafka: str
) -> AsyncGenerator[tuple[KafkaBroker, Any]]:
    """Consume, and relay the outbox, until the block ends; lend the broker and the producer.

    What is left in the outbox then is relayed at the next start.
    """
    broker = make_broker(kafka, consumer.group)
    consumer.subscribe(broker, pool)
    producer = make_producer(kafka, consumer.group)
    await producer.start()
    relaying = asyncio.create_task(_relay_forever(pool, producer, consumer.prefix))
    await broker.start()
    try:
        yield broker, producer
    finally:
        await broker.stop()
        relaying.cancel()
        with suppress(asyncio.CancelledError):
            await relaying
        await producer.stop()


async def _measure(pool: Pool, process: str) -> None:
    async with pool.acquire() as tx:
        waiting = await backlog(tx)
    telemetry.OUTBOX_WAITING.set(waiting.waiting)
    telemetry.OUTBOX_OLDEST.set(waiting.oldest_seconds)
    await duties.note(pool, process, telemetry.duties_done())


async def _relay_forever(pool: Pool, producer: Any, prefix: str) -> None:
    while True:
        try:
            published = await relay(pool, producer, prefix)
        except Exception:  # noqa: BLE001 - the broker or the database is away: they come back
            _log.exception("relay failed", job="relay")
            published = 0
            await asyncio.sleep(1)
        if not published:
            await asyncio.sleep(RELAY_PAUSE)


async def _missing(pool: Pool, broker: KafkaBroker, producer: Any) -> list[str]:
    """Return what the service still waits for before it can do its work."""
    missing: list[str] = []
    if not await answers(pool):
        missing.append("database")
    subscribers: list[Any] = list(broker.subscribers)
    if not all(s.consumer is not None and s.consumer.assignment() for s in subscribers):
        missing.append("partitions")
    if not await producer.client.force_metadata_update():
        missing.append("broker")
    return missing


def collect_seldom() -> None:
    """Have the garbage collector of this process look for cycles less often.

    A batch in hand is some 100,000 objects that all go together: by default they are looked through
    again and again for cycles that are not there.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


Settings = TypeVar("Settings", bound=ServiceSettings)


def main(settings_type: type[Settings], build: Callable[[Settings], Service]) -> None:
    """Run a service until it is told to stop; the whole of its ``__main__``."""
    try:
        service = build(settings_type.read(os.environ))
    except SettingsError as error:
        sys.exit(f"gallra: {error}")
    settings = service.settings
    logs.configure(service.name, settings.log_level)
    tracing = telemetry.configure(service.name)
    app = make_app(service)
    collect_seldom()
    started = serve(app, settings)
    tracing.shutdown()
    if not started:
        sys.exit(1)
