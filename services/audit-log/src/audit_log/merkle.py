"""The Merkle tree of RFC 6962, kept as the tiles of C2SP tlog-tiles; pure.

A tile of level L holds up to 256 hashes, each the root of a full subtree of 256^L leaves.  Tiles
are all that is ever stored: roots and proofs follow from them.  A partial tile only grows, so its
first W hashes are what it held when it was W wide.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shared.errors import Rejected

HASH: Final = 32
_sha256 = hashlib.sha256
WIDTH: Final = 256
_HEIGHT: Final = 8  # of a tile: 2^8 = 256
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Tile = tuple[int, int]
"""Level and number of a tile."""

ReadTile = Callable[[int, int], bytes]
"""Returns the hashes in a tile, as many as there are."""


class BrokenEdgeError(Exception):
    """What a tree ends with is not as long as its size says: nothing may be built on it."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def hashes_of(tile: bytes) -> list[bytes]:
    """Return the hashes that *tile* consists of."""
    return [tile[i : i + HASH] for i in range(0, len(tile), HASH)]


def tile_hash(tile: bytes) -> bytes | None:
    """Return the hash of a full *tile* in the tile above it; None if it is not full."""
    return _fold(hashes_of(tile)) if len(tile) == HASH * WIDTH else None


def edge(size: int) -> list[Tile]:
    """Return the partial tiles on the right edge of a tree of *size* leaves, lowest first.

    >>> edge(70_000)
    [(0, 273), (1, 1), (2, 0)]
    """
    tiles: list[Tile] = []
    level = 0
    while size:
        if size % WIDTH:
            tiles.append((level, size // WIDTH))
        size //= WIDTH
        level += 1
    return tiles


def grow(size: int, edges: Mapping[Tile, bytes], leaves: Sequence[bytes]) -> dict[Tile, bytes]:
    """Return the tiles that change when *leaves* (hashes) are added to a tree of *size*.

    *edges* are the partial tiles of :func:`edge`.

    Raises:
        BrokenEdgeError: one of them is missing, or not as wide as it is in a tree of *size*.
    """
    changed: dict[Tile, bytes] = {}
    level, fresh = 0, list(leaves)
    while fresh:
        number, width = divmod(size, WIDTH)
        begun = edges.get((level, number), b"") if width else b""
        if len(begun) != width * HASH:
            raise BrokenEdgeError(f"tile {number} of level {level} is not as long as the log")
        row = hashes_of(begun) + fresh
        full: list[bytes] = []
        for start in range(0, len(row), WIDTH):
            tile = row[start : start + WIDTH]
            changed[level, number] = b"".join(tile)
            number += 1
            if len(tile) == WIDTH:
                full.append(_fold(tile))
        fresh = full
        size //= WIDTH
        level += 1
    return changed


def root(size: int, edges: Mapping[Tile, bytes]) -> bytes:
    """Return the root of a tree of *size* leaves whose partial tiles are *edges*."""
    result: bytes | None = None
    for tile in edge(size):  # lowest, that is rightmost, first
        row = hashes_of(edges[tile][: HASH * (size // WIDTH ** tile[0] % WIDTH)])
        while row:
            peak = 1 << (len(row) & -len(row)).bit_length() - 1
            subtree = _fold(row[-peak:])
            result = subtree if result is None else node_hash(subtree, result)
            row = row[:-peak]
    return EMPTY_ROOT if result is None else result


def _fold(row: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(row) > 1:
        pairs = zip(row[::2], row[1::2], strict=True)
        row = [_sha256(b"\x01" + left + right).digest() for left, right in pairs]  # node_hash
    return row[0]


def _split(count: int) -> int:
    """Return the largest power of two below *count*."""
    return 1 << (count - 1).bit_length() - 1


def _span(read: ReadTile, first: int, end: int) -> bytes:
    """Return the hash over the leaves from *first* up to *end*, as RFC 6962 divides a tree."""
    count = end - first
    if count & (count - 1):
        middle = first + _split(count)
        return node_hash(_span(read, first, middle), _span(read, middle, end))
    level, steps = divmod(count.bit_length() - 1, _HEIGHT)
    start = first >> (_HEIGHT * level)
    number, offset = divmod(start, WIDTH)
    tile = read(level, number)
    return _fold(hashes_of(tile[offset * HASH : (offset + (1 << steps)) * HASH]))


def inclusion_proof(read: ReadTile, index: int, size: int) -> list[bytes]:
    """Return the hashes from leaf *index* to the root of the first *size* leaves (2.1.1)."""

    def path(first: int, end: int) -> list[bytes]:
        if end - first == 1:
            return []
        middle = first + _split(end - first)
        if index < middle:
            return [*path(first, middle), _span(read, middle, end)]
        return [*path(middle, end), _span(read, first, middle)]

    return path(0, size)


def consistency_proof(read: ReadTile, old: int, size: int) -> list[bytes]:
    """Return the proof that the tree of *size* leaves extends the one of *old* (2.1.2)."""

    def subproof(first: int, end: int, *, known: bool) -> list[bytes]:
        if end == old:
            return [] if known else [_span(read, first, end)]
        middle = first + _split(end - first)
        if old <= middle:
            return [*subproof(first, middle, known=known), _span(read, middle, end)]
        return [*subproof(middle, end, known=False), _span(read, first, middle)]

    return [] if old in (0, size) else subproof(0, size, known=True)


def tiles_needed(prove: Callable[[ReadTile], object]) -> set[Tile]:
    """Return which tiles *prove* reads, by letting it run on empty ones."""
    needed: set[Tile] = set()

    def note(level: int, number: int) -> bytes:
        needed.add((level, number))
        return bytes(HASH * WIDTH)

    prove(note)
    return needed


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], top: bytes
) -> None:
    """Check that the leaf with hash *leaf* is number *index* in the tree with root *top*.

    Raises:
        Rejected: it is not, or the proof is not of the right length.
    """
    if not 0 <= index < size:
        raise Rejected("the index is not in the tree", code="bad-proof")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    if len(proof) != inner + border:
        raise Rejected("the proof has the wrong length", code="bad-proof")
    result = leaf
    for level, sibling in enumerate(proof[:inner]):
        right = index >> level & 1
        result = node_hash(sibling, result) if right else node_hash(result, sibling)
    for sibling in proof[inner:]:
        result = node_hash(sibling, result)
    if result != top:
        raise Rejected("the proof does not lead to the root", code="bad-proof")


def verify_consistency(
    old: int, size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree of *size* leaves begins with the tree of *old* leaves (RFC 9162 2.1.4.2).

    Raises:
        Rejected: it does not: history was rewritten.
    """
    if old > size:
        raise Rejected("the older tree is the larger one", code="bad-proof")
    if old in (0, size):
        if proof or (old == size and old_root != new_root):
            raise Rejected("two roots for one size", code="bad-proof")
        return
    hashes = [old_root, *proof] if not old & (old - 1) else list(proof)
    if not hashes or _climb(old - 1, size - 1, hashes) != (old_root, new_root):
        raise Rejected("history was rewritten between the two trees", code="bad-proof")


def _climb(node: int, last: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the two roots that a consistency proof leads to; None if its length is wrong."""
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if not last:
            return None
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    return None if last else (first, second)
