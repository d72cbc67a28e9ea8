"""A tenant finds its own entries among those of others, and only those."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from audit_log.leaf import Kind, Leaf, tenant_tag
from audit_log.tenant import HEAD, find

DAY = date(2026, 11, 23)
OURS, THEIRS = b"k" * 32, b"t" * 32


def leaf(key: bytes, counter: int, kind: Kind = Kind.EVENT) -> bytes:
    return Leaf(kind, 1, DAY, tenant_tag(key, counter), bytes(32)).encode()


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.booleans())
def test_exactly_what_was_left_out_is_missed(entries: int, dropped: set[int], told: bool) -> None:
    dropped = {n for n in dropped if n < entries}
    log = [leaf(OURS, n) for n in range(entries) if n not in dropped]
    others = [leaf(THEIRS, n) for n in range(70)]
    mixed = [entry for pair in zip(log, others, strict=False) for entry in pair]
    if told:
        mixed.append(leaf(OURS, HEAD | entries, Kind.TENANT_HEAD))
    found = find(OURS, mixed)
    assert set(found.found) == set(range(entries)) - dropped
    assert all(mixed[index] == leaf(OURS, n) for n, index in found.found.items())
    kept = [n for n in range(entries) if n not in dropped]
    end = entries if told else max(kept, default=-1) + 1
    assert set(found.missing) == {n for n in dropped if n < end}
    assert found.told == (entries if told else 0)


def test_a_wrong_key_finds_nothing() -> None:
    found = find(b"w" * 32, [leaf(OURS, n) for n in range(500)])
    assert (found.found, found.missing, found.told) == ({}, [], 0)
