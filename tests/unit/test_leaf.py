"""The 64 bytes of a leaf and what they commit to, worked out by hand from the format."""

import hashlib
import hmac
from datetime import UTC, date, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

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
    split_action,
    tenant_tag,
)
from shared.canonical import canonical

LEAF = Leaf(Kind.EVENT, 1, date(2026, 11, 23), bytes(range(20)), bytes(range(100, 132)))
ACTION = {
    "v": 1,
    "action": "compute.server.delete",
    "actor": {"type": "user", "id": "u-4711", "name": "Åsa \U0001f9ca"},
    "origin": {"channel": "portal", "ip": "192.0.2.7", "agent": "curl/8"},
    "target": {"type": "compute.server", "id": "srv-1"},
    "customer_id": "c-100",
}

salts = st.binary(min_size=SALT, max_size=SALT)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.dictionaries(st.sampled_from(["a", "b", "actor"]), texts | st.integers(-9, 9))


def by_hand(parts: dict[str, tuple[bytes, Any]]) -> bytes:
    """Return the commitment as the format defines it."""
    digests = {
        name: hashlib.sha256(b"part1\x00" + salt + rfc8785.dumps([name, value])).digest()
        for name, (salt, value) in parts.items()
    }
    listed = b"".join(name.encode() + b"\x00" + digests[name] for name in sorted(digests))
    return hashlib.sha256(b"evt1\x00" + listed).digest()


def ours(parts: dict[str, tuple[bytes, Any]]) -> bytes:
    return commitment(
        {name: part_digest(name, salt + canonical(value)) for name, (salt, value) in parts.items()}
    )


def test_the_layout_byte_by_byte():
    leaf = LEAF.encode()
    assert len(leaf) == SIZE == 64
    assert leaf[0:2] == b"AL"
    assert leaf[2] == 1  # version
    assert leaf[3] == 1  # kind
    assert leaf[4:6] == b"\x00\x01"  # retention class
    assert leaf[6:8] == b"\x00\x00"  # reserved
    assert leaf[8:12] == (20780).to_bytes(4, "big")  # days from 1970-01-01 to 2026-11-23
    assert leaf[12:32] == bytes(range(20))
    assert leaf[32:64] == bytes(range(100, 132))


def test_kinds_have_the_numbers_of_the_format():
    assert [(kind.name, kind.value) for kind in Kind] == [
        ("EVENT", 1),
        ("PURGE_RECEIPT", 2),
        ("POLICY_VERSION", 3),
        ("HOLD", 4),
        ("KEY_EVENT", 5),
        ("TENANT_HEAD", 6),
        ("ACCESS", 7),
        ("CORRECTION", 8),
    ]


@given(
    st.sampled_from(Kind), st.integers(0, 2**16 - 1), st.dates(date(1970, 1, 1)), salts, st.data()
)
def test_every_leaf_has_64_bytes(
    kind: Kind, log_class: int, day: date, noise: bytes, data: st.DataObject
):
    tag = data.draw(st.binary(min_size=TAG, max_size=TAG))
    leaf = Leaf(kind, log_class, day, tag, hashlib.sha256(noise).digest()).encode()
    assert len(leaf) == SIZE
    assert int.from_bytes(leaf[8:12], "big") == (day - date(1970, 1, 1)).days


@given(salts, salts, values, values)
def test_commitments_are_those_of_the_format(
    salt: bytes, other_salt: bytes, who: dict[str, Any], what: dict[str, Any]
):
    parts = {"what": (salt, what), "who": (other_salt, who)}
    assert ours(parts) == by_hand(parts) == ours(dict(reversed(parts.items())))
    assert ours({"what": (salt, what)}) == by_hand({"what": (salt, what)}) != ours(parts)


@given(salts, values, st.data())
def test_any_changed_byte_changes_the_commitment(
    salt: bytes, value: dict[str, Any], data: st.DataObject
):
    stored = canonical(value)
    whole = commitment({"what": part_digest("what", salt + stored)})
    place = data.draw(st.integers(0, SALT + len(stored) - 1))
    changed = bytearray(salt + stored)
    changed[place] ^= data.draw(st.integers(1, 255))
    digest = part_digest("what", bytes(changed))
    assert commitment({"what": digest}) != whole


def test_a_part_under_another_name_is_another_part():
    salt, value = bytes(SALT), canonical({"id": "u-1"})
    assert part_digest("who", salt + value) != part_digest("what", salt + value)
    digest = part_digest("who", salt + value)
    assert commitment({"who": digest}) != commitment({"what": digest})


def test_what_was_purged_lets_the_rest_open():
    who_salt, what_salt = bytes(SALT), b"\x01" * SALT
    parts = split_action(ACTION, keep_network=False)
    leaf = ours({"who": (who_salt, parts["who"]), "what": (what_salt, parts["what"])})
    kept = part_digest("who", who_salt + canonical(parts["who"]))  # value and salt are destroyed
    assert (
        commitment({"who": kept, "what": part_digest("what", what_salt + canonical(parts["what"]))})
        == leaf
    )
    forged = canonical({**parts["what"], "outcome": "denied"})
    assert commitment({"who": kept, "what": part_digest("what", what_salt + forged)}) != leaf


def test_the_same_content_under_another_salt_cannot_be_recognised():
    value = canonical(ACTION["actor"])
    assert part_digest("who", bytes(SALT) + value) != part_digest("who", b"\x01" * SALT + value)


def test_an_action_is_split_by_whose_data_it_is():
    parts = split_action(ACTION, keep_network=False)
    assert parts["who"] == {"actor": ACTION["actor"]}
    assert parts["what"] == {
        "v": 1,
        "action": "compute.server.delete",
        "origin": {"channel": "portal"},  # neither address nor user agent
        "target": {"type": "compute.server", "id": "srv-1"},
        "customer_id": "c-100",
    }
    assert parts["network"] == {}
    kept = split_action(ACTION, keep_network=True)
    assert kept["network"] == {"ip": "192.0.2.7", "agent": "curl/8"}
    assert (kept["who"], kept["what"]) == (parts["who"], parts["what"])


def test_an_identity_keeps_the_order_of_time_and_tells_sources_apart():
    early, late = "0199a7c2-0000-7000-8000-000000000000", "0199a7c3-0000-7000-8000-000000000000"
    assert identity("//a", early)[:6] < identity("//a", late)[:6]
    assert len({identity(s, i) for s in ("//a", "//b") for i in (early, late, "x", "y" * 36)}) == 8
    assert {len(identity("//a", i)) for i in (early, "x", "zzzzzzzz-zzzz-7" + "z" * 21)} == {16}


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1))
def test_the_tag_is_the_truncated_hmac_of_the_counter(key: bytes, counter: int):
    expected = hmac.new(key, counter.to_bytes(8, "big"), hashlib.sha256).digest()[:20]
    assert tenant_tag(key, counter) == expected
    assert tenant_tag(key, (counter + 1) % 2**64) != expected


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2024, 12, 31, 22, 59, 59, tzinfo=UTC), date(2024, 12, 31)),
        (datetime(2024, 12, 31, 23, 0, tzinfo=UTC), date(2025, 1, 1)),
        (datetime(2024, 6, 30, 22, 0, tzinfo=UTC), date(2024, 7, 1)),  # summer time
        (datetime(1969, 12, 31, 22, 59, tzinfo=UTC), date(1970, 1, 1)),
        (datetime(1, 1, 1, tzinfo=UTC), date(1970, 1, 1)),
    ],
)
def test_the_day_is_a_civil_day_in_sweden(instant: datetime, day: date):
    assert day_of(instant) == day
