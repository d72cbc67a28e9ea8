"""What retention asks the audit-log: where its decisions are, the proofs, and who looked."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import httpx
from litestar.exceptions import ServiceUnavailableException

from retention.findings import Rows
from retention.paper import Proofs
from shared import logs

SOURCE: Final = "//gallra/retention"
"""The ``ce_source`` of this service's events."""

_LOOK: Final = "audit.access.v1"
_AT_ONCE: Final = 10_000

_log = logs.get(__name__)


async def proofs(url: str, events: Collection[str]) -> Proofs:
    """Return the proofs of those *events* that are in the log; none while it cannot be asked."""
    wanted = sorted(events)
    found: dict[str, Mapping[str, Any]] = {}
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        try:
            for first in range(0, len(wanted), _AT_ONCE):
                body = {"source": SOURCE, "event_ids": wanted[first : first + _AT_ONCE]}
                answer = await client.post("/api/v1/proofs", json=body)
                found |= answer.raise_for_status().json()["proofs"]
        except httpx.HTTPError:
            _log.warning("the audit-log cannot be asked for proofs")
            return {}
    return found


async def looks(url: str, start: datetime, end: datetime) -> Rows | None:
    """Return for what personal content of the log was shown from *start* up to *end*, how often.

    None while the log cannot be asked.
    """
    params = {
        "format": "jsonl",
        "action": _LOOK,
        "from": start.isoformat(),
        "to": end.isoformat(),
    }
    counted: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        try:
            async with client.stream("GET", "/api/v1/exports", params=params) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    look = json.loads(line)["parts"]["what"]
                    counted[look["purpose"]] += 1
                    shown[look["purpose"]] += look["count"]
        except httpx.HTTPError:
            _log.warning("the audit-log cannot be asked for looks")
            return None
    return [
        {"purpose": purpose, "looks": number, "entries": shown[purpose]}
        for purpose, number in sorted(counted.items())
    ]


async def proven(url: str, event_id: str) -> tuple[Mapping[str, Any], str]:
    """Return what the master log says of a decision, and the proof that it does."""
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        try:
            params = {"source": SOURCE, "event_id": event_id}
            event = (await client.get("/api/v1/events", params=params)).raise_for_status().json()
            entry = (await client.get(event["entry"])).raise_for_status().json()
            proof = (await client.get(f"{event['entry']}/proof")).raise_for_status().text
        except httpx.HTTPError:
            text = "the master log cannot be asked for the proof yet; ask again in a while"
            raise ServiceUnavailableException(text) from None
    return entry["content"]["parts"]["what"], proof
