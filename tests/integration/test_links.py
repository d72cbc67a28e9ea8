"""Links in mails: declining mail and confirming an address, as a mail program and a person do."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.integration import served
from tests.integration.test_returns import BASES, NEWS, again, refusals, registered, suppressed
from tests.integration.test_sending import (
    KEY,
    NOW,
    Notifier,
    Server,
    confirmed,
    contact,
    message,
    notifier,
    server,
)

from notifier import links, tokens
from notifier.links import Links

FORM = {"content-type": "application/x-www-form-urlencoded"}
ONE_CLICK = "List-Unsubscribe=One-Click"


@pytest.fixture
async def client(notifier: Notifier) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to the pages as the service serves them, without its other parts."""
    pages = Links(KEY, refusals(notifier), "provider.example")
    async with served.client(
        "notifier", links.ROUTES, notifier.pool, "http://x", {}, links=pages
    ) as client:
        yield client


async def recipient(notifier: Notifier) -> str:
    token: str = await notifier.pool.fetchval("SELECT recipient FROM contact LIMIT 1")
    return token


async def link(notifier: Notifier, server: Server, **changes: Any) -> str:
    """Have a contact get news; return the path of the link in its mail."""
    await notifier.know(1, bases=BASES, **changes)
    await again(notifier, **NEWS)
    content = server.mails[-1].content
    assert isinstance(content, bytes)
    found = re.search(rb"List-Unsubscribe: <https://mail\.provider\.example(/u/[^>]+)>", content)
    assert found is not None
    return found[1].decode()


async def test_one_click(notifier: Notifier, server: Server, client: httpx.AsyncClient) -> None:
    path = await link(notifier, server)
    await notifier.take(message(message_id="n2", send_after=NOW + timedelta(hours=1), **NEWS))
    await notifier.take(message(message_id="work", send_after=NOW + timedelta(hours=1)))
    for _ in range(3):
        answer = await client.post(path, content=ONE_CLICK, headers=FORM)
        assert answer.status_code == 200
    assert await suppressed(notifier) == [("news", "unsubscribed")]
    assert len(await registered(notifier)) == 1
    assert await notifier.states() == {"accepted": 1, "suppressed": 1, "queued": 1}
    notifier.clock.advance(timedelta(hours=2))
    server.mails.clear()
    await notifier.take(message(message_id="n3", **NEWS))
    await notifier.send()
    assert len(server.mails) == 1, "what belongs to the service still comes"


async def test_one_click_as_multipart(
    notifier: Notifier, server: Server, client: httpx.AsyncClient
) -> None:
    path = await link(notifier, server)
    answer = await client.post(path, files={"List-Unsubscribe": (None, "One-Click")})
    assert answer.status_code == 200
    assert await suppressed(notifier) == [("news", "unsubscribed")]


async def test_scanners_change_nothing(
    notifier: Notifier, server: Server, client: httpx.AsyncClient
) -> None:
    path = await link(notifier, server)
    for _ in range(20):
        shown = await client.get(path)
        assert shown.status_code == 200
        assert "set-cookie" not in shown.headers
        assert shown.headers["cache-control"] == "no-store"
        assert (await client.head(path)).status_code == 200
    assert (await client.post(path, content="", headers=FORM)).status_code == 400
    assert (await client.post(path, content="choice=oops", headers=FORM)).status_code == 400
    mandatory = "choice=stop&type=maintenance-window"
    assert (await client.post(path, content=mandatory, headers=FORM)).status_code == 400
    assert await suppressed(notifier) == []


@pytest.mark.parametrize("locale", ["sv", "en"])
async def test_the_page_speaks_to_people(
    notifier: Notifier, server: Server, client: httpx.AsyncClient, locale: str
) -> None:
    path = await link(notifier, server, locale=locale)
    page = (await client.get(path)).text
    words = {
        "sv": ("Nyheter och uppdateringar om Cleuras tjänster", "Kommande underhållsfönster"),
        "en": ("News and updates regarding", "Upcoming maintenance windows"),
    }
    assert f'<html lang="{locale}">' in page
    assert all(word in page for word in words[locale])
    assert not any(word in page for word in words["en" if locale == "sv" else "sv"])
    assert "customer.example" not in page, "a link that is passed on tells no address"
    assert "<script" not in page


async def test_stop_all_then_allow_one(
    notifier: Notifier, server: Server, client: httpx.AsyncClient
) -> None:
    path = await link(notifier, server)
    await client.post(path, content="choice=stop-all", headers=FORM)
    assert await suppressed(notifier) == [("optional", "unsubscribed")]
    shown = await client.post(path, content="choice=allow&type=news", headers=FORM)
    assert shown.status_code == 200
    assert await suppressed(notifier) == [("survey", "unsubscribed")]
    assert len(await registered(notifier)) == 2
    assert len(await registered(notifier, "gone")) == 1
    server.mails.clear()
    await again(notifier, **NEWS)
    assert len(server.mails) == 1
    await client.post(path, content="choice=stop&type=news", headers=FORM)
    assert await suppressed(notifier) == [("news", "unsubscribed"), ("survey", "unsubscribed")]
    await again(notifier, **NEWS)
    assert len(server.mails) == 1


