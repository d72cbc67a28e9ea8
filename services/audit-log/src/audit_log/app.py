"""The composition root: the only place that knows which parts make up the audit-log."""

from datetime import timedelta
from pathlib import Path
from typing import Final

from litestar.di import Provide

from audit_log import api, log_api, producers
from audit_log.access import AccessNotes
from audit_log.alerts import Alerts
from audit_log.appender import HOLDER, SOURCE, Appender
from audit_log.checkpoint import Signer
from audit_log.cosigning import Cosigning
from audit_log.handlers import CONSUMES, Handlers, cadf_event
from audit_log.heads import Heads
from audit_log.ingest import Ingest
from audit_log.producers import LossWatch
from audit_log.purge import LogHolder
from audit_log.sequencer import Sequencer
from audit_log.settings import Settings
from audit_log.watch import EVERY as WATCH_EVERY
from audit_log.watch import Watch
from audit_log.witness import Policy
from shared.bus import Consumer, Foreign
from shared.clock import SystemClock
from shared.errors import Rejected
from shared.events.catalogue import ACTIONS
from shared.holder import PurgeDesk
from shared.outbox import Outbox
from shared.service import Job, Service
from shared.settings import SettingsError

_LANES: Final = 2  # one batch is prepared while another is written
_OFTEN: Final = timedelta(minutes=1)


def build(settings: Settings) -> Service:
    """Assemble the service; nothing connects before it runs."""
    clock = SystemClock()
    outbox = Outbox(SOURCE)
    alerts = Alerts(outbox, clock)
    appender = Appender(outbox, clock, settings.entity)
    desk = PurgeDesk(HOLDER, LogHolder(appender, clock), outbox, clock)
    handlers = Handlers(appender, desk, keep_network=settings.keep_network)
    signer = Signer(settings.log_origin, *settings.log_key.get_secret_value().split())
    sequencer = Sequencer(signer, appender, outbox, clock)
    policy = _policy(signer, settings.witnesses)
    heads = Heads(appender, settings.tenant_heads_every)
    consumer = Consumer(
        group="audit-log",
        types=CONSUMES,
        handle=handlers.handle,
        outbox=outbox,
        clock=clock,
        instance=settings.instance,
        prefix=settings.topic_prefix,
        wants=desk.wants,
        prepare=handlers.prepare,
        sight=handlers.sight,
        lanes=_LANES,
        foreign=dict.fromkeys(settings.cadf_topics, Foreign(cadf_event, ACTIONS)),
        on_dead_letters=producers.count_dead_letters(clock),
    )
    return Service(
        name="audit-log",
        package="audit_log",
        settings=settings,
        consumer=consumer,
        jobs=[
            Job("checkpoint", settings.checkpoint_every, sequencer.publish),
            Job("cosign", settings.checkpoint_every, Cosigning(policy, alerts, clock).run),
            Job("loss-watch", timedelta(seconds=10), LossWatch(alerts, clock).look),
            Job("watch", WATCH_EVERY, Watch(signer.verifiers, alerts, clock).step),
            Job("tenant-heads", min(heads.every, _OFTEN), heads.tell),
        ],
        routes=[*log_api.ROUTES, *api.ROUTES],
        dependencies={"wanted": Provide(api.wanted, sync_to_thread=False)},
        on_start=sequencer.start,
        state={
            "signer": signer,
            "verifiers": signer.verifiers,
            "policy": _text(signer, settings.witnesses),
            "quorum": policy,
            "appender": appender,
            "access": AccessNotes(appender),
            "ingest": Ingest(handlers, clock),
        },
    )


def _text(signer: Signer, witnesses: Path | None) -> str:
    """Return whose signatures a checkpoint needs: the log's, and what *witnesses* says."""
    logs = "".join(f"log {verifier.vkey}\n" for verifier in signer.verifiers)
    if witnesses is None:
        return f"{logs}quorum none\n"
    lines = witnesses.read_text(encoding="utf-8").splitlines()
    return logs + "".join(f"{line}\n" for line in lines if not line.startswith("log "))


def _policy(signer: Signer, witnesses: Path | None) -> Policy:
    try:
        return Policy.parse(_text(signer, witnesses))
    except (OSError, Rejected) as error:
        raise SettingsError(f"GALLRA_WITNESSES: {error}") from None
