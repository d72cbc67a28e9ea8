"""Mail from the command line: the ledger asked, messages asked for, breaches told."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaProducer

from gallra.ask import act, answered, credentials
from gallra.stackfile import Stack, read
from notifier.delivery import OPEN
from retention.law import breach_due
from shared.cloudevents import encode
from shared.errors import Rejected
from shared.events import event_type_of
from shared.events.platform import Audience, MessageRequested
from shared.ids import new_id
from shared.outbox import make_producer

_SOURCE: Final = "//gallra/cli"
_NOTIFIER: Final = "//gallra/notifier"
_LOOK_EVERY: Final = 0.5  # seconds


async def report(data: Path, message: str) -> dict[str, Any]:
    """Return how far a message is, with the customers whom it did not reach."""
    stack = read(data)
    found: dict[str, Any] = (await answered(_url(stack, f"messages/{message}"))).json()
    unreached: list[str] = []
    cursor = ""
    while True:
        page = (await answered(_url(stack, f"messages/{message}/unreached"), cursor=cursor)).json()
        unreached += page["customers"]
        if page["cursor"] is None:
            return {**found, "unreached": unreached}
        cursor = page["cursor"]


async def deliveries(
    data: Path, message: str | None, given: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return all deliveries that match, newest first."""
    path = "deliveries" if message is None else f"messages/{message}/deliveries"
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked = {**given, **({"cursor": cursor} if cursor else {})}
        page = (await answered(_url(read(data), path), **asked)).json()
        found += page["deliveries"]
        cursor = page["cursor"]
        if cursor is None:
            return found


async def delivery(data: Path, id_: str) -> dict[str, Any]:
    """Return a delivery and every step that it took."""
    found: dict[str, Any] = (await answered(_url(read(data), f"deliveries/{id_}"))).json()
    return found


async def proof(data: Path, id_: str) -> bytes:
    """Return the evidence package of a delivery's last step: the entry, and what proves it."""
    stack = read(data)
    last = (await delivery(data, id_))["history"][-1]
    log = stack.urls["audit_log"]
    asked = {"source": _NOTIFIER, "event_id": last["event_id"]}
    entry = (await answered(f"{log}/api/v1/events", **asked)).json()["entry"]
    return (await answered(f"{log}{entry}/evidence")).content


async def have(data: Path, id_: str, what: str) -> dict[str, Any]:
    """Have something done with a delivery."""
    return await act("POST", _url(read(data), f"deliveries/{id_}/{what}"), {})


