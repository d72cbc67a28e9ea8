"""The composition root: the only place that knows which parts make up the notifier."""

import base64
from datetime import timedelta

from notifier import catalogue
from notifier.api import ROUTES
from notifier.handlers import CONSUMES, HOLDER, Handlers
from notifier.purge import NotifierHolder
from notifier.sender import Sender
from notifier.settings import Settings
from notifier.smtp import Relay
from shared.bus import Consumer
from shared.clock import SystemClock
from shared.document import DocumentError
from shared.holder import PurgeDesk
from shared.outbox import Outbox
from shared.service import Job, Service
from shared.settings import SettingsError


def build(settings: Settings) -> Service:
    """Assemble the service; nothing connects before it runs."""
    clock = SystemClock()
    outbox = Outbox("//gallra/notifier")
    desk = PurgeDesk(HOLDER, NotifierHolder(), outbox, clock)
    try:
        text = (settings.policies / "messages.yaml").read_text(encoding="utf-8")
        types = catalogue.read(text)
    except (OSError, DocumentError) as error:
        raise SettingsError(f"GALLRA_POLICIES: {error}") from error
    handlers = Handlers(
        outbox=outbox,
        clock=clock,
        types=types,
        desk=desk,
        entity=settings.entity,
        address_key=base64.b64decode(settings.address_key.get_secret_value()),
        oncall=[address.strip() for address in settings.oncall.split(",")],
    )
    sender = Sender(
        relay=_relay(settings),
        outbox=outbox,
        clock=clock,
        types=types,
        sender=settings.mail_from,
        domain=settings.mail_from.rpartition("@")[2],
        entity=settings.entity,
    )
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
    return Service(
        name="notifier",
        package="notifier",
        settings=settings,
        consumer=consumer,
        jobs=[
            Job("send", timedelta(seconds=0.5), sender.send_waiting),
            Job("report-broken", timedelta(seconds=2), sender.report_broken),
        ],
        routes=ROUTES,
    )


def _relay(settings: Settings) -> Relay:
    host, _, port = settings.smtp.partition(":")
    password = settings.smtp_password
    return Relay(
        host=host,
        port=int(port),
        user=settings.smtp_user,
        password=password.get_secret_value() if password else None,
        starttls=settings.smtp_starttls,
    )
