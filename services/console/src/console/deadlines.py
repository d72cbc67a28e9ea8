"""Deadlines: which records go when, as a list and as a calendar, and why each on its day."""

import asyncio
from calendar import Calendar
from datetime import date
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Template

from console import charts, navigation
from console.access import page
from console.backend import Backend
from console.overview import titles
from console.view import Asking, Seen

_MONTHS: Final = 12
_SHADES: Final = 4
STATUSES: Final = (
    "scheduled", "due", "overdue", "held-back", "on-hold", "open", "indeterminate",
)  # fmt: skip

Form = Annotated[Literal["list", "calendar"], QueryParameter(name="view")]
Start = Annotated[date | None, QueryParameter(name="from")]


@page("/deadlines", navigation.DEADLINES.roles)
async def deadlines(
    view: Seen,
    backend: Asking,
    form: Form = "list",
    start: Start = None,
    category: FromQuery[str | None] = None,
) -> Template:
    """Show records by when they go."""
    policies = await backend.get("retention", "/api/v1/policies")
    shared: dict[str, Any] = {
        "form": form,
        "policies": policies["policies"],
        "titles": titles(view, policies["policies"]),
        "holders": sorted({h for p in policies["policies"] for h in p["holders"]}),
        "statuses": STATUSES,
    }
    if form == "calendar":
        first = (start or view.today()).replace(day=1)
        calendar = await _calendar(backend, first, category)
        return view.page("calendar.html", navigation.DEADLINES, **shared, **calendar)
    names = ("category", "holder", "customer", "status", "from", "to", "cursor")
    found = await backend.get(
        "retention", "/api/v1/records", {name: view.query.get(name) for name in names}
    )
    return view.page("deadlines.html", navigation.DEADLINES, **shared, found=found)


async def _calendar(backend: Backend, first: date, category: str | None) -> dict[str, Any]:
    *months, after = charts.months_from(first, _MONTHS + 1)
    asked = {"from": str(first), "to": str(after), "category": category}
    found = await backend.get("retention", "/api/v1/calendar", asked)
    counts: dict[str, int] = {}
    for row in found["days"]:
        counts[row["day"]] = counts.get(row["day"], 0) + row["records"]
    highest = max(counts.values(), default=0)
    weeks = Calendar()
    return {
        "months": [
            {
                "month": month,
                "total": sum(n for day, n in counts.items() if day[:7] == str(month)[:7]),
                "weeks": weeks.monthdatescalendar(month.year, month.month),
            }
            for month in months
        ],
        "counts": counts,
        "shades": {day: charts.share(n, highest, _SHADES) for day, n in counts.items()},
        "before": charts.months_from(date(first.year - 1, first.month, 1), 1)[0],
        "after": after,
        "total": sum(counts.values()),
    }


@page("/deadlines/{ref:path}", navigation.DEADLINES.roles)
async def deadline(
    view: Seen, backend: Asking, ref: FromPath[str], as_of: FromQuery[date | None] = None
) -> Template:
    """Show until when a record is kept, and each step that leads there."""
    asked = {"lang": view.language, "as_of": str(as_of) if as_of else None}
    found, policies = await asyncio.gather(
        backend.get("retention", f"/api/v1/deadlines{quote(ref)}", asked),
        backend.get("retention", "/api/v1/policies"),
    )
    holder, category, _ = found["record"].split("/", 2)
    return view.page(
        "deadline.html",
        navigation.DEADLINES,
        found=found,
        holder=holder,
        category=category,
        title=titles(view, policies["policies"]).get(category, category),
        as_of=as_of,
    )


ROUTES: Final = [deadlines, deadline]
