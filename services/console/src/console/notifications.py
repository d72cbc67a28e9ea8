"""Notifications: messages, who got which, and each step that a mail took."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from console import navigation
from console.access import Asked, deed, page
from console.view import Asking, Seen, segment, url
from shared.web.access import Role

STATES: Final = (
    "queued", "sending", "accepted", "deferred", "bounced", "complained", "suppressed", "expired",
    "unknown",
)  # fmt: skip
_SENDERS: Final[frozenset[Role]] = frozenset({"compliance", "dpo", "operator"})


@page("/notifications", navigation.NOTIFICATIONS.roles)
async def messages(view: Seen, backend: Asking, before: FromQuery[str | None] = None) -> Template:
    """Show messages, newest first."""
    found = await backend.get("notifier", "/api/v1/messages", {"before": before})
    return view.page(
        "messages.html", navigation.NOTIFICATIONS, messages=found["messages"], states=STATES
    )


@page("/notifications/messages/{message_id:str}", navigation.NOTIFICATIONS.roles)
async def message(view: Seen, backend: Asking, message_id: FromPath[str]) -> Template:
    """Show how far a message is, and with whom."""
    path = f"/api/v1/messages/{segment(message_id)}"
    asked = {name: view.query.get(name) for name in ("state", "cursor")}
    found, deliveries, unreached = await asyncio.gather(
        backend.get("notifier", path),
        backend.get("notifier", f"{path}/deliveries", asked),
        backend.get("notifier", f"{path}/unreached"),
    )
    return view.page(
        "message.html",
        navigation.NOTIFICATIONS,
        message=found,
        deliveries=deliveries["deliveries"],
        cursor=deliveries["cursor"],
        unreached=unreached["customers"],
        states=STATES,
    )


@page("/notifications/deliveries", navigation.NOTIFICATIONS.roles)
async def deliveries(view: Seen, backend: Asking) -> Template:
    """Show deliveries that match: what did this recipient get."""
    names = ("recipient", "customer", "type", "state", "from", "to", "cursor")
    asked = {name: _instant(name, view.query.get(name)) for name in names}
    found = await backend.get("notifier", "/api/v1/deliveries", asked)
    return view.page(
        "deliveries.html",
        navigation.NOTIFICATIONS,
        deliveries=found["deliveries"],
        cursor=found["cursor"],
        states=STATES,
    )


def _instant(name: str, value: str | None) -> str | None:
    """Return the beginning of a day, or its end; anything else as it is."""
    if name not in {"from", "to"} or not value or "T" in value:
        return value
    return f"{value}T{'00:00:00' if name == 'from' else '23:59:59'}Z"


@deed("/notifications/find", navigation.NOTIFICATIONS.roles)
async def find(request: Asked, backend: Asking) -> Redirect:
    """Lead to what a recipient got, given an address, which is in no URL and so in no log."""
    form = await request.form()
    address = str(form.get("address") or "").strip()
    found = await backend.get("notifier", "/api/v1/deliveries", {"recipient": address})
    token = next((d["recipient"] for d in found["deliveries"]), None)
    if token is None:  # it may be a contact's to which nothing was sent yet
        known = await backend.maybe("notifier", f"/api/v1/recipients/{segment(address)}")
        token = known["recipient"] if known else "unknown-address"
    return Redirect(url("/notifications/deliveries", recipient=token), status_code=303)


@page("/notifications/recipients/{recipient:str}", navigation.NOTIFICATIONS.roles)
async def recipient(view: Seen, backend: Asking, recipient: FromPath[str]) -> Template:
    """Show what a recipient chose, and what is not sent there."""
    found = await backend.get("notifier", f"/api/v1/recipients/{segment(recipient)}")
    held = found["suppressions"]
    found_deadlines = await asyncio.gather(
        *(backend.maybe("retention", f"/api/v1/deadlines/{_record(each)}") for each in held)
    )
    return view.page(
        "recipient.html",
        navigation.NOTIFICATIONS,
        found=found,
        held=list(zip(held, found_deadlines, strict=True)),
        may_lift=view.may(*_SENDERS),
        sees_deadlines=view.may(*navigation.DEADLINES.roles),
    )


def _record(suppression: Mapping[str, Any]) -> str:
    """Return what retention knows a suppression by."""
    return f"notifier/suppression/{suppression['record_id']}"


@deed("/notifications/recipients/{recipient:str}/lift/{record_id:uuid}", _SENDERS)
async def lift(backend: Asking, recipient: FromPath[str], record_id: FromPath[UUID]) -> Redirect:
    """Have mail sent again to an address that had not worked."""
    await backend.post("notifier", f"/api/v1/suppressions/{record_id}/lift", {})
    return Redirect(f"/notifications/recipients/{segment(recipient)}", status_code=303)


@page("/notifications/deliveries/{delivery_id:uuid}", navigation.NOTIFICATIONS.roles)
async def delivery(view: Seen, backend: Asking, delivery_id: FromPath[UUID]) -> Template:
    """Show a delivery and every step that it took."""
    found = await backend.get("notifier", f"/api/v1/deliveries/{delivery_id}")
    return view.page(
        "delivery.html",
        navigation.NOTIFICATIONS,
        delivery=found,
        may_resend=view.may(*_SENDERS),
    )


@deed("/notifications/deliveries/{delivery_id:uuid}/resend", _SENDERS)
async def resend(backend: Asking, delivery_id: FromPath[UUID]) -> Redirect:
    """Send a mail anew, and lead to the new delivery."""
    made = await backend.post("notifier", f"/api/v1/deliveries/{delivery_id}/resend")
    return Redirect(f"/notifications/deliveries/{made['delivery_id']}", status_code=303)


@deed("/notifications/deliveries/{delivery_id:uuid}/send-again", _SENDERS)
async def send_again(backend: Asking, delivery_id: FromPath[UUID]) -> Redirect:
    """Send a mail in doubt once more: a person has decided so."""
    await backend.post("notifier", f"/api/v1/deliveries/{delivery_id}/send-again")
    return Redirect(f"/notifications/deliveries/{delivery_id}", status_code=303)


ROUTES: Final = [
    messages, message, deliveries, find, recipient, lift, delivery, resend, send_again,
]  # fmt: skip
