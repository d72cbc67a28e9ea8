"""The composition root: the only place that knows which parts make up the retention service."""

from datetime import timedelta
from typing import Final

from retention import deciding, policy, reading
from retention.activation import Activation
from retention.api import ROUTES
from retention.canary import Canaries
from retention.erasures import Erasures
from retention.guard import Guard
from retention.handlers import CONSUMES, Handlers
from retention.holds import Holds
from retention.in_force import InForce
from retention.issuing import Reports
from retention.limits import Limits
from retention.master_log import SOURCE, MasterLog
from retention.planner import Planner
from retention.purge import PurgeLoop
from retention.registry import Registry
from retention.replay import Replay
from retention.rights import Rights
from retention.rights_answers import Answers
from retention.rights_api import ROUTES as RIGHTS_ROUTES
from retention.rights_book import HOLDER, Book
from retention.rights_holder import CaseHolder
from retention.scheduled import Scheduled
from retention.settings import Settings
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.document import DocumentError
from shared.exports import Exports
from shared.holder import PurgeDesk
from shared.outbox import Outbox
from shared.service import Job, Service
from shared.settings import SettingsError
from shared.web.looks import Looks

_MONTHS_EVERY: Final = timedelta(minutes=10)
_LANES: Final = 2  # while the database works on one batch, the next is read


def build(settings: Settings) -> Service:
    """Assemble the service; nothing connects before it runs."""
    clock = SystemClock()
    outbox = Outbox(SOURCE)
    try:
        policies = policy.load(settings.policies)
    except DocumentError as error:
        raise SettingsError(f"GALLRA_POLICIES:\n{error}") from error
    in_force = InForce(policies.holders)
    limits = Limits(settings.guard_factor, settings.guard_floor, settings.guard_share)
    registry = Registry(in_force)
    loop = PurgeLoop(
        outbox=outbox,
        clock=clock,
        in_force=in_force,
        answer_within=settings.answer_within,
        alert_after=settings.alert_after,
        limit=settings.sweep_limit,
        limits=limits,
    )
    canaries = Canaries(
        outbox, clock, policies, every=settings.canary_every, limit=settings.canary_limit
    )
    exports = Exports(settings.exports) if settings.exports else None
    book = Book(registry, outbox, clock, settings.public_url)
    erasures = Erasures(registry, outbox, clock)
    rights = Rights(
        book,
        erasures,
        settings.entity,
        by_hand=exports is None,
        answer_within=settings.answer_within,
    )
    answers = Answers(
        book,
        erasures,
        exports,
        answer_within=settings.answer_within,
        fetch_within=settings.fetch_within,
    )
    reports = Reports(
        in_force,
        outbox,
        clock,
        MasterLog(settings.audit_log_url, settings.audit_log_token),
        settings.kafka,
        settings.topic_prefix,
    )
    scheduled = Scheduled(
        reports, settings.report_to, settings.report_language, settings.console_url
    )
    desk = PurgeDesk(HOLDER, CaseHolder(), outbox, clock, exports=exports)
    consumer = Consumer(
        group="retention",
        types=CONSUMES,
        handle=Handlers(registry, loop, rights, desk).handle,
        outbox=outbox,
        clock=clock,
        instance=settings.instance,
        prefix=settings.topic_prefix,
        wants=desk.wants,
        lanes=_LANES,
    )
    return Service(
        name="retention",
        package="retention",
        settings=settings,
        consumer=consumer,
        jobs=[
            Job("sweep", settings.sweep_every, loop.run),
            Job("canaries", settings.sweep_every, canaries.sweep),
            Job("replay", settings.sweep_every, Replay(loop).sweep),
            Job("rights", settings.sweep_every, answers.sweep),
            *([Job("month-reports", _MONTHS_EVERY, scheduled.sweep)] if scheduled.to else []),
        ],
        routes=[*ROUTES, *reading.ROUTES, *deciding.ROUTES, *RIGHTS_ROUTES],
        on_start=Activation(registry, policies, outbox, clock).run,
        state={
            "registry": registry,
            "outbox": outbox,
            "clock": clock,
            "master_log": reports.master_log,
            "reports": reports,
            "looks": Looks(outbox, clock, "retention"),
            "holds": Holds(outbox, clock),
            "guard": Guard(outbox, clock, limits),
            "planner": Planner(in_force, outbox, clock),
            "kafka": settings.kafka,
            "topic_prefix": settings.topic_prefix,
            "alert_after": settings.alert_after,
            "rights": rights,
            "answers": answers,
        },
    )
