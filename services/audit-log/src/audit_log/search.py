"""Finds entries for people, newest first."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from audit_log import store
from shared.errors import Rejected
from shared.postgres import Connection

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST: Final = 2**63  # that PostgreSQL's bigint does not hold


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of results ended: keyset pagination goes on strictly before it."""

    at: datetime
    index: int

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Return the position that *cursor* stands for.

        Raises:
            Rejected: it is not one that was given out.
        """
        micros, _, index = cursor.rpartition("-")  # before 1970 there is one in front as well
        try:
            found = cls(_EPOCH + timedelta(microseconds=int(micros)), int(index))
        except (ValueError, OverflowError):
            found = None
        if found is None or not 0 <= found.index < _LARGEST:
            raise Rejected("not a cursor of ours", code="bad-cursor")
        return found

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // timedelta(microseconds=1)}-{self.index}"


async def page(
    tx: Connection, wanted: store.Wanted, cursor: str | None, limit: int
) -> tuple[list[store.Found], str | None]:
    """Return up to *limit* entries and the cursor of the next page, None after the last."""
    after = Position.parse(cursor) if cursor else None
    before = (after.at, after.index) if after else None
    found = await store.find(tx, wanted, before, limit + 1)
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], str(Position(last.at, last.index))
