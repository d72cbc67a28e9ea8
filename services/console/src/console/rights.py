"""Requests of people about their data, and the time that the law leaves for each."""

from typing import Final

from litestar.exceptions import NotFoundException
from litestar.response import Template

from console import navigation
from console.access import page
from console.view import Asking, Seen


@page("/rights", navigation.RIGHTS.roles)
async def rights(view: Seen, backend: Asking) -> Template:
    """Show requests, the one that is due first coming first."""
    try:
        found = await backend.get("retention", "/api/v1/rights")
    except NotFoundException:
        found = None
    return view.page("rights.html", navigation.RIGHTS, found=found)


ROUTES: Final = [rights]
