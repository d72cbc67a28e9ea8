"""Adds entries to the master log, in batches, each batch in the transaction it is given."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from audit_log import merkle, store
from audit_log.leaf import (
    SALT,
    TAG,
    Kind,
    Leaf,
    commitment,
    day_of,
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

LOG_CLASS: Final = {"logs.action": 1, "contact.delivery": 6, "contact.delivery.security": 7}
"""The retention class in the leaf, by category; the same as ``log_class`` in policies/."""

ANCHOR: Final = {
    "logs.action": "performed",
    "contact.delivery": "sent",
    "contact.delivery.security": "sent",
}
"""What the day of an entry means to the policy of its category."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be.

    Attributes:
        parts: Content by part: always ``what``, and ``who`` where a person acted.
        category: Of personal data; None for what is not personal and stays for ever.
    """

    kind: Kind
    source: str
    event_id: str
    type: str
    at: datetime
    parts: Mapping[str, Any]
    customer_id: str | None = None
    category: str | None = None

    @property
    def place(self) -> tuple[str, str, Any] | None:
        """Category, customer and day: the record that retention knows the entry by."""
        if self.category is None or self.customer_id is None:
            return None
        return self.category, self.customer_id, day_of(self.at)


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends to one log.

    Attributes:
        entity: The legal entity whose log it is.
    """

    outbox: Outbox
    clock: Clock
    entity: str

    async def append(self, tx: Connection, drafts: Sequence[Draft]) -> int:
        """Add *drafts* in order; return the index of the first.

        Appenders take turns: the tree's row is locked until *tx* ends.
        """
        size = await store.lock_tree(tx)
        edges = await store.read_tiles(tx, merkle.edge(size))
        tags = await _tags(tx, drafts)
        buckets = await self._buckets(tx, drafts)
        salts = _salts(2 * len(drafts))
        entries: list[store.Entry] = []
        payloads: list[store.Payload] = []
        for index, draft in enumerate(drafts, size):
            bucket = buckets.get(draft.place) if draft.place else None
            entry, payload = _seal(draft, index, next(tags), bucket, (next(salts), next(salts)))
            entries.append(entry)
            payloads.append(payload)
        await store.write_entries(tx, entries, payloads)
        grown = merkle.grow(size, edges, [merkle.leaf_hash(e.leaf) for e in entries])
        await store.write_tiles(tx, grown, size + len(drafts))
        return size

    async def _buckets(self, tx: Connection, drafts: Sequence[Draft]) -> dict[Any, int]:
        wanted = {draft.place for draft in drafts if draft.place}
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
            customer_id=bucket.customer_id,
            anchors=(Anchor(anchor_id=bucket.record_id, kind=kind, date=bucket.day),),
        )


async def _tags(tx: Connection, drafts: Sequence[Draft]) -> Iterator[bytes]:
    """Return a tag for each draft: the tenant's next one, or for no tenant a random one."""
    counts = Counter(d.customer_id for d in drafts if d.customer_id is not None)
    keys = {customer: os.urandom(32) for customer in counts}
    tenants = await store.count_tenants(tx, dict(sorted(counts.items())), keys) if counts else {}

    def tags() -> Iterator[bytes]:
        used = Counter[str]()
        for draft in drafts:
            if draft.customer_id is None:
                yield os.urandom(TAG)
            else:
                key, before = tenants[draft.customer_id]
                yield tenant_tag(key, before + used[draft.customer_id])
                used[draft.customer_id] += 1

    return tags()


def _salts(count: int) -> Iterator[bytes]:
    noise = os.urandom(SALT * count)  # one call, for it is a call into the kernel
    return (noise[i : i + SALT] for i in range(0, len(noise), SALT))


def _seal(
    draft: Draft, index: int, tag: bytes, bucket: int | None, salts: tuple[bytes, bytes]
) -> tuple[store.Entry, store.Payload]:
    who_salt, what_salt = salts
    what = canonical(draft.parts["what"])
    digests = {"what": part_digest("what", what_salt, what)}
    who = canonical(draft.parts["who"]) if "who" in draft.parts else None
    if who is not None:
        digests["who"] = part_digest("who", who_salt, who)
    leaf = Leaf(
        kind=draft.kind,
        log_class=LOG_CLASS[draft.category] if draft.category else 0,
        day=day_of(draft.at),
        tag=tag,
        commitment=commitment(digests),
    )
    entry = store.Entry(index, leaf.encode(), digests.get("who"), digests["what"])
    payload = store.Payload(
        index=index,
        bucket=bucket,
        customer_id=draft.customer_id,
        source=draft.source,
        event_id=draft.event_id,
        type=draft.type,
        at=draft.at,
        who=who,
        who_salt=None if who is None else who_salt,
        what=what,
        what_salt=what_salt,
    )
    return entry, payload
