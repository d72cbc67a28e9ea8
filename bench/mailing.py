"""How fast a message is planned for a hundred thousand recipients, and how fast it is sent."""

import asyncio
import base64
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast
from uuid import UUID

import asyncpg
import uvloop
from bench.peers.peers import GO
from bench.results import Section
from bench.rig import Place, new_place, rig, serving

from notifier import alert_policy
from notifier.catalogue import read
from notifier.handlers import Handlers
from notifier.letter import Envelope, return_path, seal
from notifier.oncall import OnCall
from notifier.planning import Library, Planner, form
from notifier.purge import NotifierHolder
from notifier.refusals import Refusals
from notifier.smtp import Connection, Outgoing, Relay
from shared.clock import SystemClock
from shared.cloudevents import Event
from shared.events.catalogue import BY_TYPE
from shared.events.platform import MessageRequested
from shared.holder import PurgeDesk
from shared.ids import new_id
from shared.outbox import Outbox
from shared.postgres import open_pool, transaction
from shared.service import collect_seldom

POLICIES: Final = Path(__file__).parents[1] / "policies"
SENDER: Final = "notices@provider.example"
KEY: Final = bytes(32)
CONNECTIONS: Final = 4
BATCH: Final = 50
DOMAINS: Final = 5000
TEXT: Final = "We change how we log in to the systems that hold your data. " * 40
PARAMS: Final = {"service": "sto2", "what": TEXT, "from_day": "2027-01-01"}


def measure(folder: Path, recipients: int) -> Section:
    """Plan one message for so many recipients, and send it."""
    collect_seldom()  # as a service does
    with rig(folder) as infra, sink() as port:
        place = asyncio.run(new_place(infra, "notifier"))
        asyncio.run(_contacts(place, recipients))
        planned = uvloop.run(_plan(place))
        raw = uvloop.run(_raw(place, port, min(recipients, 50_000)))
        settings = {
            "GALLRA_POLICIES": str(POLICIES),
            "GALLRA_SMTP": f"127.0.0.1:{port}",
            "GALLRA_MAIL_FROM": SENDER,
            "GALLRA_ONCALL": "oncall@provider.example",
            "GALLRA_ADDRESS_KEY": base64.b64encode(KEY).decode(),
            "GALLRA_SMTP_CONNECTIONS": str(CONNECTIONS),
            "GALLRA_SMTP_BATCH": str(BATCH),
        }
        with serving(place, **settings) as running:
            sent = asyncio.run(_sent(place, recipients))
            told = asyncio.run(_told(place))
            memory = running.peak_memory()
    rows = [
        [f"one message planned for {recipients:,} recipients, s", f"{planned:.2f}", "≤ 5", ""],
        ["mails/s sent, ledger and all", f"{sent:,.0f}", "≥ 5,000", f"{sent / raw:.2f} of raw"],
        ["raw limit: mails/s by the same dialogue without a ledger", f"{raw:,.0f}", "", ""],
        ["steps of deliveries announced on the bus, /s, over all", f"{told:,.0f}", "", ""],
        ["largest memory of the process, MB", f"{memory:,.0f}", "", ""],
    ]
    return Section(
        title="Notifier: one message to many",
        command=f"python -m bench.notifier mailing --count {recipients}",
        text=(
            f"One process, {CONNECTIONS} connections of {BATCH} mails marked at once (so at most"
            f" {CONNECTIONS * BATCH} in doubt after a crash), about 6 kB in text and HTML, to a"
            " sink in Go on the same machine. Planned means: committed, one row for each recipient"
            " with its first step. Sent means: the intent committed before, the answer after."
            " The first tenth and the last twentieth do not count. Each step is announced as an"
            " event, each delivery registered as a record, by the same process."
        ),
        columns=("what", "figure", "wanted", "ratio"),
        rows=rows,
    )


