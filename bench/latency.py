"""How long an event takes from its producer into the log and under a signed checkpoint."""

import asyncio
import bisect
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from bench.peers import peers
from bench.results import Section
from bench.rig import ACTIONS, Place, audit_log, events, new_place, rig
from confluent_kafka import Producer

from audit_log.leaf import identity

RATES = (1000, 5000)
SECONDS = 30
WARM = 5  # seconds that do not count
TICKS = 500  # a second, at which events are offered
LOOK = 0.004  # seconds between two looks, which the figures include
COMMITTED, SIGNED = 150, 1200  # ms wanted at most, of the 99th percentile


@dataclass(frozen=True, slots=True)
class Seen:
    """When which size was seen: both lists rise."""

    times: list[float]
    sizes: list[int]

    def when(self, index: int) -> float:
        """Return when the entry at *index* was first seen."""
        return self.times[bisect.bisect_right(self.sizes, index)]


async def watch(log: Place, question: str, goal: asyncio.Future[int]) -> Seen:
    """Note each growth of what *question* returns, until that is the *goal*."""
    connection = await asyncpg.connect(log.owner)
    seen = Seen([], [])
    statement = await connection.prepare(question)
    size = 0
    while not goal.done() or size < goal.result():
        now = await statement.fetchval() or 0
        if now > size:
            size = now
            seen.times.append(time.perf_counter())
            seen.sizes.append(size)
        await asyncio.sleep(LOOK)
    await connection.close()
    return seen


def offer(log: Place, rate: int) -> dict[bytes, float]:
    """Publish *rate* events a second; return when each was handed to the producer."""
    producer = Producer({"bootstrap.servers": log.infra.kafka, "linger.ms": 5, "acks": "all"})
    sent: dict[bytes, float] = {}
    made = [
        (identity("//portal/sto2", dict(headers)["ce_id"].decode()), key, headers, body)
        for key, headers, body in events(rate * SECONDS)
    ]
    began = time.perf_counter()
    for number, (event, key, headers, body) in enumerate(made):
        if number % (rate // TICKS) == 0:
            time.sleep(max(began + number / rate - time.perf_counter(), 0))
            producer.poll(0)
        sent[event] = time.perf_counter()
        producer.produce(log.prefix + ACTIONS, body, key, headers=headers)
    producer.flush(60)
    return sent


async def one_rate(log: Place, rate: int) -> tuple[list[float], list[float]]:
    """Return the seconds to the commit, and those to the checkpoint, of each event."""
    goal = asyncio.get_running_loop().create_future()
    watching = asyncio.gather(
        watch(log, "SELECT size FROM tree", goal),
        watch(log, "SELECT max(size) FROM checkpoint", goal),
    )
    sent = await asyncio.to_thread(offer, log, rate)
    connection = await asyncpg.connect(log.owner)
    indexes: dict[bytes, int] = {}
    while len(indexes) < len(sent):
        rows = await connection.fetch("SELECT index, event FROM seen")
        indexes = {row["event"]: row["index"] for row in rows if row["event"] in sent}
    goal.set_result(max(indexes.values()) + 1)
    committed, signed = await watching
    await connection.close()
    began = min(sent.values()) + WARM
    timed = [(indexes[event], at) for event, at in sent.items() if at > began]
    return (
        [committed.when(index) - at for index, at in timed],
        [signed.when(index) - at for index, at in timed],
    )


def measure(folder: Path) -> Section:
    """Offer events at fixed rates to one process."""
    rows: list[list[str]] = []
    with rig(folder) as infra:
        for rate in RATES:
            log = asyncio.run(new_place(infra))
            with audit_log(log):
                to_commit, to_sign = asyncio.run(one_rate(log, rate))
            for name, took, wanted in (
                ("committed", to_commit, COMMITTED),
                ("under a signed checkpoint", to_sign, SIGNED),
            ):
                figure = peers.figure(name, rate, took, "")
                p99 = f"{figure.p99_ms:,.0f} (wanted: {wanted:,})"
                rows.append([f"{rate:,}/s", name, f"{figure.p50_ms:,.0f}", p99, f"{len(took):,}"])
    text = (
        f"From the call of the producer's `produce` (linger 5 ms, acks all) in one process of the "
        f"log, whose checkpoints are a second apart. {SECONDS} s each, the first {WARM} left out; "
        f"seen by a look every {LOOK * 1000:.0f} ms, which is in the figures."
    )
    return Section(
        "Latency",
        "python -m bench.audit_log latency",
        text,
        ("offered", "until", "p50, ms", "p99, ms", "events"),
        rows,
    )
