"""Our fast canonical JSON against the reference implementation of RFC 8785."""

import hashlib
import json
from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import canonical, digest

NAMES = st.text(st.characters(max_codepoint=0x7F), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),  # all of Unicode, also beyond the BMP
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=30,
)


@given(VALUES)
def test_it_equals_rfc_8785(value: Any):
    assert canonical(value) == rfc8785.dumps(value)


@given(VALUES)
def test_spelling_does_not_matter(value: Any):
    spelt_otherwise = json.dumps(value, indent=3, ensure_ascii=True)
    assert canonical(json.loads(spelt_otherwise)) == canonical(value)


def test_control_characters_are_written_as_the_rfc_says():
    every = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028\U0001f9ca'
    assert canonical(every) == rfc8785.dumps(every)


def test_a_digest_separates_its_parts():
    assert digest(b"a", b"bc") == hashlib.sha256(b"a\x00bc").digest() != digest(b"ab", b"c")
