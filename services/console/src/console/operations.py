"""Operations: are the services well, what waits, which holder is silent, what on-call looks at."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template
from prometheus_client.parser import text_string_to_metric_families

from console import navigation
from console.access import Asked, deed, page
from console.backend import Backend, Name
from console.view import Asking, Seen

_SERVICES: Final[tuple[Name, ...]] = get_args(Name)
_VERDICTS: Final = ("as-declared", "wider", "differs", "missing")
_DAY_MS: Final = 24 * 60 * 60 * 1000
_MIB: Final = 1024 * 1024


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
        may_acknowledge=view.may("operator"),
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
    vitals = await backend.maybe(name, "/api/v1/vitals")
    return {
        "name": name.replace("_", "-"),
        "missing": missing,
        "vitals": vitals,
        "behind": vitals and by_topic(vitals["partitions"]),
        **measured,
    }


def by_topic(partitions: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return how far behind a service is with each topic, and who reads how many partitions.

    >>> by_topic([{"topic": "t", "partition": 0, "behind": 2, "member": "a"},
    ...           {"topic": "t", "partition": 1, "behind": 1, "member": None}])
    [{'topic': 't', 'partitions': 2, 'behind': 3, 'unread': 1, 'members': {'a': 1}}]
    """
    if partitions is None:
        return None
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in partitions:
        found.setdefault(each["topic"], []).append(each)
    return [
        {
            "topic": topic,
            "partitions": len(listed),
            "behind": sum(each["behind"] for each in listed),
            "unread": sum(each["member"] is None for each in listed),
            "members": dict(Counter(each["member"] for each in listed if each["member"])),
        }
        for topic, listed in found.items()
    ]


def gauges(text: str) -> dict[str, float]:
    r"""Return what a service measures that people want to see, summed over labels.

    >>> gauges('# TYPE gallra_dead_letters counter\ngallra_dead_letters_total{code="x"} 2.0\n')
    {'dead_letters': 2.0}
    """
    wanted = {
        "gallra_events_total": "events",
        "gallra_dead_letters_total": "dead_letters",
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


@page("/operations/topics", navigation.OPERATIONS.roles)
async def topics(view: Seen, backend: Asking) -> Template:
    """Show how the topics on the broker are beside what is declared."""
    found = await backend.maybe("retention", "/api/v1/topics")
    wanted = view.query.get("verdict")
    settings: list[dict[str, Any]] = found["settings"] if found else []
    shown: dict[str, dict[str, Any]] = {}
    for each in settings:
        shown.setdefault(each["topic"], {})[each["setting"]] = each
    if wanted:
        shown = {
            topic: of_topic
            for topic, of_topic in shown.items()
            if any(each["verdict"] == wanted for each in of_topic.values())
        }
    return view.page(
        "topics.html",
        navigation.OPERATIONS,
        known=found is not None,
        shown=shown,
        counts=Counter(each["verdict"] for each in settings),
        verdicts=_VERDICTS,
        in_words=in_words,
    )


def in_words(setting: str, value: str | None) -> str:
    """Return the value of a setting as people say it.

    >>> in_words("retention.ms", "604800000"), in_words("retention.ms", "-1")
    ('7 d', '∞')
    >>> in_words("max.message.bytes", "1048576"), in_words("cleanup.policy", "delete")
    ('1 MiB', 'delete')
    """
    if value is None:
        return "-"
    if setting == "retention.ms":
        return "∞" if int(value) < 0 else f"{int(value) / _DAY_MS:.3g} d"
    if setting == "max.message.bytes":
        return f"{int(value) / _MIB:.3g} MiB"
    return value


ROUTES: Final = [operations, acknowledge, topics]
