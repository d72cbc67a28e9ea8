"""Reports: the figures of any period, and the report itself in every form."""

import asyncio
from datetime import date
from typing import Annotated, Final, Literal

from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream, Template

from console import navigation
from console.access import page
from console.overview import titles
from console.view import Asking, Seen, segment

FORMATS: Final = ("pdf", "xlsx", "csv", "jsonl", "json")

Start = Annotated[date | None, QueryParameter(name="from")]
End = Annotated[date | None, QueryParameter(name="to")]
Format = Annotated[Literal["pdf", "xlsx", "csv", "jsonl", "json"], QueryParameter(name="format")]


@page("/reports", navigation.REPORTS.roles)
async def reports(
    view: Seen,
    backend: Asking,
    start: Start = None,
    end: End = None,
    as_of: FromQuery[date | None] = None,
) -> Template:
    """Show what the report of a period says."""
    found, issued = await asyncio.gather(
        backend.get(
            "retention", "/api/v1/holdings", {"lang": view.language, **_span(start, end, as_of)}
        ),
        backend.get("retention", "/api/v1/month-reports"),
    )
    return view.page(
        "reports.html",
        navigation.REPORTS,
        found=found,
        titles=titles(view, found["categories"]),
        formats=FORMATS,
        months=issued["reports"],
    )


@page("/reports/download", navigation.REPORTS.roles)
async def download(
    view: Seen,
    backend: Asking,
    form: Format,
    start: Start = None,
    end: End = None,
    as_of: FromQuery[date | None] = None,
) -> Stream:
    """Hand on the report; that it was issued goes into the master log."""
    asked = {"format": form, "lang": view.language, **_span(start, end, as_of)}
    return await backend.download("retention", "/api/v1/report", asked)


@page("/reports/months/{month:str}", navigation.REPORTS.roles)
async def month(backend: Asking, month: FromPath[str]) -> Stream:
    """Hand on the report of a month, as it was issued when the month was over."""
    return await backend.download("retention", f"/api/v1/month-reports/{segment(month)}")


def _span(start: date | None, end: date | None, as_of: date | None) -> dict[str, str]:
    given = {"from": start, "to": end, "as_of": as_of}
    return {name: str(day) for name, day in given.items() if day}


ROUTES: Final = [reports, download, month]
