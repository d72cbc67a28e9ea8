"""The console's pure parts, and that services believe its tokens and nothing else it signs."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.exceptions import NotAuthorizedException
from pydantic import SecretStr
from tests.unit.console_pages import KEY, settings

from console.app import build
from console.charts import ceiling, months_from, share, stacked
from console.person import Person, our_groups
from console.searching import FIELDS, instant, understand
from console.tokens import Signer
from gallra.stack.up import token_keys
from shared.clock import VirtualClock
from shared.settings import SettingsError
from shared.web.access import Access

NOW = datetime(2026, 11, 26, 11, 30, tzinfo=UTC)
SWEDEN = ZoneInfo("Europe/Stockholm")
KIM = Person("kim", "Kim Lind", ("gallra-auditor", "gallra-janitor"))


def access(tmp_path: Path, clock: VirtualClock) -> tuple[Access, Signer]:
    """Return what a service of the local stack trusts, and the stack's console."""
    keys = Path(token_keys(tmp_path)).read_text()
    [listed] = json.loads(keys)["keys"]
    assert "d" not in listed
    signer = Signer.read((tmp_path / "secrets" / "token-key").read_text())
    assert listed["kid"] == signer.key_id
    return Access.read(keys, clock), signer


def test_a_service_believes_a_token_for_a_minute(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    trusted, signer = access(tmp_path, clock)
    header = f"Bearer {signer.of_person(KIM, NOW)}"
    caller = trusted.caller(header)
    assert (caller.subject, caller.roles) == ("kim", {"auditor"})
    clock.advance(timedelta(seconds=59))
    assert trusted.caller(header) == caller
    clock.advance(timedelta(seconds=15))
    with pytest.raises(NotAuthorizedException):
        trusted.caller(header)


def test_a_service_believes_nothing_else(tmp_path: Path) -> None:
    trusted, signer = access(tmp_path, VirtualClock(NOW))
    sealed = signer.sealed("sign-in", {"sub": "kim", "groups": ["gallra-dpo"]}, NOW, timedelta(1))
    of_another = Signer.read(KEY).of_person(KIM, NOW)
    for token in (sealed, of_another):
        with pytest.raises(NotAuthorizedException):
            trusted.caller(f"Bearer {token}")


def test_what_was_sealed_opens_for_its_purpose_and_in_time() -> None:
    signer = Signer.read(KEY)
    sealed = signer.sealed("sign-in", {"state": "x"}, NOW, timedelta(minutes=10))
    assert (signer.opened("sign-in", sealed, NOW) or {})["state"] == "x"
    assert signer.opened("other", sealed, NOW) is None
    assert signer.opened("sign-in", sealed, NOW + timedelta(minutes=10)) is None
    assert signer.opened("sign-in", sealed[:-4] + "AAAA", NOW) is None
    assert signer.opened("sign-in", signer.of_person(KIM, NOW), NOW) is None
    for nonsense in ("", "a.b.c", "ö"):
        assert signer.opened("sign-in", nonsense, NOW) is None


@pytest.mark.parametrize("key", ["", "hunter2-s3cret", "aGVq", "ö"])
def test_a_key_that_is_none_is_named_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^GALLRA_TOKEN_KEY: ") as error:
        build(settings(token_key=SecretStr(key)))
    assert not key or key not in str(error.value)


def test_roles_are_ours_alone() -> None:
    assert our_groups(["gallra-dpo", "staff", 7, "gallra-dpo"]) == ("gallra-dpo",)
    assert KIM.roles == {"auditor"}
    assert Person("x", "X", ("gallra-producer", "Gallra-dpo", "dpo")).roles == frozenset()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("today", "2026-11-25T23:00:00+00:00"),
        ("igår", "2026-11-24T23:00:00+00:00"),
        ("3 hours ago", "2026-11-26T08:30:00+00:00"),
        ("2 dagar sedan", "2026-11-24T11:30:00+00:00"),
        ("1w", "2026-11-19T11:30:00+00:00"),
        ("2026-07-01", "2026-06-30T22:00:00+00:00"),
        ("2026-07-01T12:00", "2026-07-01T10:00:00+00:00"),
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00+00:00"),
    ],
)
def test_instants_as_one_says_them(said: str, meant: str) -> None:
    found = instant(said, NOW, SWEDEN)
    assert found is not None
    assert found.astimezone(UTC).isoformat() == meant


def test_the_last_day_belongs_to_what_is_asked_for() -> None:
    found = instant("2026-07-01", NOW, SWEDEN, last=True)
    assert found == datetime(2026, 7, 1, 22, tzinfo=UTC)
    assert instant("9999-12-31", NOW, SWEDEN, last=True) is None


@pytest.mark.parametrize(
    "said",
    ["soon", "3 moons ago", "2026-13-01", "9999 years ago", "0001-01-01", "0001-01-01T00:00", ""],
)
def test_what_is_no_instant(said: str) -> None:
    assert instant(said, NOW, SWEDEN) is None


@given(st.text())
def test_whatever_is_written_is_understood_or_named(text: str) -> None:
    asked = understand(text, NOW, SWEDEN)
    assert asked.params.keys() <= {*FIELDS, "from", "to"}
    assert bool(text.split()) <= bool(asked.params or asked.strange)


@given(st.sampled_from(FIELDS), st.text(st.characters(exclude_characters='"'), min_size=1))
def test_what_is_quoted_is_taken_as_it_is(field: str, value: str) -> None:
    asked = understand(f'{field}:"{value}"', NOW, UTC)
    assert asked.params == {field: value}


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(months_from(date(2026, 1, 1), 30)), st.sampled_from("abcdefgh")),
        st.integers(1, 10**6),
        max_size=40,
    )
)
def test_a_chart_loses_no_record(counts: dict[tuple[date, str], int]) -> None:
    months = months_from(date(2026, 3, 7), 24)
    rows = [{"month": m.isoformat(), "category": c, "records": n} for (m, c), n in counts.items()]
    chart = stacked(rows, months, 960, 190)
    assert [bar.month for bar in chart.bars] == months
    for bar in chart.bars:
        assert bar.total == sum(n for (month, _), n in counts.items() if month == bar.month)
        assert sum(piece.count for piece in bar.pieces) == bar.total
        assert all(0 < piece.height <= piece.y <= chart.height + 1e-9 for piece in bar.pieces)
        assert 0 <= bar.x < chart.width


@given(st.integers(0, 10**9))
def test_the_scale_is_round_and_holds_all(highest: int) -> None:
    top = ceiling(highest)
    assert top >= highest
    assert top % 4 == 0
    assert top <= max(20, highest * 4)
    assert share(highest, max(highest, 1), 4) in {0, 4}
