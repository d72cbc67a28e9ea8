"""Measures retention and writes docs/benchmarks.md: see ``--help``."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import keys, purging, registering
from bench.results import keep

RECORDS = {"keys": 10_000_000, "purging": 10_000_000, "registering": 300_000}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="python -m bench.retention", description=__doc__)
    parser.add_argument("part", choices=RECORDS)
    parser.add_argument("--records", type=int, help="the default is the part's")
    given = parser.parse_args()
    count = given.records or RECORDS[given.part]
    measure = {
        "keys": keys.measure,
        "purging": purging.measure,
        "registering": registering.measure,
    }[given.part]
    with TemporaryDirectory(prefix="gallra-bench-") as name:
        section = measure(Path(name), count)
    keep(given.part, section)


if __name__ == "__main__":
    main()
