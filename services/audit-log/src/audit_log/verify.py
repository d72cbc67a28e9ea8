"""Walks the log in the database and says whether it is intact.

Leaves must hash to the tiles, the tiles to every signed checkpoint, what is there of an entry's
content must match its leaf and its columns, and what is gone must be covered by a purge receipt.
Nothing that is stored is believed but the signatures.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from pyroaring import BitMap64

from audit_log import merkle, receipt, store
from audit_log.checkpoint import KEYS_CHANGED, Checkpoint, Verifier, open_checkpoint
from audit_log.leaf import PARTS, SALT, Kind, leaves_in, part_digest
from audit_log.merkle import HASH, WIDTH, Tile
from audit_log.receipt import Receipt
from shared.errors import Rejected
from shared.postgres import Connection, Pool

STEP: Final = 32 * WIDTH
"""Entries read at a time."""

_ACTIONS: Final = 1  # the retention class of category logs.action
_NAMES: Final = {Kind.PURGE_RECEIPT: "receipt", Kind.KEY_EVENT: "key event"}
_NAMED: Final = 20  # problems of one kind that are named one by one

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        size: Entries in the newest checkpoint.
        first: The first entry that was looked at.
        end: The entry before which the looking ended.
        present: Entries of which all content is there and matches.
        purged: Entries of which content is gone and accounted for.
        problems: What is wrong, in words that name indexes.
    """

    size: int = 0
    first: int = 0
    end: int = 0
    present: int = 0
    purged: int = 0
    problems: list[str] = field(default_factory=list[str])

    @property
    def intact(self) -> bool:
        """True if nothing that was looked at had been changed."""
        return not self.problems


@dataclass(slots=True)
class Purged:
    """What receipts account for; kept between steps, it need not be read again.

    Attributes:
        covered: By part, the entries of which it may be gone.
        last: The newest receipt that is in this.
    """

    covered: dict[str, BitMap64] = field(
        default_factory=lambda: {part: BitMap64() for part in PARTS}
    )
    last: int = -1


