"""Issues the retention report: found in one snapshot, written down, and told to the master log."""

import asyncio
import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

from aiokafka.errors import KafkaError

from retention import report, report_store
from retention.findings import Report, Rows, Span
from retention.in_force import InForce
from retention.master_log import MasterLog
from retention.paper import Proofs, as_pdf, evidence
from retention.tables import as_csv, as_json, as_jsonl
from retention.workbook import as_xlsx
from shared import logs, topics
from shared.clock import Clock
from shared.events.gallra import ReportIssued
from shared.outbox import Outbox
from shared.postgres import Connection, Pool
from shared.wording import Language, translator

Format = Literal["json", "jsonl", "csv", "xlsx", "pdf"]
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class File:
    """A report as a file.

    Attributes:
        evidence: The hash of what is attached to it; a PDF alone has attachments.
    """

    report: Report
    body: bytes
    format: Format
    evidence: str | None

    @property
    def sha256(self) -> str:
        """The hash of the file, by which the master log knows it."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Reports:
    """Makes reports, of what is known now."""

    in_force: InForce
    outbox: Outbox
    clock: Clock
    master_log: MasterLog
    kafka: str
    topic_prefix: str

    async def write(self, pool: Pool, span: Span, form: Format, language: Language) -> File:
        """Return the report of *span* as a file; nothing is told of it yet."""
        found, proofs = await self._find(pool, span)
        return await asyncio.to_thread(_written, found, proofs, form, language)

    async def announce(self, tx: Connection, file: File) -> None:
        """Tell the master log that a report is issued: once, however often it is."""
        span, sha256 = file.report.period, file.sha256
        issued = ReportIssued(
            report_id=sha256,
            period_from=span.start,
            period_to=span.end,
            as_of=span.as_of,
            sha256=sha256,
            format=file.format,
            evidence=file.evidence,
        )
        await self.outbox.announce(tx, self.clock.now(), [issued], ids=[sha256])

    async def _find(self, pool: Pool, span: Span) -> tuple[Report, Proofs]:
        now = self.clock.now()
        looks = await self.master_log.looks(*span.instants)
        wider = await self._wider()
        async with pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
            purged = await report_store.purged(tx, *span.instants)
            events = {row["closed_event"] for row in purged if row["closed_event"]}
            proofs = await self.master_log.proofs(events)
            entries = {event_id: proof["index"] for event_id, proof in proofs.items()}
            policies = (await self.in_force.read(tx)).newest
            found = await report.make(tx, policies, span, now, entries, looks=looks, topics=wider)
        return found, proofs

    async def _wider(self) -> Rows | None:
        try:
            return [asdict(found) for found in await topics.wider(self.kafka, self.topic_prefix)]
        except KafkaError:
            _log.warning("the broker cannot be asked for its topics")
            return None


def _written(found: Report, proofs: Proofs, form: Format, language: Language) -> File:
    attached = None
    match form:
        case "json":
            body = as_json(found)
        case "jsonl":
            body = as_jsonl(found)
        case "csv":
            body = as_csv(found)
        case "xlsx":
            body = as_xlsx(found, translator("retention", language))
        case "pdf":
            proven = evidence(found, proofs)
            body, attached = as_pdf(found, proven, language), proven.sha256
    return File(found, body, form, attached)
