"""One spelling of an address, and finding it again without keeping it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.addresses import lookup
from shared.addresses import normal
from shared.errors import Rejected

KEY = base64.b64decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


@pytest.mark.parametrize(
    ("written", "spelt"),
    [
        ("ops@customer.example", "ops@customer.example"),
        ("Ops@Customer.EXAMPLE", "Ops@customer.example"),
        ("ops+sto2@customer.example", "ops+sto2@customer.example"),
        ("o'brien@customer.example", "o'brien@customer.example"),
        ("a\u030asa@exempel.example", "\u00e5sa@exempel.example"),
        (
            "\u00e5sa@R\u00c4KSM\u00d6RG\u00c5S.example",
            "\u00e5sa@r\u00e4ksm\u00f6rg\u00e5s.example",
        ),
        ("x@xn--rksmrgs-5wao1o.example", "x@r\u00e4ksm\u00f6rg\u00e5s.example"),
        ("x@host.test", "x@host.test"),
    ],
)
def test_an_address_has_one_spelling(written: str, spelt: str):
    assert normal(written) == normal(spelt) == spelt


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "@",
        "anna",
        "anna@",
        "@customer.example",
        "anna@customer@example.org",
        "anna @customer.example",
        " anna@customer.example",
        "anna@customer.example\n",
        "anna\r\nBcc: evil@x.se@customer.example",
        "anna@customer.example, evil@x.se",
        "Anna <anna@customer.example>",
        '"anna evil"@customer.example',
        "anna@[192.0.2.1]",
        "anna@-customer.example",
        "anna@customer..example",
        ".anna@customer.example",
        "anna..a@customer.example",
        "anna@customer\u2028.example",
        "\u202eanna@customer.example",
        "anna\x00@customer.example",
        "a" * 65 + "@customer.example",
        "a@" + "b" * 64 + ".example",
        "a@" + "b." * 130 + "example",
        "anna\ud800@customer.example",
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(text: str):
    with pytest.raises(Rejected) as refusal:
        normal(text)
    assert refusal.value.code == "invalid-address"
    assert "anna" not in str(refusal.value)


@given(st.emails())
def test_the_spelling_of_a_spelling_is_itself(address: str):
    try:
        spelt = normal(address)
    except Rejected:
        return
    assert normal(spelt) == spelt


def test_an_address_is_found_under_every_spelling_of_it():
    assert lookup(KEY, "Ops@Customer.EXAMPLE") == lookup(KEY, "Ops@customer.example")
    assert len(lookup(KEY, "ops@customer.example")) == 32


def test_another_address_or_another_key_finds_something_else():
    found = lookup(KEY, "ops@customer.example")
    assert found != lookup(KEY, "dev@customer.example")
    assert found != lookup(KEY[::-1], "ops@customer.example")
    assert b"ops" not in found
