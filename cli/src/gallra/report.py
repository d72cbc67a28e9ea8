"""The commands about retention reports; the work is done in :mod:`gallra.reporting`."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer

from gallra.log import Vkey, key_of
from gallra.terminal import DEFAULT_DATA, AsJson, Data, fail, run

report_app = typer.Typer(help="What is held and why, what is due, and what was purged.")

Start = Annotated[str | None, typer.Option("--from", help="First day of the period.")]
End = Annotated[str | None, typer.Option("--to", help="Last day of the period.")]
AsOf = Annotated[str | None, typer.Option(help="Day that holdings are counted on.")]
Format = Annotated[Literal["json", "jsonl", "csv", "xlsx", "pdf"], typer.Option("--format")]
Lang = Annotated[Literal["en", "sv"], typer.Option(help="Language of a PDF or workbook.")]
Url = Annotated[str | None, typer.Option(help="Of the retention service.")]


@report_app.callback(invoke_without_command=True)
def report(  # noqa: PLR0913, PLR0917 - options are named by who calls
    context: typer.Context,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    form: Format = "json",
    lang: Lang = "en",
    url: Url = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Get and verify retention reports; without a command, print one."""
    if context.invoked_subcommand is None:
        get(None, start, end, as_of, form, lang, url, data)


@report_app.command()
def get(  # noqa: PLR0913, PLR0917 - options are named by who calls
    out: Annotated[Path | None, typer.Option(help="File to write it to.")] = None,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    form: Format = "json",
    lang: Lang = "en",
    url: Url = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print a report, or write it to a file; its hash goes into the master log."""
    from gallra import reporting  # noqa: PLC0415

    days = {"from": start, "to": end, "as_of": as_of}
    for option, day in days.items():
        try:
            date.fromisoformat(day or "2000-01-01")
        except ValueError:
            fail(f"--{option.replace('_', '-')} takes a day such as 2026-12-31", 2)
    asked = {option: day for option, day in days.items() if day}
    made = run(reporting.fetch(data, url, asked, form, lang))
    if out is None:
        sys.stdout.buffer.write(made)
    else:
        out.write_bytes(made)
        print(f"{out}: check it with `gallra report verify {out}`")


@report_app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A report as it was issued.")],
    vkey: Vkey = None,
    url: Annotated[str | None, typer.Option(help="Of the audit-log.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Check that the master log has this very report, and the proofs that are attached to a PDF."""
    from gallra import reporting  # noqa: PLC0415

    key = key_of(vkey)
    try:
        written = file.read_bytes()
    except OSError as error:
        fail(error)
    found = run(reporting.verify(data, url, written, key))
    if key is None:
        print(
            "the key is as the log itself gives it: to trust nobody, name one from elsewhere by"
            " --vkey",
            file=sys.stderr,
        )
    print(json.dumps(found, indent=2) if as_json else reporting.in_words(found))
