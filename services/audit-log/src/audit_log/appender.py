"""Adds entries to the master log, in batches, each batch in the transaction it is given."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import msgspec

from audit_log import merkle, store
from audit_log.leaf import (
    SALT,
    SIZE,
    TAG,
    Kind,
    Leaf,
    commitment,
    day_of,
    identity,
    part_digest,
    tenant_tag,
)
from shared.canonical import canonical
from shared.clock import Clock
from shared.events.platform import Anchor, RecordRegistered
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import Connection

HOLDER: Final = "audit-log"
SOURCE: Final = f"//gallra/{HOLDER}"

LOG_CLASS: Final = {"logs.action": 1, "contact.delivery": 6, "contact.delivery.security": 7}
"""The retention class in the leaf, by category; the same as ``log_class`` in policies/."""

ANCHOR: Final = {
    "logs.action": "performed",
    "contact.delivery": "sent",
    "contact.delivery.security": "sent",
}
"""What the day of an entry means to the policy of its category."""

_FIRST_MONTH: Final = date(2020, 1, 1)  # all before it lies in one partition


class Search(msgspec.Struct, frozen=True):
    """What an entry of the log is found by, besides customer and time."""

    action: str
    actor: str | None = None
    target: str | None = None
    outcome: str | None = None
    channel: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """An entry to be.

    Attributes:
        parts: Content by part: always ``what``, ``who`` where a person acted, and ``network``
            where it was done from somewhere.
        customer_id: Whose it is; empty for what is personal and no customer's.
        category: Of personal data; None for what is not personal and stays for ever.
        tag: Key and counter of the leaf's tag; by default the tenant's own, or else random.
    """

    kind: Kind
    source: str
    event_id: str
    at: datetime
    parts: Mapping[str, Any]
    found_by: Search
    customer_id: str | None = None
    category: str | None = None
    tag: tuple[bytes, int] | None = None


def own_draft(  # noqa: PLR0913 - as the fields of a draft
    kind: Kind,
    action: str,
    at: datetime,
    what: Mapping[str, Any],
    *,
    who: Mapping[str, Any] | None = None,
    found_by: Search | None = None,
    customer_id: str | None = None,
    category: str | None = None,
    tag: tuple[bytes, int] | None = None,
) -> Draft:
    """Return the draft of an entry about the log itself."""
    parts = {"what": what} if who is None else {"who": who, "what": what}
    found_by = found_by or Search(action)
    return Draft(kind, SOURCE, str(new_id()), at, parts, found_by, customer_id, category, tag)


class Sealed(msgspec.Struct, frozen=True):
    """A draft whose content is committed to, before it has a place in the log."""

    draft: Draft  # without its parts
    day: date
    identity: bytes
    commitment: bytes
    parts: Mapping[str, bytes]

    @property
    def place(self) -> tuple[str, str, date] | None:
        """Category, customer and day: the record that retention knows the entry by."""
        if self.draft.category is None or self.draft.customer_id is None:
            return None
        return self.draft.category, self.draft.customer_id, self.day


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends to one log.

    Attributes:
        entity: The legal entity whose log it is.
    """

    outbox: Outbox
    clock: Clock
    entity: str

    async def append(self, tx: Connection, entries: Sequence[Sealed]) -> int:
        """Add *entries* in order; return the index of the first.

        Appenders take turns: the tree's row is locked until *tx* ends.  What can be done before it
        is locked, is.

        Raises:
            asyncpg.UniqueViolationError: one of them is in the log already.
            merkle.BrokenEdgeError: the log was tampered with where it ends.
        """
        months = {date(e.draft.at.year, e.draft.at.month, 1) for e in entries}
        missing = await store.missing_months(tx, [m for m in months if m >= _FIRST_MONTH])
        size = await store.lock_tree(tx)
        if missing:
            await store.open_months(tx, missing)
        await store.write_seen(tx, size, [entry.identity for entry in entries])
        edges = await store.read_tiles(tx, merkle.edge(size))
        tags = await _tags(tx, entries)
        buckets = await self._buckets(tx, entries)
        leaves = [_leaf(entry, tag) for entry, tag in zip(entries, tags, strict=True)]
        rows = (_row(e, i, buckets.get(e.place)) for i, e in enumerate(entries, size))
        await store.write_payloads(tx, rows)
        await store.write_bundles(tx, await _bundles(tx, size, leaves))
        grown = merkle.grow(size, edges, [merkle.leaf_hash(leaf) for leaf in leaves])
        await store.write_tiles(tx, grown, size + len(entries))
        return size

    async def _buckets(self, tx: Connection, sealed: Sequence[Sealed]) -> dict[Any, int]:
        wanted = {place for entry in sealed if (place := entry.place)}
        if not wanted:
            return {}
        ids, new = await store.open_buckets(tx, wanted, [str(new_id()) for _ in wanted])
        await self.outbox.announce(tx, self.clock.now(), [self._registered(b) for b in new])
        return ids

    def _registered(self, bucket: store.Bucket) -> RecordRegistered:
        kind = ANCHOR[bucket.category]
        return RecordRegistered(
            holder=HOLDER,
            category=bucket.category,
            record_id=bucket.record_id,
            entity=self.entity,
            customer_id=bucket.customer_id or None,
            anchors=(Anchor(anchor_id=bucket.record_id, kind=kind, date=bucket.day),),
        )


