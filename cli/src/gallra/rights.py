"""Requests about the rights of persons from the command line, by way of retention's HTTP API."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gallra.terminal import DEFAULT_DATA, AsJson, Data, fail, run

rights_app = typer.Typer(help="Requests about the rights of persons.", no_args_is_help=True)

Right = Literal["access", "rectify", "erase", "restrict", "object", "portability"]
By = Annotated[str, typer.Option(help="Account of the person who does it.")]


def _print(found: Any, as_json: bool, text: str) -> None:
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else text)


@rights_app.command("open")
def open_(  # noqa: PLR0913, PLR0917 - options are named by who calls
    right: Right,
    subject: Annotated[
        list[str] | None, typer.Option(help="Token by which records know the person.")
    ] = None,
    received: Annotated[str | None, typer.Option(help="Day of receipt; today.")] = None,
    email: Annotated[str | None, typer.Option(help="Where the answer goes.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the person.")] = None,
    lang: Annotated[Literal["sv", "en"], typer.Option(help="Of the answer.")] = "sv",
    details: Annotated[str | None, typer.Option(help="What is to be corrected, or why.")] = None,
    channel: Annotated[str, typer.Option(help="How the request came.")] = "staff",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Enter a request that came by letter, telephone or mail."""
    body = {
        "right": right,
        "subjects": subject or [],
        "received_on": received or date.today().isoformat(),  # noqa: DTZ011 - of who enters it
        "channel": channel,
        "email": email,
        "name": name,
        "locale": lang,
        "details": details,
    }
    found = run(_post(data, "", body))
    _print(found, as_json, found["id"])


@rights_app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="Only those; else all not over.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List requests, the next one due first."""
    found = run(_all_of(data, state))
    lines = [
        f"{r['id']}  {r['claim']:11}  {r['state']:10}  due {r['due_on'] or 'stands still'}"
        for r in found
    ]
    _print(found, as_json, "\n".join(lines) or "no requests")


@rights_app.command()
def show(request: str, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show a request: its clock, what holders did, what was decided or is proposed."""
    found = run(_get(data, f"/{request}"))
    _print(found, as_json, _in_words(found))


@rights_app.command()
def answer(
    request: str,
    lang: Annotated[Literal["sv", "en"] | None, typer.Option(help="Of the person.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Print the answer to a request, such as for a letter."""
    found = run(_get(data, f"/{request}/answer", **({"lang": lang} if lang else {})))
    _print(found, as_json, found["letter"])


@rights_app.command()
def identity(
    request: str,
    step: Annotated[Literal["ask", "confirm", "refuse"], typer.Argument(help="What is done.")],
    by: By,
    data: Data = DEFAULT_DATA,
) -> None:
    """Ask for proof of who the person is, which stops the clock; confirm it, or refuse without."""
    _step(data, request, "identity", {"step": step, "by": by})


@rights_app.command()
def extend(
    request: str,
    reason: Annotated[Literal["complexity", "number"], typer.Option(help="Why it takes longer.")],
    by: By,
    data: Data = DEFAULT_DATA,
) -> None:
    """Take two months more, and tell the person so."""
    _step(data, request, "extend", {"reason": reason, "by": by})


@rights_app.command()
def decide(
    request: str,
    by: By,
    otherwise: Annotated[
        list[str] | None,
        typer.Option(
            help="CATEGORY=DECISION:ARTICLE:REASON, where it is not as proposed;"
            " the reason in the language of the person."
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Decide a request as the policies propose, but for what is said otherwise."""
    choices = [_choice(text) for text in otherwise or ()]
    _step(data, request, "decide", {"choices": choices, "by": by})


def _choice(text: str) -> dict[str, str]:
    category, _, rest = text.partition("=")
    parts = rest.split(":", 2)
    if not category or len(parts) < len(("decision", "article", "reason")):
        fail("--otherwise takes CATEGORY=DECISION:ARTICLE:REASON", 2)
    return {
        "category": category,
        "decision": parts[0],
        "article": parts[1],
        "reason": parts[2],
    }


@rights_app.command()
def approve(request: str, by: By, data: Data = DEFAULT_DATA) -> None:
    """Approve what another person decided, and have it carried out."""
    _step(data, request, "approve", {"by": by})


@rights_app.command("return")
def return_(request: str, by: By, data: Data = DEFAULT_DATA) -> None:
    """Have a request decided anew."""
    _step(data, request, "return", {"by": by})


@rights_app.command()
def withdraw(request: str, by: By, data: Data = DEFAULT_DATA) -> None:
    """End a request that the person does not want any more."""
    _step(data, request, "withdraw", {"by": by})


@rights_app.command()
def lift(request: str, by: By, data: Data = DEFAULT_DATA) -> None:
    """End a restriction, and tell the person so."""
    _step(data, request, "lift", {"by": by})


@rights_app.command()
def done(task: str, by: By, data: Data = DEFAULT_DATA) -> None:
    """Say that what a holder left to people is done."""
    found = run(_post(data, f"-tasks/{task}/done", {"by": by}))
    print(found["state"])


def _step(data: Path, request: str, step: str, body: dict[str, Any]) -> None:
    found = run(_post(data, f"/{request}/{step}", body))
    print(f"{found['state']}, due {found['due_on'] or 'stands still'}")


def _url(data: Path, path: str) -> str:
    from gallra.stackfile import read  # noqa: PLC0415

    return f"{read(data).urls['retention']}/api/v1/rights{path}"


async def _post(data: Path, path: str, body: dict[str, Any]) -> dict[str, Any]:
    from gallra.ask import act  # noqa: PLC0415

    return await act("POST", _url(data, path), body)


async def _get(data: Path, path: str, **asked: Any) -> dict[str, Any]:
    from gallra.ask import answered  # noqa: PLC0415

    found: dict[str, Any] = (await answered(_url(data, path), **asked)).json()
    return found


async def _all_of(data: Path, state: str | None) -> list[dict[str, Any]]:
    asked = {"state": state} if state else {}
    found: list[dict[str, Any]] = []
    while True:
        page = await _get(data, "", **asked)
        found += page["requests"]
        if page["cursor"] is None:
            return found
        asked["cursor"] = page["cursor"]


def _in_words(found: dict[str, Any]) -> str:
    clock = found["clock"]
    left = "stands still" if clock["stands_still"] else f"{clock['days_left']} days left"
    lines = [
        f"{found['id']}  {found['claim']}  {found['state']}",
        f"received {found['received_on']} by {found['channel']}, due {found['due_on']} ({left})",
    ]
    lines += [
        f"  task {t['id']}  {t['holder']:12} {t['action']:8} {t['category']:26} {t['state']}"
        for t in found["tasks"]
    ]
    lines += _decided("decided", found["decisions"]) or _decided("proposed", found["proposed"])
    return "\n".join(lines)


def _decided(word: str, decisions: Sequence[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for d in decisions:
        if d["records"]:
            until = f" until {d['until_last']}" if d["until_last"] else ""
            lines.append(
                f"  {word} {d['category']:26} {d['decision']:8} {d['article']:10}"
                f" {d['records']:4} records{until}"
            )
    return lines
