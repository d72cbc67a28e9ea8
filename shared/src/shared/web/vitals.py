"""How one service does, over HTTP: how far behind it is, what waits, which process did what."""

from dataclasses import asdict
from typing import Any, Final

from aiokafka.errors import KafkaError
from litestar import get
from litestar.datastructures import State

from shared import duties, logs
from shared.broker import readings
from shared.bus import Consumer
from shared.outbox import backlog
from shared.postgres import Pool
from shared.web.dead_letters import SEES

_log = logs.get(__name__)


@get("/api/v1/vitals", roles=SEES)
async def vitals(state: State) -> dict[str, Any]:
    """Return how this service does, all its processes together.

    ``partitions`` is null where the broker does not answer; ``behind`` counts what the service has
    not committed yet.  ``duties`` are what one process does at a time: who did each last.
    """
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        waiting, done = await backlog(tx), await duties.listed(tx)
    return {
        "outbox": asdict(waiting),
        "duties": done,
        "partitions": await _partitions(state),
    }


async def _partitions(state: State) -> list[dict[str, Any]] | None:
    consumer: Consumer = state.consumer
    kafka: str = state.dead_letters.kafka
    try:
        found = await readings(kafka, consumer.prefix + consumer.group, consumer.topics)
    except KafkaError as error:
        _log.warning("the broker cannot be asked how far this is", error=type(error).__name__)
        return None
    return [asdict(each) for each in found]


ROUTES: Final = [vitals]
