"""No cell of a file that a spreadsheet opens is computed."""

import csv
import io
from datetime import UTC, datetime

import pytest
from tests.hostile import FORMULAS, is_formula

from audit_log.views import COLUMNS, as_csv
from shared.spreadsheet import inert


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_csv_is_a_formula(text: str) -> None:
    """Whatever a spreadsheet takes for the separator; what is text for it begins otherwise."""
    out = io.StringIO()
    csv.writer(out).writerow([inert(text)])
    for separator in ",;\t|":
        for row in csv.reader(io.StringIO(out.getvalue()), delimiter=separator):
            assert not any(is_formula(cell) for cell in row)
    assert inert(text).replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("text", ["2032-01-01", "crm: 3; billing: 4", "a-b", "01a20aae-0446", ""])
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_an_export_of_the_log_has_none(text: str) -> None:
    row = {**dict.fromkeys(COLUMNS, text), "index": 7, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    head, line = csv.reader(io.StringIO(as_csv([row], head=True).decode(), newline=""))
    assert tuple(head) == COLUMNS
    assert line[:2] == ["7", "2026-01-02T00:00:00+00:00"]
    assert not any(is_formula(cell) for cell in line)
