"""Notes for the master log who was about to be shown what tells of people."""

from dataclasses import dataclass

from shared.clock import Clock
from shared.events.gallra import PersonalDataViewed
from shared.outbox import Outbox
from shared.postgres import Pool, transaction
from shared.web.access import Caller


@dataclass(frozen=True, slots=True)
class Looks:
    """Notes the looks into one service.

    Attributes:
        service: Its name.
    """

    outbox: Outbox
    clock: Clock
    service: str

    async def note(self, pool: Pool, caller: Caller, purpose: str, count: int) -> None:
        """Return when the note is sure to reach the log; call before anything is shown."""
        if count == 0:
            return
        viewed = PersonalDataViewed(
            service=self.service, purpose=purpose, by=caller.subject or "-", count=count
        )
        async with transaction(pool) as tx:
            await self.outbox.announce(tx, self.clock.now(), [viewed])
