"""How fast the console's pages answer with millions of records and log entries behind them."""

import asyncio
import base64
import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import asyncpg
import httpx
from bench import entries, ledger, past
from bench.peers import peers
from bench.registry import CATEGORIES, CUSTOMERS, POLICIES, fill, parts
from bench.results import Section
from bench.rig import Place, audit_log, rig, serving, started

from gallra.stack import provider
from gallra.stack.postgres import PROCESSES
from gallra.stack.up import token_keys
from retention import purge_store
from retention.reading_store import STATUSES, Position
from shared.postgres import transaction

FIRST_DAY: Final = date(2015, 7, 1)  # so that what is told last was told before today
DELIVERIES: Final = 1_000_000
ASKED: Final = 100  # times each page
PEOPLE: Final = 20  # each at an address of its own, for one may ask 600 times a minute
WANTED: Final = 200  # ms
KNOWN: Final = 1000  # of each kind of thing there are pages about
AWAY: Final = "cannot be asked right now"
OK: Final = 200

Kind = Callable[[random.Random], str]


@dataclass(frozen=True, slots=True)
class There:
    """What there are pages about.

    Attributes:
        refs: Of records.
        cursors: Of pages somewhere in the list of all records.
        opened: When purge jobs were opened.
        entries: How many the log has.
    """

    refs: Sequence[str]
    cursors: Sequence[str]
    jobs: Sequence[str]
    opened: Sequence[str]
    cases: Sequence[str]
    deliveries: Sequence[str]
    entries: int


def measure(folder: Path, records: int, logged: int) -> Section:
    """Fill everything that is not full yet, and look at it."""
    with rig(folder) as infra, ExitStack() as stack:
        places = {name: Place(infra, name, name, "") for name in PROCESSES}
        asyncio.run(_fill(places, records))
        entries.fill(places["audit_log"], logged)
        console = stack.enter_context(running(places))
        there = asyncio.run(_there(places))
        took = look(console, there)
    return Section(
        title="Console: pages in front of everything",
        command=f"python -m bench.console pages --records {records} --entries {logged}",
        text=(
            f"{records:,} records of six categories, {past.JOBS:,} purge jobs of"
            f" {past.CHUNKS * past.REFS:,} records, {past.CANARIES:,} canaries of the past,"
            f" {2 * past.HELD + 1} legal holds, {past.CASES} requests of people;"
            f" {logged:,} entries of the log; {DELIVERIES:,} deliveries of {ledger.MESSAGES}"
            " messages. One process of each service and of the console; an auditor, signed in at"
            " an OpenID Connect provider, asks for one page after another,"
            f" {ASKED} times each with other parameters and in"
            " turns, over HTTP; two rounds before do not count. Milliseconds. The raw limit is what"
            " the console takes for `/livez`, without a session, and for a page with a session and"
            " no service behind it."
        ),
        columns=("page", "p50", "p95", "wanted"),
        rows=[
            [name, *(f"{peers.percentile(times, n):.0f}" for n in (50, 95)), _wanted(name)]
            for name, times in took.items()
        ],
    )


def _wanted(name: str) -> str:
    return "" if name.startswith("raw") else f"≤ {WANTED}"


async def _fill(places: Mapping[str, Place], records: int) -> None:
    if not await places["retention"].ask("SELECT EXISTS (SELECT FROM purge_job)"):
        async with parts(places["retention"], datetime.now(UTC)) as found:
            await fill(places["retention"], found, records, FIRST_DAY)
            await past.holds(found)
            async with transaction(found.pool) as tx:
                await purge_store.sum_up(tx)  # as a sweep does, of which there is none here
        await past.purges(places["retention"])
    if not await places["notifier"].ask("SELECT EXISTS (SELECT FROM delivery)"):
        await ledger.fill(places["notifier"], DELIVERIES)


