"""The composition root: the only place that knows which parts make up the audit-log."""

from audit_log.api import ROUTES
from audit_log.appender import HOLDER, Appender
from audit_log.checkpoint import Signer
from audit_log.handlers import CONSUMES, Handlers
from audit_log.purge import LogHolder
from audit_log.sequencer import Sequencer
from audit_log.settings import Settings
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.holder import PurgeDesk
from shared.outbox import Outbox
from shared.service import Job, Service


def build(settings: Settings) -> Service:
    """Assemble the service; nothing connects before it runs."""
    clock = SystemClock()
    outbox = Outbox("//gallra/audit-log")
    appender = Appender(outbox, clock, settings.entity)
    desk = PurgeDesk(HOLDER, LogHolder(appender, clock), outbox, clock)
    signer = Signer(settings.log_origin, settings.log_key.get_secret_value())
    sequencer = Sequencer(signer, outbox, clock)
    consumer = Consumer(
        group="audit-log",
        types=CONSUMES,
        handle=Handlers(appender, desk).handle,
        outbox=outbox,
        clock=clock,
        prefix=settings.topic_prefix,
        wants=desk.wants,
    )
    return Service(
        name="audit-log",
        package="audit_log",
        settings=settings,
        consumer=consumer,
        jobs=[Job("checkpoint", settings.checkpoint_every, sequencer.publish)],
        routes=ROUTES,
        on_start=sequencer.publish,
        state={"verifier": signer.verifier, "appender": appender},
    )
