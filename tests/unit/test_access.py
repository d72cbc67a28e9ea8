"""Which tokens are believed, and what they allow."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from litestar.exceptions import NotAuthorizedException

from shared.clock import VirtualClock
from shared.settings import SettingsError
from shared.web.access import ROLES, Access, Caller

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
OURS = OKPKey.generate_key("Ed25519", auto_kid=True)
THEIRS = ECKey.generate_key("P-256", auto_kid=True)
KEYS = json.dumps(
    {
        "keys": [
            {**OURS.as_dict(private=False), "iss": "gallra-console"},
            {**THEIRS.as_dict(private=False), "iss": "https://idp.example"},
        ]
    }
)
CLAIMS: dict[str, Any] = {
    "iss": "gallra-console",
    "aud": "gallra",
    "sub": "u-1",
    "groups": ["gallra-viewer", "gallra-dpo", "all-staff", "gallra-king"],
    "exp": int((NOW + timedelta(minutes=1)).timestamp()),
}


def access(**fields: Any) -> Access:
    return Access.read(KEYS, VirtualClock(NOW), **fields)


def token(key: Any = OURS, alg: str = "Ed25519", **claims: Any) -> str:
    content = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode({"alg": alg, "kid": key.kid}, content, key, algorithms=[alg])


def test_groups_are_roles() -> None:
    caller = access().caller(f"Bearer {token()}")
    assert caller == Caller("u-1", frozenset(("viewer", "dpo")))


def test_each_issuer_has_its_own_key() -> None:
    theirs = token(THEIRS, "ES256", iss="https://idp.example")
    assert access().caller(f"bearer {theirs}").subject == "u-1"
    for forged in (token(THEIRS, "ES256"), token(iss="https://idp.example")):
        with pytest.raises(NotAuthorizedException):
            access().caller(f"Bearer {forged}")


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp"])
def test_no_claim_may_be_missing(name: str) -> None:
    with pytest.raises(NotAuthorizedException):
        access().caller(f"Bearer {token(**{name: None})}")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int((NOW - timedelta(minutes=1)).timestamp())},
        {"nbf": int((NOW + timedelta(minutes=1)).timestamp())},
        {"aud": "another"},
        {"iss": "another"},
        {"exp": "tomorrow"},
    ],
)
def test_claims_that_do_not_hold(claims: dict[str, Any]) -> None:
    with pytest.raises(NotAuthorizedException):
        access().caller(f"Bearer {token(**claims)}")


def test_a_stranger_s_key_and_the_usual_tricks() -> None:
    stranger = OKPKey.generate_key("Ed25519", auto_kid=True)
    same_id = OKPKey.generate_key("Ed25519", {"kid": OURS.kid})
    public = json.dumps(OURS.as_dict(private=False)).encode()
    shared = OctKey.import_key(public, {"kid": OURS.kid})
    unsigned = ".".join([*_parts({"alg": "none", "kid": OURS.kid}), ""])
    for forged in (
        token(stranger),
        token(same_id),
        token(shared, "HS256"),
        unsigned,
        token()[:-2],
        token() + "." + "x",
        "",
        "a.b.c",
        "x" * 10_000,
    ):
        with pytest.raises(NotAuthorizedException) as refused:
            access().caller(f"Bearer {forged}")
        assert "u-1" not in str(refused.value)


def _parts(header: dict[str, Any]) -> list[str]:
    whole = token().split(".")
    made = jwt.encode({**header, "alg": "Ed25519"}, CLAIMS, OURS, algorithms=["Ed25519"]).split(".")
    return [made[0], whole[1]]


@given(st.text())
def test_no_header_breaks_it(text: str) -> None:
    with pytest.raises(NotAuthorizedException):
        access().caller(text)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_changed_token_is_believed(place: int, change: int) -> None:
    good = token()
    at = place % (len(good) - 1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    letter = alphabet[(alphabet.find(good[at]) + change) % len(alphabet)]
    changed = good[:at] + letter + good[at + 1 :]
    try:
        caller = access().caller(f"Bearer {changed}")
    except NotAuthorizedException:
        return
    # Only what base64 does not use of its last letter can differ, or nothing does.
    assert caller == access().caller(f"Bearer {good}")


@pytest.mark.parametrize("groups", [None, "gallra-dpo", {"gallra-dpo": 1}, [["gallra-dpo"]], [7]])
def test_groups_of_another_shape_are_none(groups: Any) -> None:
    assert access().caller(f"Bearer {token(groups=groups)}").roles == frozenset()


def test_without_a_token() -> None:
    assert access().caller(None) == Caller(None, frozenset())
    given = access(without_token=["viewer"])
    assert given.caller(None).roles == {"viewer"}
    with pytest.raises(NotAuthorizedException):
        given.caller("Bearer x")
    with pytest.raises(SettingsError, match="king"):
        access(without_token=["king"])


def test_no_keys_trust_nobody() -> None:
    with pytest.raises(NotAuthorizedException):
        Access.read("", VirtualClock(NOW)).caller(f"Bearer {token()}")


@pytest.mark.parametrize(
    "keys",
    [
        "{",
        "[]",
        '{"keys": 7}',
        json.dumps({"keys": [OURS.as_dict(private=False)]}),
        json.dumps({"keys": [{**OURS.as_dict(private=True), "iss": "x"}]}),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1", "iss": "x"}]}),
        json.dumps({"keys": [{**RSAKey.generate_key(2048).as_dict(private=False), "iss": "x"}]}),
    ],
)
def test_unfit_keys_are_told(keys: str) -> None:
    with pytest.raises(SettingsError, match="GALLRA_TOKEN_KEYS") as told:
        Access.read(keys, VirtualClock(NOW))
    assert cast("str", OURS.as_dict(private=True)["d"]) not in str(told.value)


def test_roles_are_what_the_docs_say() -> None:
    assert {
        "viewer", "compliance", "dpo", "approver", "operator", "auditor", "producer",
    } == ROLES  # fmt: skip
