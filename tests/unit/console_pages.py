"""The console over services that answer what a test wants; who asks says so in a cookie."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from litestar import Litestar
from pydantic import SecretStr

from console.app import build
from console.backend import Services
from console.person import Person
from console.settings import Settings
from console.tokens import Signer
from shared.clock import SystemClock

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
AT = "2026-11-26T02:58:10.205383Z"
ID = "00000000-0000-0000-0000-000000000001"


def settings(**changes: Any) -> Settings:
    return Settings(
        **{
            "database": SecretStr("none"),
            "public_url": "http://console.example",
            "oidc_issuer": "http://provider.example",
            "token_key": SecretStr(KEY),
            **changes,
        }
    )


class EveryRole:
    """Stands for the sessions: the id of one is the role of its person."""

    async def find(self, _: object, id_: str) -> Person | None:
        return Person("p-1", "Kim Lind", (f"gallra-{id_}",))


def console(answers: Mapping[str, Any] | None = None, asked: list[httpx.Request] | None = None):
    """Return the console whose services answer by path; what they do not know is 404."""

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        found = (answers or {}).get(request.url.path)
        if found is None:
            return httpx.Response(404, json={"detail": "there is no such thing"})
        if isinstance(found, str):
            return httpx.Response(200, text=found)
        return httpx.Response(200, json=found)

    app: Litestar = build(settings())
    app.state.pool = None
    app.state.sessions = EveryRole()
    clients = {
        name: httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://service")
        for name in ("audit_log", "retention", "notifier")
    }
    app.state.services = Services(clients, Signer.read(KEY), SystemClock())  # pyright: ignore[reportArgumentType]
    return app


@asynccontextmanager
async def browser(app: Litestar, role: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console.example") as http:
        if role is not None:
            http.cookies.set("gallra-session", role)
        yield http


def answers(text: str) -> dict[str, Any]:
    """Return what services may answer, with *text* wherever others choose what is said."""
    policy = {
        "category": "lead.form", "version": 2, "why": text, "period_source": "notice",
        "title": {"en": text, "sv": text}, "legal_basis": [text], "sources": [text],
        "notice": [text], "period_reason": text, "data_fields": [text], "holders": ["crm"],
        "action": "erase", "effective_from": "2026-01-01",
        "clock": {"anchors": [text], "while_service": True},
        "rights": {"access": {"answer": "granted", "article": text, "reason": text}},
        "versions": [
            {"version": n, "activated_at": AT, "plan": None, "body": {"title": f"{text}{n}"}}
            for n in (1, 2)
        ],
    }  # fmt: skip
    counts = {"erased": 1, "anonymised": 0, "not_found": 0, "refused": 0}
    category = {
        "category": "lead.form", "title": {"en": text, "sv": text}, "why": text, "held": 3,
        "open": 1, "scheduled": 1, "due": 1, "overdue": 1, "held_back": 1, "indeterminate": 1,
        "awaiting": {text: 2}, "missing_facts": [text], "purged": counts, "next_purge_on": None,
        "inventories": [{"holder": text, "count": 1, "known": 2, "agrees": False}],
    }  # fmt: skip
    job = {
        "job_id": ID, "category": "lead.form", "reason": text, "policy_version": 1, "records": 2,
        "opened_at": AT, "must_purge_by": AT, "closed_at": AT, "closed_event": "e-1",
    }  # fmt: skip
    chunk = {
        **counts, "failed": 0, "chunk_id": ID, "holder": text, "state": "done", "open": 0,
        "attempts": 1, "sent_at": AT, "next_try_at": None, "answered_at": AT,
    }  # fmt: skip
    record = {
        "record": f"crm/lead.form/{text}", "record_id": text, "holder": text,
        "category": "lead.form", "customer_id": text, "entity": text, "status": "scheduled",
        "why": "", "provisional": True, "anchor_day": "2026-01-01", "keep_through": "2026-12-31",
        "purge_from": AT, "must_purge_by": AT, "policy_version": 1, "held": False,
    }  # fmt: skip
    hold = {
        "id": ID, "customer_id": text, "category": text, "subject": text, "holder": text,
        "record_id": text, "reason": text, "review_on": "2026-01-01", "placed_by": text,
        "placed_at": AT, "released_by": None, "released_at": None, "release_asked_by": text,
        "first_day": "2026-01-01", "last_day": None, "protects_until": None,
    }  # fmt: skip
    delivery = {
        "delivery_id": ID, "message_id": text, "message_type": text, "customer_id": text,
        "recipient": text, "state": "unknown", "reason": text, "attempts": 2, "reply": text,
        "changed_at": AT, "resends": None, "resent_as": None, "template": text,
        "template_version": 1, "history": [
            {"state": "accepted", "reason": text, "reply": text, "attempts": 1, "at": AT}
        ],
    }  # fmt: skip
    message = {
        "message_id": text, "type": text, "template": text, "template_version": 1,
        "requested_at": AT, "done_at": AT, "supersedes": text, "states": {"accepted": 1},
        "recipients": 1, "customers": 1, "reasons": {text: 1},
    }  # fmt: skip
    effect = {
        "category": text, "version": 2, "records": 9, "moved": 8, "earlier": 7, "below_statute": 1,
        "first_purge": "2027-01-01", "holders": [text], "held": 1, "purges": [["2027-01-01", 8]],
    }  # fmt: skip
    named = {"type": text, "id": text, "name": text}
    entry = {
        "index": 7, "leaf": "00" * 64, "kind": "event", "purged_by": [8], "corrected_by": [9],
        "content": {
            "customer_id": text, "source": text, "event_id": text, "type": text, "at": AT,
            "parts": {
                "who": {"salt": "00" * 16, "value": {"actor": named}},
                "what": {"salt": "00" * 16, "value": {"data": {
                    "action": text, "outcome": text, "target": named,
                }}},
            },
            "purged": {"network": "ab" * 32},
        },
    }  # fmt: skip
    found = {
        "index": 7, "at": AT, "customer_id": text, "actor": text, "action": text, "target": text,
        "outcome": text, "channel": text, "type": text,
    }  # fmt: skip
    alert = {
        "fingerprint": text, "severity": text, "summary": text, "labels": {"x": text},
        "runbook": text, "raised_at": AT, "acknowledged": None, "silenced_by": [text],
        "inhibited_by": [],
    }  # fmt: skip
    note = f"{text}\n7\n{'A' * 43}=\n\n— {text or 'x'} AAAA\n"
    return {
        "/api/v1/holdings": {
            "from": "2026-01-01", "to": "2026-11-26", "as_of": "2026-11-26",
            "categories": [category], "totals": {"requests_open": 3, "requests_late": 1},
        },
        "/api/v1/month-reports": {"reports": [
            {"month": text, "sha256": "ab" * 32, "issued_at": AT}
        ]},
        "/api/v1/standing": {
            "from": "2026-01-01", "as_of": "2026-11-26",
            "categories": [{**category, "awaiting": 3, "purged": 12}],
        },
        "/api/v1/forecast": {"purges": [
            {"month": "2027-01-01", "category": "lead.form", "records": 4}
        ]},
        "/api/v1/policies": {"policies": [policy]},
        "/api/v1/policies/lead.form": policy,
        "/api/v1/plans": {"plans": [{
            "sha256": "ab" * 32, "effect": [effect], "made_at": AT, "first_by": text,
            "second_by": None, "applied_at": None,
        }]},
        "/api/v1/freezes": {
            "categories": [{"category": text, "since": AT, "why": text}],
            "purges": [{"id": 1, "category": text, "day": "2026-11-26", "records": 9, "why": text,
                        "first_by": text}],
        },
        "/api/v1/purges": {"purges": [job]},
        f"/api/v1/purges/{ID}": {**job, "chunks": [chunk], "statement": {"attestations": [
            {"chunk_id": ID, "method": text, "residual_until": AT}
        ]}},
        "/api/v1/records": {"records": [record], "cursor": "c"},
        "/api/v1/calendar": {"days": [{"day": "2026-12-01", "category": "x", "records": 3}]},
        "/api/v1/deadlines/crm/lead.form/r": {
            **record, "record": f"crm/lead.form/{text}", "statutory": True, "missing": text,
            "steps": [{"fact": text, "rule": text, "source": text, "event": text}],
        },
        "/api/v1/holds": {"holds": [hold]},
        "/api/v1/rights": {"requests": [{
            "id": text, "claim": "erase", "received_on": "2026-11-01", "channel": text,
            "state": "open", "due_on": "2026-12-01", "extended_on": None,
        }], "cursor": "c"},
        "/api/v1/rights/r-1": {
            "id": text, "claim": "erase", "received_on": "2026-11-01", "channel": text,
            "state": "open", "due_on": "2026-12-01", "extended_on": None, "answered_on": AT[:10],
            "decided_by": text, "approved_by": text, "name": text, "email": text, "details": text,
            "clock": {"stands_still": False, "days_waited": 3, "days_left": 5},
            "tasks": [{
                "id": ID, "holder": text, "category": text, "action": "collect", "state": "done",
                "attempts": 1, "records": 2,
            }],
            "decisions": [{
                "category": text, "decision": "refused", "article": text, "reason": text,
                "records": 2, "until_last": "2033-12-31",
            }],
            "proposed": [],
        },
        "/api/v1/holders": {"holders": [{
            "id": text, "title": {"en": text, "sv": text}, "location": "SE", "kind": text,
            "heard_at": AT, "silent": True,
            "unanswered": {"chunks": 1, "records": 2, "since": AT, "attempts": 3},
            "inventories": [
                {"category": text, "as_of": AT, "count": 1, "known": 2, "agrees": False}
            ],
        }]},
        "/api/v1/canaries": {"canaries": [{
            "holder": text, "category": text, "state": "erased", "seconds": 1.5,
        }]},
        "/api/v1/entries": {"entries": [found], "cursor": "1-7"},
        "/api/v1/entries/7": entry,
        "/api/v1/entries/7/proof": f"c2sp.org/tlog-proof@v1\nextra \nindex 7\n\n{note}",
        "/api/v1/events": {"index": 7},
        "/api/v1/checkpoints": {"checkpoints": [{"size": 8, "note": note, "signed_at": AT}]},
        "/api/v1/producers": {"complete": False, "producers": [{
            "source": text, "low": 1, "high": 9, "missing": text, "lost": text, "seen_at": AT,
        }]},
        "/log/checkpoint": note,
        "/log/vkey": f"{text}+00000000+AAAA\n",
        "/log/policy": text,
        "/api/v1/messages": {"messages": [message]},
        "/api/v1/messages/m": message,
        "/api/v1/messages/m/deliveries": {"deliveries": [delivery], "cursor": "c"},
        "/api/v1/messages/m/unreached": {"customers": [text], "cursor": None},
        "/api/v1/deliveries": {"deliveries": [delivery], "cursor": "c"},
        f"/api/v1/deliveries/{ID}": delivery,
        "/api/v1/recipients/r": {
            "recipient": text,
            "contacts": [{
                "customer_id": text, "contact_id": text, "roles": [text], "locale": "sv",
                "kind": "person", "verified": True, "restricted": True, "bases": {text: text},
            }],
            "preferences": [
                {"name": text, "mandatory": False, "sent": False, "reason": text,
                 "basis_since": AT},
                {"name": text, "mandatory": True, "sent": True, "reason": None,
                 "basis_since": None},
            ],
            "suppressions": [
                {"record_id": ID, "scope": text, "reason": text, "since": AT,
                 "may_be_lifted": may}
                for may in (True, False)
            ],
        },
        "/api/v1/alerts": {"alerts": [alert]},
        "/api/v1/silences": {"silences": []},
        "/api/v1/alert-notices": {"notices": [{
            "at": AT, "kind": text, "receiver": text, "channel": text, "alerts": [text]
        }]},
        "/api/v1/dead-letters": {
            "letters": [
                {"id": ID, "consumer": text, "kept_on": text, "topic": text, "partition": 1,
                 "offset": 7, "code": text, "reason": text, "set_aside_at": AT,
                 "settled": None, "settled_at": None, "settled_by": None},
                {"id": ID, "consumer": text, "kept_on": text, "topic": text, "partition": 1,
                 "offset": 7, "code": text, "reason": text, "set_aside_at": AT,
                 "settled": "dropped", "settled_at": AT, "settled_by": text},
            ],
            "cursor": ID,
            "waiting": [
                {"topic": text, "code": text, "letters": 3, "since": AT, "consumer": text}
            ],
        },
        "/api/v1/vitals": {
            "outbox": {"waiting": 2, "oldest_seconds": 0.5},
            "duties": [{"name": text, "process": text, "done_at": AT}],
            "partitions": [
                {"topic": text, "partition": n, "behind": 3, "member": member}
                for n, member in enumerate((text, None))
            ],
        },
        "/api/v1/topics": {"settings": [
            {"topic": text, "setting": setting, "declared": value, "found": found_,
             "verdict": verdict}
            for setting, value, found_, verdict in (
                ("retention.ms", "604800000", "-1", "wider"),
                ("cleanup.policy", "delete", text, "differs"),
                ("partitions", "3", "3", "as-declared"),
                ("max.message.bytes", "1048576", None, "missing"),
            )
        ]},
        "/readyz": {"status": "ready"},
        "/metrics": "# TYPE gallra_outbox_waiting gauge\ngallra_outbox_waiting 2.0\n",
    }  # fmt: skip


PAGES = (
    "/", "/deadlines", "/deadlines?view=calendar", "/deadlines/crm/lead.form/r", "/policies",
    "/policies/lead.form", "/purges", f"/purges/{ID}", "/holds", "/rights", "/rights/r-1", "/log",
    "/log?q=nonsense", "/log/7", "/log/checkpoints", "/notifications", "/notifications/messages/m",
    "/notifications/deliveries", f"/notifications/deliveries/{ID}", "/notifications/recipients/r",
    "/reports", "/operations", "/operations/dead-letters", "/operations/topics", "/sign-in",
    "/signed-out",
)  # fmt: skip
"""Every page, as :func:`answers` has what it shows."""