@contextmanager
def sink() -> Iterator[int]:
    """Run the sink; lend its port."""
    program = GO / "smtpsink.bin"
    subprocess.run(
        [str(shutil.which("go")), "build", "-o", str(program), "./cmd/smtpsink"],
        cwd=GO,
        check=True,
        env={**os.environ, "GOFLAGS": "-mod=mod"},
    )
    with subprocess.Popen(
        [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield int(next(iter(cast("IO[str]", process.stdout))))
        finally:
            cast("IO[str]", process.stdin).close()
            process.wait()
            program.unlink()


async def _contacts(place: Place, count: int) -> None:
    connection = await asyncpg.connect(place.owner)
    await connection.execute(
        """
        INSERT INTO recipient (token, lookup, email)
             SELECT 'r-' || n, sha256(n::text::bytea),
                    'ops' || n || '@customer' || n % $2 || '.example'
               FROM generate_series(1, $1::int) AS n
        """,
        count,
        DOMAINS,
    )
    await connection.execute(
        """
        INSERT INTO contact (customer_id, contact_id, record_id, recipient, roles, locale, kind,
                             subject_token, verified)
             SELECT 'c-' || n, 'ct', 'rec-' || n, 'r-' || n, '{technical}',
                    CASE n % 2 WHEN 0 THEN 'sv' ELSE 'en' END, 'group', 's-' || n, true
               FROM generate_series(1, $1::int) AS n
        """,
        count,
    )
    await connection.execute("VACUUM ANALYZE recipient, contact")
    await connection.close()


@dataclass(frozen=True, slots=True)
class _Parts:
    handlers: Handlers
    library: Library


def _parts() -> _Parts:
    clock, outbox, library = SystemClock(), Outbox("//gallra/notifier"), Library()
    types = read((POLICIES / "messages.yaml").read_text())
    planner = Planner(outbox, clock, types, library, {}, SENDER, "ab")
    refusals = Refusals(outbox, clock, types, "ab")
    desk = PurgeDesk("notifier", NotifierHolder(refusals), outbox, clock)
    policy = alert_policy.read((POLICIES / "alerts.yaml").read_text())
    links = "https://x.example"
    oncall = OnCall(policy, planner, KEY, links, ["o@x.example"], since=clock.now())
    return _Parts(Handlers(planner, desk, KEY, links, oncall), library)


def _request() -> MessageRequested:
    return MessageRequested(
        message_id="m-1",
        message_type="security-measures-change",
        customers="all",
        roles=["technical"],
        template="security-measures-change",
        params=PARAMS,
    )


async def _plan(place: Place) -> float:
    """Return how many seconds the planning of a message to all takes."""
    made = _parts()
    request = _request()
    event = Event(
        BY_TYPE["platform.message.requested.v1"],
        "//bench",
        str(new_id()),
        datetime.now(UTC),
        request.model_dump(mode="json"),
    )
    async with open_pool(place.service, "bench") as pool:
        await made.library.stock(pool, datetime.now(UTC))
        began = time.perf_counter()
        async with transaction(pool) as tx:
            await made.handlers.handle(tx, [event])
        return time.perf_counter() - began


async def _raw(place: Place, port: int, count: int) -> float:
    """Return the mails/s of the same mails by the same dialogue, with nothing kept of them."""
    made = _parts()
    async with open_pool(place.service, "bench") as pool:
        rows = await pool.fetch("SELECT email FROM recipient LIMIT $1", count)
    message = made.handlers.planner.message("m-1", "security-measures-change", PARAMS)
    kind = made.handlers.planner.types[message.type]
    forms = [form(made.library.templates, message, kind, locale, SENDER) for locale in ("sv", "en")]
    chance = random.Random(4711)
    now = datetime.now(UTC)

    def mail(email: str) -> Outgoing:
        id_ = UUID(int=chance.getrandbits(128))
        content = seal(forms[id_.int % 2], Envelope(id_, email), now)
        return Outgoing(return_path(id_, forms[0].domain), email, str(id_), content)

    async def lane(emails: list[str]) -> None:
        async with Connection(Relay("127.0.0.1", port)) as connection:
            await connection.open()
            for start in range(0, len(emails), BATCH):
                await connection.hand_over([mail(e) for e in emails[start : start + BATCH]])

    emails = [row["email"] for row in rows]
    began = time.perf_counter()
    await asyncio.gather(*(lane(emails[n::CONNECTIONS]) for n in range(CONNECTIONS)))
    return count / (time.perf_counter() - began)


async def _sent(place: Place, count: int) -> float:
    """Return the mails/s at which the message leaves."""
    connection: Any = await asyncpg.connect(place.owner)
    marks: list[tuple[float, int]] = []
    while not marks or marks[-1][1] < count:
        gone = await connection.fetchval("SELECT max(position) FROM delivery_change") - count
        marks.append((time.perf_counter(), gone))
        await asyncio.sleep(0.05)
    accepted = await connection.fetchval("SELECT count(*) FROM delivery WHERE state = 'accepted'")
    await connection.close()
    if accepted != count:
        raise RuntimeError(f"{accepted} of {count} were accepted")
    low = next(mark for mark in marks if mark[1] >= count // 10)
    high = next(mark for mark in marks if mark[1] >= count * 95 // 100)
    return float(high[1] - low[1]) / (high[0] - low[0])


async def _told(place: Place) -> float:
    """Return the steps/s at which the rest of them is announced and published."""
    connection: Any = await asyncpg.connect(place.owner)
    left = (
        "SELECT (SELECT count(*) FROM delivery_change, announced"
        " WHERE xact >= up_to"
        " OR xact >= told_before AND delivery_change.position > announced.position)"
        " + (SELECT count(*) FROM outbox) / 2"
    )
    before, began = await connection.fetchval(left), time.perf_counter()
    while await connection.fetchval(left):
        await asyncio.sleep(0.2)
    took = time.perf_counter() - began
    await connection.close()
    return before / took
