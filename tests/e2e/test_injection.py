"""Whatever is written into any field of any event or request: no page, file or mail obeys it."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Place
from playwright.sync_api import ConsoleMessage, Dialog, Page
from tests.browser.chromium import PROGRAM, chromium, sign_in
from tests.conftest import PATIENCE, new_folder, running
from tests.hostile import FORMULAS, HEADERS, MARKUP, is_formula
from tests.live import eventually

from gallra.stackfile import Stack, read
from shared.events import EVENT_TYPES, TOPICS

EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"
CORPUS = (*MARKUP, *FORMULAS, *HEADERS)
SOURCES = ("platform.", "rights.", "finance.", "holders.", "ops.alert.raised")
EXECUTED = """() => ({
    handlers: document.querySelectorAll('[onerror],[onload],[onclick],[style]').length,
    scripts: document.querySelectorAll('script:not([src])').length,
    away: [...document.querySelectorAll('[href],[src],[action]')]
        .map(e => new URL(e.href || e.src || e.action, location).origin)
        .filter(origin => origin !== location.origin),
})"""
HEADER_NAMES = {
    "x-envelope-from", "x-envelope-to", "from", "to", "subject", "date", "message-id",
    "mime-version", "content-type", "content-language", "auto-submitted", "gallra-template",
    "references", "list-id", "list-unsubscribe", "list-unsubscribe-post",
}  # fmt: skip
IDS = ("message_id", "request_id", "record_id", "fingerprint", "contact_id")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where in a JSON value there are strings."""
    if isinstance(value, str):
        yield path
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        inner = list(enumerate(cast("list[Any]", value)))
    for step, part in inner:
        yield from leaves(part, (*path, step))


