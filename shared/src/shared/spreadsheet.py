"""Cells of CSV that no spreadsheet computes; pure."""

import re
from datetime import date, datetime
from typing import Final, TypeAlias

Cell: TypeAlias = str | int | bool | date | datetime | None

# What makes a spreadsheet compute a cell, at its beginning or where one may take another cell to
# begin: after a line break, or after what separates cells in other countries.  Full-width signs
# count as the plain ones in East Asian versions; blanks before a sign are passed over.
_FORMULA: Final = re.compile(
    r"(\A|[\t\r\n;|])([\s\u200b\ufeff]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])"
)


def inert(cell: Cell) -> str:
    """Return *cell* such that no spreadsheet takes anything in it for a formula.

    An apostrophe makes it text, as the spreadsheets have it themselves.

    >>> inert("=1+1"), inert("a; @b"), inert("1-2")
    ("'=1+1", "a; '@b", '1-2')
    """
    text = "" if cell is None else cell.isoformat() if isinstance(cell, date) else str(cell)
    if text[:1] in {"\t", "\r", "\n"}:
        text = f"'{text}"
    return _FORMULA.sub(r"\1\2'", text)
