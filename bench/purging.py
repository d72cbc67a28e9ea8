"""How fast purges are ordered and their answers applied, while a registry of millions empties."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from bench.registry import POLICIES, fill, parts
from bench.results import Section
from bench.rig import Made, Place, new_place, publish, rig, serving
from confluent_kafka import Consumer, TopicPartition
from uuid_utils import uuid7

from shared.events.catalogue import COMMANDS, RESULTS

FIRST_DAY = date(2007, 1, 1)  # so that everything is due today
PEER = 5000
RAW = 500_000
SETTINGS = {
    "GALLRA_POLICIES": str(POLICIES),
    "GALLRA_SWEEP_EVERY": "20",
    "GALLRA_SWEEP_LIMIT": "50000",
    "GALLRA_ANSWER_WITHIN": "86400",
    "GALLRA_ALERT_AFTER": "86400",
    "GALLRA_GUARD_FLOOR": "1000000000",  # two people have agreed
}


@dataclass(frozen=True, slots=True)
class Mark:
    """How many records had come how far at an instant."""

    at: float
    records: int


def measure(folder: Path, records: int) -> Section:
    """Purge a registry from full to empty."""
    rows: list[list[str]] = []

    def row(what: str, rate: float, wanted: str = "", ratio: str = "") -> None:
        rows.append([what, f"{rate:,.0f}", wanted, ratio])
        print(f"{what}: {rate:,.0f}/s {ratio}", flush=True)

    with rig(folder) as infra:
        place = asyncio.run(new_place(infra, "retention"))
        asyncio.run(_fill(place, records))
        raw, naive = asyncio.run(_limits(place))
        topic = Topic(place)
        with serving(place, **SETTINGS) as running:
            marks = list(topic.marks(records))
            early, late = _rate(marks, 0.05, 0.15), _rate(marks, 0.85, 0.95)
            row("purges ordered, over all of it", _rate(marks, 0.02, 0.98), "≥ 40,000")
            row(f"of the first {records // 10:,}", early)
            row(f"of the last {records // 10:,}", late, "no decay", f"{late / early:.2f} of that")
            chunks = asyncio.run(place.ask("SELECT count(*) FROM purge_chunk"))
            took = 0.0
            for phase in ("prepare", "commit"):
                answers = [_answer(command, phase) for command in topic.commands(chunks)]
                with running.held():
                    publish(place, answers, RESULTS.name)
                began = time.perf_counter()
                asyncio.run(_answered(place, phase))
                took += time.perf_counter() - began
                row(f"answers to {phase} applied", records / (time.perf_counter() - began))
            both = records / took
            row("answers to both phases applied", both, "≥ 25,000", f"{both / raw:.2f} of raw")
            row("largest memory of the process, MB", running.peak_memory())
        row("raw limit: DELETE of the same rows, 500 a transaction", raw)
        row("naive peer: DELETE row by row", naive)
    return Section(
        title="Retention: purges ordered and confirmed",
        command=f"python -m bench.retention purging --records {records}",
        text=(
            f"{records:,} records of six categories, told in the order of their days within a"
            " month, all of them due; one retention process. Ordered means: chosen, agreed on by"
            " both engines, in chunks of at most 500 in the database, announced through the outbox,"
            " and on the topic. Applied means: checked against what was asked, and in the second"
            " phase out of the registry with all that was known of them. Answers wait on the topic"
            " before they are counted."
        ),
        columns=("what", "records/s", "wanted", "ratio"),
        rows=rows,
    )


def _rate(marks: list[Mark], start: float, end: float) -> float:
    total = marks[-1].records
    low = next(mark for mark in marks if mark.records >= total * start)
    high = next(mark for mark in marks if mark.records >= total * end and mark.at > low.at)
    return (high.records - low.records) / (high.at - low.at)


async def _fill(place: Place, records: int) -> None:
    async with parts(place, datetime.now(UTC)) as found:
        await fill(place, found, records, FIRST_DAY)


async def _limits(place: Place) -> tuple[float, float]:
    """Return the rates of deleting the rows of a copy by themselves, in sets and one by one."""
    connection = await asyncpg.connect(place.owner)
    for table in ("record", "anchor", "record_subject"):
        await connection.execute(f"CREATE TABLE raw_{table} (LIKE {table} INCLUDING ALL)")
    await connection.execute(
        f"INSERT INTO raw_record OVERRIDING SYSTEM VALUE SELECT * FROM record LIMIT {RAW}"
    )
    await connection.execute(
        "INSERT INTO raw_anchor SELECT anchor.* FROM anchor"
        " JOIN raw_record USING (holder, category, record_id)"
    )
    await connection.execute(
        "INSERT INTO raw_record_subject SELECT record_subject.* FROM record_subject"
        " JOIN raw_record ON raw_record.id = record"
    )
    await connection.execute("VACUUM ANALYZE raw_record, raw_anchor, raw_record_subject")
    ids = [
        row["id"] for row in await connection.fetch("SELECT id FROM raw_record ORDER BY key, id")
    ]
    deletion = """
        WITH gone AS (
            DELETE FROM raw_record WHERE id = ANY($1)
         RETURNING id, holder, category, record_id
        ), told_of AS (
            DELETE FROM raw_record_subject USING gone WHERE record = gone.id
        )
        DELETE FROM raw_anchor AS told
         USING gone
         WHERE (told.holder, told.category, told.record_id)
             = (gone.holder, gone.category, gone.record_id)
    """
    began = time.perf_counter()
    for number in range(PEER):
        await connection.execute(deletion, [ids[number]])
    naive = PEER / (time.perf_counter() - began)
    rest = ids[PEER:]
    began = time.perf_counter()
    for start in range(0, len(rest), 500):
        await connection.execute(deletion, rest[start : start + 500])
    raw = len(rest) / (time.perf_counter() - began)
    await connection.execute("DROP TABLE raw_record, raw_anchor, raw_record_subject")
    await connection.close()
    return raw, naive


class Topic:
    """The commands on their topic, read once from its beginning."""

    def __init__(self, place: Place) -> None:
        self._name = place.prefix + COMMANDS.name
        self._reader = Consumer(
            {
                "bootstrap.servers": place.infra.kafka,
                "group.id": "bench",
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": 10_000_000,
            }
        )
        found = self._reader.list_topics(self._name, timeout=10).topics[self._name].partitions
        self._partitions = [TopicPartition(self._name, number, 0) for number in found]
        self._reader.assign(self._partitions)
        self._kept: list[dict[str, Any]] = []
        self._taken = 0

    def marks(self, records: int) -> Iterator[Mark]:
        """Read commands until all records are ordered; yield how far that is."""
        ordered = 0
        deadline = time.monotonic() + 3600
        while ordered < records and time.monotonic() < deadline:
            for command in self._read():
                self._kept.append(command)
                ordered += command["records"]
            yield Mark(time.perf_counter(), ordered)
        if ordered < records:
            raise TimeoutError(f"{ordered} of {records} records were ordered")

    def commands(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield *count* commands that were not yielded before."""
        while count:
            if not self._kept:
                self._kept = list(self._read())
            while self._kept and count:
                yield self._kept.pop(0)
                count -= 1

    def _read(self) -> Iterator[dict[str, Any]]:
        for record in self._reader.consume(200, 0.05):
            told = json.loads(record.value() or b"{}")
            refs = told.pop("refs", None)
            if refs is not None:
                yield told | {"records": len(refs)}