def seal(draft: Draft) -> Sealed:
    """Commit to the content of *draft*, with a salt for each part."""
    noise = os.urandom(SALT * len(draft.parts))
    parts: dict[str, bytes] = {}
    digests: dict[str, bytes] = {}
    for number, (name, value) in enumerate(draft.parts.items()):
        part = noise[SALT * number : SALT * (number + 1)] + canonical(value)
        parts[name] = part
        digests[name] = part_digest(name, part)
    return Sealed(
        draft,
        day_of(draft.at),
        identity(draft.source, draft.event_id),
        commitment(digests),
        parts,
    )


def _leaf(entry: Sealed, tag: bytes) -> bytes:
    draft = entry.draft
    log_class = LOG_CLASS[draft.category] if draft.category else 0
    return Leaf(draft.kind, log_class, entry.day, tag, entry.commitment).encode()


def _row(entry: Sealed, index: int, bucket: int | None) -> tuple[Any, ...]:
    draft, parts = entry.draft, entry.parts
    by = draft.found_by
    return (
        index,
        draft.at,
        bucket,
        draft.customer_id,
        by.actor,
        by.action,
        by.target,
        by.outcome,
        by.channel,
        parts.get("who"),
        parts["what"],
        parts.get("network"),
    )


async def _bundles(tx: Connection, size: int, leaves: Sequence[bytes]) -> dict[int, bytes]:
    number, width = divmod(size, merkle.WIDTH)
    begun = await store.last_bundle(tx, size) if width else b""
    if len(begun) != width * SIZE:
        raise merkle.BrokenEdgeError(f"bundle {number} is not as long as the log")
    joined = begun + b"".join(leaves)
    step = merkle.WIDTH * SIZE
    return {number + i // step: joined[i : i + step] for i in range(0, len(joined), step)}


async def _tags(tx: Connection, entries: Sequence[Sealed]) -> Iterator[bytes]:
    """Return a tag for each entry: the tenant's next one, or for no tenant a random one."""
    customers = [entry.draft.customer_id or None for entry in entries]
    counts = Counter(customer for customer in customers if customer is not None)
    keys = {customer: os.urandom(32) for customer in counts}
    tenants = await store.count_tenants(tx, dict(sorted(counts.items())), keys) if counts else {}

    def tags() -> Iterator[bytes]:
        used = Counter[str]()
        for entry, customer in zip(entries, customers, strict=True):
            if customer is None:
                own = entry.draft.tag
                yield os.urandom(TAG) if own is None else tenant_tag(*own)
            else:
                key, before = tenants[customer]
                yield tenant_tag(key, before + used[customer])
                used[customer] += 1

    return tags()
