"""``gallra dlq``: events that were set aside, by way of each service that set them aside."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from gallra.ask import act, answered
from gallra.stackfile import read
from gallra.terminal import DEFAULT_DATA, AsJson, Data, fail, run
from shared.errors import Rejected

dlq_app = typer.Typer(help="Events that were set aside.", no_args_is_help=True)

_SERVICES: Final = ("audit_log", "retention", "notifier")
_PATH: Final = "/api/v1/dead-letters"

Topic = Annotated[str | None, typer.Option(help="One topic, such as platform.records.v1.")]
Code = Annotated[str | None, typer.Option(help="Only what was set aside for this.")]
Letters = Annotated[
    list[str] | None, typer.Option("--letter", help="Id of a letter; may be repeated.")
]
By = Annotated[str, typer.Option(help="Account of the person who decided it.")]
Deed = Literal["redrive", "drop"]


@dlq_app.command("list")
def list_(
    topic: Topic = None, code: Code = None, data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    """List the events that were set aside and not dealt with, and why."""
    found = run(_waiting(data, topic, code))
    lines = [
        f"{x['set_aside_at'][:19]}  {x['code']:16} {x['topic']}/{x['partition']}/{x['offset']}"
        f"  {x['reason']}  ({x['consumer']}, {x['id']})"
        for x in found
    ]
    words = "\n".join(lines) or "nothing was set aside"
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else words)


@dlq_app.command()
def redrive(
    by: By,
    topic: Topic = None,
    code: Code = None,
    letter: Letters = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Publish what was set aside once more, after its cause was mended."""
    done = run(_deal(data, "redrive", _wanted(by, topic, code, letter)))
    print(f"{done['settled']} sent again{_kept(done)}")


@dlq_app.command()
def drop(
    by: By,
    topic: Topic = None,
    code: Code = None,
    letter: Letters = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Note that what was set aside will not be sent again; it ages out of its topic."""
    done = run(_deal(data, "drop", _wanted(by, topic, code, letter)))
    print(f"{done['settled']} dropped")


def _wanted(
    by: str, topic: str | None, code: str | None, letters: Sequence[str] | None
) -> dict[str, Any]:
    if (topic is None) == (not letters):
        fail("name either --topic or --letter; `gallra dlq list` shows both", 2)
    return {"by": by, "topic": topic, "code": code, "letters": letters}


def _kept(done: dict[str, int]) -> str:
    kept = {"no longer on their topic": done["missing"], "not taken by the broker": done["refused"]}
    return "".join(f", {count} {why}" for why, count in kept.items() if count)


async def _waiting(data: Path, topic: str | None, code: str | None) -> list[dict[str, Any]]:
    """Return all letters that wait, newest first."""
    found: list[dict[str, Any]] = []
    asked = {n: v for n, v in {"topic": topic, "code": code}.items() if v is not None}
    for url in _urls(data):
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = (await answered(f"{url}{_PATH}", **asked, **cursor)).json()
            found += page["letters"]
            cursor = {"cursor": page["cursor"]} if page["cursor"] else None
    return sorted(found, key=lambda letter: letter["id"], reverse=True)


async def _deal(data: Path, deed: Deed, wanted: dict[str, Any]) -> dict[str, int]:
    """Have every service deal with its letters, as often as some are left that it can."""
    done = {"settled": 0, "missing": 0, "refused": 0}
    refusals: list[Rejected] = []
    for url in _urls(data):
        try:
            answer: dict[str, int] = {"settled": 1, "left": 1}
            while answer["settled"] and answer["left"]:
                answer = await act("POST", f"{url}{_PATH}/{deed}", wanted)
                done["settled"] += answer["settled"]
                done |= {name: answer[name] for name in ("missing", "refused") if answer[name]}
        except Rejected as error:
            refusals.append(error)  # another service may be the one that set them aside
    if not done["settled"] and refusals:
        raise refusals[0]
    return done


def _urls(data: Path) -> list[str]:
    urls = read(data).urls
    return [urls[service] for service in _SERVICES]
