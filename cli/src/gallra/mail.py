"""The commands about mail; the work is done in :mod:`gallra.mailing`."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gallra.terminal import DEFAULT_DATA, AsJson, Data, run

mail_app = typer.Typer(help="Who got which mail.", no_args_is_help=True)


def _print(found: Any, as_json: bool, text: str) -> None:
    print(json.dumps(found, indent=2, default=str) if as_json else text)


@mail_app.command()
def report(message: str, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Tell how far a message is: who has it, who does not, and why."""
    from gallra import mailing  # noqa: PLC0415

    found = run(mailing.report(data, message))
    _print(found, as_json, mailing.in_words(found))


@mail_app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - each is one thing to look for
    recipient: Annotated[str | None, typer.Option(help="A token or an address.")] = None,
    customer: Annotated[str | None, typer.Option()] = None,
    message: Annotated[str | None, typer.Option()] = None,
    message_type: Annotated[str | None, typer.Option("--type")] = None,
    state: Annotated[str | None, typer.Option()] = None,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List deliveries that match, newest first."""
    from gallra import mailing  # noqa: PLC0415

    asked = {
        "recipient": recipient, "customer": customer, "type": message_type, "state": state,
        "from": start, "to": end,
    }  # fmt: skip
    given = {name: value for name, value in asked.items() if value is not None}
    found = run(mailing.deliveries(data, message, given))
    lines = [
        f"{d['delivery_id']}  {d['state']:10}  {d['message_type']:24}  {d['message_id']}"
        for d in found
    ]
    _print(found, as_json, "\n".join(lines) or "none")


@mail_app.command()
def show(delivery: str, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Tell every step that a delivery took."""
    from gallra import mailing  # noqa: PLC0415

    found = run(mailing.delivery(data, delivery))
    _print(found, as_json, mailing.steps_in_words(found))


@mail_app.command()
def proof(
    delivery: str,
    out: Annotated[Path, typer.Option(help="File to write to.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Write what proves a delivery's last step offline: see `gallra log verify --offline`."""
    from gallra import mailing  # noqa: PLC0415

    package = run(mailing.proof(data, delivery))
    out.write_bytes(package)
    print(f"{out}: check it with gallra log verify --offline {out} --vkey KEY")


@mail_app.command()
def resend(delivery: str, data: Data = DEFAULT_DATA) -> None:
    """Send a mail anew, as a delivery of its own that is linked to the first."""
    from gallra import mailing  # noqa: PLC0415

    print(run(mailing.have(data, delivery, "resend"))["delivery_id"])


@mail_app.command("send-again")
def send_again(delivery: str, data: Data = DEFAULT_DATA) -> None:
    """Send a mail in doubt once more, under the same Message-ID."""
    from gallra import mailing  # noqa: PLC0415

    print(run(mailing.have(data, delivery, "send-again"))["state"])


@mail_app.command()
def reconcile(
    relay_log: Annotated[Path, typer.Option(help="The relay's own log, such as mail.log.")],
    complete_until: Annotated[str, typer.Option(help="RFC 3339: nothing is missing up to then.")],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Settle deliveries in doubt with the relay's own log."""
    from gallra import mailing  # noqa: PLC0415

    text = relay_log.read_text(encoding="utf-8", errors="replace")
    done = run(mailing.reconcile(data, text, complete_until))
    _print(
        done,
        as_json,
        f"{done['accepted']} were taken, {done['sent_again']} were not and are sent again,"
        f" {done['left']} are still in doubt",
    )


@mail_app.command()
def preview(
    template: str,
    message_type: Annotated[
        str, typer.Option("--type", help="By default the template's name.")
    ] = "",
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    locale: Annotated[Literal["sv", "en"], typer.Option()] = "en",
    html: Annotated[Path | None, typer.Option(help="File to write the page to.")] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show the mail that a template makes; nothing is sent."""
    from gallra import mailing  # noqa: PLC0415

    drafted = mailing.Draft(template, message_type or template, _params(param), locale)
    made = run(mailing.preview(data, drafted))
    if html is not None:
        html.write_text(made["html"], encoding="utf-8")
    print(f"Subject: {made['subject']}\n\n{made['text']}")


@mail_app.command("try")
def try_(
    template: str,
    to: Annotated[str, typer.Option(help="The address that gets it.")],
    message_type: Annotated[
        str, typer.Option("--type", help="By default the template's name.")
    ] = "",
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    locale: Annotated[Literal["sv", "en"], typer.Option()] = "en",
    data: Data = DEFAULT_DATA,
) -> None:
    """Send the mail that a template makes to one address; it is in the ledger as any other."""
    from gallra import mailing  # noqa: PLC0415

    drafted = mailing.Draft(template, message_type or template, _params(param), locale)
    print(run(mailing.try_out(data, drafted, to))["message_id"])


def _params(given: list[str] | None) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in given or () if "=" in pair)


@mail_app.command()
def breach(  # noqa: PLR0913, PLR0917 - what the law asks for
    service: Annotated[str, typer.Option(help="Whose customers are told; in the mail, too.")],
    what: Annotated[str, typer.Option(help="What happened.")],
    advice: Annotated[str, typer.Option(help="What they should do.")],
    aware_since: Annotated[datetime | None, typer.Option(help="When we learnt of it.")] = None,
    drill: Annotated[bool, typer.Option(help="Mails say that it is an exercise.")] = False,
    to_all: Annotated[bool, typer.Option("--all", help="Tell all customers.")] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Tell all affected contacts of a breach, and who has been told, against the 72 hours."""
    from gallra import mailing  # noqa: PLC0415

    told = mailing.Breach(service, what, advice, aware_since, drill=drill, to_all=to_all)
    found = run(mailing.breach(data, told, lambda line: print(line, file=sys.stderr, flush=True)))
    _print(found, as_json, mailing.in_words(found))