async def reconcile(data: Path, log: str, complete_until: str) -> dict[str, Any]:
    """Settle what is in doubt with the relay's own log."""
    body = {"log": log, "complete_until": complete_until}
    return await act("POST", _url(read(data), "reconciliations"), body)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a mail is made of."""

    template: str
    message_type: str
    params: Mapping[str, str]
    locale: str

    @property
    def body(self) -> dict[str, Any]:
        """How the notifier is told of it."""
        told = asdict(self)
        del told["template"]
        return told


async def preview(data: Path, draft: Draft) -> dict[str, Any]:
    """Return the mail that a template makes."""
    return await act("POST", _url(read(data), f"templates/{draft.template}/preview"), draft.body)


async def try_out(data: Path, draft: Draft, to: str) -> dict[str, Any]:
    """Send the mail that a template makes to one address."""
    body = {**draft.body, "to": to}
    return await act("POST", _url(read(data), f"templates/{draft.template}/trial"), body)


def _url(stack: Stack, path: str) -> str:
    return f"{stack.urls['notifier']}/api/v1/{path}"


@dataclass(frozen=True, slots=True)
class Breach:
    """A breach of security that customers are told of.

    Attributes:
        service: Whose customers are told, unless all are.
        aware_since: When we learnt of it; None for now.
    """

    service: str
    what: str
    advice: str
    aware_since: datetime | None
    drill: bool
    to_all: bool


async def breach(data: Path, told: Breach, say: Callable[[str], None]) -> dict[str, Any]:
    """Tell all affected contacts of a breach; return the report when all is settled.

    A processor tells its controllers without undue delay (GDPR Art. 33(2)); a controller the
    authority within 72 hours of becoming aware (Art. 33(1)).  The clock shown is the latter.
    """
    stack = read(data)
    now = datetime.now(UTC)
    aware = now if told.aware_since is None else told.aware_since.astimezone(UTC)
    if aware > now:
        raise Rejected("nobody is aware of it yet: --aware-since lies in the future")
    due = breach_due(aware)
    request = MessageRequested(
        message_id=f"breach-{new_id()}",
        message_type="security-breach",
        customers="all" if told.to_all else Audience(service=told.service),
        roles=["technical", "dpo"],
        template="security-breach",
        params={
            "service": told.service,
            "what": told.what,
            "advice": told.advice,
            **({"drill": True} if told.drill else {}),
        },
    )
    await _publish(stack, request, now)
    say(
        f"{request.message_id}: aware since {aware:%Y-%m-%d %H:%M} UTC,"
        f" due {due:%Y-%m-%d %H:%M} UTC"
    )
    shown = ""
    while True:
        found = await _progress(stack, request.message_id)
        line = _line(found, due)
        if line != shown:
            say(line)
            shown = line
        if found is not None and not any(found["states"].get(state) for state in OPEN):
            break
        await asyncio.sleep(_LOOK_EVERY)
    clock = {"aware_since": aware.isoformat(), "due": due.isoformat()}
    return {**await report(data, request.message_id), **clock, "drill": told.drill}


async def _publish(stack: Stack, request: MessageRequested, now: datetime) -> None:
    type_ = event_type_of(request)
    headers, value = encode(type_, source=_SOURCE, id_=str(new_id()), time=now, data=request)
    producer: AIOKafkaProducer = make_producer(stack.kafka, "gallra-mail")
    await producer.start()
    try:
        key = type_.key(request).encode()
        await producer.send_and_wait(type_.topic.name, value, key, headers=headers)
    finally:
        await producer.stop()


async def _progress(stack: Stack, message: str) -> dict[str, Any] | None:
    """Return how far a message is; None before it was taken."""
    async with httpx.AsyncClient(timeout=30, headers=credentials()) as http:
        answer = await http.get(_url(stack, f"messages/{message}"))
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def _line(found: dict[str, Any] | None, due: datetime) -> str:
    left = due - datetime.now(UTC)
    hours = left.total_seconds() / 3600
    clock = f"{hours:5.1f} h left" if hours > 0 else f"{-hours:5.1f} h LATE"
    if found is None:
        return f"{clock}  waiting for the notifier"
    states = ", ".join(f"{count} {state}" for state, count in sorted(found["states"].items()))
    return f"{clock}  {states or 'nobody to tell'}"


def in_words(found: Mapping[str, Any]) -> str:
    """Return how far a message is, for people."""
    states, settled = found["states"], sum(found["states"].values())
    lines = [
        f"{found['message_id']}: {states.get('accepted', 0)} of {settled} recipients have it",
        *(f"  {count:7,} {state}" for state, count in sorted(states.items())),
    ]
    if states.get("unknown"):
        most = found["in_doubt_at_most"]
        lines.append(f"one crash leaves at most {most} mails unknown (connections x batch)")
    if found["reasons"]:
        lines += ["why not:", *(f"  {n:7,} {why}" for why, n in found["reasons"].items())]
    told = found["customers"] - len(found["unreached"])
    lines.append(f"{told} of {found['customers']} customers have it")
    if found["unreached"]:
        lines += ["to be told another way:", *(f"  {c}" for c in found["unreached"][:_LISTED])]
        if len(found["unreached"]) > _LISTED:
            lines.append(f"  and {len(found['unreached']) - _LISTED} more (--json names all)")
    if "due" in found:
        lines.append(
            f"aware since {found['aware_since']}, authority to be notified by {found['due']}"
        )
    return "\n".join(lines)


_LISTED: Final = 50


def steps_in_words(found: Mapping[str, Any]) -> str:
    """Return every step that a delivery took, for people."""
    head = (
        f"{found['message_type']} {found['message_id']} to recipient {found['recipient']} of"
        f" {found['customer_id'] or 'nobody'}, by template {found['template']}/"
        f"{found['template_version']}"
    )
    steps = [
        f"  {step['at']}  {step['state']:10} {step['reason'] or ''} {step['reply'] or ''}".rstrip()
        for step in found["history"]
    ]
    return "\n".join([head, *steps])
