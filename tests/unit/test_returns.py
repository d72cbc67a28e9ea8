"""What is read from mails that come back, made in the shapes of standards and of known servers."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import mime
from notifier.returns import AutoReply, Bounce, Box, Complaint, Unclear, box, read
from shared.errors import Rejected

CORPUS = Path(__file__).parent / "returns"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((CORPUS / "expected.yaml").read_text())
DOMAIN = "provider.example"
DELIVERY = UUID("0199a7c2-1f00-7abc-8def-0000000000d1")
BOXES = {
    "return-path": Box(DOMAIN, "return-path", DELIVERY),
    "bounces": Box(DOMAIN, "bounces"),
    "complaints": Box(DOMAIN, "complaints"),
}
MAILS = {path.stem: path.read_bytes() for path in CORPUS.glob("*.eml")}


def test_every_mail_is_expected() -> None:
    assert set(EXPECTED) == set(MAILS)
    assert len(MAILS) >= 40


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_corpus(name: str, line_end: bytes) -> None:
    said = EXPECTED[name]
    content = MAILS[name]
    if b"\r" not in content:
        content = content.replace(b"\n", line_end)
    to = BOXES[said.get("to", "return-path")]
    found = read(content, to, null_sender="sender" not in said)
    assert found.kind == said["kind"]
    if isinstance(found, Bounce | Complaint):
        assert found.delivery == (DELIVERY if said.get("delivery", True) else None)
    if isinstance(found, Bounce):
        assert found.status == said["status"]
        assert found.bad_address is said.get("bad", False)
        assert said.get("diagnostic", "") in found.diagnostic
        assert found.recipient == said.get("recipient", found.recipient)
    if isinstance(found, Unclear):
        assert found.written is said.get("written", True)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_nothing_personal_is_shown(name: str) -> None:
    shown = repr(read(MAILS[name], BOXES["return-path"], null_sender=True))
    assert "@" not in shown
    assert "ann" not in shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"b+{DELIVERY}@provider.example", BOXES["return-path"]),
        (f"B+{str(DELIVERY).upper()}@Provider.Example", BOXES["return-path"]),
        ("bounces@provider.example", BOXES["bounces"]),
        ("complaints@PROVIDER.example", BOXES["complaints"]),
    ],
)
def test_addresses_of_ours(address: str, expected: Box) -> None:
    assert box(address, DOMAIN) == expected


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "provider.example",
        "notices@provider.example",
        "b+@provider.example",
        f"b+{DELIVERY}@elsewhere.example",
        f"b+{DELIVERY}@provider.example.evil.example",
        f"b+{DELIVERY}\n@provider.example",
        f"b+{DELIVERY.hex}@provider.example",
        f"b+{{{DELIVERY}}}@provider.example",
        f"x+{DELIVERY}@provider.example",
    ],
)
def test_addresses_that_are_not_ours(address: str) -> None:
    with pytest.raises(Rejected) as rejected:
        box(address, DOMAIN)
    assert rejected.value.code == "unknown-recipient"
    assert not address or address not in str(rejected.value)


def test_a_foreign_id_at_another_domain_is_none_of_ours() -> None:
    evil = MAILS["rfc3464-by-message-id"].replace(
        b"%s@provider.example" % str(DELIVERY).encode(),
        b"%s@provider.example.evil.example" % str(DELIVERY).encode(),
    )
    found = read(evil, BOXES["bounces"], null_sender=True)
    assert isinstance(found, Bounce)
    assert found.delivery is None


def valid(content: bytes, to: Box, null_sender: bool) -> None:
    """See that one of the outcomes comes, and that it says nothing but what there is to say."""
    found = read(content, to, null_sender=null_sender)
    assert isinstance(found, Bounce | Complaint | AutoReply | Unclear)
    if isinstance(found, Unclear):
        return
    assert (
        found.delivery in (DELIVERY, to.delivery, None) or str(found.delivery).encode() in content
    )
    if isinstance(found, Bounce):
        assert len(found.diagnostic) <= 1000
        assert not set(found.diagnostic) & {"\r", "\n"}
        assert not found.bad_address or (found.status or "").startswith("5.")


boxes = st.sampled_from(sorted(BOXES)).map(BOXES.__getitem__)
mails = st.sampled_from(sorted(MAILS)).map(MAILS.__getitem__)


@given(content=st.binary(max_size=2000), to=boxes, null_sender=st.booleans())
def test_any_bytes(content: bytes, to: Box, null_sender: bool) -> None:
    valid(content, to, null_sender)


PIECES = [
    b"\r", b"\n", b"\r\n", b"\n\n", b"\0", b"\xff", b"--", b"--B1", b"--B1--", b"=?utf-8?B?/?=",
    b"=?x?q?=0A?=", b"Content-Type: multipart/mixed; boundary=B1\n\n",
    b"Content-Type: message/rfc822\n\n", b"Content-Transfer-Encoding: base64\n",
    b'Content-Type: text/plain; charset="idna"\n', b"Action: failed\n", b"Status: 5.1.1\n",
    b"Status: 5.1.1.1.1\n", b"Original-Envelope-Id: x\n", b"utf-8;\\x{110000}", b"; boundary=",
    b'"', b"\\", b";", b":", b" ", b"<@@ID@@@x>",
]  # fmt: skip


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Return a mail of the corpus that was cut, torn and filled in a few places."""
    content = draw(mails)
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 60)))
        put = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20), st.just(b"")))
        match draw(st.sampled_from(["replace", "cut", "repeat", "mix"])):
            case "replace":
                content = content[:start] + put + content[end:]
            case "cut":
                content = content[:start]
            case "repeat":
                content = content[:end] + content[start:end] * draw(st.integers(1, 40)) + put
            case _:
                other = draw(mails)
                content = content[:start] + other[draw(st.integers(0, len(other))) :]
    return content


