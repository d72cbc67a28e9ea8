"""The composition root: the only place that knows which parts make up the retention service."""

from retention import policy
from retention.activation import Activation
from retention.api import ROUTES, SOURCE
from retention.canary import Canaries
from retention.handlers import CONSUMES, Handlers
from retention.limits import Limits
from retention.purge import PurgeLoop
from retention.registry import Registry
from retention.replay import Replay
from retention.settings import Settings
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.document import DocumentError
from shared.outbox import Outbox
from shared.service import Job, Service
from shared.settings import SettingsError


def build(settings: Settings) -> Service:
    """Assemble the service; nothing connects before it runs."""
    clock = SystemClock()
    outbox = Outbox(SOURCE)
    try:
        policies = policy.load(settings.policies)
    except DocumentError as error:
        raise SettingsError(f"GALLRA_POLICIES:\n{error}") from error
    registry = Registry(policies)
    loop = PurgeLoop(
        outbox=outbox,
        clock=clock,
        actions={p.category: p.action for p in policies.by_category.values() if p.stored},
        rules={p.category: p.rule.model_dump(mode="json") for p in policies.by_category.values()},
        answer_within=settings.answer_within,
        alert_after=settings.alert_after,
        limit=settings.sweep_limit,
        limits=Limits(settings.guard_factor, settings.guard_floor, settings.guard_share),
    )
    canaries = Canaries(
        outbox, clock, policies, every=settings.canary_every, limit=settings.canary_limit
    )
    consumer = Consumer(
        group="retention",
        types=CONSUMES,
        handle=Handlers(registry, loop).handle,
        outbox=outbox,
        clock=clock,
        instance=settings.instance,
        prefix=settings.topic_prefix,
    )
    return Service(
        name="retention",
        package="retention",
        settings=settings,
        consumer=consumer,
        jobs=[
            Job("sweep", settings.sweep_every, loop.sweep),
            Job("canaries", settings.sweep_every, canaries.sweep),
            Job("replay", settings.sweep_every, Replay(loop).sweep),
        ],
        routes=ROUTES,
        on_start=Activation(registry, outbox, clock).run,
        state={
            "policies": policies,
            "registry": registry,
            "outbox": outbox,
            "clock": clock,
            "audit_log_url": settings.audit_log_url,
        },
    )
