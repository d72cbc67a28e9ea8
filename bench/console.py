"""Measures the console and writes docs/benchmarks.md: see ``--help``."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import pages
from bench.results import keep

MANY = 10_000_000


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("part", choices=["pages"])
    parser.add_argument("--records", type=int, default=MANY, help="in the retention registry")
    parser.add_argument("--entries", type=int, default=MANY, help="in the master log")
    parser.add_argument("--data", type=Path, help="keep what was laid out, and use it again")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="gallra-bench-") as name:
        section = pages.measure(given.data or Path(name), given.records, given.entries)
    keep(given.part, section)


if __name__ == "__main__":
    main()