@contextmanager
def running(places: Mapping[str, Place]) -> Generator[str]:
    """Run the services and the console; yield its address."""
    infra = places["console"].infra
    keys = {"GALLRA_TOKEN_KEYS_FILE": token_keys(infra.folder)}
    with ExitStack() as stack:
        log = stack.enter_context(audit_log(places["audit_log"], **keys))
        retention = stack.enter_context(
            serving(
                places["retention"],
                GALLRA_POLICIES=str(POLICIES),
                GALLRA_AUDIT_LOG_URL=_url(log.ports[0]),
                GALLRA_SWEEP_EVERY="86400",  # what is due stays, to be looked at
                **keys,
            )
        )
        if not asyncio.run(places["retention"].ask("SELECT EXISTS (SELECT FROM rights_case)")):
            past.cases(_url(retention.ports[0]))
        notifier = stack.enter_context(
            serving(
                places["notifier"],
                GALLRA_POLICIES=str(POLICIES),
                GALLRA_SMTP=infra.smtp,
                GALLRA_MAIL_FROM="notices@gallra.example",
                GALLRA_ONCALL="oncall@gallra.example",
                GALLRA_ADDRESS_KEY=base64.b64encode(secrets.token_bytes(32)).decode(),
                **keys,
            )
        )
        lets_in = provider.prepare(infra)
        stack.callback(lets_in.stop)
        lets_in.start()
        lets_in.wait_ready()
        console = {
            "GALLRA_DATABASE": places["console"].service,
            "GALLRA_LOG_LEVEL": "WARNING",
            "GALLRA_PUBLIC_URL": _url(infra.ports.console),
            "GALLRA_OIDC_ISSUER": _url(infra.ports.provider),
            "GALLRA_OIDC_CLIENT_SECRET": "any",
            "GALLRA_TOKEN_KEY_FILE": str(infra.folder / "secrets" / "token-key"),
            "GALLRA_AUDIT_LOG_URL": _url(log.ports[0]),
            "GALLRA_RETENTION_URL": _url(retention.ports[0]),
            "GALLRA_NOTIFIER_URL": _url(notifier.ports[0]),
        }
        stack.enter_context(started("console", [infra.ports.console], console))
        yield _url(infra.ports.console)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def _there(places: Mapping[str, Place]) -> There:
    retention = await asyncpg.connect(places["retention"].owner)
    notifier = await asyncpg.connect(places["notifier"].owner)
    some = await retention.fetch(
        """
        SELECT concat_ws('/', holder, record.category, record_id) AS ref, purge_from,
               record.key, record.id
          FROM record TABLESAMPLE system (0.5)
          JOIN deadline_key ON deadline_key.id = record.key
      ORDER BY random()
         LIMIT $1
        """,
        KNOWN,
    )
    jobs = await retention.fetch("SELECT id::text, opened_at FROM purge_job")
    cases = await retention.fetch("SELECT id FROM rights_case")
    deliveries = await notifier.fetch("SELECT id::text FROM delivery LIMIT $1", KNOWN)
    await retention.close()
    await notifier.close()
    return There(
        refs=[row["ref"] for row in some],
        cursors=[str(Position(row["purge_from"], row["key"], row["id"])) for row in some],
        jobs=[row["id"] for row in jobs],
        opened=[row["opened_at"].isoformat() for row in jobs],
        cases=[row["id"] for row in cases],
        deliveries=[row["id"] for row in deliveries],
        entries=await places["audit_log"].ask("SELECT size FROM tree"),
    )


def look(console: str, there: There) -> dict[str, list[float]]:
    """Return the seconds that pages took, by kind."""
    took: dict[str, list[float]] = {}
    chance = random.Random(815)
    kinds = pages(there)
    with ExitStack() as stack:
        people = [
            stack.enter_context(_signed_in(console, f"127.0.0.{2 + number}"))
            for number in range(PEOPLE)
        ]
        for turn in range(-2, ASKED):
            for name, kind in kinds.items():
                path = kind(chance)
                began = time.perf_counter()
                answer = chance.choice(people).get(path)
                seconds = time.perf_counter() - began
                if answer.status_code != OK or AWAY in answer.text:
                    raise RuntimeError(f"{path}: {answer.status_code}: {answer.text[-2000:]}")
                if turn >= 0:
                    took.setdefault(name, []).append(seconds)
    return took


@contextmanager
def _signed_in(console: str, address: str) -> Generator[httpx.Client]:
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=console, timeout=120, transport=transport) as client:
        asked = client.get("/sign-in/start").headers["location"]
        back = httpx.post(asked, data={"sub": f"auditor@{provider.DOMAIN}"}).headers["location"]
        client.get(back)
        yield client


def pages(there: There) -> dict[str, Kind]:
    """Return the pages there are, by what they are called; each with the paths to it."""
    return {
        "raw limit: `/livez`": lambda _: "/livez",
        "raw limit: a page with a session alone": lambda _: "/signed-out",
        "overview": lambda _: "/",
        **_kept(there),
        **_erased(there),
        **_logged(there),
        **_told(there),
        "operations": lambda _: "/operations",
    }


