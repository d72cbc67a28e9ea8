"""The policies in force, read anew when there is a new version of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retention import store
from retention.anchor import Resolved
from retention.history import History
from retention.policy import HolderEntry, Policy
from shared.postgres import Connection


@dataclass(slots=True)
class InForce:
    """What one process knows of the policies.

    Attributes:
        holders: The systems that a policy may name, by id.
        resolved: What was found out under these policies, by who asks.
        keys: The ids of deadline keys; one may be gone by now, but none is another's.
    """

    holders: Mapping[str, HolderEntry]
    history: History = field(default_factory=lambda: History({}))
    resolved: dict[Any, Resolved] = field(default_factory=dict[Any, Resolved])
    keys: dict[Any, int] = field(default_factory=dict[Any, int])
    _count: int = 0

    async def read(self, tx: Connection) -> History:
        """Return the policies in force; they stay as they are until *tx* ends."""
        await store.policies_stay(tx)
        count = await store.count_policies(tx)
        if count != self._count:
            self.history = History.of(map(Policy.model_validate_json, await store.policies(tx)))
            self.resolved = {}
            self._count = count
        return self.history
