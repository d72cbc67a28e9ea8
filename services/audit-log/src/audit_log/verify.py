"""Walks the log in the database and says whether it is intact.

Leaves must hash to the tiles, the tiles to every signed checkpoint, what is there of an entry's
content must match its leaf and its columns, and what is gone must be covered by a purge receipt.
Nothing that is stored is believed but the signatures.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from pyroaring import BitMap64

from audit_log import merkle, receipt, store
from audit_log.appender import LOG_CLASS
from audit_log.checkpoint import Checkpoint, Keyring, Verifier
from audit_log.filing import Place, committed, digests, misfiled, written_day
from audit_log.leaf import PARTS, SIZE, Kind, leaves_in
from audit_log.merkle import HASH, WIDTH, Tile
from audit_log.receipt import Receipt
from audit_log.statements import learn_keys, logged
from shared.errors import Rejected
from shared.postgres import Connection, Pool

STEP: Final = 32 * WIDTH
"""Entries read at a time."""

_NAMED: Final = 20  # problems of one kind that are named one by one
_LEVELS: Final = range(8)  # 256^8 leaves would not fit 64 bits
_NOT_OF_ITS_KIND: Final = (ValueError, KeyError, TypeError, msgspec.DecodeError)

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
        unsigned: Entries that came after the newest checkpoint.
        problems: What is wrong, in words that name indexes.
        general: Those of the problems that any range of the log shows.
    """

    size: int = 0
    first: int = 0
    end: int = 0
    present: int = 0
    purged: int = 0
    unsigned: int = 0
    problems: list[str] = field(default_factory=list[str])
    general: list[str] = field(default_factory=list[str])

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
    keys: Sequence[Verifier],
    *,
    first: int = 0,
    end: int | None = None,
    since: str | None = None,
    purged: Purged | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Verdict:
    """Verify the entries from *first* up to *end* (all, by default) against the signed tree.

    Args:
        pool: Of the log's database.
        keys: Those that the newest checkpoint may be signed with; of older ones the log tells.
        first: Rounded down to the beginning of a tile.
        end: No further than the newest checkpoint.
        since: A signed checkpoint from elsewhere that the log must extend; what it covers is
            not read.
        purged: What is known from the steps before; completed here.
        progress: Told how far it came.
    """
    # One snapshot: the log grows while we read.
    async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        walk = _Walk(tx, Keyring(keys), Verdict(first=first), purged or Purged())
        await walk.run(end, since, progress)
        return walk.verdict


