"""Requests over HTTP: what staff enter, see and decide, and what the person fetches."""

import io
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pypdf import PdfReader
from tests.integration import served
from tests.integration import test_rights_cases as cases
from tests.integration.test_closed_loop import Retention, named
from tests.integration.test_erasures import TODAY

from retention.rights_api import ROUTES
from shared.events.gallra import RightsCommand
from shared.exports import Exports
from shared.web.access import ROLES
from shared.web.looks import Looks

exports = cases.exports
retention = cases.retention


@pytest.fixture
async def http(retention: Retention) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client(
        "retention",
        ROUTES,
        retention.pool,
        "https://answers.example",
        {"without_token": tuple(ROLES)},
        rights=retention.rights,
        answers=retention.answers,
        looks=Looks(retention.outbox, retention.clock, "retention"),
    ) as http:
        yield http


async def post(http: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> Any:
    answer = await http.post(f"/api/v1/rights{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def shown(http: httpx.AsyncClient, path: str = "", **asked: Any) -> Any:
    answer = await http.get(f"/api/v1/rights{path}", params=asked)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()


async def entered(http: httpx.AsyncClient, right: str, **more: Any) -> str:
    given = {"right": right, "received_on": str(TODAY), "subjects": ["s-1"], **more}
    return (await post(http, "", 201, **given))["id"]


async def test_a_case_may_be_named_with_a_slash(
    retention: Retention, http: httpx.AsyncClient
) -> None:
    await retention.take(cases.request("erase", request_id="2026/17"))
    assert (await shown(http, "/2026%2F17"))["id"] == "2026/17"
    assert (await shown(http, "/2026%2f17"))["id"] == "2026/17"
    confirmed = await post(http, "/2026%2F17/identity", step="confirm", by="anna")
    assert (confirmed["id"], confirmed["state"]) == ("2026/17", "open")
    assert (await http.get("/api/v1/rights/2026%1F17")).is_success, "no name has that character"
    assert (await http.get("/api/v1/rights/2026%252F17")).status_code == httpx.codes.NOT_FOUND


async def test_a_letter_is_entered_decided_and_answered(
    retention: Retention, http: httpx.AsyncClient, exports: Exports
) -> None:
    case = await entered(http, "access", email="anna@home.example", name="Anna")
    await post(http, f"/{case}/identity", step="confirm", by="anna")
    for command in await retention.announced():
        if isinstance(command, RightsCommand):
            await retention.take(await cases.laid(exports, command))
    found = await shown(http, f"/{case}")
    assert (found["state"], found["clock"]["days_left"]) == ("open", 30)
    assert {task["state"] for task in found["tasks"]} == {"done"}
    assert {"lead.form": "granted"}.items() <= {
        d["category"]: d["decision"] for d in found["proposed"]
    }.items()
    assert "unseal" not in found
    await post(http, f"/{case}/decide", by="anna")
    assert (await post(http, f"/{case}/approve", 400, by="anna"))["title"] == "four-eyes"
    await post(http, f"/{case}/approve", by="bo")
    mail = named(await cases.sweep(retention), "MessageRequested")[0]
    answer = await shown(http, f"/{case}/answer", lang="en")
    assert "Invoices and other accounting information: granted" in answer["letter"]
    paper = await http.get(f"/api/v1/rights/{case}/answer", params={"format": "pdf"})
    [text] = [page.extract_text() for page in PdfReader(io.BytesIO(paper.content)).pages]
    assert "Svar på en begäran om personuppgifter" in text
    assert "imy.se" in text

    link = mail.params["link"].removeprefix("https://answers.example")
    page = await http.get(link)
    assert "<form" in page.text
    assert named(await retention.announced(), "RightsCaseChanged") == [], "to look fetches nothing"
    fetched = await http.post(link)
    assert fetched.headers["content-type"] == "application/zip"
    assert fetched.headers["cache-control"] == "no-store"
    assert "answer.json" in zipfile.ZipFile(io.BytesIO(fetched.content)).namelist()
    assert (await http.post("/r/nothing")).status_code == httpx.codes.NOT_FOUND


async def test_every_look_at_a_case_is_noted(retention: Retention, http: httpx.AsyncClient) -> None:
    case = await entered(http, "erase", email="anna@home.example")
    await retention.announced()
    await shown(http, f"/{case}")
    [look] = named(await retention.announced(), "PersonalDataViewed")
    assert (look.purpose, look.count) == ("rights-case", 1)
    assert "anna" not in str(await shown(http))


async def test_the_next_one_due_comes_first(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retention.rights_api._PAGE", 2)
    early = str(TODAY - timedelta(days=20))
    late = [await entered(http, "erase") for _ in range(3)]
    first = await entered(http, "erase", received_on=early)
    still = await entered(http, "erase", received_on=early)
    await post(http, f"/{still}/identity", step="ask", by="anna")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await shown(http, **cursor)
        seen += [case["id"] for case in page["requests"]]
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
    assert seen == [first, *sorted(late), still]
    assert [c["id"] for c in (await shown(http, state="identity"))["requests"]] == [still]
    await post(http, f"/{first}/withdraw", by="anna")
    assert [c["id"] for c in (await shown(http, state="withdrawn"))["requests"]] == [first]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"right": "erase", "received_on": "2026-11-24", "email": "nobody"}, 400),
        ("", {"right": "forget", "received_on": "2026-11-24"}, 400),
        ("", {"right": "erase", "received_on": "2027-11-24"}, 400),
        ("/no-such/approve", {"by": "bo"}, 400),
        ("/no-such/dance", {"by": "bo"}, 404),
    ],
)
async def test_what_cannot_be_is_refused_without_the_address(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await http.post(f"/api/v1/rights{path}", json=body)
    assert answer.status_code == status
    assert "nobody" not in answer.text


async def test_there_is_no_answer_before_there_is_one(http: httpx.AsyncClient) -> None:
    case = await entered(http, "erase")
    for path in (f"/{case}/answer", "/no-such"):
        assert (await http.get(f"/api/v1/rights{path}")).status_code == httpx.codes.NOT_FOUND
    assert (await http.get("/api/v1/rights?cursor=x")).status_code == httpx.codes.BAD_REQUEST
