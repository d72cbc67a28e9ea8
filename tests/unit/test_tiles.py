"""Paths and bodies of C2SP tlog-tiles."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_log.proof import Proof
from audit_log.tiles import TilePath, bundle, parse_path, paths
from audit_log.tiles import path_of as ours

tiles = st.builds(
    TilePath,
    st.none() | st.integers(0, 7),
    st.integers(0, 10**6) | st.integers(0, 2**55 - 1),
    st.integers(1, 256),
)


def path_of(tile: TilePath) -> str:
    """Return the path as the specification writes it."""
    digits = str(tile.number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    *first, last = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    number = "/".join([*(f"x{group}" for group in first), last])
    level = "entries" if tile.level is None else str(tile.level)
    return f"{level}/{number}" + (f".p/{tile.width}" if tile.width < 256 else "")


def test_the_examples_of_the_specification():
    assert parse_path("0/x001/x234/067") == TilePath(0, 1234067, 256)
    assert parse_path("1/000.p/1") == TilePath(1, 0, 1)
    assert parse_path("entries/x123/456.p/255") == TilePath(None, 123456, 255)


@given(tiles)
def test_a_path_is_read_back(tile: TilePath):
    assert parse_path(path_of(tile)) == tile


@given(
    st.text("0123456789x/.pentris\u0663\u00b2", max_size=16)
    | st.from_regex(r"(entries|\d{1,2})/(x\d{3}/){0,3}\d{3}(\.p/\d{1,3})?", fullmatch=True)
)
def test_a_tile_has_one_path(path: str):
    tile = parse_path(path)
    assert tile is None or path_of(tile) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0",
        "0/",
        "0/0",
        "0/00",
        "0/0000",
        "0/1000",
        "0/x001",
        "0/001/002",
        "0/x001/x002",
        "0/x000/001",
        "0/x01/001",
        "00/001",
        "01/001",
        "-1/001",
        "8/000",
        "63/000",
        "entry/000",
        "0/001.p",
        "0/001.p/",
        "0/001.p/0",
        "0/001.p/01",
        "0/001.p/256",
        "0/001.p/999",
        "0/001.p/-1",
        "0/001 ",
        " 0/001",
        "0/001\n",
        "0/001/",
        "/0/001",
        "../0/001",
        "0/\u0660\u0660\u0661",
        "\u0660/001",
        "0/001.p/\u0667",
        path_of(TilePath(0, 2**55, 256)),  # its entries would not fit 64 bits
        "0/" + "x999/" * 12 + "999",
        "0/" + "x999/" * 5000 + "999",
    ],
)
def test_what_is_not_a_path_is_refused(path: str):
    assert parse_path(path) is None


def test_a_bundle_says_how_long_each_leaf_is():
    leaves = [b"\xaa" * 64, b"", b"\xbb" * 0x0102]
    body = bundle(leaves)
    assert body == b"\x00\x40" + leaves[0] + b"\x00\x00" + b"\x01\x02" + leaves[2]


def test_an_offline_proof_holds_all_that_is_needed():
    hashes = [bytes([i]) * 32 for i in range(3)]
    note = "log.example\n8\nroot=\n\n\u2014 log.example sig=\n"
    head, leaf, index, *proof, empty, checkpoint = str(Proof(b"leaf", 5, hashes, note)).split(
        "\n", 6
    )
    assert (head, index, empty) == (
        "c2sp.org/tlog-proof@v1",
        "index 5",
        base64.b64encode(hashes[2]).decode(),
    )
    assert leaf == "extra " + base64.b64encode(b"leaf").decode()
    assert proof == [base64.b64encode(h).decode() for h in hashes[:2]]
    assert checkpoint == "\n" + note


@given(tiles)
def test_the_path_we_write_is_the_one_we_read(tile: TilePath):
    assert ours(tile.level, tile.number, tile.width) == path_of(tile)


@given(st.integers(0, 70_000))
def test_all_files_of_a_log(size: int):
    listed = list(paths(size))
    assert len(set(listed)) == len(listed)
    assert sum(tile.width for tile in listed if tile.level is None) == size
    for level in range(3):
        assert sum(t.width for t in listed if t.level == level) == size // 256**level
