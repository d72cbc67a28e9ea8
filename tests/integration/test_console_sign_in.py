"""Signing in to the console: at the provider of the local stack, and at one that forges."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import asyncpg
import httpx
import pytest
from litestar import Litestar
from pydantic import SecretStr
from tests.conftest import Database
from tests.integration.forging import WRONG, Forger, forger
from tests.unit.console_pages import settings

from console.app import build
from console.sessions import Sessions
from gallra.stack import provider
from gallra.stack.infrastructure import Infrastructure
from shared.clock import VirtualClock

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOME = "http://console.example"


@pytest.fixture(scope="module")
def issuer(infra: Infrastructure) -> Iterator[str]:
    """Run the provider of the local stack."""
    part = provider.prepare(infra)
    part.start()
    part.wait_ready()
    yield f"http://127.0.0.1:{infra.ports.provider}"
    part.stop()


@pytest.fixture
def forged() -> Iterator[Forger]:
    with forger() as made:
        yield made


@asynccontextmanager
async def running(database: Database, issuer: str, **changes: Any) -> AsyncIterator[Litestar]:
    made = settings(
        database=SecretStr(database.service),
        oidc_issuer=issuer,
        oidc_client_secret=SecretStr("any"),
        **changes,
    )
    app = build(made)
    async with app.lifespan():
        yield app


@asynccontextmanager
async def browser(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=HOME) as http:
        yield http


async def sent_to_provider(http: httpx.AsyncClient, after: str = "/holds?state=asked") -> str:
    answer = await http.get("/sign-in/start", params={"after": after})
    assert answer.status_code == 302
    return answer.headers["location"]


async def let_in(address: str, role: str) -> str:
    """Return where the provider sends a person back to."""
    async with httpx.AsyncClient() as outside:
        answer = await outside.post(address, data={"sub": f"{role}@{provider.DOMAIN}"})
    assert answer.status_code == 302
    return answer.headers["location"]


async def signed_in(http: httpx.AsyncClient, role: str) -> httpx.Response:
    return await http.get(await let_in(await sent_to_provider(http), role))


@pytest.mark.parametrize("role", provider.USERS)
async def test_each_demo_user_is_let_in_and_led_on(
    console_db: Database, issuer: str, role: str
) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        refused = await http.get("/policies?lang=sv")
        assert refused.headers["location"] == "/sign-in?after=%2Fpolicies"
        back = await signed_in(http, role)
        assert (back.status_code, back.headers["location"]) == (302, "/holds?state=asked")
        cookie = next(c for c in back.headers.get_list("set-cookie") if "gallra-session" in c)
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        overview = await http.get("/")
        assert overview.status_code == 200
        assert provider.USERS[role] in overview.text


async def test_what_the_provider_is_asked(console_db: Database, issuer: str) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        first, second = [
            dict(parse_qsl(urlsplit(await sent_to_provider(http)).query)) for _ in "12"
        ]
    assert first["response_type"] == "code"
    assert first["code_challenge_method"] == "S256"
    assert first["redirect_uri"] == f"{HOME}/sign-in/callback"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 32
        assert first[name] != second[name]


async def test_an_answer_to_nobodys_question_is_refused(console_db: Database, issuer: str) -> None:
    async with (
        running(console_db, issuer) as app,
        browser(app) as victim,
        browser(app) as thief,
    ):
        theirs = await let_in(await sent_to_provider(thief), "viewer")
        assert (await victim.get(theirs)).status_code == 403  # has not begun to sign in
        await sent_to_provider(victim)
        answer = await victim.get(theirs)  # begun, but this is not the answer
        assert answer.status_code == 403
        assert "does not belong to this attempt" in answer.text
        assert "gallra-session" not in victim.cookies


async def test_a_state_that_was_changed_is_refused(console_db: Database, issuer: str) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        back = urlsplit(await let_in(await sent_to_provider(http), "viewer"))
        said = {name: values[0] for name, values in parse_qs(back.query).items()}
        for state in ({}, {"state": ""}, {"state": said["state"] + "x"}):
            query = urlencode({"code": said["code"], **state})
            assert (await http.get(f"/sign-in/callback?{query}")).status_code == 403


async def test_a_code_serves_once(console_db: Database, issuer: str) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        back = await let_in(await sent_to_provider(http), "viewer")
        attempt = http.cookies["gallra-sign-in"]
        assert (await http.get(back)).status_code == 302
        http.cookies.set("gallra-sign-in", attempt, domain="console.example")
        assert (await http.get(back)).status_code == 403


LIES: dict[str, dict[str, Any]] = {
    "another nonce": {"claims": {"nonce": "x"}},
    "no nonce": {"claims": {"nonce": None}},
    "for another client": {"claims": {"aud": "somebody-else"}},
    "of another issuer": {"claims": {"iss": "http://evil.example"}},
    "expired": {"claims": {"exp": 1_600_000_000}},
    "signed by another key": {"key": WRONG},
    "not signed": {"unsigned": True},
    "by another name": {"issuer_said": "http://evil.example"},
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_a_forger_says_lets_nobody_in(
    console_db: Database, forged: Forger, lie: str
) -> None:
    for name, value in LIES[lie].items():
        setattr(forged, name, value)
    async with running(console_db, forged.issuer) as app, browser(app) as http:
        start = await http.get("/sign-in/start")
        if lie != "by another name":
            code = forged.authorize(start.headers["location"])
            query = urlencode({"code": code, "state": forged.asked["state"]})
            start = await http.get(f"/sign-in/callback?{query}")
        assert start.status_code == 403
        assert "gallra-session" not in http.cookies


async def test_the_verifier_is_known_to_the_browser_that_began_alone(
    console_db: Database, forged: Forger
) -> None:
    async with running(console_db, forged.issuer) as app, browser(app) as http:
        mine = await sent_to_provider(http)
        code = forged.authorize(mine)
        state = forged.asked["state"]
        forged.asked |= {"code_challenge": "of-another-attempt"}
        answer = await http.get(f"/sign-in/callback?{urlencode({'code': code, 'state': state})}")
        assert answer.status_code == 403
        forged.authorize(mine)
        answer = await http.get(f"/sign-in/callback?{urlencode({'code': code, 'state': state})}")
        assert answer.status_code == 302
        menu = await http.get("/")
        assert "Kim Lind" in menu.text


async def test_a_session_is_known_by_hash_alone_and_never_by_a_planted_id(
    console_db: Database, issuer: str
) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        http.cookies.set("gallra-session", "planted", domain="console.example")
        await signed_in(http, "dpo")
        [given] = {c.value for c in http.cookies.jar if c.name == "gallra-session"} - {"planted"}
        connection = await asyncpg.connect(console_db.owner)
        [row] = await connection.fetch("SELECT id, person::text AS person FROM session")
        await connection.close()
        assert row["id"] == hashlib.sha256(str(given).encode()).digest()
        assert str(given) not in row["person"]
        assert '"staff"' not in row["person"]


async def test_a_session_ends_by_idling_by_age_and_by_signing_out(
    console_db: Database, issuer: str
) -> None:
    clock = VirtualClock(NOW)
    async with running(console_db, issuer) as app:
        app.state.sessions = Sessions(clock, timedelta(hours=10), timedelta(hours=1))

        async def stands(http: httpx.AsyncClient) -> bool:
            answer = await http.get("/rights")  # 503: there is no service behind it here
            return not answer.headers.get("location", "").startswith("/sign-in")

        async with browser(app) as http:
            await signed_in(http, "dpo")
            for _ in range(11):
                clock.advance(timedelta(minutes=50))
                assert await stands(http)
            clock.advance(timedelta(minutes=51))
            assert not await stands(http)  # used all the time, and ten hours old
            await signed_in(http, "dpo")
            clock.advance(timedelta(minutes=61))
            assert not await stands(http)
            await signed_in(http, "dpo")
            assert await stands(http)
            assert (
                await http.post("/sign-out")
            ).status_code == 403  # no token: another site's form
            assert await stands(http)
            kept = http.cookies["gallra-session"]
            token = http.cookies["gallra-csrf"]
            out = await http.post("/sign-out", data={"_csrf_token": token})
            assert out.headers["location"] == "/signed-out"
            http.cookies.set("gallra-session", kept, domain="console.example")
            assert not await stands(http)


async def test_signing_in_leads_nowhere_else(console_db: Database, issuer: str) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        for elsewhere in ("//evil.example", "https://evil.example/", "/\\evil.example", "/\t/x"):
            back = await let_in(await sent_to_provider(http, elsewhere), "viewer")
            assert (await http.get(back)).headers["location"] == "/"


async def test_who_tries_again_and_again_has_to_wait(console_db: Database, issuer: str) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        seen = [(await http.get("/sign-in/callback?code=x")).status_code for _ in range(61)]
    assert seen == [403] * 60 + [429]


async def test_over_https_cookies_are_bound_to_the_host(console_db: Database, issuer: str) -> None:
    async with (
        running(console_db, issuer, public_url="https://console.example") as app,
        browser(app) as http,
    ):
        answer = await http.get("/sign-in/start")
        cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    for cookie in cookies:
        assert cookie.startswith("__Host-gallra-")
        assert "Secure" in cookie
        assert "HttpOnly" in cookie


async def test_health(console_db: Database, issuer: str) -> None:
    async with running(console_db, issuer) as app, browser(app) as http:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await http.get(path)).status_code == 200
