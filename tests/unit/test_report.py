"""A report as a file: the same findings, the same bytes, and nothing in it that a program obeys."""

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from tests.hostile import FORMULAS, is_formula

from retention import policy
from retention.findings import COUNTS, Line, Purge, Report, Span, request_on
from retention.paper import as_pdf, evidence
from retention.tables import as_csv, as_json, as_jsonl
from retention.workbook import HEADINGS, as_xlsx
from shared.wording import translations, translator

POLICIES = policy.load(Path(__file__).parents[2] / "policies").by_category
NOW = datetime(2032, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = date(2032, 1, 2)
NOTE = "log.test/master\n7\nAAAA\n\n\u2014 log.test/master BBBB\n"


def line(category: str, **counts: int) -> Line:
    purge = Purge(
        job_id=f"job-of-{category}",
        reason="deadline",
        holder="billing",
        policy_version=1,
        closed_at=NOW,
        closed_event=f"end-of-{category}",
        counts={"erased": 3, "anonymised": 0, "not_found": 0, "refused": 0},
        on_time=2,
        entry=5,
    )
    return Line(
        policy=POLICIES[category],
        counts=dict.fromkeys(COUNTS, 0) | counts,
        next_purge_on=None,
        kept_until=None,
        awaiting={},
        missing_facts=[],
        purges=[purge] if counts else [],
        inventories=[],
    )


def hold(reason: str) -> dict[str, Any]:
    nobody = (
        "customer_id", "category", "subject", "holder", "record_id", "first_day", "last_day",
        "release_asked_by", "released_by", "protects_until",
    )  # fmt: skip
    return {
        **dict.fromkeys(nobody),
        "hold_id": "h-1",
        "reason": reason,
        "review_on": DAY,
        "placed_by": reason,
        "placed_at": NOW,
    }


def asked_for(case_id: str, received_on: date, **more: Any) -> dict[str, Any]:
    nothing = ("asked_on", "shown_on", "extended_on", "answered_on", "decided_by", "approved_by")
    return {
        **dict.fromkeys(nothing),
        "case_id": case_id,
        "right": "erase",
        "channel": "letter",
        "state": "open",
        "received_on": received_on,
        **more,
    }


REQUESTS = {
    "open": (asked_for("r", date(2031, 12, 15)), "open", date(2032, 1, 15), 0),
    "late": (asked_for("r", date(2031, 11, 24)), "open", date(2031, 12, 24), 9),
    "extended": (
        asked_for("r", date(2031, 11, 24), extended_on=date(2031, 12, 1)),
        "open",
        date(2032, 2, 24),
        0,
    ),
    "waits for proof": (
        asked_for("r", date(2031, 11, 24), asked_on=date(2031, 11, 25)), "waits", None, 0
    ),
    "proof came later than the day": (
        asked_for("r", date(2031, 11, 24), asked_on=date(2031, 11, 25), shown_on=date(2032, 2, 1)),
        "waits",
        None,
        0,
    ),
    "answered late": (
        asked_for("r", date(2031, 11, 24), state="closed", answered_on=date(2031, 12, 30)),
        "answered",
        date(2031, 12, 24),
        6,
    ),
    "answered later than the day": (
        asked_for("r", date(2031, 12, 15), state="closed", answered_on=date(2032, 1, 30)),
        "open",
        date(2032, 1, 15),
        0,
    ),
    "withdrawn": (
        asked_for("r", date(2031, 11, 24), state="withdrawn"), "withdrawn", date(2031, 12, 24), 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_is_told_as_it_stood_on_the_day(what: str) -> None:
    row, stands, due, late = REQUESTS[what]
    told = request_on(DAY, row)
    assert (told["stands"], told["due_on"], told["days_late"]) == (stands, due, late)


def report(reason: str = "a dispute") -> Report:
    lines = [line(c, held=5, scheduled=5) if c.startswith("b") else line(c) for c in POLICIES]
    return Report(
        Span(date(2032, 1, 1), DAY, DAY),
        NOW,
        lines,
        falls_due=[],
        holds=[hold(reason)],
        erasures=[],
        requests=[request_on(DAY, asked_for("r-1", date(2031, 11, 3)))],
        policy_changes=[],
        looks=[{"purpose": reason, "looks": 1, "shown": 2}],
        topics=[],
    )


def proofs(made: Report) -> dict[str, Any]:
    return {
        str(p.closed_event): {"index": 5, "entry": {}, "proof": f"c2sp.org/tlog-proof@v1\n\n{NOTE}"}
        for found in made.lines
        for p in found.purges
    }


def pdf(made: Report, language: Any = "en") -> bytes:
    return as_pdf(made, evidence(made, proofs(made)), language)


FORMS = {
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "xlsx": lambda made: as_xlsx(made, str),
    "pdf": pdf,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_findings_are_the_same_bytes(form: str) -> None:
    later = replace(report(), made_at=NOW + timedelta(days=1))  # the moment is in none of them
    assert FORMS[form](report()) == FORMS[form](later)
    other = replace(report(), lines=[line("billing.invoice", held=6)])
    assert FORMS[form](report()) != FORMS[form](other)


def test_what_proves_a_pdf_is_attached_to_it() -> None:
    made = report()
    attached = PdfReader(io.BytesIO(pdf(made))).attachments
    own = evidence(made, proofs(made))
    assert attached == {
        "report.json": [as_json(made)],
        "checkpoint.txt": [NOTE.encode()],
        "proofs.jsonl": [own.proofs],
    }
    assert len(own.proofs.splitlines()) == 3
    assert own.sha256 in "".join(p.extract_text() for p in PdfReader(io.BytesIO(pdf(made))).pages)


def test_the_corpus_goes_through_csv_as_holders_are_named() -> None:
    for text in FORMULAS:
        found = replace(line("billing.invoice", held=1), awaiting={text: 3})
        rows = list(csv.reader(io.StringIO(as_csv(replace(report(), lines=[found])).decode())))
        assert not any(is_formula(cell) for row in rows for cell in row)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_workbook_is_a_formula(text: str) -> None:
    book = zipfile.ZipFile(io.BytesIO(as_xlsx(report(text), str)))
    written = b"".join(book.read(name) for name in book.namelist() if "sheet" in name)
    assert b"<f>" not in written
    assert b"hyperlink" not in written.lower().replace(b"=hyperlink(", b"")
    assert not any("externalLink" in name or "connections" in name for name in book.namelist())


ODD = "中文 日本 \N{FULLWIDTH EQUALS SIGN}1 👍🏽 \N{RIGHT-TO-LEFT OVERRIDE}x\x1b\x85 שלום мир"


def test_what_the_fonts_cannot_show_is_written_down() -> None:
    made = replace(report(ODD), requests=[request_on(DAY, asked_for(ODD, DAY))])
    reader = PdfReader(io.BytesIO(pdf(made)))
    said = "".join(page.extract_text() for page in reader.pages)
    assert "[U+4E2D][U+6587]" in said
    assert "мир" in said
    rows = json.loads(reader.attachments["report.json"][0])
    assert rows["holds"][0]["reason"] == ODD, "what is attached is as it was"


@given(text=st.text(max_size=20))
@settings(max_examples=50)
def test_there_is_nothing_that_it_cannot_be_given(text: str) -> None:
    assert pdf(report(text)).startswith(b"%PDF")


@pytest.mark.parametrize("text", ["#panic()", '$x^2$ *bold* #read("/etc/passwd")', "]#import"])
def test_no_cell_of_a_pdf_is_source(text: str) -> None:
    said = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf(report(text)))).pages)
    assert text.split(maxsplit=1)[0] in said


def test_every_sentence_is_there_in_swedish() -> None:
    source = files("retention").joinpath("templates", "report.typ").read_text("utf-8")
    said = {*re.findall(r'\bt\(\s*"([^"]+)"', source), *HEADINGS.values()}
    assert len(said) > 100
    assert said - translations("retention", "sv").keys() == set()
    swedish = "".join(p.extract_text() for p in PdfReader(io.BytesIO(pdf(report(), "sv"))).pages)
    assert "Bevarande- och gallringsrapport" in swedish
    assert "sjunde året" in swedish
    book = zipfile.ZipFile(io.BytesIO(as_xlsx(report(), translator("retention", "sv"))))
    assert "Begäranden om radering" in book.read("xl/workbook.xml").decode()


def test_lines_of_json_name_their_table() -> None:
    rows = [json.loads(row) for row in as_jsonl(report()).splitlines()]
    assert {row["table"] for row in rows} == {
        "report", "categories", "purges", "holds", "rights_requests", "looks"
    }  # fmt: skip
    [head] = [row for row in rows if row["table"] == "report"]
    assert (head["held"], head["purged"], head["as_of"]) == (15, 9, "2032-01-02")
    assert (head["requests_open"], head["requests_late"]) == (1, 1)
