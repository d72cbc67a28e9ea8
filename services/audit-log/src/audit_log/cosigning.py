"""Asks witnesses to cosign the log, and says so while one does not."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import httpx

from audit_log import merkle, store
from audit_log.alerts import Alerts, Finding
from audit_log.checkpoint import Verifier, split_note
from audit_log.witness import Policy, request
from shared import logs
from shared.clock import Clock
from shared.errors import Rejected
from shared.logs import describe
from shared.postgres import Pool, sole, transaction

PATIENCE: Final = timedelta(minutes=1)
"""How long the newest checkpoint may lack a cosignature before somebody is told."""

_TIMEOUT: Final = 5.0  # seconds for one witness; the others do not wait for it
_CONFLICT: Final = 409
_INCONSISTENT: Final = 422
_SIZE: Final = "text/x.tlog.size"
_REFUSALS: Final = frozenset({"rollback", "fork"})

_log = logs.get(__name__)


class Cosigning:
    """The client of C2SP tlog-witness.  The log itself never waits for a witness."""

    def __init__(self, policy: Policy, alerts: Alerts, clock: Clock) -> None:
        self.policy = policy
        self.alerts = alerts
        self.clock = clock
        now = clock.now()
        self._satisfied_at = now
        self._agreed_at = dict.fromkeys(policy.urls, now)
        self._refused: set[str] = set()

    async def run(self, pool: Pool) -> None:
        """Have the newest checkpoint cosigned by every witness that has not done it yet."""
        async with pool.acquire() as tx:
            latest = await store.latest_checkpoint(tx)
            known = await store.last_cosigned(tx)
        if latest is None or not self.policy.urls:
            return
        size, note = latest
        asked = [name for name in self.policy.urls if known.get(name, -1) < size]
        await asyncio.gather(
            *(self._ask(pool, name, known.get(name, 0), size, note) for name in asked)
        )
        async with transaction(pool) as tx:
            agreed = self.policy.agreed(await store.cosigned(tx, size))
            now = self.clock.now()
            self._agreed_at |= dict.fromkeys(agreed, now)
            if self.policy.satisfied(agreed):
                self._satisfied_at = now
            if await sole(tx, "witness-alert"):
                await self.alerts.stand(tx, "witness", self._findings(now))

    def _findings(self, now: datetime) -> list[Finding]:
        away = [
            name
            for name, at in self._agreed_at.items()
            if now - at >= PATIENCE and name not in self._refused
        ]
        findings = [_refusing(name) for name in sorted(self._refused)]
        findings += [_away(name) for name in sorted(away)]
        if now - self._satisfied_at >= PATIENCE:
            findings.append(_lacking(sorted({*away, *self._refused})))
        return findings

    async def _ask(self, pool: Pool, name: str, old: int, size: int, note: str) -> None:
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
                answer = await self._post(pool, client, name, old, size, note)
                if answer.status_code == _CONFLICT and _says_size(answer):
                    # It knows another size than we remember: the proof must start from there.
                    answer = await self._post(pool, client, name, int(answer.text), size, note)
            answer.raise_for_status()
            line = _line(answer.text, self.policy.witnesses[name], note)
            async with transaction(pool) as tx:
                await store.add_cosignature(tx, size, name, line, self.clock.now())
            self._refused.discard(name)
        except (httpx.HTTPError, Rejected, ValueError) as error:
            if isinstance(error, Rejected) and error.code in _REFUSALS:
                self._refused.add(name)
            _log.warning("a witness did not cosign", witness=name, **describe(error))

    async def _post(
        self, pool: Pool, client: httpx.AsyncClient, name: str, old: int, size: int, note: str
    ) -> httpx.Response:
        if old > size:
            raise Rejected("the witness has seen more than there is", code="rollback")

        def path(read: merkle.ReadTile) -> list[bytes]:
            return merkle.consistency_proof(read, old, size)

        async with pool.acquire() as tx:
            tiles = await store.read_tiles(tx, merkle.tiles_needed(path))
        hashes = path(lambda level, number: tiles[level, number])
        url = f"{self.policy.urls[name].rstrip('/')}/add-checkpoint"
        answer = await client.post(url, content=request(old, hashes, note))
        if answer.status_code == _INCONSISTENT:
            raise Rejected("the witness has seen another history", code="fork")
        return answer


def _says_size(answer: httpx.Response) -> bool:
    return answer.headers.get("content-type", "").startswith(_SIZE)


def _line(body: str, witness: Verifier, note: str) -> str:
    """Return the right signature of *witness* on *note* among the lines of its answer."""
    text, _ = split_note(note)
    for line in body.splitlines():
        if witness.made(line, text):
            return f"{line}\n"
    raise Rejected("the witness sent no signature of its own", code="bad-cosignature")


def _lacking(missing: list[str]) -> Finding:
    summary = f"the newest checkpoint lacks its quorum; no cosignature of {', '.join(missing)}"
    return Finding("witness/quorum", "warning", summary, "witness-away")


def _away(name: str) -> Finding:
    summary = f"witness {name} does not cosign; the log goes on without it"
    return Finding(f"witness/away/{name}", "warning", summary, "witness-away")


def _refusing(name: str) -> Finding:
    summary = f"witness {name} refuses: it has seen a log that ours does not extend"
    return Finding(f"witness/refused/{name}", "critical", summary, "log-not-intact")
