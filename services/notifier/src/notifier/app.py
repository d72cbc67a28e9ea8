"""The composition root: the only place that knows which parts make up the notifier."""

import base64
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TypeVar

from notifier import alert_api, alert_policy, api, catalogue, links, recipient_api
from notifier.announcer import Announcer
from notifier.audience import read_limits
from notifier.feedback import Feedback
from notifier.handlers import CONSUMES, Handlers
from notifier.inbound import Inbound
from notifier.links import Links
from notifier.oncall import OnCall
from notifier.planning import HOLDER, Library, Planner
from notifier.purge import NotifierHolder
from notifier.refusals import Refusals
from notifier.sender import Pace, Sender
from notifier.settings import Settings
from notifier.smtp import Relay
from notifier.unreachable import Unreachable
from notifier.webhook import Webhook
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.document import DocumentError
from shared.exports import Exports
from shared.holder import PurgeDesk
from shared.outbox import Outbox
from shared.postgres import Pool
from shared.service import Job, Service
from shared.settings import SettingsError
from shared.web.looks import Looks

T = TypeVar("T")


def build(settings: Settings) -> Service:
    """Assemble the service; nothing connects before it runs."""
    clock = SystemClock()
    outbox = Outbox("//gallra/notifier")
    types = _policy(settings, "messages.yaml", catalogue.read)
    refusals = Refusals(outbox, clock, types, settings.entity)
    exports = Exports(settings.exports) if settings.exports else None
    desk = PurgeDesk(HOLDER, NotifierHolder(refusals), outbox, clock, exports=exports)
    limits = _policy(settings, "domains.yaml", read_limits)
    library = Library()
    key = base64.b64decode(settings.address_key.get_secret_value())
    planner = Planner(
        outbox=outbox,
        clock=clock,
        types=types,
        library=library,
        limits=limits,
        sender=settings.mail_from,
        entity=settings.entity,
    )
    onward = _webhook(settings, clock)
    oncall = OnCall(
        policy=_policy(settings, "alerts.yaml", alert_policy.read),
        planner=planner,
        address_key=key,
        links=settings.public_url,
        addresses=[address.strip() for address in settings.oncall.split(",")],
        since=clock.now(),
        webhook=onward is not None,
    )
    handlers = Handlers(
        planner=planner,
        desk=desk,
        address_key=key,
        links=settings.public_url,
        oncall=oncall,
    )
    domain = settings.mail_from.rpartition("@")[2]
    sender = Sender(
        relay=_relay(settings, domain),
        outbox=outbox,
        clock=clock,
        types=types,
        library=library,
        limits=limits,
        refusals=refusals,
        sender=settings.mail_from,
        links=settings.public_url,
        link_key=key,
        pace=Pace(settings.smtp_connections, settings.smtp_batch),
    )
    announcer = Announcer(outbox, clock, types, settings.entity)
    consumer = Consumer(
        group="notifier",
        types=CONSUMES,
        handle=handlers.handle,
        outbox=outbox,
        clock=clock,
        instance=settings.instance,
        prefix=settings.topic_prefix,
        wants=desk.wants,
    )

    async def stock(pool: Pool) -> None:
        await library.stock(pool, clock.now())

    return Service(
        name="notifier",
        package="notifier",
        settings=settings,
        consumer=consumer,
        jobs=[
            Job("send", timedelta(seconds=0.5), sender.send_waiting),
            Job("announce", timedelta(seconds=0.5), announcer.announce),
            Job("report-broken", timedelta(seconds=2), sender.report_broken),
            Job("unreachable", timedelta(hours=1), Unreachable(outbox, clock).look),
            Job("alerts", timedelta(seconds=1), oncall.look),
            *([Job("alert-webhook", timedelta(seconds=1), onward.pass_on)] if onward else ()),
        ],
        routes=[*api.ROUTES, *recipient_api.ROUTES, *alert_api.ROUTES, *links.ROUTES],
        on_start=stock,
        state={
            "address_key": key,
            "clock": clock,
            "library": library,
            "looks": Looks(outbox, clock, HOLDER),
            "links": Links(key, refusals, domain),
            "oncall": oncall,
            "pace": sender.pace,
            "planner": planner,
            "refusals": refusals,
        },
        alongside=_listener(settings, Feedback(refusals, clock), domain),
    )


def _policy(settings: Settings, name: str, read: Callable[[str], T]) -> T:
    try:
        return read((settings.policies / name).read_text(encoding="utf-8"))
    except (OSError, DocumentError) as error:
        raise SettingsError(f"GALLRA_POLICIES: {error}") from error


def _listener(
    settings: Settings, feedback: Feedback, domain: str
) -> list[Callable[[Pool], AbstractAsyncContextManager[object]]]:
    host, _, port = settings.inbound.partition(":")
    return [Inbound(feedback, domain, host, int(port)).listening] if port else []


def _webhook(settings: Settings, clock: SystemClock) -> Webhook | None:
    secret = settings.alert_webhook_secret
    if not settings.alert_webhook:
        return None
    if secret is None:
        raise SettingsError("GALLRA_ALERT_WEBHOOK_SECRET: GALLRA_ALERT_WEBHOOK needs it")
    return Webhook(settings.alert_webhook, secret.get_secret_value().encode(), clock)


def _relay(settings: Settings, domain: str) -> Relay:
    host, _, port = settings.smtp.partition(":")
    password = settings.smtp_password
    return Relay(
        host=host,
        port=int(port),
        user=settings.smtp_user,
        password=password.get_secret_value() if password else None,
        tls=ssl.create_default_context() if settings.smtp_starttls else None,
        name=domain,
    )
