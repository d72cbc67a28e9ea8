"""What an alert may bear, whatever it is about."""

import pytest

from audit_log.alerts import Finding
from shared.events.gallra import AlertRaised

NAMES = ["//a\nb", "//a\tb", "//a\x7fb", "\x1b[31m", "//a?b", "x" * 201, "x" * 20_000, "é" * 300]


def raised(about: str) -> AlertRaised:
    return Finding(f"sequence/lost/{about}", "critical", "s", "events-lost", about).raised()


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_raised_about_anything(name: str) -> None:
    assert raised(name).labels["about"]


def test_what_differs_stays_different() -> None:
    assert len({raised(name).fingerprint for name in NAMES}) == len(NAMES)
