"""What a purge receipt says and how it is read again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from audit_log.receipt import Receipt
from shared.errors import Rejected

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@given(st.sets(st.integers(0, 2**40), min_size=1, max_size=50))
def test_a_receipt_is_read_as_it_was_written(indexes: set[int]) -> None:
    receipt = Receipt(1, ["what", "who"], BitMap64(indexes), {"job_id": "j"}, NOW)
    again = Receipt.read(receipt.body())
    assert again == receipt
    assert set(again.indexes) == indexes


def test_a_thousand_days_are_a_short_receipt() -> None:
    indexes = BitMap64()
    for day in range(1000):
        indexes.add_range(day * 10_000, day * 10_000 + 500)
    indexes.run_optimize()
    assert len(Receipt(1, ["what"], indexes, {}, NOW).body()["indexes"]) < 10_000


def test_the_runs_of_the_first_version_are_read() -> None:
    body = {"log_class": 1, "parts": ["what"], "count": 4, "indexes": [[1, 3], [7, 7]]}
    assert set(Receipt.read(body).indexes) == {1, 2, 3, 7}


@pytest.mark.parametrize(
    "change",
    [
        {"count": 3},
        {"indexes": "?"},
        {"indexes": 7},
        {"parts": None, "indexes": None},
        {"purged_at": "yesterday"},
    ],
)
def test_a_malformed_receipt_is_refused(change: dict[str, object]) -> None:
    body = Receipt(1, ["what"], BitMap64([1, 2]), {}, NOW).body()
    with pytest.raises(Rejected):
        Receipt.read({**body, **change})
