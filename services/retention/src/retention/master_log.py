"""What retention asks the audit-log: where its decisions are, the proofs, and who looked."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
from litestar.exceptions import ServiceUnavailableException
from pydantic import SecretStr

from retention.findings import Rows
from retention.paper import Proofs
from shared import logs

SOURCE: Final = "//gallra/retention"
"""The ``ce_source`` of this service's events."""

_LOOKS: Final = ("audit.access.v1", "ops.personal-data.viewed.v1")
"""Actions that are looks: at the log itself, and into the other services."""

_AT_ONCE: Final = 10_000

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class MasterLog:
    """The audit-log, as retention sees it.

    Attributes:
        token: By which it may see more than is open to all.
    """

    url: str
    token: SecretStr | None = None

    def _client(self) -> httpx.AsyncClient:
        headers: dict[str, str] = {}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token.get_secret_value()}"
        return httpx.AsyncClient(base_url=self.url, timeout=60, headers=headers)

    async def proofs(self, events: Collection[str]) -> Proofs:
        """Return the proofs of those *events* that are in the log; none while it is away."""
        wanted = sorted(events)
        found: dict[str, Mapping[str, Any]] = {}
        async with self._client() as client:
            try:
                for first in range(0, len(wanted), _AT_ONCE):
                    body = {"source": SOURCE, "event_ids": wanted[first : first + _AT_ONCE]}
                    answer = await client.post("/api/v1/proofs", json=body)
                    found |= answer.raise_for_status().json()["proofs"]
            except httpx.HTTPError:
                _log.warning("the audit-log cannot be asked for proofs")
                return {}
        return found

    async def looks(self, start: datetime, end: datetime) -> Rows | None:
        """Return for what people were shown what tells of others, from *start* up to *end*.

        None while the log cannot be asked, or does not let us see.
        """
        span = {"format": "jsonl", "from": start.isoformat(), "to": end.isoformat()}
        counted: Counter[str] = Counter()
        shown: Counter[str] = Counter()
        async with self._client() as client:
            try:
                for action in _LOOKS:
                    params = {**span, "action": action}
                    async with client.stream("GET", "/api/v1/exports", params=params) as answer:
                        answer.raise_for_status()
                        async for line in answer.aiter_lines():
                            said = json.loads(line)["parts"]["what"]
                            look = said.get("data", said)
                            counted[look["purpose"]] += 1
                            shown[look["purpose"]] += look["count"]
            except httpx.HTTPError:
                _log.warning("the audit-log cannot be asked for looks")
                return None
        return [
            {"purpose": purpose, "looks": number, "shown": shown[purpose]}
            for purpose, number in sorted(counted.items())
        ]

    async def proven(self, event_id: str) -> tuple[Mapping[str, Any], str]:
        """Return what the log says of a decision, and the proof that it does, as witnessed.

        Raises:
            ServiceUnavailableException: it cannot be asked, or has not taken the decision yet.
        """
        if entry := (await self.proofs([event_id])).get(event_id):
            async with self._client() as client:
                try:
                    answer = await client.get(f"/api/v1/entries/{entry['index']}/proof")
                    return entry["entry"], answer.raise_for_status().text
                except httpx.HTTPError:
                    _log.warning("the audit-log cannot be asked for a proof")
        text = "the master log cannot be asked for the proof yet; ask again in a while"
        raise ServiceUnavailableException(text)
