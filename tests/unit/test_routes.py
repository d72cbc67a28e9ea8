"""Every route of the services and every role: who may, who may not, and nothing undecided."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey
from litestar.di import Provide
from pydantic import SecretStr

from audit_log import api as log
from audit_log import log_api
from notifier import alert_api, links, recipient_api
from notifier import api as ledger
from retention import api as retention
from retention import deciding, reading, rights_api
from shared.service import Service, make_app
from shared.settings import ServiceSettings
from shared.web.access import ROLES

ALL = {"viewer", "compliance", "dpo", "approver", "operator", "auditor"}
PERSONAL = {"compliance", "dpo", "auditor"}
LEDGER = PERSONAL | {"operator"}
SENDS = {"compliance", "dpo", "operator"}
OPEN = ROLES | {"nobody"}

MATRIX: dict[str, set[str] | frozenset[str]] = {
    "GET /log/checkpoint": OPEN,
    "GET /log/vkey": OPEN,
    "GET /log/policy": OPEN,
    "GET /log/tile/0/000": OPEN,
    "GET /log/statements/000": OPEN,
    "GET /api/v1/checkpoints": ALL,
    "GET /api/v1/entries": PERSONAL,
    "GET /api/v1/events": OPEN,
    "POST /api/v1/proofs": OPEN,
    "GET /api/v1/entries/1": PERSONAL,
    "GET /api/v1/entries/1/proof": OPEN,
    "POST /api/v1/entries/1/corrections": {"compliance", "dpo"},
    "GET /api/v1/exports": PERSONAL,
    "GET /api/v1/evidence": PERSONAL,
    "GET /api/v1/entries/1/evidence": PERSONAL,
    "GET /api/v1/producers": ALL,
    "POST /api/v1/actions": {"producer"},
    "GET /api/v1/report": ALL,
    "GET /api/v1/month-reports": ALL,
    "GET /api/v1/month-reports/2026-10": ALL,
    "GET /api/v1/holds": ALL,
    "POST /api/v1/holds": {"compliance", "dpo"},
    "POST /api/v1/holds/00000000-0000-0000-0000-000000000000/release": PERSONAL - {"auditor"}
    | {"approver"},
    "POST /api/v1/plans": {"compliance", "dpo"},
    "POST /api/v1/plans/abc/approval": {"approver"},
    "POST /api/v1/freezes/lead.form/approval": {"approver"},
    "GET /api/v1/forecast": ALL,
    "GET /api/v1/subjects/s-1": PERSONAL,
    "GET /api/v1/deadlines/a/b/c": ALL,
    "GET /api/v1/purges": ALL,
    "GET /api/v1/purges/00000000-0000-0000-0000-000000000000": ALL,
    "GET /api/v1/purges/00000000-0000-0000-0000-000000000000/certificate": ALL,
    "GET /api/v1/canaries": ALL,
    "GET /api/v1/holdings": ALL,
    "GET /api/v1/standing": ALL,
    "GET /api/v1/records": ALL,
    "GET /api/v1/calendar": ALL,
    "GET /api/v1/policies": ALL,
    "GET /api/v1/policies/a": ALL,
    "GET /api/v1/plans": ALL,
    "GET /api/v1/freezes": ALL,
    "GET /api/v1/holders": ALL,
    "GET /api/v1/rights": PERSONAL | {"approver"},
    "POST /api/v1/rights": {"compliance", "dpo"},
    "GET /api/v1/rights/r-1": PERSONAL | {"approver"},
    "GET /api/v1/rights/r-1/answer": PERSONAL | {"approver"},
    "POST /api/v1/rights/r-1/identity": {"compliance", "dpo"},
    "POST /api/v1/rights/r-1/extend": {"compliance", "dpo"},
    "POST /api/v1/rights/r-1/decide": {"dpo"},
    "POST /api/v1/rights/r-1/approve": {"approver"},
    "POST /api/v1/rights/r-1/return": {"approver"},
    "POST /api/v1/rights/r-1/withdraw": {"compliance", "dpo"},
    "POST /api/v1/rights/r-1/lift": {"dpo"},
    "POST /api/v1/rights-tasks/00000000-0000-0000-0000-000000000000/done": {"compliance", "dpo"},
    "GET /r/x": OPEN,
    "POST /r/x": OPEN,
    "GET /api/v1/messages": ALL,
    "GET /api/v1/messages/m-1": ALL,
    "GET /api/v1/messages/m-1/deliveries": LEDGER,
    "GET /api/v1/messages/m-1/unreached": LEDGER,
    "GET /api/v1/deliveries": LEDGER,
    "GET /api/v1/deliveries/00000000-0000-0000-0000-000000000000": LEDGER,
    "POST /api/v1/deliveries/00000000-0000-0000-0000-000000000000/resend": SENDS,
    "POST /api/v1/deliveries/00000000-0000-0000-0000-000000000000/send-again": SENDS,
    "GET /api/v1/recipients/r-1": LEDGER,
    "POST /api/v1/suppressions/00000000-0000-0000-0000-000000000000/lift": SENDS,
    "POST /api/v1/reconciliations": {"operator"},
    "GET /api/v1/templates": ALL,
    "POST /api/v1/templates/news/preview": ALL,
    "POST /api/v1/templates/news/trial": SENDS,
    "GET /u/x": OPEN,
    "POST /u/x": OPEN,
    "GET /v/x": OPEN,
    "POST /v/x": OPEN,
    "GET /a/x": OPEN,
    "POST /a/x": OPEN,
    "POST /api/v1/alerts": {"operator", "producer"},
    "GET /api/v1/alerts": ALL,
    "GET /api/v1/alert-notices": ALL,
    "POST /api/v1/alerts/acknowledgements": {"operator"},
    "POST /api/v1/silences": {"operator"},
    "GET /api/v1/silences": ALL,
    "DELETE /api/v1/silences/00000000-0000-0000-0000-000000000000": {"operator"},
    "GET /api/v1/dead-letters": {"operator", "auditor"},
    "POST /api/v1/dead-letters/redrive": {"operator"},
    "POST /api/v1/dead-letters/drop": {"operator"},
    "GET /api/v1/topics": ALL,
    "GET /api/v1/vitals": {"operator", "auditor"},
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": OPEN,
    "GET /openapi": OPEN,
    "GET /openapi/openapi.json": OPEN,
    "GET /static/gallra.css": OPEN,
}
"""Written out by hand: what the code says is held against it, not the other way round."""

SERVICES: dict[str, tuple[str, Sequence[Any], dict[str, Any]]] = {
    "audit-log": (
        "audit_log",
        [*log_api.ROUTES, *log.ROUTES],
        {"wanted": Provide(log.wanted, sync_to_thread=False)},
    ),
    "retention": (
        "retention",
        [*retention.ROUTES, *reading.ROUTES, *deciding.ROUTES, *rights_api.ROUTES],
        {},
    ),
    "notifier": (
        "notifier",
        [*ledger.ROUTES, *recipient_api.ROUTES, *alert_api.ROUTES, *links.ROUTES],
        {},
    ),
}
KEY = OKPKey.generate_key("Ed25519", auto_kid=True)
KEYS = json.dumps({"keys": [{**KEY.as_dict(private=False), "iss": "test"}]})
DENIED = {401, 403}


@cache
def app(service: str) -> Any:
    package, routes, dependencies = SERVICES[service]
    return make_app(
        Service(
            name=service,
            package=package,
            settings=ServiceSettings(database=SecretStr("none"), token_keys=KEYS),
            consumer=cast("Any", None),
            routes=routes,
            dependencies=dependencies,
        )
    )


def bearer(role: str, subject: str = "u-1") -> dict[str, str]:
    if role == "nobody":
        return {}
    claims = {
        "iss": "test",
        "aud": "gallra",
        "sub": subject,
        "groups": [f"gallra-{role}"],
        "exp": int(datetime.now(UTC).timestamp()) + 60,
    }
    token = jwt.encode({"alg": "Ed25519", "kid": KEY.kid}, claims, KEY, algorithms=["Ed25519"])
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("service", SERVICES)
def test_somebody_has_decided_on_every_route(service: str) -> None:
    made = app(service)
    undecided = [
        f"{method} {route.path}"
        for route in made.routes
        for method, handler in _handlers(route)
        if "roles" not in handler.opt and method != "OPTIONS"
    ]
    assert undecided == []


def _handlers(route: Any) -> list[tuple[str, Any]]:
    by_method = getattr(route, "route_handler_map", None)
    if by_method is None:  # a mounted application, such as the static files
        return [("GET", route.route_handler)]
    return [(str(m), h if not isinstance(h, tuple) else h[0]) for m, h in by_method.items()]


@pytest.mark.parametrize("place", MATRIX)
async def test_who_may_use_a_route(place: str) -> None:
    method, _, path = place.partition(" ")
    allowed = MATRIX[place]
    served = 0
    for service in SERVICES:
        transport = httpx.ASGITransport(app=app(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            if (await http.request("OPTIONS", path)).status_code == httpx.codes.NOT_FOUND:
                continue
            served += 1
            for role in (*sorted(ROLES), "nobody"):
                answer = await http.request(method, path, headers=bearer(role))
                passed = answer.status_code not in DENIED
                assert passed == (role in allowed), f"{role} at {service}: {answer.status_code}"
                if not passed:
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert (answer.status_code == 401) == (role == "nobody")
    assert served, "no service has it"


@pytest.mark.parametrize("service", SERVICES)
def test_the_matrix_has_every_route(service: str) -> None:
    for route in app(service).routes:
        pattern = re.sub(
            r"/\{[^}]*:path\}", "/.+", re.sub(r"\{[^}]*:(?!path)\w+\}", "[^/]+", route.path)
        )
        for method, _ in _handlers(route):
            if method in {"OPTIONS", "HEAD"} or route.path == "/static":
                continue
            wanted = re.compile(f"{method} {pattern}")
            assert any(wanted.fullmatch(place) for place in MATRIX), f"{method} {route.path}"
