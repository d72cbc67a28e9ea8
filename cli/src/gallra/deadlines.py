"""Deadlines as the running retention service explains them."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from gallra.ask import ask
from gallra.stackfile import read
from shared.errors import Rejected

_REFUSED: Final = frozenset({400, 404})


async def explain(data: Path, ref: str, language: str, as_of: str | None) -> dict[str, Any]:
    """Return the deadline of a record (``holder/category/record_id``) and why.

    Raises:
        Rejected: there is no such record.
    """
    url = f"{read(data).urls['retention']}/api/v1/deadlines/{quote(ref)}"
    asked = {"lang": language, **({"as_of": as_of} if as_of else {})}
    try:
        found: dict[str, Any] = (await ask(url, **asked)).json()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _REFUSED:
            raise Rejected(error.response.json()["detail"], code="refused") from None
        raise
    return found


def in_words(found: dict[str, Any]) -> str:
    """Return a deadline for people."""
    dates = [f"{name:14} {found[name]}" for name in _DATES if found[name]]
    lines = [found["record"], f"{'status':14} {found['status']}", *dates, ""]
    for number, step in enumerate(found["steps"], 1):
        lines.append(f"{number:2}. {step['fact']}: {step['rule']}")
        lines += [f"      {step[name]}" for name in ("source", "event") if step[name]]
    return "\n".join(lines)


_DATES: Final = ("keep_through", "purge_from", "must_purge_by", "missing")
