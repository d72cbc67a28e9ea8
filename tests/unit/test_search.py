"""Where a page of search results ended."""

from datetime import UTC, datetime

import pytest

from audit_log.search import Position
from shared.errors import Rejected


@pytest.mark.parametrize("year", [1900, 1969, 1970, 2026])
def test_a_cursor_leads_back_to_where_it_came_from(year: int) -> None:
    position = Position(datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 42)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "cursor", ["", "-", "1", "1-", "--1", "1--1", "a-1", f"1-{2**63}", "9" * 30]
)
def test_a_cursor_that_was_not_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(Rejected):
        Position.parse(cursor)
