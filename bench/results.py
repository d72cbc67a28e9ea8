"""Keeps what the benchmarks measured, and writes docs/benchmarks.md from it."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ORDER = (
    "append", "latency", "growth", "sequencing", "keys", "purging", "registering", "mailing",
    "ledger", "pages",
)  # fmt: skip

HEAD = """# Benchmarks

Every figure on this page was measured by the command above it and written here by that command;
nothing is typed in by hand. Rates depend on the machine: compare them with rates of the same
table only. PostgreSQL runs with `fsync`, `synchronous_commit` and `full_page_writes` on, 4 GB of
`shared_buffers` and checkpoints 15 minutes or 16 GB of log apart, Kafka with `acks=all`; broker,
database, producers and the service share the machine's cores.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """What one command measured.

    Attributes:
        text: how, with which settings; Markdown.
        rows: cells as they are to be read.
    """

    title: str
    command: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def machine() -> str:
    """Return what the figures were measured on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}"
    )


def keep(part: str, section: Section) -> None:
    """Keep what *part* measured, print it, and write the page anew."""
    RESULTS.mkdir(exist_ok=True)
    kept = asdict(section) | {"machine": machine()}
    path = RESULTS / f"{part}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    found = [RESULTS / f"{name}.json" for name in ORDER]
    sections = [json.loads(path.read_text()) for path in found if path.exists()]
    PAGE.write_text("\n".join([HEAD, *(_markdown(s) for s in sections)]))
    print(_markdown(kept))


def _markdown(kept: dict[str, object]) -> str:
    section = {name: value for name, value in kept.items() if name != "machine"}
    s = Section(**section)  # type: ignore[arg-type]
    table = [s.columns, ["---"] * len(s.columns), *s.rows]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join(
        [f"## {s.title}", "", f"`{s.command}` on {kept['machine']}", "", s.text, "", *lines, ""]
    )