def _kept(there: There) -> dict[str, Kind]:
    def listed(**asked: Callable[[random.Random], str]) -> Kind:
        return lambda chance: _query("/deadlines", {n: f(chance) for n, f in asked.items()})

    def customer(chance: random.Random) -> str:
        return f"c-{chance.randrange(CUSTOMERS)}"

    def category(chance: random.Random) -> str:
        return chance.choice(CATEGORIES)[0]

    def holder(chance: random.Random) -> str:
        return chance.choice(CATEGORIES)[1]

    def cursor(chance: random.Random) -> str:
        return chance.choice(there.cursors)

    def day(chance: random.Random) -> str:
        return str(FIRST_DAY + timedelta(days=chance.randrange(6000)))

    def status(chance: random.Random) -> str:
        return chance.choice(STATUSES)

    def held(chance: random.Random) -> str:
        return f"c-{chance.randrange(past.HELD) * CUSTOMERS // past.HELD}"

    standing: dict[str, Kind] = {
        f"deadlines, {name}": listed(status=lambda _, name=name: name) for name in STATUSES
    }
    return {
        "deadlines": listed(),
        "deadlines, somewhere in the list": listed(cursor=cursor),
        "deadlines of a category": listed(category=category),
        "deadlines of a category, somewhere": listed(category=category, cursor=cursor),
        "deadlines of a holder": listed(holder=holder),
        "deadlines of a holder, somewhere": listed(holder=holder, cursor=cursor),
        "deadlines of a customer": listed(customer=customer),
        "deadlines of nobody": listed(customer=lambda _: "c-nobody"),
        "deadlines from a day on": listed(**{"from": day}),
        **standing,
        "deadlines of a status, somewhere": listed(status=status, cursor=cursor),
        "deadlines of a category and holder by status": listed(
            category=category, holder=holder, status=status
        ),
        "deadlines of a customer by status": listed(customer=customer, status=status),
        "deadlines of a customer on hold by status": listed(customer=held, status=status),
        "calendar": lambda c: _query("/deadlines", {"view": "calendar", "from": day(c)}),
        "calendar of a category": lambda c: _query(
            "/deadlines", {"view": "calendar", "from": day(c), "category": category(c)}
        ),
        "one deadline": lambda c: f"/deadlines/{c.choice(there.refs)}",
        "policies": lambda _: "/policies",
        "one policy": lambda c: f"/policies/{category(c)}",
        "holds": lambda _: "/holds",
    }


def _erased(there: There) -> dict[str, Kind]:
    return {
        "purges": lambda _: "/purges",
        "purges, older": lambda c: _query("/purges", {"before": c.choice(there.opened)}),
        "one purge": lambda c: f"/purges/{c.choice(there.jobs)}",
        "requests of people": lambda _: "/rights",
        "one request": lambda c: f"/rights/{c.choice(there.cases)}",
    }


def _logged(there: There) -> dict[str, Kind]:
    def search(words: Callable[[random.Random], str]) -> Kind:
        return lambda chance: _query("/log", {"q": words(chance)})

    def customer(chance: random.Random) -> str:
        return f"customer:c-{chance.randrange(500)}"

    def day(chance: random.Random) -> str:
        until = datetime.now(UTC).date() - timedelta(days=chance.randrange(10))
        return f"since:{until - timedelta(days=1)} until:{until}"

    return {
        "log": search(lambda _: ""),
        "log of a customer": search(customer),
        "log of a customer, a day": search(lambda c: f"{customer(c)} {day(c)}"),
        "log of a customer, denied": search(lambda c: f"{customer(c)} outcome:denied"),
        "log of a customer, failed": search(lambda c: f"{customer(c)} outcome:failure"),
        "log of a customer, denied, by action": search(
            lambda c: f"{customer(c)} outcome:denied action:compute.server"
        ),
        "log of an account": search(lambda c: f"actor:u-{c.randrange(20_000)}"),
        "log of an account, denied": search(
            lambda c: f"actor:u-{c.randrange(20_000)} outcome:denied"
        ),
        "log of a target": search(lambda c: f"target:srv-{c.randrange(200_000)}"),
        "log of an action, a day": search(lambda c: f"action:compute.server.delete {day(c)}"),
        "log, denied": search(lambda _: "outcome:denied"),
        "log, denied in a channel, a day": search(
            lambda c: f"channel:portal outcome:denied {day(c)}"
        ),
        "one entry": lambda c: f"/log/{c.randrange(there.entries)}",
        "checkpoints": lambda _: "/log/checkpoints",
        "checkpoints, older": lambda c: _query(
            "/log/checkpoints", {"below": str(c.randrange(there.entries))}
        ),
    }


def _told(there: There) -> dict[str, Kind]:
    def sent(**asked: str) -> str:
        return _query("/notifications/deliveries", asked)

    def past_year(chance: random.Random) -> str:
        end = datetime.now(UTC).date() - timedelta(days=chance.randrange(700))
        span = {"from": str(end - timedelta(days=365)), "to": str(end), "as_of": str(end)}
        return _query("/reports", span)

    return {
        "notifications": lambda _: "/notifications",
        "one message": lambda c: f"/notifications/messages/m-{c.randrange(ledger.MESSAGES)}",
        "deliveries": lambda _: sent(),
        "deliveries to a customer": lambda c: sent(customer=f"c-{c.randrange(ledger.CUSTOMERS)}"),
        "deliveries that bounced": lambda _: sent(state="bounced"),
        "one delivery": lambda c: f"/notifications/deliveries/{c.choice(there.deliveries)}",
        "reports": lambda _: "/reports",
        "reports of a day that is past": past_year,
    }


def _query(path: str, asked: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(asked)}"