async def test_nothing_is_allowed_that_nobody_asked_for(
    notifier: Notifier, server: Server, client: httpx.AsyncClient
) -> None:
    path = await link(notifier, server)
    await client.post(path, content="choice=stop-all", headers=FORM)
    await notifier.take(contact(1))  # whatever there was a basis for, there is none any more
    for name in ("news", "maintenance-window", "none"):
        answer = await client.post(path, content=f"choice=allow&type={name}", headers=FORM)
        assert answer.status_code == 400
    assert await suppressed(notifier) == [("optional", "unsubscribed")]


async def test_who_objects_again_after_a_new_consent_is_heard(
    notifier: Notifier, server: Server, client: httpx.AsyncClient
) -> None:
    path = await link(notifier, server)
    await client.post(path, content=ONE_CLICK, headers=FORM)
    notifier.clock.advance(timedelta(days=10))
    since = notifier.clock.now() - timedelta(days=1)
    renewed = tuple(basis.model_copy(update={"since": since}) for basis in BASES)
    await notifier.take(contact(1, bases=renewed), confirmed(1))
    server.mails.clear()
    await again(notifier, **NEWS)
    assert len(server.mails) == 1, "a later consent overrules the objection"
    await client.post(path, content=ONE_CLICK, headers=FORM)
    await again(notifier, **NEWS)
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("sv-SE,sv;q=0.9,en;q=0.8", "leder ingenstans"),
        ("de", "leads nowhere"),
        ("", "leads nowhere"),
    ],
)
async def test_links_that_lead_nowhere(
    notifier: Notifier, server: Server, client: httpx.AsyncClient, language: str, words: str
) -> None:
    path = await link(notifier, server)
    person = await recipient(notifier)

    def made(purpose: tokens.Purpose, said: str) -> str:
        return tokens.sign(KEY, purpose, said.encode())

    wrong = [
        path[:-1],
        path + "A",
        "/u/x",
        "/u/" + "x" * 5000,
        "/v/x",
        "/u/" + made("verify", f"{person} news"),
        "/v/" + made("unsubscribe", person),
        "/u/" + made("unsubscribe", "nobody news"),
        "/v/" + made("verify", "nobody"),
        "/u/" + made("unsubscribe", f"{person} maintenance-window"),
        "/u/" + tokens.sign(KEY, "unsubscribe", b"\xff\xff news"),
    ]
    for place in wrong:
        for method in ("GET", "POST"):
            answer = await client.request(
                method,
                place,
                headers={"accept-language": language, **FORM},
                content=ONE_CLICK if method == "POST" else None,
            )
            assert answer.status_code == 404, place
            assert words in answer.text
            assert "<h1>" in answer.text
    assert await suppressed(notifier) == []


async def test_a_form_too_large_is_refused(
    notifier: Notifier, server: Server, client: httpx.AsyncClient
) -> None:
    path = await link(notifier, server)
    answer = await client.post(path, content="x=" + "y" * 100_000, headers=FORM)
    assert answer.status_code == 413
    odd = {"content-type": "multipart/form-data; boundary=b"}
    assert (await client.post(path, content=b"--b\r\nxx", headers=odd)).status_code == 400
    assert await suppressed(notifier) == []


@pytest.mark.parametrize("locale", ["sv", "en"])
@pytest.mark.usefixtures("server")
async def test_an_address_is_confirmed(
    notifier: Notifier, client: httpx.AsyncClient, locale: str
) -> None:
    await notifier.take(contact(1, locale=locale))
    await notifier.take(message())
    path = "/v/" + tokens.sign(KEY, "verify", (await recipient(notifier)).encode())
    for _ in range(3):
        shown = await client.get(path)
        assert f'<html lang="{locale}">' in shown.text
        assert 'method="post"' in shown.text
    await notifier.send()
    assert (await notifier.states()).get("accepted") is None
    for _ in range(2):
        done = await client.post(path, headers=FORM)
        assert done.status_code == 200
    assert await notifier.pool.fetchval("SELECT verified FROM contact")
    await notifier.send()
    assert await notifier.states() == {"accepted": 1}


async def test_a_contact_that_was_removed_confirms_nothing(
    notifier: Notifier, client: httpx.AsyncClient
) -> None:
    await notifier.take(contact(1))
    path = "/v/" + tokens.sign(KEY, "verify", (await recipient(notifier)).encode())
    await notifier.pool.execute("UPDATE contact SET removed = true")
    assert (await client.get(path)).status_code == 404
    assert (await client.post(path)).status_code == 404
    assert not await notifier.pool.fetchval("SELECT verified FROM contact")


async def test_a_flood_is_turned_away(
    notifier: Notifier, server: Server, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await link(notifier, server)
    monkeypatch.setattr(links, "_WAITING", 0)
    answer = await client.get(path)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"


__all__ = ["notifier", "server"]
