"""Measures the audit-log and writes docs/benchmarks.md: see ``--help``."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import append, growth, latency, sequencing
from bench.results import keep

EVENTS = {"append": 600_000, "growth": 10_000_000}


def main() -> None:
    """Run one part, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_log", description=__doc__)
    parser.add_argument("part", choices=["append", "latency", "growth", "sequencing"])
    parser.add_argument("--events", type=int, help="of append and growth; the default is theirs")
    given = parser.parse_args()
    count = given.events or EVENTS.get(given.part, 0)
    with TemporaryDirectory(prefix="gallra-bench-") as name:
        folder = Path(name)
        match given.part:
            case "append":
                section = append.measure(folder, count)
            case "latency":
                section = latency.measure(folder)
            case "growth":
                section = growth.measure(folder, count)
            case _:
                section = sequencing.measure(folder)
    keep(given.part, section)


if __name__ == "__main__":
    main()
