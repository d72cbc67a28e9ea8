"""Which characters our paper can show: PDF/A bears no gap where a font has no letter."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, cast

import typst

_PROBE = b"""
#set document(title: "probe")
#set text(font: "Libertinus Serif")
#for character in json(bytes(sys.inputs.characters)) [#par[x#character]]
"""


def shown(value: Any) -> Any:
    """Return a JSON value with what the fonts cannot show in a notation, such as ``[U+4E2D]``.

    >>> shown({"name": "Åsa 中"})
    {'name': 'Åsa [U+4E2D]'}
    """
    lacking = {ord(c): f"[U+{ord(c):04X}]" for c in _unusual(value) if not _has(c)}
    return _replaced(value, lacking) if lacking else value


def _unusual(value: Any) -> set[str]:
    return {c for text in _strings(value) for c in set(text) if not " " <= c <= "~"}


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for part in chain.from_iterable(cast("dict[Any, Any]", value).items()):
                yield from _strings(part)
        case list() | tuple():
            for part in cast("Sequence[Any]", value):
                yield from _strings(part)
        case _:
            pass


@cache
def _has(character: str) -> bool:
    """Return whether there is a letter for *character*: what would show it is asked."""
    try:
        typst.compile(
            _PROBE,
            ignore_system_fonts=True,
            sys_inputs={"characters": json.dumps([character])},
            pdf_standards=["a-3a", "ua-1"],
            timestamp=0,
        )
    except typst.TypstError:
        return False
    return True


def _replaced(value: Any, lacking: Mapping[int, str]) -> Any:
    match value:
        case str():
            return value.translate(lacking)
        case dict():
            parts = cast("dict[Any, Any]", value).items()
            return {_replaced(name, lacking): _replaced(part, lacking) for name, part in parts}
        case list() | tuple():
            return [_replaced(part, lacking) for part in cast("Sequence[Any]", value)]
        case _:
            return value
