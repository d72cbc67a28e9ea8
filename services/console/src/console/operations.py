"""Operations: are the services well, what waits, which holder is silent, what on-call looks at."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template
from prometheus_client.parser import text_string_to_metric_families

from console import navigation
from console.access import Asked, deed, page
from console.backend import Backend, Name
from console.view import Asking, Seen

_SERVICES: Final[tuple[Name, ...]] = get_args(Name)


@page("/operations", navigation.OPERATIONS.roles)
async def operations(view: Seen, backend: Asking) -> Template:
    """Show how the services do."""
    services = await asyncio.gather(*(_service(backend, name) for name in _SERVICES))
    holders, canaries, freezes, alerts, silences, notices = await asyncio.gather(
        backend.maybe("retention", "/api/v1/holders"),
        backend.maybe("retention", "/api/v1/canaries"),
        backend.maybe("retention", "/api/v1/freezes"),
        backend.maybe("notifier", "/api/v1/alerts"),
        backend.maybe("notifier", "/api/v1/silences"),
        backend.maybe("notifier", "/api/v1/alert-notices"),
    )
    return view.page(
        "operations.html",
        navigation.OPERATIONS,
        services=services,
        holders=holders,
        canaries=canaries,
        freezes=freezes,
        alerts=alerts and alerts["alerts"],
        silences=silences and silences["silences"],
        notices=notices and notices["notices"],
        may_acknowledge=view.person is not None and "operator" in view.person.roles,
    )


async def _service(backend: Backend, name: Name) -> dict[str, Any]:
    try:
        await backend.get(name, "/readyz")
        missing: str | None = ""
    except HTTPException as error:
        missing = error.detail
    try:
        measured = gauges(await backend.text(name, "/metrics"))
    except HTTPException:
        measured = {}
    return {"name": name.replace("_", "-"), "missing": missing, **measured}


def gauges(text: str) -> dict[str, float]:
    r"""Return what a service measures that people want to see, summed over labels.

    >>> gauges('# TYPE gallra_dead_letters counter\ngallra_dead_letters_total{code="x"} 2.0\n')
    {'dead_letters': 2.0}
    """
    wanted = {
        "gallra_events_total": "events",
        "gallra_dead_letters_total": "dead_letters",
        "gallra_outbox_waiting": "outbox",
        "gallra_outbox_oldest_seconds": "outbox_age",
        "gallra_retries_total": "retries",
        "gallra_job_failures_total": "job_failures",
    }
    return _summed(
        (wanted[sample.name], sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in wanted
    )


def _summed(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, value in pairs:
        sums[name] = sums.get(name, 0) + value
    return sums


@deed("/operations/acknowledge", {"operator"})
async def acknowledge(request: Asked, backend: Asking) -> Redirect:
    """Note that the person who asks looks after an alert."""
    form: Mapping[str, Any] = await request.form()
    body = {"fingerprints": [str(form.get("fingerprint"))], "by": request.user.sub}
    await backend.post("notifier", "/api/v1/alerts/acknowledgements", body)
    return Redirect("/operations#alerts", status_code=303)


ROUTES: Final = [operations, acknowledge]
