"""The console's pages: nothing that others write becomes markup; headers; languages; filters."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from babel.messages.pofile import read_po
from tests.hostile import MARKUP
from tests.unit.console_pages import PAGES, answers, browser, console

import console as package

ROOT = Path(package.__file__).parent


class Tags(HTMLParser):
    """Lists the elements of a page, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))
        self.links += [v or "" for n, v in attrs if n in {"href", "src", "action"}]


@pytest.mark.parametrize("path", PAGES)
async def test_what_others_write_stays_text(path: str) -> None:
    shapes = []
    for text in ("x", *MARKUP):
        async with browser(console(answers(text)), "auditor") as http:
            page = await http.get(path)
        assert page.status_code == 200, page.text
        tags = Tags(page.text)
        assert not [link for link in tags.links if not link.startswith(("/", "#", "?"))]
        assert not [a for _, attributes in tags.found for a in attributes if a.startswith("on")]
        assert not [t for t, attributes in tags.found if "style" in {t, *attributes}]
        shapes.append(set(tags.found))  # how many there are, a long text may change
    assert all(shape == shapes[0] for shape in shapes)


@pytest.mark.parametrize("hostile", MARKUP)
async def test_what_a_reader_is_led_to_ask_stays_text(hostile: str) -> None:
    for path in ("/log?q=", "/deadlines?customer=", "/notifications/deliveries?recipient="):
        async with browser(console(answers("x")), "auditor") as http:
            plain = await http.get(f"{path}x")
            page = await http.get(path + quote(hostile))
        assert page.status_code == plain.status_code == 200
        assert "<script>alert" not in page.text
        assert "onerror=alert(1)>" not in page.text.replace("&gt;", "")


async def test_headers() -> None:
    async with browser(console(answers("x")), "auditor") as http:
        page = await http.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_a_reference_cannot_lead_to_another_route_of_a_service() -> None:
    asked: list[Any] = []
    async with browser(console(answers("x"), asked), "auditor") as http:
        await http.get("/notifications/messages/m%3Fstate=x%23")
        await http.get("/policies/..%3Fa=b")
    assert {request.url.query for request in asked} <= {b"", b"lang=en"}
    assert any(b"m%3Fstate%3Dx%23" in request.url.raw_path for request in asked)


async def test_a_name_may_hold_a_slash() -> None:
    asked: list[Any] = []
    async with browser(console(answers("x"), asked), "auditor") as http:
        page = await http.get("/rights/2026%2F17?lang=sv")
        other = await http.get("/rights/2026/17")
    assert {request.url.raw_path for request in asked} == {b"/api/v1/rights/2026%2F17"}
    assert 'href="/rights/2026%2F17?lang=en"' in page.text
    assert other.is_client_error


async def test_a_service_that_is_away_leaves_the_rest_of_the_overview() -> None:
    async with browser(console({}), "auditor") as http:
        page = await http.get("/")
    assert page.status_code == 200
    assert "Retention cannot be asked right now." in page.text


async def test_languages_and_zones() -> None:
    app = console(answers("x"))
    async with browser(app, "auditor") as http:
        english = await http.get("/")
        swedish = await http.get("/", headers={"accept-language": "de, sv-SE;q=0.8"})
        chosen = await http.get("/?lang=sv&tz=utc")
        kept = await http.get("/log/7")
    assert '<html lang="en">' in english.text
    assert "<h1>Översikt</h1>" in swedish.text
    assert '<html lang="sv">' in chosen.text
    assert "Post 7" in kept.text
    assert "2026-11-26 02:58:10" in kept.text
    assert "2026-11-26 03:58" in english.text


async def test_unknown_choices_are_left_alone() -> None:
    async with browser(console(answers("x")), "auditor") as http:
        page = await http.get("/?lang=xx&tz=mars")
    assert page.status_code == 200
    assert "lang" not in http.cookies


async def test_filters_stand_in_the_url_and_reach_the_service() -> None:
    asked: list[Any] = []
    async with browser(console(answers("x"), asked), "auditor") as http:
        page = await http.get("/deadlines?category=lead.form&status=due&from=2026-01-01")
        await http.get("/log?q=customer:c-1 outcome:failure since:2026-01-01")
    assert '<option value="due" selected>' in page.text
    records = next(r for r in asked if r.url.path == "/api/v1/records")
    assert dict(records.url.params) == {
        "category": "lead.form", "status": "due", "from": "2026-01-01"
    }  # fmt: skip
    entries = next(r for r in asked if r.url.path == "/api/v1/entries")
    assert dict(entries.url.params) == {
        "customer": "c-1", "outcome": "failure", "from": "2025-12-31T23:00:00+00:00"
    }  # fmt: skip


def templates() -> str:
    return "\n".join(p.read_text() for p in sorted((ROOT / "templates").glob("*.html")))


def test_every_sentence_is_in_swedish() -> None:
    with (ROOT / "locale" / "sv.po").open("rb") as file:
        known = {str(m.id): str(m.string) for m in read_po(file, locale="sv") if m.id}
    said = re.findall(r"""\b_\(\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)')""", templates())
    said += [(s, "") for s in re.findall(r'SignInError\(\s*"([^"]+)"', _source("provider"))]
    said += [(s, "") for s in re.findall(r'SignInError\(\s*"([^"]+)"', _source("sign_in"))]
    sentences = {(double or single).replace('\\"', '"') for double, single in said}
    assert len(sentences) > 300
    assert sentences - known.keys() == set()
    for english, swedish in known.items():
        assert swedish, english
        assert re.findall(r"\{\w+\}", english) == sorted(
            re.findall(r"\{\w+\}", swedish), key=re.findall(r"\{\w+\}", english).index
        )


def _source(module: str) -> str:
    return (ROOT / f"{module}.py").read_text()


def test_templates_trust_nothing_but_the_form_token() -> None:
    assert set(re.findall(r"\{\{\s*([^}]*\|\s*safe)\s*\}\}", templates())) == {"csrf_input | safe"}
    assert "autoescape" not in templates()
