"""The retention report as a workbook (XLSX): a sheet for each table, its headings in words."""

import io
from datetime import UTC, date, datetime
from typing import Any, Final

from xlsxwriter import Workbook  # pyright: ignore[reportMissingTypeStubs]

from retention.explanation import Translate
from retention.findings import Report
from retention.tables import Table, tables
from shared.spreadsheet import Cell

_TITLES: Final = {
    "report": "Report",
    "categories": "Categories",
    "falls_due": "Falls due",
    "unconfirmed": "Unconfirmed",
    "purges": "Purges",
    "inventories": "Inventories",
    "holds": "Legal holds",
    "rights_requests": "Requests of persons",
    "erasure_requests": "Requests to erase",
    "policy_changes": "Policy changes",
    "looks": "Looks at personal data",
    "wider_topics": "Topics wider than policy",
}
HEADINGS: Final = {
    "from": "From",
    "to": "Through",
    "as_of": "As of",
    "ahead": "Carried forward",
    "held": "Held",
    "due": "Due",
    "overdue": "Overdue",
    "held_back": "Held back",
    "purged": "Purged",
    "requests_open": "Requests open",
    "requests_late": "Requests late",
    "category": "Category",
    "title": "Title",
    "why": "Kept",
    "period_source": "Who set the period",
    "legal_basis": "Legal basis",
    "policy_version": "Policy version",
    "open": "In use",
    "indeterminate": "A fact is missing",
    "scheduled": "Scheduled",
    "provisional": "Provisional",
    "next_purge_on": "Next purge",
    "kept_until": "Kept until",
    "missing_facts": "Missing facts",
    "erased": "Erased",
    "anonymised": "Anonymised",
    "not_found": "Not found",
    "refused": "Refused",
    "on_time": "On time",
    "late": "Late",
    "proven": "Proven",
    "due_from": "Due from",
    "year_from": "Financial year from",
    "year_to": "Financial year through",
    "records": "Records",
    "holder": "Holder",
    "job_id": "Purge job",
    "reason": "Reason",
    "closed_at": "Closed (UTC)",
    "master_log_event": "Event",
    "master_log_entry": "Entry in the master log",
    "count": "Counted by the holder",
    "known": "Known to the registry",
    "agrees": "Agrees",
    "hold_id": "Hold",
    "customer_id": "Customer",
    "subject": "Person (token)",
    "record_id": "Record",
    "first_day": "First day",
    "last_day": "Last day",
    "review_on": "Review on",
    "placed_by": "Placed by",
    "placed_at": "Placed (UTC)",
    "release_asked_by": "Release asked by",
    "released_by": "Released by",
    "protects_until": "Protects until (UTC)",
    "case_id": "Request",
    "right": "Right",
    "channel": "Came by",
    "received_on": "Received on",
    "stands": "State",
    "due_on": "Answer due",
    "extended_on": "Extended on",
    "days_waited": "Days waited for proof of identity",
    "answered_on": "Answered on",
    "days_late": "Days late",
    "decided_by": "Decided by",
    "approved_by": "Approved by",
    "waiting": "Waiting",
    "kept": "Kept for now",
    "first_accepted_on": "First granted on",
    "done": "Done",
    "version": "Version",
    "activated_at": "In force since (UTC)",
    "sha256": "SHA-256",
    "plan": "Plan",
    "first_by": "First approval by",
    "first_at": "First approval (UTC)",
    "second_by": "Second approval by",
    "second_at": "Second approval (UTC)",
    "purpose": "Purpose",
    "looks": "Looks",
    "shown": "Shown",
    "topic": "Topic",
    "setting": "Setting",
    "declared": "Declared",
    "found": "Found",
}  # fmt: skip
_MADE: Final = datetime(2000, 1, 1, tzinfo=UTC)  # a workbook has a date; when it was made is not it
_NARROW, _WIDE = 14, 40
_LONG: Final = frozenset(("title", "why", "legal_basis", "reason", "missing_facts", "job_id"))


def as_xlsx(report: Report, translate: Translate) -> bytes:
    """Return the report as a workbook.

    Rows are written as they come and not kept.  Text is written as text: nothing is a formula, a
    link or a number that was not one.
    """
    out = io.BytesIO()
    # Of its own types the library says nothing.
    book: Any = Workbook(out, {"constant_memory": True, "default_date_format": "yyyy-mm-dd"})
    book.set_properties({"title": translate("Retention report"), "created": _MADE})
    bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
    instant = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    for table in tables(report):
        sheet = book.add_worksheet(translate(_TITLES[table.name]))
        _fill(sheet, table, translate, (bold, instant))
    book.close()
    return out.getvalue()


def _fill(sheet: Any, table: Table, translate: Translate, formats: tuple[Any, Any]) -> None:
    bold, instant = formats
    for place, column in enumerate(table.columns):
        sheet.set_column(place, place, _WIDE if column in _LONG else _NARROW)
        sheet.write_string(0, place, translate(HEADINGS[column]), bold)
    sheet.freeze_panes(1, 0)
    if table.rows is None:
        sheet.write_string(1, 0, translate("could not be asked"))
    for number, row in enumerate(table.rows or (), 1):
        for place, cell in enumerate(row):
            _write(sheet, (number, place), cell, instant)


def _write(sheet: Any, at: tuple[int, int], cell: Cell, instant: Any) -> None:
    match cell:
        case None:
            pass
        case bool():
            sheet.write_boolean(*at, cell)
        case int():
            sheet.write_number(*at, cell)
        case datetime():
            sheet.write_datetime(*at, cell.astimezone(UTC).replace(tzinfo=None), instant)
        case date():
            sheet.write_datetime(*at, cell)
        case str():
            sheet.write_string(*at, cell)
