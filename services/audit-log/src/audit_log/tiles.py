"""Paths and bodies of C2SP tlog-tiles; pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from audit_log.merkle import WIDTH

_PATH: Final = re.compile(
    r"(?P<level>entries|0|[1-9]\d?)/(?P<n>(?:x\d{3}/){0,5}\d{3})(?:\.p/(?P<w>[1-9]\d{0,2}))?",
    re.ASCII,
)
_HIGHEST_LEVEL: Final = 7  # 256^8 leaves would not fit 64 bits
_HIGHEST_NUMBER: Final = 2**63 // WIDTH - 1  # of a tile whose entries PostgreSQL can count


@dataclass(frozen=True, slots=True)
class TilePath:
    """Which tile is asked for; *level* None means the bundle of entries."""

    level: int | None
    number: int
    width: int


def parse_path(path: str) -> TilePath | None:
    """Return what the part of a URL after ``tile/`` asks for; None if it is not of the form.

    >>> parse_path("0/x001/x234/067.p/8")
    TilePath(level=0, number=1234067, width=8)
    >>> parse_path("0/x000/000") is None
    True
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match["level"] == "entries" else int(match["level"])
    width = int(match["w"] or WIDTH)
    groups = match["n"].replace("x", "").split("/")
    number = int("".join(groups))
    too_long = len(groups) > 1 and groups[0] == "000"
    too_wide = match["w"] is not None and width >= WIDTH
    if too_long or too_wide or (level or 0) > _HIGHEST_LEVEL or number > _HIGHEST_NUMBER:
        return None
    return TilePath(level, number, width)


def path_of(level: int | None, number: int, width: int) -> str:
    """Return what comes after ``tile/`` in the URL of a tile; level None is a bundle of entries.

    >>> path_of(0, 1234067, 8)
    '0/x001/x234/067.p/8'
    """
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03}")
    partial = f".p/{width}" if width < WIDTH else ""
    return f"{'entries' if level is None else level}/{'/'.join(groups)}{partial}"


def paths(size: int) -> Iterator[TilePath]:
    """Yield every tile and bundle of a log of *size* entries, partial ones last of their level."""
    for number in range(-(-size // WIDTH)):
        yield TilePath(None, number, min(WIDTH, size - number * WIDTH))
    level = 0
    while size:
        for number in range(-(-size // WIDTH)):
            yield TilePath(level, number, min(WIDTH, size - number * WIDTH))
        size //= WIDTH
        level += 1


def bundle(leaves: Sequence[bytes]) -> bytes:
    """Return an entry bundle: each leaf after its length in two bytes."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