async def verify(
    pool: Pool,
    keys: Collection[Verifier],
    *,
    first: int = 0,
    end: int | None = None,
    since: Checkpoint | None = None,
    purged: Purged | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Verdict:
    """Verify the entries from *first* up to *end* (all, by default) against the signed tree.

    Args:
        pool: Of the log's database.
        keys: Those that the newest checkpoint may be signed with; of older ones the log tells.
        first: Rounded down to the beginning of a tile.
        end: No further than the newest checkpoint.
        since: A checkpoint from elsewhere that the log must extend; what it covers is not read.
        purged: What is known from the steps before; completed here.
        progress: Told how far it came.
    """
    # One snapshot: the log grows while we read.
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        if since is not None:
            first = since.size
        walk = _Walk(tx, keys, Verdict(first=first // WIDTH * WIDTH), purged or Purged())
        await walk.run(end, since, progress)
        return walk.verdict


class _Walk:
    def __init__(
        self, tx: Connection, keys: Collection[Verifier], verdict: Verdict, purged: Purged
    ) -> None:
        self.tx = tx
        self.keys = list(keys)
        self.verdict = verdict
        self.purged = purged
        self.gone = {part: BitMap64() for part in PARTS}  # parts that are not there
        self.there = {part: BitMap64() for part in PARTS}
        self.tiles: dict[Tile, bytes] = {}  # as computed, as far as still needed
        self.roots: dict[int, bytes] = {}
        self.more: dict[str, int] = {}

    def problem(self, kind: str, text: str) -> None:
        """Note a problem; of many of one kind only the first are named."""
        self.more[kind] = self.more.get(kind, 0) + 1
        if self.more[kind] <= _NAMED:
            self.verdict.problems.append(text)

    async def run(
        self,
        end: int | None,
        since: Checkpoint | None,
        progress: Progress,
    ) -> None:
        verdict = self.verdict
        await self._learn_keys()
        await self._read_newest()
        verdict.end = min(verdict.size if end is None else end, verdict.size)
        held = await store.tree_size(self.tx)
        if held < verdict.size:
            self.problem("tree", f"{verdict.size} entries were signed, {held} are there")
        if since is not None:
            await self._check_since(since)
        edges = await store.read_tiles(self.tx, merkle.edge(verdict.first))
        self.tiles = {  # as they were when the range began
            (level, number): row[: verdict.first // WIDTH**level % WIDTH * HASH]
            for (level, number), row in edges.items()
        }
        position = verdict.first
        while position < verdict.end:
            if not await self._step(position):
                return
            position += STEP
            progress(min(position, verdict.end) - verdict.first, verdict.end - verdict.first)
        if verdict.end < verdict.size:
            await self._check_upwards(range(verdict.first // WIDTH, -(-verdict.end // WIDTH)))
        await self._check_purges()
        for kind, count in self.more.items():
            if count > _NAMED:
                verdict.problems.append(f"and {count - _NAMED} more of this kind: {kind}")

    async def _learn_keys(self) -> None:
        """Add the keys that the log had before, as it says itself wherever it changed them."""
        for index, content in await self._logged(Kind.KEY_EVENT, KEYS_CHANGED):
            try:
                self.keys += [Verifier.parse(vkey) for vkey in content["before"]]
            except Rejected as error:
                self.problem("key", f"key event {index}: {error}")

    async def _read_newest(self) -> None:
        if (newest := await store.latest_checkpoint(self.tx)) is not None:
            self._read_checkpoints(await store.checkpoints(self.tx, newest[0] + 1, 1))
        self.verdict.size = max(self.roots, default=0)

    def _read_checkpoints(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            try:
                opened = open_checkpoint(row["note"], *self.keys)
            except Rejected as error:
                self.problem("checkpoint", f"checkpoint of size {row['size']}: {error}")
                continue
            if (opened.size, opened.root) != (row["size"], row["root"]):
                text = f"checkpoint of size {row['size']}: it is not what was signed"
                self.problem("checkpoint", text)
            else:
                self.roots[row["size"]] = opened.root

    async def _check_since(self, since: Checkpoint) -> None:
        edges = await store.read_tiles(self.tx, merkle.edge(since.size))
        if since.size > self.verdict.size or not _leads_to(since.size, edges, since.root):
            text = f"the log does not extend the checkpoint of {since.size} entries"
            self.problem("since", text)

    async def _step(self, position: int) -> bool:
        """Check the entries of one step; return False if the log breaks off."""
        end = min(position + STEP, self.verdict.end)
        newest = self.roots.get(self.verdict.size)
        self.roots = {} if newest is None else {self.verdict.size: newest}
        self._read_checkpoints(await store.checkpoints_between(self.tx, position, end))
        numbers = range(position // WIDTH, -(-end // WIDTH))
        bundles = await store.read_bundles(self.tx, numbers.start, numbers.stop)
        leaves: list[bytes] = []
        for number in numbers:
            found = leaves_in(bundles.get(number, b""))[: min(WIDTH, end - number * WIDTH)]
            await self._grow(number, found)
            leaves += found
            if len(found) < min(WIDTH, end - number * WIDTH):
                text = f"entry {number * WIDTH + len(found)} is missing"
                self.problem("missing", text)
                return False
        await self._compare_tiles()
        self._check_content(position, leaves, await store.raw_payloads(self.tx, position, end))
        return True

    async def _grow(self, number: int, leaves: Sequence[bytes]) -> None:
        first = number * WIDTH
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        try:
            self.tiles |= merkle.grow(first, self.tiles, hashes)
        except KeyError as error:  # the stored edge that a range begins with
            self.problem("tile", f"tile {error.args[0]} is missing")
            raise Rejected("the tree has a hole where the range begins", code="hole") from None
        for size, root in self.roots.items():
            within = first < size <= first + len(leaves)
            if within and not _leads_to(size, self.tiles, root):
                text = f"the first {size} entries do not hash to the signed root"
                self.problem("root", text)

    async def _compare_tiles(self) -> None:
        stored = await store.read_tiles(self.tx, self.tiles)
        for (level, number), hashes in self.tiles.items():
            # A tile on the edge goes on growing with what we have not read yet.
            if not stored.get((level, number), b"").startswith(hashes):
                self.problem("tile", f"tile {number} of level {level} differs")
        full = HASH * WIDTH
        self.tiles = {tile: row for tile, row in self.tiles.items() if len(row) < full}

    async def _check_upwards(self, numbers: range) -> None:
        """Check that full tiles of a range hash into the signed tree."""
        size, level = self.verdict.size, 0
        while numbers and (size := size // WIDTH):
            wanted = [(level, n) for n in numbers if n < size]
            above = [(level + 1, n // WIDTH) for n in numbers]
            tiles = await store.read_tiles(self.tx, {*wanted, *above})
            for tile in wanted:
                row = tiles.get((level + 1, tile[1] // WIDTH), b"")
                slot = tile[1] % WIDTH * HASH
                if merkle.tile_hash(tiles.get(tile, b"")) != row[slot : slot + HASH]:
                    self.problem("tile", f"tile {tile[1]} of level {level} is not under the root")
            numbers = range(numbers.start // WIDTH, -(-numbers.stop // WIDTH))
            level += 1
        edges = await store.read_tiles(self.tx, merkle.edge(self.verdict.size))
        if not _leads_to(self.verdict.size, edges, self.roots[self.verdict.size]):
            self.problem("root", "the tiles do not hash to the signed root")

    def _check_content(self, first: int, leaves: Sequence[bytes], rows: Sequence[Any]) -> None:
        here: set[int] = set()
        whole = 0
        for row in rows:
            index: int = row[0]
            if index in here:
                self.problem("content", f"entry {index} has content twice")
            here.add(index)
            leaf: bytes = leaves[index - first]
            digests, absent = _digests(row)
            if absent:
                for part in absent:
                    self.gone[part].add(index)
            else:
                whole += 1
            if _committed(digests) != leaf[32:]:
                self.problem("content", f"entry {index}: its content does not match the leaf")
            elif wrong := _misfiled(leaf, row):
                self.problem("columns", f"entry {index} is filed under another {wrong}")
        self.verdict.present += whole
        away = BitMap64(range(first, first + len(leaves))) - BitMap64(here)
        for part in PARTS:
            self.gone[part] |= away

    async def _check_purges(self) -> None:
        """Check that what is gone is covered by receipts, and what they cover is gone."""
        first, end = self.verdict.first, self.verdict.end
        looked_at = BitMap64()
        looked_at.add_range(first, end)
        covered = await self._covered()
        touched = BitMap64()
        for part in PARTS:
            touched |= self.gone[part]
            for index in self.gone[part] - covered[part]:
                self.problem("gone", f"entry {index}: part {part} is gone without a receipt")
        for index in (covered["what"] & looked_at) - self.gone["what"]:
            self.problem("kept", f"entry {index}: a receipt says that it was purged; it is there")
        self.verdict.purged = len(touched & (covered["who"] | covered["what"]))

    async def _covered(self) -> dict[str, BitMap64]:
        """Return, by part, what receipts account for."""
        covered = {part: BitMap64(known) for part, known in self.purged.covered.items()}
        last, before = self.purged.last, len(self.verdict.problems)
        for index, content in await self._logged(Kind.PURGE_RECEIPT, receipt.TYPE, last):
            try:
                found = Receipt.read(content)
            except Rejected as error:
                self.problem("receipt", f"receipt {index}: {error}")
                continue
            for part in found.parts:
                covered[part] |= found.indexes
            if found.indexes and found.indexes.max() >= index:
                self.problem("receipt", f"receipt {index} names entries that come after it")
            last = index
        if len(self.verdict.problems) == before:  # else they are to be found the next time, too
            self.purged.covered, self.purged.last = covered, last
        return covered

    async def _logged(self, kind: Kind, action: str, after: int = -1) -> list[tuple[int, Any]]:
        """Return the public content of entries of a kind, as far as it is what was logged."""
        found: list[tuple[int, Any]] = []
        told = await store.statements_of(self.tx, action, after)
        leaves = await store.leaves_at(self.tx, [index for index, _ in told])
        for index, what in told:
            leaf = leaves.get(index, b"")
            digests = b"what\x00" + part_digest("what", what)
            if leaf[3:4] != bytes([kind]) or leaf[32:] != _committed(digests):
                self.problem("statement", f"{_NAMES[kind]} {index}: it is not what was logged")
            else:
                found.append((index, msgspec.json.decode(what[SALT:])))
        return found


def _committed(digests: bytes) -> bytes:
    return hashlib.sha256(b"evt1\x00" + digests).digest()


def _leads_to(size: int, tiles: Mapping[Tile, bytes], root: bytes) -> bool:
    try:
        return merkle.root(size, tiles) == root
    except (KeyError, IndexError):
        return False


_NETWORK, _WHAT, _WHO = (name.encode() + b"\x00" for name in sorted(PARTS))


def _digests(row: Any) -> tuple[bytes, list[str]]:
    """Return what the commitment is made of, and which parts were purged."""
    _, _, _, _, _, _, who, what, network, who_digest, what_digest, network_digest, *_ = row
    if who is not None and what is not None and network is not None:  # as most are
        told = (
            _NETWORK,
            part_digest("network", network),
            _WHAT,
            part_digest("what", what),
            _WHO,
            part_digest("who", who),
        )
        return b"".join(told), []
    listed: list[bytes] = []
    absent: list[str] = []
    for name, opening, part, kept in (
        ("network", _NETWORK, network, network_digest),
        ("what", _WHAT, what, what_digest),
        ("who", _WHO, who, who_digest),
    ):
        if part is not None:
            listed += (opening, part_digest(name, part))
        elif kept is not None:
            listed += (opening, kept)
            absent.append(name)
    return b"".join(listed), absent


class _Id(msgspec.Struct, gc=False):
    id: str | None = None


class _Origin(msgspec.Struct, gc=False):
    channel: str


class _Data(msgspec.Struct, gc=False):
    action: str
    outcome: str
    customer_id: str
    target: _Id
    origin: _Origin


class _Action(msgspec.Struct, gc=False):
    time: str
    data: _Data


class _Who(msgspec.Struct, gc=False):
    actor: _Id


_read_action = msgspec.json.Decoder(_Action).decode
_read_who = msgspec.json.Decoder(_Who).decode
_FILED: Final = ("time", "customer", "account", "action", "target", "outcome", "channel")


def _misfiled(leaf: bytes, row: Any) -> str | None:
    """Return which column of an entry is not what its content says; None if all are."""
    _, at, bucket, customer, actor, action, who, what, _, _, _, _, target, outcome, channel = row
    if (leaf[4:6] != b"\x00\x00") != (bucket is not None):
        return "retention class"
    if leaf[3] != Kind.EVENT or leaf[5] != _ACTIONS or what is None:
        return None
    content = _read_action(what[SALT:])
    data = content.data
    filed = (at, customer, actor, action, target, outcome, channel)
    said = (
        datetime.fromisoformat(content.time),
        data.customer_id,
        None if who is None else _read_who(who[SALT:]).actor.id,
        data.action,
        data.target.id,
        data.outcome,
        data.origin.channel,
    )
    if filed == said:
        return None
    return next(n for n, column, true in zip(_FILED, filed, said, strict=True) if column != true)