def changed(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """Return a copy of *value* that has *text* at *path*."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = text
    return copy


def attacks() -> Iterator[tuple[str, str, Any]]:
    """Yield topic, type and content of events that have a hostile text in one of their fields."""
    topics = {kind.name: kind.topic.name for kind in EVENT_TYPES}
    for file in sorted(EXAMPLES.glob("*.json")):
        if not file.stem.startswith(SOURCES):
            continue
        example = json.loads(file.read_text())
        for path in leaves(example):
            for text in CORPUS:
                fresh = {name: uuid4().hex for name in IDS if name in example}
                yield topics[file.stem], file.stem, changed({**example, **fresh}, path, text)


def publish(stack: Stack) -> int:
    """Publish all of it as any producer may; return how many events that is."""
    producer = Producer({"bootstrap.servers": stack.kafka})
    count = 0
    for topic, kind, content in attacks():
        headers = {
            "ce_specversion": "1.0",
            "ce_id": uuid4().hex,
            "ce_source": f"//attacker/{CORPUS[count % len(CORPUS)]}".replace("\0", ""),
            "ce_type": kind,
            "ce_time": datetime.now(UTC).isoformat(),
            "content-type": "application/json",
        }
        body = json.dumps(content).encode()
        producer.produce(topic, body, b"attack", headers=list(headers.items()))
        producer.poll(0)
        count += 1
    assert producer.flush(PATIENCE) == 0
    return count


def settled(stack: Stack) -> bool:
    """Return whether every service has handled all that its topics have."""
    for group in ("audit-log", "retention", "notifier"):
        consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": group})
        try:
            for topic in (t.name for t in TOPICS if group in t.readers):
                partitions = consumer.list_topics(topic, PATIENCE).topics[topic].partitions
                places = [Place(topic, number) for number in partitions]
                for place in consumer.committed(places, PATIENCE):
                    _, end = consumer.get_watermark_offsets(place, PATIENCE)
                    if end and place.offset < end:
                        return False
        finally:
            consumer.close()
    return True


def ask(stack: Stack) -> None:
    """Hand hostile texts to every write over HTTP that keeps one."""
    retention, notifier, log = (stack.urls[n] for n in ("retention", "notifier", "audit_log"))
    today = datetime.now(UTC).date()
    review = str(today + timedelta(days=60))
    until = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    index = httpx.get(
        f"{log}/api/v1/entries", params={"action": "compute.server.delete"}, timeout=PATIENCE
    ).json()["entries"][0]["index"]
    with httpx.Client(timeout=PATIENCE) as http:
        for text in CORPUS:
            posts: list[tuple[str, Any]] = [
                (f"{retention}/api/v1/holds",
                 {"reason": text, "review_on": review, "customer_id": text, "by": text}),
                (f"{retention}/api/v1/plans", {"text": text}),
                (f"{retention}/api/v1/rights",
                 {"right": "access", "subjects": [text], "received_on": str(today),
                  "channel": text, "email": "person@home.example", "name": text,
                  "details": text}),
                (f"{notifier}/api/v1/alerts",
                 {"version": "4", "alerts": [{
                     "status": "firing", "labels": {"alertname": text, "severity": "warning"},
                     "annotations": {"summary": text, "runbook_url": text},
                     "startsAt": datetime.now(UTC).isoformat(),
                     "endsAt": "0001-01-01T00:00:00Z", "fingerprint": uuid4().hex[:16],
                     "generatorURL": text}]}),
                (f"{notifier}/api/v1/silences",
                 {"matchers": [{"name": "service", "value": text, "isRegex": False}],
                  "endsAt": until, "createdBy": text, "comment": text}),
                (f"{notifier}/api/v1/templates/news/trial",
                 {"message_type": "news", "to": "person@home.example",
                  "params": {"title": text, "text": text}}),
                (f"{log}/api/v1/entries/{index}/corrections", {"note": text, "by": text}),
            ]  # fmt: skip
            for url, body in posts:
                answer = http.post(url, json=body)
                assert answer.status_code < 500, (url, text)
        for case in _cases(http, retention):
            place = f"{retention}/api/v1/rights/{case}"
            http.post(f"{place}/identity", json={"step": "confirm", "by": "anna"})
        for case in _cases(http, retention)[:20]:
            place = f"{retention}/api/v1/rights/{case}"
            choice = {"decision": "refused", "article": MARKUP[0], "reason": MARKUP[1]}
            found = http.get(place).json()
            choices = [{"category": p["category"], **choice} for p in found.get("proposed", ())]
            http.post(f"{place}/decide", json={"by": "anna", "choices": choices})
            http.post(f"{place}/approve", json={"by": "bo"})


def _cases(http: httpx.Client, retention: str) -> list[str]:
    return [case["id"] for case in http.get(f"{retention}/api/v1/rights").json()["requests"]]


@pytest.fixture(scope="module")
def attacked() -> Iterator[tuple[Stack, Path]]:
    """Return a stack of our own into which all of it was written, and its folder."""
    with new_folder() as folder:
        for data in running(folder):
            stack = read(data)
            assert publish(stack) > 3000
            eventually(partial(settled, stack), 300)
            ask(stack)
            eventually(partial(settled, stack), 120)
            yield stack, data


def test_it_was_taken(attacked: tuple[Stack, Path]) -> None:
    """A test of what was refused altogether would show nothing."""
    stack, _ = attacked
    retention = stack.urls["retention"]
    with httpx.Client(timeout=PATIENCE) as http:
        holds = http.get(f"{retention}/api/v1/holds").json()["holds"]
        assert {hold["reason"] for hold in holds} >= {*MARKUP, "=cmd|' /C calc'!A0"}
        asked = {"customer": MARKUP[0]}
        assert http.get(f"{retention}/api/v1/records", params=asked).json()["records"]
        entries = http.get(f"{stack.urls['audit_log']}/api/v1/entries", params=asked).json()
        assert entries["entries"]
        mails = http.get(f"{stack.mail_api}/api/v1/mails").json()
        assert len(mails) > 10
        assert any("alert(1)" in mail["subject"] for mail in mails)


def test_no_service_fell_over(attacked: tuple[Stack, Path]) -> None:
    stack, data = attacked
    assert read(data).pids == stack.pids, "one was started anew"
    for service in ("audit_log", "retention", "notifier"):
        httpx.get(f"{stack.urls[service]}/readyz", timeout=PATIENCE).raise_for_status()


def test_no_reason_of_a_dead_letter_repeats_what_was_written(attacked: tuple[Stack, Path]) -> None:
    stack, _ = attacked
    consumer = Consumer(
        {"bootstrap.servers": stack.kafka, "group.id": uuid4().hex, "auto.offset.reset": "earliest"}
    )
    names = [f"{topic.name}.dlq" for topic in TOPICS if topic.readers]
    places = [
        Place(name, number, 0)
        for name in names
        for number in consumer.list_topics(name, PATIENCE).topics[name].partitions
    ]
    consumer.assign(places)
    left = sum(consumer.get_watermark_offsets(place, PATIENCE)[1] for place in places)
    assert left > 1000
    while left:
        message = consumer.poll(PATIENCE)
        assert message is not None
        assert not message.error()
        headers = dict(message.headers() or [])
        reason = cast("bytes", headers["dlq_reason"]).decode()
        assert not [text for text in CORPUS if len(text) > 4 and text in reason]
        left -= 1
    consumer.close()


def test_no_cell_of_a_file_is_a_formula(attacked: tuple[Stack, Path]) -> None:
    stack, _ = attacked
    with httpx.Client(timeout=PATIENCE) as http:
        report = http.get(f"{stack.urls['retention']}/api/v1/report", params={"format": "csv"})
        span = {
            "from": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
            "to": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        }
        log = http.get(
            f"{stack.urls['audit_log']}/api/v1/exports", params={"format": "csv", **span}
        )
        for file in (report, log):
            rows = list(csv.reader(io.StringIO(file.raise_for_status().text, newline="")))
            assert len(rows) > 5
            assert [cell for row in rows for cell in row if is_formula(cell)] == []
        assert len(log.text.splitlines()) > 500
        book = http.get(f"{stack.urls['retention']}/api/v1/report", params={"format": "xlsx"})
        parts = zipfile.ZipFile(io.BytesIO(book.raise_for_status().content))
        sheets = b"".join(parts.read(name) for name in parts.namelist() if "sheet" in name)
        assert b"a dispute" not in sheets
        assert b"&lt;script&gt;" in sheets, "the reasons of holds"
        assert b"<f>" not in sheets
        assert b"<hyperlink" not in sheets
        pdf = http.get(f"{stack.urls['retention']}/api/v1/report", params={"format": "pdf"})
        assert pdf.raise_for_status().content.startswith(b"%PDF")
        for danger in (b"/JavaScript", b"/OpenAction", b"/Launch", b"/URI"):
            assert danger not in pdf.content


def test_no_header_and_no_recipient_comes_of_it(attacked: tuple[Stack, Path]) -> None:
    stack, _ = attacked
    mails = httpx.get(f"{stack.mail_api}/api/v1/mails", timeout=PATIENCE).json()
    told = {address for mail in mails for address in mail["to"]}
    assert not [address for address in told if "victim" in address]
    for mail in mails:
        names = [name.lower() for name, _ in mail["headers"]]
        assert set(names) <= HEADER_NAMES, set(names) - HEADER_NAMES
        assert len(names) == len(set(names))
        assert not re.search(r"[\r\n\0]", mail["subject"])


@pytest.mark.timeout(1200)  # some hundreds of pages
@pytest.mark.skipif(not PROGRAM.exists(), reason=f"there is no {PROGRAM}")
def test_no_page_obeys(attacked: tuple[Stack, Path]) -> None:
    stack, _ = attacked
    console = stack.urls["console"]
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 200, "height": 200}).new_page()
        wrong: list[str] = []
        visited: set[str] = set()

        def opened(dialog: Dialog) -> None:
            wrong.append(f"a dialog on {page.url}")
            dialog.dismiss()

        def said(message: ConsoleMessage) -> None:
            if message.type == "error":
                wrong.append(f"{page.url}: {message.text}")

        page.on("dialog", opened)
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on("console", said)
        for role in ("operator", "auditor"):  # who may do things first: their pages have the more
            sign_in(page, console, role)
            wrong.clear()  # of the provider's page, which asks for a style sheet from elsewhere
            for path in _all(page, console):
                if path in visited:
                    continue
                visited.add(path)
                page.goto(console + path)
                found = page.evaluate(EXECUTED)
                assert found == {"handlers": 0, "scripts": 0, "away": []}, path
            assert wrong == []
        seen = page.goto(str(stack.mail_api))
        assert seen is not None
        assert page.evaluate(EXECUTED)["handlers"] == 0
        browser.close()


def _all(page: Page, console: str) -> list[str]:
    """Return the paths of all lists that the person sees, and of what each of them leads to."""
    page.goto(f"{console}/")
    lists = [str(link.get_attribute("href")) for link in page.locator(".menu a").all()]
    more = (
        "/deadlines?view=calendar", "/deadlines?status=on-hold", "/log?q=outcome:success",
        "/notifications/deliveries", "/operations/dead-letters", "/operations/topics",
    )  # fmt: skip
    lists += [path for path in more if any(path.startswith(seen) for seen in lists if seen != "/")]
    found: dict[str, None] = dict.fromkeys(lists)
    for path in lists:
        page.goto(console + path)
        links = [str(link.get_attribute("href")) for link in page.locator("main td a").all()]
        inner = [link for link in links if link.startswith("/") and "download" not in link]
        found.update(dict.fromkeys(inner[:25]))
    skip = ("/certificate", "/proof", "/evidence", "/exports", "/answer", "format=")
    return [path for path in found if not any(word in path for word in skip)]
