"""The commands about the master log; the work is done in :mod:`gallra.verification`.

Exit codes: 0 it is so; 1 it is not, and the text says what is wrong; 2 the call was wrong; 4 the
log is intact but not complete.
"""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from gallra.terminal import DEFAULT_DATA, AsJson, Data, fail, run

log_app = typer.Typer(help="The master log.", no_args_is_help=True)

Vkey = Annotated[
    str | None,
    typer.Option(help="Key of the log, from elsewhere than the log: a vkey, or a file with it."),
]
Url = Annotated[
    str | None,
    typer.Option(help="Address of the public log, up to /log, or of a mirror (file://, s3://)."),
]
_INCOMPLETE: Final = 4


@contextmanager
def _progress() -> Generator[Callable[[int, int], None]]:
    """Lend a function that shows on a terminal how far something came."""
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    with typer.progressbar(length=1, file=sys.stderr) as bar:

        def show(done: int, of: int) -> None:
            bar.length = max(of, 1)
            bar.update(done - bar.pos)

        yield show


@log_app.command("verify")
def verify(  # noqa: PLR0913, PLR0917 - options are named by who calls
    first: Annotated[int, typer.Option("--from", min=0, help="First entry.")] = 0,
    end: Annotated[int | None, typer.Option("--to", help="Entry to stop before.")] = None,
    since: Annotated[
        Path | None, typer.Option(help="A checkpoint kept from before; what it covers is not read.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="File to resume from after an interruption.")
    ] = None,
    offline: Annotated[Path | None, typer.Option(help="An evidence package; needs --vkey.")] = None,
    url: Url = None,
    vkey: Vkey = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Say whether the log is intact, and whether it is complete.

    Without --url or --offline it is the database of the stack that is read, content and all.
    """
    from gallra import verification  # noqa: PLC0415

    key = key_of(vkey)
    if offline is not None:
        if key is None:
            fail("--offline needs --vkey, a key of the log that you have from elsewhere", 2)
        _tell(verification.offline(offline, key), as_json)
        return
    if end is not None and end <= first:
        fail("--to must lie behind --from", 2)
    with _progress() as progress:
        if url is not None:
            verdict = run(verification.public(url, key, progress))
        else:
            kept = None if since is None else since.read_text(encoding="utf-8")
            span = verification.Span(first, end, kept, state)
            verdict = run(verification.database(data, key, span, progress))
    _tell(verdict, as_json)


def key_of(given: str | None) -> str | None:
    """Return the key that was given, itself or in a file."""
    if given is None or "+" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except OSError as error:
        fail(f"--vkey is neither a key nor a file: {error}", 2)


def _tell(verdict: Any, as_json: bool) -> None:
    facts = verdict.facts()
    if as_json:
        print(json.dumps(facts, indent=2, default=str))
    else:
        print("\n".join(verdict.words()))
    if not verdict.intact:
        raise typer.Exit(1)
    if not verdict.complete:
        raise typer.Exit(_INCOMPLETE)


@log_app.command("tenant-key")
def tenant_key(
    customer: str,
    out: Annotated[Path, typer.Option(help="File to write the key to; only its owner reads it.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Write the key by which a customer finds its entries in the public log."""
    from gallra import verification  # noqa: PLC0415

    written = run(verification.tenant_key(data, customer))
    out.touch(mode=0o600)
    out.write_text(json.dumps(written, indent=2), encoding="utf-8")
    print(f"{out}: give it to the customer and to nobody else")


@log_app.command("my-entries")
def my_entries(
    key: Annotated[Path, typer.Option(help="The file that `gallra log tenant-key` wrote.")],
    url: Url = None,
    vkey: Vkey = None,
    as_json: AsJson = False,
) -> None:
    """List the entries of one customer in the public log, and name any that is missing."""
    from gallra import verification  # noqa: PLC0415

    held = json.loads(key.read_text(encoding="utf-8"))
    with _progress() as progress:
        found = run(verification.my_entries(held, url, key_of(vkey), progress))
    if as_json:
        print(json.dumps({**asdict(found), "complete": not found.missing}, indent=2))
    else:
        for counter, index in found.found.items():
            print(f"{counter:8}  entry {index}")
        print(f"{len(found.found)} entries; the log says {found.told or 'nothing of how many'}")
        for counter in found.missing:
            print(f"{counter:8}  IS MISSING")
    if found.missing:
        raise typer.Exit(_INCOMPLETE)


@log_app.command("conformity")
def conformity(url: Url = None, vkey: Vkey = None, data: Data = DEFAULT_DATA) -> None:
    """Judge all purges from public leaves, policies and receipts: early, late, unexplained."""
    from gallra import verification  # noqa: PLC0415

    with _progress() as progress:
        found = run(verification.conformity(data, url, key_of(vkey), progress))
    wrong = False
    for kind, indexes in found.items():
        print(f"{kind:12} {indexes or 'none'}")
        wrong = wrong or bool(indexes)
    if wrong:
        raise typer.Exit(1)


@log_app.command("mirror")
def mirror(
    target: Annotated[str, typer.Argument(help="file:///FOLDER or s3://BUCKET/PATH")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Write the public log as static files, or bring such files up to date."""
    from gallra import verification  # noqa: PLC0415

    with _progress() as progress:
        size = run(verification.mirror(data, target, progress))
    print(f"{target}: {size} entries")


@log_app.command("prove")
def prove(index: int, data: Data = DEFAULT_DATA) -> None:
    """Print the .tlog-proof of an entry."""
    print(run(_get(data, f"/api/v1/entries/{index}/proof")), end="")


Text = Annotated[str | None, typer.Option()]


@log_app.command("search")
def search(  # noqa: PLR0913, PLR0917 - one for each way to search
    customer: Text = None,
    actor: Text = None,
    action: Annotated[str | None, typer.Option(help="Or the beginning of one.")] = None,
    target: Text = None,
    outcome: Text = None,
    channel: Text = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Instant, such as 2026-01-01T00:00:00Z.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Instant.")] = None,
    form: Annotated[Literal["csv", "jsonl", "ocsf", "evidence"], typer.Option("--format")] = "csv",
    out: Annotated[Path | None, typer.Option(help="File to write to.")] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write the entries that match, newest first; that they were read is logged."""
    from gallra import verification  # noqa: PLC0415

    asked = {
        "customer": customer, "actor": actor, "action": action, "target": target,
        "outcome": outcome, "channel": channel, "from": start, "to": end,
    }  # fmt: skip
    if form == "evidence" and out is None:
        fail("--format evidence needs --out FILE.zip", 2)
    given = {name: value for name, value in asked.items() if value is not None}
    with _progress() as progress:
        sink: Callable[[bytes], object]
        if out is None:
            sink = sys.stdout.buffer.write
            run(verification.export(data, form, given, sink, progress))
        else:
            with out.open("wb") as file:
                run(verification.export(data, form, given, file.write, progress))


async def _get(data: Path, path: str) -> str:
    from gallra.ask import ask  # noqa: PLC0415
    from gallra.stackfile import read  # noqa: PLC0415

    return (await ask(read(data).urls["audit_log"] + path)).text
