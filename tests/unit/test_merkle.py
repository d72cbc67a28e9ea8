"""The tree against RFC 6962's own definition, written out here as the RFC states it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_log import merkle
from shared.errors import Rejected

# Leaves and roots of RFC 6962's reference implementation (certificate-transparency test data).
VECTORS = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
]

SIZES = [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537]


def definition(leaves: list[bytes]) -> bytes:
    """Return the Merkle tree hash as RFC 6962 section 2.1 defines it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(definition(leaves[:split]), definition(leaves[split:]))


class Tree:
    """A log that keeps every tile, as the store does."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.tiles: dict[merkle.Tile, bytes] = {}

    def append(self, leaves: list[bytes]) -> None:
        size = len(self.leaves)
        edges = {tile: self.tiles[tile] for tile in merkle.edge(size)}
        self.tiles |= merkle.grow(size, edges, leaves)
        self.leaves += leaves

    def read(self, level: int, number: int) -> bytes:
        return self.tiles[level, number]

    def root(self, size: int) -> bytes:
        """Return the root of a past size from what the tiles hold now."""
        return merkle.root(size, self.tiles)


def numbered(count: int) -> list[bytes]:
    return [merkle.leaf_hash(i.to_bytes(4, "big")) for i in range(count)]


@pytest.fixture(scope="module")
def large() -> Tree:
    tree = Tree()
    leaves = numbered(65537)
    for start in range(0, len(leaves), 5003):
        tree.append(leaves[start : start + 5003])
    return tree


def test_reference_vectors() -> None:
    tree = Tree()
    for size, (leaf, expected) in enumerate(VECTORS, 1):
        tree.append([merkle.leaf_hash(bytes.fromhex(leaf))])
        assert tree.root(size).hex() == expected


# Its proofs over the same leaves: a leaf or an older size, a size, the hashes.
A, B, C = "96a296d224f285c67bee93c30f8a3091", "5f083f0a1a33ca076a95279832580db3", "6b47aaf29ee3c2af"
D, E, F = "bc1a0643b12e4d2d7c77918f44e0f4f7", "ca854ea128ed050b41b35ffc1b87b8eb", "d37ee418976dd957"
G, H, K, L = "fac54203e7cc696c", "6e340b9cffb37a98", "0ebc5d3437fbe2db", "b08693ec2e721597"
INCLUSIONS = [
    (0, 1, []), (0, 8, [A, B, C]), (5, 8, [D, E, F]), (2, 3, [G]), (1, 5, [H, B, D]),
]  # fmt: skip
CONSISTENCIES = [
    (1, 1, []),
    (1, 8, [A, B, C]),
    (6, 8, [K, E, F]),
    (2, 5, [B, D]),
    (6, 7, [K, L, F]),
]


def vectors() -> Tree:
    tree = Tree()
    tree.append([merkle.leaf_hash(bytes.fromhex(leaf)) for leaf, _ in VECTORS])
    return tree


@pytest.mark.parametrize(("index", "size", "hashes"), INCLUSIONS)
def test_reference_inclusion_proofs(index: int, size: int, hashes: list[str]) -> None:
    proof = merkle.inclusion_proof(vectors().read, index, size)
    assert [h.hex()[: len(want)] for h, want in zip(proof, hashes, strict=True)] == hashes
    leaf = merkle.leaf_hash(bytes.fromhex(VECTORS[index][0]))
    merkle.verify_inclusion(leaf, index, size, proof, bytes.fromhex(VECTORS[size - 1][1]))


@pytest.mark.parametrize(("old", "size", "hashes"), CONSISTENCIES)
def test_reference_consistency_proofs(old: int, size: int, hashes: list[str]) -> None:
    proof = merkle.consistency_proof(vectors().read, old, size)
    assert [h.hex()[: len(want)] for h, want in zip(proof, hashes, strict=True)] == hashes
    roots = [bytes.fromhex(VECTORS[n - 1][1]) for n in (old, size)]
    merkle.verify_consistency(old, size, proof, *roots)


@pytest.mark.parametrize("size", SIZES)
def test_roots_of_every_past_size_stay_readable(large: Tree, size: int) -> None:
    assert large.root(size) == definition(large.leaves[:size])


@given(st.lists(st.integers(1, 300), max_size=8))
def test_batches_do_not_matter(batches: list[int]) -> None:
    leaves = numbered(sum(batches))
    tree = Tree()
    start = 0
    for batch in batches:
        tree.append(leaves[start : start + batch])
        start += batch
    assert tree.root(len(leaves)) == definition(leaves)


@given(st.integers(1, 65537), st.data())
def test_only_the_true_inclusion_proof_verifies(
    large: Tree, size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(large.read, index, size)
    top = large.root(size)
    merkle.verify_inclusion(large.leaves[index], index, size, proof, top)
    other = data.draw(st.integers(0, size).filter(lambda i: i != index))
    flipped = [bytes([h[0] ^ 1, *h[1:]]) for h in proof[:1]] + proof[1:]
    wrong = [
        (merkle.leaf_hash(b"never appended"), index, size, proof),
        (large.leaves[index], other, size, proof),
        (large.leaves[index], index, size, [*proof, top]),
    ]
    if proof:
        wrong += [(large.leaves[index], index, size, p) for p in (proof[:-1], flipped)]
    for leaf, at, of, claimed in wrong:
        with pytest.raises(Rejected):
            merkle.verify_inclusion(leaf, at, of, claimed, top)


@given(st.integers(0, 65537), st.integers(0, 65537))
def test_consistency_of_any_two_sizes(large: Tree, one: int, two: int) -> None:
    old, size = sorted((one, two))
    proof = merkle.consistency_proof(large.read, old, size)
    before, after = large.root(old), large.root(size)
    merkle.verify_consistency(old, size, proof, before, after)
    forged = hashlib.sha256(b"forged").digest()
    if old:
        with pytest.raises(Rejected):
            merkle.verify_consistency(old, size, proof, forged, after)
    if 0 < old < size:
        with pytest.raises(Rejected):
            merkle.verify_consistency(old, size, proof, before, forged)
        with pytest.raises(Rejected):
            merkle.verify_consistency(old, size, [*proof, forged], before, after)


def test_tiles_needed_are_the_tiles_read(large: Tree) -> None:
    def prove(read: merkle.ReadTile) -> list[bytes]:
        return merkle.inclusion_proof(read, 12345, 60000)

    needed = {tile: large.tiles[tile] for tile in merkle.tiles_needed(prove)}
    assert prove(lambda level, number: needed[level, number]) == prove(large.read)
