"""The domain of the other two services, in memory: what is logged, and what is mailed on-call."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from random import Random
from typing import Any
from uuid import UUID

from pyroaring import BitMap64
from tests.integration.events import event

from audit_log import merkle, receipt
from audit_log.appender import HOLDER, LOG_CLASS, own_draft, seal
from audit_log.conformity import Conformity, Version, judge
from audit_log.handlers import draft
from audit_log.leaf import PARTS, SIZE, TAG, Kind, Leaf, day_of
from audit_log.receipt import Receipt
from notifier import alert_words, letter
from notifier.alerting import Notice, Said, Section, heard
from notifier.announcer import record_of
from notifier.letter import Envelope, Footing
from notifier.oncall import ALERT
from notifier.store import Change
from notifier.template import shipped
from shared.events import Data
from shared.events.gallra import (
    AlertRaised,
    AlertResolved,
    DeliveryChanged,
    PolicyActivated,
    PurgeCommand,
)
from shared.events.platform import (
    ActionPerformed,
    Actor,
    Anchor,
    Origin,
    RecordRegistered,
    Target,
)

CATEGORY = {log_class: category for category, log_class in LOG_CLASS.items()}


@dataclass
class Log:
    """A master log: leaves, tiles, and the roots that somebody has seen on the way.

    Attributes:
        entries: Of each bucket that retention knows as a record of the log, by record id.
    """

    leaves: list[bytes] = field(default_factory=list)
    tiles: dict[merkle.Tile, bytes] = field(default_factory=dict)
    size: int = 0
    seen: list[tuple[int, bytes]] = field(default_factory=list)
    receipts: list[tuple[int, Receipt]] = field(default_factory=list)
    versions: defaultdict[int, list[Version]] = field(default_factory=lambda: defaultdict(list))
    entries: dict[str, int] = field(default_factory=dict)

    def take(self, data: Data, at: datetime) -> int:
        """Append what is told as the audit-log does; return its index."""
        if isinstance(data, PolicyActivated) and data.log_class in CATEGORY:
            version = Version.of(data.model_dump(mode="json"), day_of(at))
            assert version is not None
            self.versions[data.log_class].append(version)
        return self._append(draft(event(data, at)))

    def hold(self, record: RecordRegistered) -> None:
        """Append the entry that a bucket of the log is registered for."""
        [anchor] = record.anchors
        assert anchor.date is not None
        at = datetime.combine(anchor.date, time(12), UTC)
        index = self.take(_entry(record, at), at)
        self.entries[record.record_id] = index

    def purge(self, command: PurgeCommand, refs: Iterable[str], now: datetime) -> None:
        """Append the receipt for what the log was ordered to forget."""
        order = {"job_id", "chunk_id", "command_hash", "policy_version", "reason"}
        written = Receipt(
            log_class=LOG_CLASS[command.category],
            parts=("who",) if command.action == "anonymise" else PARTS,
            indexes=BitMap64(self.entries[ref] for ref in refs),
            order={**command.model_dump(mode="json", include=order), "holder": HOLDER},
            purged_at=now,
        )
        body = written.body()
        index = self._append(own_draft(Kind.PURGE_RECEIPT, receipt.TYPE, now, body))
        self.receipts.append((index, Receipt.read(body)))

    def sign(self) -> None:
        """Let the tree grow by all that was appended, and keep its root."""
        edges = {tile: self.tiles[tile] for tile in merkle.edge(self.size)}
        fresh = [merkle.leaf_hash(leaf) for leaf in self.leaves[self.size :]]
        self.tiles |= merkle.grow(self.size, edges, fresh)
        self.size = len(self.leaves)
        self.seen.append((self.size, merkle.root(self.size, self.tiles)))

    def check(self, random: Random, sample: int) -> None:
        """Check that each root seen is one of this log's, and that a sample is in it."""
        size, top = self.seen[-1]
        for old, root in self.seen:
            proof = merkle.consistency_proof(self._read, old, size)
            merkle.verify_consistency(old, size, proof, root, top)
        for index in random.sample(range(size), sample):
            proof = merkle.inclusion_proof(self._read, index, size)
            hashed = merkle.leaf_hash(self.leaves[index])
            merkle.verify_inclusion(hashed, index, size, proof, top)

    def judge(self, now: datetime) -> Conformity:
        """Return what anybody would say of the purges who knows no more than is public."""
        return judge(self.leaves, self.receipts, self.versions, now)

    def _read(self, level: int, number: int) -> bytes:
        return self.tiles[level, number]

    def _append(self, drafted: Any) -> int:
        sealed = seal(drafted)
        log_class = LOG_CLASS[drafted.category] if drafted.category else 0
        leaf = Leaf(drafted.kind, log_class, sealed.day, bytes(TAG), sealed.commitment).encode()
        assert len(leaf) == SIZE
        self.leaves.append(leaf)
        return len(self.leaves) - 1


def _entry(record: RecordRegistered, at: datetime) -> Data:
    if record.category == "logs.action":
        return ActionPerformed(
            v=1,
            action="compute.server.delete",
            phase="result",
            outcome="success",
            actor=Actor(type="user", id="u-1"),
            origin=Origin(channel="portal"),
            target=Target(type="compute.server", id=record.record_id),
            customer_id=record.customer_id or "",
        )
    security = record.category == "contact.delivery.security"
    return _delivered(record.record_id, "security-breach" if security else "news", at)


def _delivered(number: str, message_type: str, at: datetime) -> DeliveryChanged:
    return DeliveryChanged(
        delivery_id=number,
        message_id=f"m-{number}",
        message_type=message_type,
        customer_id=None,
        recipient_token="t-oncall",  # noqa: S106 - a recipient
        state="accepted",
        at=at,
    )


def mail(alert: AlertRaised, now: datetime, random: Random) -> list[RecordRegistered]:
    """Write on-call about an alert; return the records that the mail leaves at both services."""
    over = isinstance(alert, AlertResolved)
    said = Said(
        alert.fingerprint, alert.severity, alert.summary, alert.labels, alert.runbook, over=over
    )
    known = heard(None, said, now, now)
    assert known is not None
    new, gone = ((), (known,)) if over else ((known,), ())
    section = Section("calendar", known.labels, new=new, standing=(), over=gone)
    kind = "resolved" if over else "alert"
    notice = Notice("n", "oncall", kind, (section,), "n", known.severity, counts=False)
    params = alert_words.params(
        notice, now, link="https://mail.example/a/x", runbooks="https://mail.example/runbooks/"
    )
    delivery = UUID(int=random.getrandbits(128), version=4)
    version = TEMPLATES.newest(ALERT)
    words = letter.write(TEMPLATES, version, "en", params, Footing("", refusable=False))
    form = letter.prepare(words, sender="gallra@mail.example", name=f"m-{delivery}")
    written = letter.seal(form, Envelope(delivery, ONCALL), now)
    assert version.label.encode() in written
    assert f"<{delivery}@mail.example>".encode() in written
    sent = Change(
        1, delivery, f"m-{delivery}", ALERT, None, "t-oncall", "accepted", registers=True, at=now
    )
    own = record_of(sent, "contact.delivery", "calendar")
    return [own, _bucket(f"b-{delivery}", day_of(now))]


def _bucket(number: str, day: date) -> RecordRegistered:
    return RecordRegistered(
        holder=HOLDER,
        category="contact.delivery",
        record_id=number,
        entity="calendar",
        anchors=(Anchor(anchor_id=number, kind="sent", date=day),),
    )


ONCALL = "oncall@provider.example"
TEMPLATES = shipped()
