"""Every route of the console and every role: who may see it, who may not, nothing undecided."""

import re
from typing import Any

import pytest
from tests.unit.console_pages import ID, answers, browser, console

from shared.web.access import EVERYBODY, OPEN

ALL = {"viewer", "compliance", "dpo", "approver", "operator", "auditor"}
PERSONAL = {"compliance", "dpo", "auditor"}
KEEPS = {"viewer", "compliance", "dpo", "approver", "auditor"}
ANYBODY = ALL | {"nobody"}

MATRIX: dict[str, set[str]] = {
    "GET /": ALL,
    "GET /deadlines": KEEPS,
    "GET /deadlines/crm/lead.form/r": KEEPS,
    "GET /policies": ALL,
    "GET /policies/lead.form": ALL,
    "GET /purges": ALL,
    f"GET /purges/{ID}": ALL,
    f"GET /purges/{ID}/certificate": ALL,
    "GET /holds": PERSONAL | {"approver"},
    "POST /holds": {"compliance", "dpo"},
    f"POST /holds/{ID}/release": {"compliance", "dpo", "approver"},
    "POST /policies/plans": {"compliance", "dpo"},
    "POST /policies/plans/abc/approval": {"approver"},
    "POST /purges/frozen/lead.form/approval": {"approver"},
    "GET /rights": PERSONAL | {"approver"},
    "GET /rights/r-1": PERSONAL | {"approver"},
    "GET /rights/r-1/answer": PERSONAL | {"approver"},
    "POST /rights": {"compliance", "dpo"},
    "POST /rights/r-1/decide": {"compliance", "dpo", "approver"},
    "GET /log": PERSONAL,
    "GET /log/exports": PERSONAL,
    "GET /log/7": PERSONAL,
    "GET /log/7/proof": PERSONAL,
    "GET /log/7/evidence": PERSONAL,
    "GET /log/checkpoints": ALL,
    "GET /notifications": PERSONAL | {"operator"},
    "GET /notifications/messages/m": PERSONAL | {"operator"},
    "GET /notifications/deliveries": PERSONAL | {"operator"},
    f"GET /notifications/deliveries/{ID}": PERSONAL | {"operator"},
    "GET /notifications/recipients/r": PERSONAL | {"operator"},
    f"POST /notifications/recipients/r/lift/{ID}": {"compliance", "dpo", "operator"},
    "POST /notifications/find": PERSONAL | {"operator"},
    f"POST /notifications/deliveries/{ID}/resend": {"compliance", "dpo", "operator"},
    f"POST /notifications/deliveries/{ID}/send-again": {"compliance", "dpo", "operator"},
    "GET /reports": KEEPS,
    "GET /reports/download": KEEPS,
    "GET /reports/months/2026-10": KEEPS,
    "GET /operations": {"operator", "auditor"},
    "POST /operations/acknowledge": {"operator"},
    "GET /operations/dead-letters": {"operator", "auditor"},
    "POST /operations/dead-letters/retention/redrive": {"operator"},
    "POST /operations/dead-letters/retention/drop": {"operator"},
    "GET /operations/topics": {"operator", "auditor"},
    "GET /no/such/page": ALL,
    "GET /sign-in": ANYBODY,
    "GET /signed-out": ANYBODY,
    "GET /livez": ANYBODY,
    "GET /metrics": ANYBODY,
    "GET /static/console.css": ANYBODY,
}
"""Written out by hand: what the code says is held against it, not the other way round."""

ELSEWHERE = {"GET /sign-in/start", "GET /sign-in/callback", "POST /sign-out", "GET /readyz"}
"""Open as well, and tried in test_console_sign_in: they need what is not here."""


@pytest.mark.parametrize("place", MATRIX)
async def test_who_may_see_a_page(place: str) -> None:
    method, _, path = place.partition(" ")
    app = console(answers("x"))
    for role in sorted(ANYBODY):
        async with browser(app, None if role == "nobody" else role) as http:
            token = ""
            if method == "POST":  # any page gives the token that a form needs
                await http.get("/signed-out")
                token = http.cookies["gallra-csrf"]
            answer = await http.request(method, path, headers={"x-csrftoken": token})
            to_sign_in = answer.headers.get("location", "").startswith("/sign-in?")
            refused = answer.status_code == 403 or to_sign_in
            assert refused == (role not in MATRIX[place]), f"{role}: {answer.status_code}"
            if refused:
                assert to_sign_in == (role == "nobody")


async def test_one_without_a_role_sees_nothing() -> None:
    async with browser(console(answers("x")), "janitor") as http:
        answer = await http.get("/")
    assert answer.status_code == 403
    assert "none of your roles" in answer.text


def test_somebody_has_decided_on_every_route() -> None:
    places = MATRIX.keys() | ELSEWHERE
    for route in console().routes:
        pattern = re.sub(r"/\{[^}]*:path\}", "/.+", route.path)
        pattern = re.sub(r"\{[^}]*:(?!path)\w+\}", "[^/]+", pattern)
        for method, handler in _handlers(route):
            if method in {"OPTIONS", "HEAD"}:
                continue
            roles = handler.opt.get("roles")
            assert roles == OPEN or (roles and roles <= EVERYBODY), route.path
            if route.path != "/static":
                wanted = re.compile(f"{method} {pattern}")
                assert any(wanted.fullmatch(place) for place in places), f"{method} {route.path}"


def _handlers(route: Any) -> list[tuple[str, Any]]:
    by_method = getattr(route, "route_handler_map", None)
    if by_method is None:
        return [("GET", route.route_handler)]
    return [(str(m), h if not isinstance(h, tuple) else h[0]) for m, h in by_method.items()]


async def test_a_form_without_its_token_does_nothing() -> None:
    asked: list[Any] = []
    async with browser(console(answers("x"), asked), "operator") as http:
        await http.get("/operations")
        asked.clear()
        answer = await http.post("/operations/acknowledge", data={"fingerprint": "f"})
        forged = await http.post(
            "/operations/acknowledge", data={"fingerprint": "f", "_csrf_token": "a" * 128}
        )
    assert answer.status_code == forged.status_code == 403
    assert asked == []


async def test_a_form_with_its_token_is_carried_out_in_the_name_of_who_sends_it() -> None:
    asked: list[Any] = []
    known = {**answers("x"), "/api/v1/alerts/acknowledgements": {"acknowledged": ["f"]}}
    async with browser(console(known, asked), "operator") as http:
        page = await http.get("/operations")
        token = re.search(r'name="_csrf_token" value="(\w+)"', page.text)
        assert token is not None
        answer = await http.post(
            "/operations/acknowledge", data={"fingerprint": "f", "_csrf_token": token[1]}
        )
    assert (answer.status_code, answer.headers["location"]) == (303, "/operations#alerts")
    assert asked[-1].method == "POST"
    assert b'"by":"p-1"' in asked[-1].content
    assert asked[-1].headers["authorization"].startswith("Bearer ")


async def test_one_who_asks_too_often_is_told_so() -> None:
    async with browser(console(answers("x"))) as http:
        answers_ = [(await http.get("/signed-out")).status_code for _ in range(601)]
    assert answers_[:600] == [200] * 600
    assert answers_[600] == 429