@settings(max_examples=400)
@given(content=mutants(), to=boxes, null_sender=st.booleans())
def test_mutants_of_the_corpus(content: bytes, to: Box, null_sender: bool) -> None:
    valid(content, to, null_sender)


def _nested(depth: int) -> bytes:
    head = "".join(
        f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(depth)
    )
    return head.encode() + b"Content-Type: message/delivery-status\n\nStatus: 5.1.1\n"


QUOTES = b"Content-Type: multipart/mixed; " + b';a="' * 2000 + b"\n"
HOSTILE = {
    "nested": _nested(20_000),
    "enclosed": b"Content-Type: message/rfc822\n\n" * 300_000,
    "one line": b"Subject: " + b"x" * 10_000_000,
    "one folded header": b"Subject: x\n" + b" y\n" * 3_000_000,
    "dashes": b"Content-Type: text/plain\n\n" + b"-" * 10_000_000,
    "copies": b"Subject: Undelivered\n\n" + b"copy of " * 1_000_000,
    "parts": b"Content-Type: multipart/report; boundary=b\n\n" + b"--b\n\n" * 2_000_000,
    "delimiters that are none": b"Content-Type: multipart/report; boundary=b\n\n"
    + b"--bb\n" * 2_000_000,
    "open quotes": b"Content-Type: multipart/mixed; boundary=b\n\n" + (b"--b\n" + QUOTES) * 1000,
    "groups": b"Content-Type: message/delivery-status\n\n" + b"Reporting-MTA: x\n\n" * 500_000,
    "spaces": b"Content-Type: message/delivery-status\n\n" + (b"\n" + b" " * 1000) * 9_000,
    "numbers": b"Subject: Undelivered\n\n" + b"5.1." * 2_500_000,
    "base64": b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
    + b"=" * 10_000_000,
    "encoded words": b"Subject: " + b"=?utf-8?b?" * 900 + b"\n\n",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_ten_megabytes_made_to_hurt(name: str) -> None:
    for to in BOXES.values():
        valid(HOSTILE[name], to, null_sender=True)


def test_base64_that_lacks_its_end() -> None:
    for text, expected in ((b"QUJD", b"ABC"), (b"QUI", b"AB"), (b"QQ", b"A"), (b"QUJDR", b"ABC")):
        part = mime.Part((("content-transfer-encoding", "base64"),), text)
        assert part.decoded == expected
