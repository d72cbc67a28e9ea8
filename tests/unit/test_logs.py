"""What a process writes to its log: one JSON object a line, and nothing personal in it."""

import json
import subprocess
import sys
from typing import Any

from shared.logs import FIELDS

MARKER = "anna.svensson@example.org"

PRELUDE = f"""
import logging
from shared import logs
from shared.errors import Rejected
MARKER = {MARKER!r}
logs.configure("audit-log", "INFO")
log, library = logs.get("shared.bus"), logging.getLogger("aiokafka.consumer")

class DriverError(Exception):
    sqlstate = "22P02"
"""


def logged(script: str) -> list[dict[str, Any]]:
    """Return what a process that runs *script* logs; it logs to the real standard output."""
    process = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert MARKER not in process.stdout
    return [json.loads(line) for line in process.stdout.splitlines()]


def test_a_line_says_what_happened_where_and_when():
    [line] = logged('log.info("set aside", topic="platform.actions.v1", offset=7)')
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "set aside",
        "level": "info",
        "logger": "shared.bus",
        "service": "audit-log",
        "topic": "platform.actions.v1",
        "offset": 7,
    }


def test_a_field_that_is_not_allowed_is_dropped():
    [line] = logged('log.warning("sent", email=MARKER, data={"who": MARKER}, count=1)')
    assert line["count"] == 1
    assert line.keys() <= FIELDS


def test_an_exception_is_named_and_placed_but_not_quoted():
    lines = logged("""
try:
    try:
        raise KeyError(MARKER)
    except KeyError as cause:
        raise DriverError(f"invalid input: {MARKER}") from cause
except DriverError as error:
    log.exception("batch failed")
    log.error("batch failed", exc_info=error)
    library.exception("batch failed")
    library.error("batch failed", exc_info=(type(error), error, error.__traceback__))
""")
    assert len(lines) == 4
    for line in lines:
        assert (line["error"], line["sqlstate"]) == ("DriverError", "22P02")
        assert line["where"].startswith("<string>:")
        assert "reason" not in line


def test_an_exception_that_chooses_its_words_is_quoted():
    [line] = logged("""
try:
    raise Rejected("ce_id is missing", code="missing-header")
except Rejected:
    log.exception("set aside")
""")
    assert (line["error"], line["reason"]) == ("Rejected", "ce_id is missing")


def test_of_a_library_the_words_are_kept_and_the_arguments_dropped():
    lines = logged("""
library.warning("heartbeat failed for %s: %r", MARKER, {"who": MARKER})
library.warning("group %(group)s", {"group": MARKER})
library.warning("joined", extra={"member": MARKER, "email": MARKER})
library.error(ValueError(MARKER))
library.error(DriverError(f"invalid input: {MARKER}"))
""")
    assert [line["event"] for line in lines] == [
        "heartbeat failed for %s: %r",
        "group %(group)s",
        "joined",
        "ValueError",
        "DriverError",
    ]
    assert all(line["logger"] == "aiokafka.consumer" for line in lines)


def test_libraries_speak_only_when_something_is_wrong():
    assert logged('library.info("polling"); log.debug("polled")') == []


def test_a_line_in_a_value_does_not_start_a_line_in_the_log():
    [line] = logged('log.warning("set aside", reason="a\\n{\\"event\\": \\"forged\\"}\\u2028")')
    assert line["event"] == "set aside"


def test_a_line_in_a_trace_names_the_trace():
    [line] = logged("""
from opentelemetry import trace
context = trace.SpanContext(0xABC, 0xDEF, is_remote=True)
with trace.use_span(trace.NonRecordingSpan(context)):
    log.info("handled")
""")
    assert line["trace_id"] == f"{0xABC:032x}"
