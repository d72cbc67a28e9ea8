"""What becomes of deliveries when something comes back for them.

Whatever comes back may come twice, late or out of order: what a delivery cannot become any more, it
does not.
"""

from dataclasses import dataclass
from typing import Final, Literal

from notifier import return_store, store
from notifier.audience import ALL, OPTIONAL
from notifier.delivery import WAITING, State
from notifier.refusals import Refusals
from notifier.return_store import Sent
from notifier.returns import Bounce, Complaint, Returned
from notifier.smtp import masked
from shared.addresses import on_the_wire
from shared.clock import Clock
from shared.postgres import Connection

Effect = Literal["applied", "repeated", "noted", "out-of-step", "unknown-delivery"]
"""What came of something that came back.

- ``applied``: the delivery took a step.
- ``repeated``: it had taken that step before.
- ``noted``: there is nothing to be done about it.
- ``out-of-step``: the delivery cannot take that step.
- ``unknown-delivery``: it is about no delivery that is known here.
"""

_HANDED_OVER: Final[frozenset[State]] = frozenset({"accepted", "unknown"})


class TooEarlyError(Exception):
    """The outcome of sending is not on record yet: what came back must come again."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Applies to the ledger what comes back."""

    refusals: Refusals
    clock: Clock

    async def take(self, tx: Connection, returned: Returned) -> Effect:
        """Apply what came back; return what came of it.

        Raises:
            TooEarlyError: the mail is being sent at this moment.
        """
        if not isinstance(returned, Bounce | Complaint) or returned.kind == "delayed":
            return "noted"
        found = returned.delivery and await return_store.sent(tx, returned.delivery)
        if found and found.state == "sending":
            raise TooEarlyError
        if not found or not found.attempts:
            return "unknown-delivery"
        if isinstance(returned, Complaint):
            return await self._complained(tx, found)
        match returned.action:
            case "failed":
                return await self._failed(tx, found, returned)
            case "delayed" | "delivered" | "relayed" | "expanded":
                return await self._step(tx, found, {"unknown"}, "accepted")

    async def _failed(self, tx: Connection, found: Sent, bounce: Bounce) -> Effect:
        effect = await self._step(tx, found, _HANDED_OVER, "bounced", _reply(found, bounce))
        # It may be about an attempt after which the mail was queued once more.
        live = effect == "applied" or found.state in WAITING
        if live and bounce.bad_address and _theirs(found, bounce):
            await self.refusals.refuse(tx, found.recipient, ALL, "hard-bounce")
        return effect

    async def _complained(self, tx: Connection, found: Sent) -> Effect:
        effect = await self._step(tx, found, _HANDED_OVER, "complained")
        if effect != "repeated":
            await self.refusals.refuse(tx, found.recipient, OPTIONAL, "complaint")
        return effect

    async def _step(
        self,
        tx: Connection,
        found: Sent,
        before: frozenset[State] | set[State],
        after: State,
        reply: str | None = None,
    ) -> Effect:
        outcome = after, "reported", reply
        if await store.conclude(tx, [found.id], before, outcome, self.clock.now()):
            return "applied"
        return "repeated" if found.state == after else "out-of-step"


def _reply(found: Sent, bounce: Bounce) -> str | None:
    """Return what is kept of a server's words: no address, and none at all after a purge."""
    if found.email is None:
        return None
    told = bounce.diagnostic
    if bounce.status is not None and bounce.status not in told:
        told = f"{bounce.status} {told}"
    for address in (found.email, bounce.recipient or ""):
        if address.rpartition("@")[0]:
            told = masked(told, address)
    return told.strip() or None


def _theirs(found: Sent, bounce: Bounce) -> bool:
    """Return whether the address that does not work is the one that we wrote to.

    Where mail is passed on, as from a group to its members, it may be another.
    """
    if bounce.recipient is None or found.email is None:
        return found.email is not None
    ours = found.email, on_the_wire(found.email)
    return bounce.recipient.casefold() in map(str.casefold, ours)