class _Walk:
    def __init__(self, tx: Connection, keys: Keyring, verdict: Verdict, purged: Purged) -> None:
        self.tx = tx
        self.keys = keys
        self.verdict = verdict
        self.purged = purged
        self.covered: dict[str, BitMap64] = {}
        self.gone = {part: BitMap64() for part in PARTS}  # parts that are not there
        self.tiles: dict[Tile, bytes] = {}  # as computed, as far as still needed
        self.roots: dict[int, bytes] = {}
        self.more: dict[str, int] = {}

    def problem(self, kind: str, text: str, *, general: bool = False) -> None:
        """Note a problem; of many of one kind only the first are named."""
        self.more[kind] = self.more.get(kind, 0) + 1
        if self.more[kind] <= _NAMED:
            self.verdict.problems.append(text)
            if general:
                self.verdict.general.append(text)

    async def run(
        self,
        end: int | None,
        since: str | None,
        progress: Progress,
    ) -> None:
        verdict = self.verdict
        newest = await self._read_newest()
        if newest is not None:
            verdict.size = newest.size
            for problem in await learn_keys(self.tx, self.keys, newest):
                self.problem("statement", problem, general=True)
        await self._check_end()
        if since is not None:
            await self._check_since(since)
        verdict.first = verdict.first // WIDTH * WIDTH
        verdict.end = min(verdict.size if end is None else end, verdict.size)
        self.covered = await self._read_covered()
        await self._begin()
        walked = verdict.first
        while walked < verdict.end and await self._step(walked):
            walked = min(walked + STEP, verdict.end)
            progress(walked - verdict.first, verdict.end - verdict.first)
        if verdict.end < verdict.size:
            await self._check_upwards(range(verdict.first // WIDTH, -(-verdict.end // WIDTH)))
        self._check_purges()
        for kind, count in self.more.items():
            if count > _NAMED:
                verdict.problems.append(f"and {count - _NAMED} more of this kind: {kind}")

    async def _read_newest(self) -> Checkpoint | None:
        """Return the newest checkpoint, if it is signed with a key that was given."""
        latest = await store.latest_checkpoint(self.tx)
        if latest is None:
            return None
        self._read_checkpoints(await store.checkpoints(self.tx, latest[0] + 1, 1))
        return self.keys.open(latest[1]) if self.roots else None

    def _read_checkpoints(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            try:
                opened = self.keys.open(row["note"])
            except Rejected as error:
                self.problem("checkpoint", f"checkpoint of size {row['size']}: {error}")
                continue
            if (opened.size, opened.root) != (row["size"], row["root"]):
                text = f"checkpoint of size {row['size']}: it is not what was signed"
                self.problem("checkpoint", text)
            else:
                self.roots[row["size"]] = opened.root

    async def _check_end(self) -> None:
        """Check that the log ends where it says: the next entry is built upon what is there."""
        held = await store.tree_size(self.tx)
        self.verdict.unsigned = max(held - self.verdict.size, 0)
        found: list[str] = []
        if held < self.verdict.size:
            found.append(f"{self.verdict.size} entries were signed, {held} are there")
        if held and await store.latest_checkpoint(self.tx) is None:
            found.append(f"nothing is signed, and {held} entries are there")
        edges = merkle.edge(held)
        tiles = await store.read_tiles(self.tx, edges)
        found += [
            f"tile {number} of level {level} is not as long as the log"
            for level, number in edges
            if len(tiles.get((level, number), b"")) != held // WIDTH**level % WIDTH * HASH
        ]
        if len(await store.last_bundle(self.tx, held)) != held % WIDTH * SIZE:
            found.append(f"bundle {held // WIDTH} is not as long as the log")
        firsts = {level: -(-(held // WIDTH**level) // WIDTH) for level in _LEVELS}
        found += [
            f"tile {number} of level {level} lies beyond the end of the log"
            for level, number in await store.tiles_from(self.tx, firsts)
        ]
        found += [
            f"bundle {number} lies beyond the end of the log"
            for number in await store.bundles_from(self.tx, -(-held // WIDTH))
        ]
        found += [
            f"{index} has {kind}, and is no entry"
            for index, kind in await store.strays(self.tx, held)
        ]
        for text in found:
            self.problem("end", text, general=True)

    async def _check_since(self, note: str) -> None:
        try:
            since = self.keys.open(note)
        except Rejected as error:
            self.problem("since", f"the checkpoint that it is to extend: {error}")
            return
        self.verdict.first = max(self.verdict.first, since.size)
        edges = await store.read_tiles(self.tx, merkle.edge(since.size))
        if since.size > self.verdict.size or not _leads_to(since.size, edges, since.root):
            text = f"the log does not extend the checkpoint of {since.size} entries"
            self.problem("since", text)

    async def _begin(self) -> None:
        """Take up the tree as it was before the first entry that is looked at."""
        first = self.verdict.first
        edges = await store.read_tiles(self.tx, merkle.edge(first))
        self.tiles = {
            (level, number): row[: first // WIDTH**level % WIDTH * HASH]
            for (level, number), row in edges.items()
        }
        if first == 0:
            self._read_checkpoints(await store.checkpoints_between(self.tx, -1, 0))
            self._check_roots(-1, 0)

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
            if not self._grow(number, found):
                return False
            leaves += found
            if len(found) < min(WIDTH, end - number * WIDTH):
                text = f"entry {number * WIDTH + len(found)} is missing"
                self.problem("missing", text)
                return False
        await self._compare_tiles()
        rows = await store.raw_payloads(self.tx, position, end)
        places = await self._read_places({row[2] for row in rows if row[2] is not None})
        events = await self._read_events(position, end)
        self._check_content(position, leaves, rows, places, events)
        return True

    def _grow(self, number: int, leaves: Sequence[bytes]) -> bool:
        """Add *leaves* to the tree; return False if there is nothing to add them to."""
        first = number * WIDTH
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        try:
            self.tiles |= merkle.grow(first, self.tiles, hashes)
        except merkle.BrokenEdgeError:  # the stored edge that a range begins with
            self.problem("tile", f"the tiles before entry {first} are missing or too short")
            return False
        self._check_roots(first, first + len(leaves))
        return True

    def _check_roots(self, above: int, to: int) -> None:
        for size, root in self.roots.items():
            if above < size <= to and not _leads_to(size, self.tiles, root):
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

    async def _read_places(self, ids: Collection[int]) -> dict[int, Place]:
        """Return what is known of buckets in which there are entries."""
        places: dict[int, Place] = {}
        hidden: list[int] = []
        for number, category, customer, day, state in await store.buckets(self.tx, ids):
            log_class = LOG_CLASS.get(category, 0).to_bytes(2, "big")
            places[number] = customer, log_class, written_day(day)
            if state == "quarantined":
                hidden.append(number)
        for number in await store.hidden_without_order(self.tx, hidden) if hidden else ():
            self.problem("bucket", f"bucket {number} is hidden, and no purge asks for it")
        return places

    async def _read_events(self, first: int, end: int) -> dict[int, bytes]:
        """Return by index the identities under which the events of entries are known."""
        rows = await store.events_of(self.tx, first, end)
        events: dict[int, bytes] = {row[0]: row[1] for row in rows}
        if len(events) < end - first:
            for index in sorted(set(range(first, end)) - events.keys()):
                self.problem("seen", f"entry {index} is not known as an event any more")
        if len(rows) > len(events):
            self.problem("seen", f"{len(rows) - len(events)} events have an entry of another")
        return events

    def _check_content(
        self,
        first: int,
        leaves: Sequence[bytes],
        rows: Sequence[Any],
        places: Mapping[int, Place],
        events: Mapping[int, bytes],
    ) -> None:
        here: set[int] = set()
        whole = 0
        for row in rows:
            index: int = row[0]
            if index in here:
                self.problem("content", f"entry {index} has content twice")
            here.add(index)
            leaf: bytes = leaves[index - first]
            told, absent = digests(row)
            if absent:
                for part in absent:
                    self.gone[part].add(index)
            else:
                whole += 1
            if committed(told) != leaf[32:]:
                self.problem("content", f"entry {index}: its content does not match the leaf")
                continue
            try:
                wrong = misfiled(leaf, row, places, events.get(index))
            except _NOT_OF_ITS_KIND:
                self.problem("content", f"entry {index}: its content is not of its kind")
                continue
            if wrong is not None:
                self.problem("columns", f"entry {index} is filed under another {wrong}")
        self.verdict.present += whole
        self._check_kept(first, first + len(leaves), rows)
        away = BitMap64(range(first, first + len(leaves))) - BitMap64(here)
        for part in PARTS:
            self.gone[part] |= away

    def _check_kept(self, first: int, end: int, rows: Sequence[Any]) -> None:
        """Check that what receipts say was purged is not there."""
        for column, part in enumerate(PARTS, 6):
            if not self.covered[part].range_cardinality(first, end):
                continue
            there = BitMap64([row[0] for row in rows if row[column] is not None])
            for index in there & self.covered[part]:
                text = f"entry {index}: a receipt says that part {part} was purged; it is there"
                self.problem("kept", text)

    def _check_purges(self) -> None:
        """Check that what is gone is covered by receipts."""
        touched = BitMap64()
        for part in PARTS:
            touched |= self.gone[part]
            for index in self.gone[part] - self.covered[part]:
                self.problem("gone", f"entry {index}: part {part} is gone without a receipt")
        self.verdict.purged = len(touched & (self.covered["who"] | self.covered["what"]))

    async def _read_covered(self) -> dict[str, BitMap64]:
        """Return, by part, what receipts account for."""
        covered = {part: BitMap64(known) for part, known in self.purged.covered.items()}
        last = self.purged.last
        told, problems = await logged(self.tx, Kind.PURGE_RECEIPT, receipt.TYPE, last)
        for index, _, content in told:
            try:
                found = Receipt.read(content)
            except Rejected as error:
                problems.append(f"receipt {index}: {error}")
                continue
            for part in found.parts:
                covered[part] |= found.indexes
            if found.indexes and found.indexes.max() >= index:
                problems.append(f"receipt {index} names entries that come after it")
            last = index
        for text in problems:
            self.problem("statement", text, general=True)
        if not problems:  # else they are to be found the next time, too
            self.purged.covered, self.purged.last = covered, last
        return covered


def _leads_to(size: int, tiles: Mapping[Tile, bytes], root: bytes) -> bool:
    try:
        return merkle.root(size, tiles) == root
    except (KeyError, IndexError):
        return False