def _answer(command: Mapping[str, Any], phase: str) -> Made:
    now = datetime.now(UTC)
    gone = command["records"] if phase == "commit" else 0
    anonymised = command["action"] == "anonymise"
    body = {
        **{name: command[name] for name in ("chunk_id", "holder", "command_hash", "hold_epoch")},
        "phase": phase,
        "counts": {
            "erased": 0 if anonymised else gone,
            "anonymised": gone if anonymised else 0,
            "not_found": 0,
            "refused": 0,
            "failed": 0,
        },
        "exceptions": [],
        "method": "clear",
        "completed_at": now.isoformat(),
        "residual_until": (now + timedelta(days=30)).isoformat(),
    }
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid7()),
        "ce_source": f"//{command['holder']}",
        "ce_type": "holders.purge.result.v1",
        "ce_time": now.isoformat(),
        "content-type": "application/json",
    }
    return (
        command["chunk_id"].encode(),
        [(name, value.encode()) for name, value in headers.items()],
        json.dumps(body).encode(),
    )


async def _answered(place: Place, phase: str) -> None:
    """Wait until every chunk has left a phase."""
    waiting = {"prepare": "preparing", "commit": "committing"}[phase]
    connection = await asyncpg.connect(place.owner)
    while await connection.fetchval(
        "SELECT EXISTS (SELECT FROM purge_chunk WHERE next_try_at IS NOT NULL AND state = $1)",
        waiting,
    ):
        await asyncio.sleep(0.05)
    await connection.close()
