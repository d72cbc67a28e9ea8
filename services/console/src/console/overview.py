"""The first page: what is due, what waits, whether the log is well."""

import asyncio
from typing import Any, Final

from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Template

from console import charts, navigation
from console.access import page
from console.view import Asking, Seen, View

_MONTHS: Final = 24
_WIDTH: Final = 960
_HEIGHT: Final = 190
_COUNTS: Final = (
    "held", "due", "overdue", "held_back", "indeterminate", "awaiting", "purged",
)  # fmt: skip


@page("/", navigation.OVERVIEW.roles)
async def overview(view: Seen, backend: Asking) -> Template:
    """Show how things stand."""
    today = view.today()
    months = charts.months_from(today, _MONTHS)
    day_after_last = charts.months_from(months[-1], 2)[1]
    (
        standing,
        forecast,
        purges,
        freezes,
        plans,
        holds,
        rights,
        checkpoints,
        producers,
        alerts,
    ) = await asyncio.gather(
        backend.maybe("retention", "/api/v1/standing"),
        backend.maybe(
            "retention", "/api/v1/forecast", {"from": str(today), "to": str(day_after_last)}
        ),
        backend.maybe("retention", "/api/v1/purges"),
        backend.maybe("retention", "/api/v1/freezes"),
        backend.maybe("retention", "/api/v1/plans"),
        backend.maybe("retention", "/api/v1/holds"),
        backend.maybe("retention", "/api/v1/rights"),
        backend.maybe("audit_log", "/api/v1/checkpoints"),
        backend.maybe("audit_log", "/api/v1/producers"),
        backend.maybe("notifier", "/api/v1/alerts"),
    )
    forecasted = forecast and charts.stacked(forecast["purges"], months, _WIDTH, _HEIGHT)
    return view.page(
        "overview.html",
        navigation.OVERVIEW,
        totals=standing and _totals(standing["categories"]),
        standing=standing,
        chart=forecasted,
        titles=titles(view, standing["categories"] if standing else []),
        purges=purges and purges["purges"],
        freezes=freezes,
        plans=plans and [plan for plan in plans["plans"] if plan["applied_at"] is None],
        holds=holds and [hold for hold in holds["holds"] if hold["released_at"] is None],
        rights=rights,
        checkpoint=checkpoints and next(iter(checkpoints["checkpoints"]), None),
        producers=producers,
        alerts=alerts and alerts["alerts"],
        today=str(today),
    )


def titles(view: View, categories: list[dict[str, Any]]) -> dict[str, str]:
    """Return what people call each category, in the language of the page."""
    return {c["category"]: c["title"][view.language] for c in categories}


def _totals(categories: list[dict[str, Any]]) -> dict[str, int]:
    return {name: sum(c[name] for c in categories) for name in _COUNTS}


@page("/{path:path}", navigation.OVERVIEW.roles)
async def nowhere(path: FromPath[str]) -> Template:
    """Say to who is signed in that there is no such page; who is not has to sign in first."""
    raise NotFoundException(f"there is no page {path}")


ROUTES: Final = [overview, nowhere]
