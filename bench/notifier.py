"""Measures the notifier and writes docs/benchmarks.md: see ``--help``."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import ledger, mailing
from bench.results import keep

COUNTS = {"mailing": 100_000, "ledger": 10_000_000}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="python -m bench.notifier", description=__doc__)
    parser.add_argument("part", choices=COUNTS)
    parser.add_argument("--count", type=int, help="the default is the part's")
    given = parser.parse_args()
    count = given.count or COUNTS[given.part]
    measure = {"mailing": mailing.measure, "ledger": ledger.measure}[given.part]
    with TemporaryDirectory(prefix="gallra-bench-") as name:
        section = measure(Path(name), count)
    keep(given.part, section)


if __name__ == "__main__":
    main()
