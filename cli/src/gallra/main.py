"""The command line.  Every command is a function here; the work is done elsewhere.

Exit codes: 0 done; 1 it did not work, and the text says why; 2 the call was wrong; 3 somebody
else holds what is needed; 4 the log is intact but not complete.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gallra.dead_letters import dlq_app
from gallra.log import log_app
from gallra.mail import mail_app
from gallra.report import report_app
from gallra.rights import rights_app
from gallra.terminal import DEFAULT_DATA, AsJson, Data, fail

app = typer.Typer(
    help="Keeps a cloud provider's promises about personal data, and proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The topics on the broker.", no_args_is_help=True)
hold_app = typer.Typer(help="Legal holds.", no_args_is_help=True)
alert_app = typer.Typer(help="Alerts and silences.", no_args_is_help=True)
deadline_app = typer.Typer(help="Until when a record is kept.", no_args_is_help=True)
erasure_app = typer.Typer(help="Requests to erase.", no_args_is_help=True)
purge_app = typer.Typer(help="Purge jobs.", no_args_is_help=True)
certificate_app = typer.Typer(help="Deletion certificates.", no_args_is_help=True)
policy_app = typer.Typer(help="Retention policies.", no_args_is_help=True)
for name, group in {
    "alert": alert_app,
    "topics": topics_app,
    "deadline": deadline_app,
    "erasure": erasure_app,
    "hold": hold_app,
    "log": log_app,
    "mail": mail_app,
    "policy": policy_app,
    "purge": purge_app,
    "rights": rights_app,
    "report": report_app,
    "certificate": certificate_app,
    "dlq": dlq_app,
}.items():
    app.add_typer(group, name=name)

ServiceName = Literal["audit-log", "retention", "notifier", "console"]


def _say(text: str) -> None:
    """Tell a person how it goes, beside what is printed for programs."""
    if text:
        print(text, file=sys.stderr, flush=True)


@app.command()
def up(
    data: Data = DEFAULT_DATA,
    port: Annotated[
        int, typer.Option(help="Ports are counted from here; 0 takes free ones.")
    ] = 8400,
    external_kafka: Annotated[str | None, typer.Option(help="HOST:PORT of a broker.")] = None,
    external_postgres: Annotated[
        str | None, typer.Option(help="Address of a database server, as its superuser.")
    ] = None,
    smtp: Annotated[str | None, typer.Option(help="HOST:PORT of a mail server.")] = None,
    policies: Annotated[Path | None, typer.Option(help="Folder with the policies.")] = None,
) -> None:
    """Start everything on this machine, and stop it at Ctrl-C."""
    from gallra.stack import up as stack  # noqa: PLC0415

    external = stack.External(external_kafka, external_postgres, smtp)

    def say(text: str) -> None:
        _say(text) if text else _show(data)

    try:
        stack.up(data.absolute(), port, external, policies or stack.POLICIES, say)
    except stack.StackError as error:
        fail(error, 3 if "is held by" in str(error) else 1)


def _show(data: Path) -> None:
    from gallra.stackfile import read  # noqa: PLC0415

    stack = read(data.absolute())
    rows = {
        "Console": f"{stack.urls['console']} (sign in as dpo@gallra.example, and others)",
        "Retention report": f"{stack.urls['console']}/reports",
        "Master log": f"{stack.urls['audit_log']}/log/checkpoint",
        "Deliveries": f"{stack.urls['notifier']}/api/v1/messages",
        "Captured mail": stack.mail_api or "(external mail server)",
        "Kafka": stack.kafka,
        "All addresses": str(data / "stack.json"),
        "Next": "gallra demo, in another terminal; Ctrl-C here stops everything",
    }
    print("Gallra is up\n")
    for what, where in rows.items():
        print(f"  {what:17} {where}")
    sys.stdout.flush()


@app.command()
def serve(service: ServiceName) -> None:
    """Run one service in this process, with its settings from the environment."""
    module = service.replace("-", "_")
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own module


@app.command()
def migrate(
    service: Annotated[ServiceName, typer.Argument()],
    as_json: AsJson = False,
) -> None:
    """Bring a service's database up to date, as its owner (GALLRA_DATABASE or _FILE)."""
    from shared.migrate import MigrationError  # noqa: PLC0415
    from shared.migrate import migrate as apply  # noqa: PLC0415

    dsn = _from_environment("GALLRA_DATABASE")
    try:
        applied = asyncio.run(apply(dsn, service.replace("-", "_")))
    except (MigrationError, OSError) as error:
        fail(error)
    _print(applied, as_json, lambda: "\n".join(applied) or "nothing to do")


def _from_environment(name: str) -> str:
    if value := os.environ.get(name):
        return value
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            fail(f"{name}_FILE cannot be read: {error}")
    return fail(f"set {name}, or {name}_FILE to a file that holds it", 2)


def _print(value: Any, as_json: bool, words: Callable[[], str]) -> None:
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False) if as_json else words())


@topics_app.command("apply")
def topics_apply(as_json: AsJson = False) -> None:
    """Create the topics that are missing on GALLRA_KAFKA and set those that differ."""
    from shared import topics  # noqa: PLC0415

    kafka = _from_environment("GALLRA_KAFKA")
    created = asyncio.run(topics.apply(kafka, os.environ.get("GALLRA_TOPIC_PREFIX", "")))
    _print(created, as_json, lambda: "\n".join(created) or "all topics are as declared")


@app.command()
def demo(
    data: Data = DEFAULT_DATA,
    name: Annotated[str | None, typer.Option(help="Stands before all ids; new by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a simulated platform work against the stack that is up, and tell what came of it."""
    from gallra.demo.run import DemoError, run  # noqa: PLC0415
    from gallra.demo.tell import tell  # noqa: PLC0415
    from gallra.stack.up import exports  # noqa: PLC0415
    from gallra.stackfile import NoStackError, read  # noqa: PLC0415
    from shared.ids import new_id  # noqa: PLC0415

    logging.basicConfig(level=logging.ERROR)  # libraries have little to tell a person
    try:
        stack = read(data)
        figures = asyncio.run(run(stack, _say, name or f"d{new_id().hex[-8:]}", exports(data)))
    except (NoStackError, DemoError) as error:
        fail(error)
    _print(asdict(figures), as_json, lambda: tell(stack, figures))
    if figures.problems:
        raise typer.Exit(1)


@app.command()
def contracts(folder: Path) -> None:
    """Write the JSON Schemas and the AsyncAPI document of all events."""
    from shared.contracts import write  # noqa: PLC0415

    for path in write(folder):
        print(path)


@policy_app.command("check")
def policy_check(
    folder: Annotated[Path, typer.Argument(help="Folder with the policies.")] = Path("policies"),
) -> None:
    """Check that the policies cover the privacy notice, are bounded, and name known holders."""
    from retention import policy  # noqa: PLC0415
    from shared.document import DocumentError  # noqa: PLC0415

    try:
        policies = policy.load(folder)
    except DocumentError as error:
        fail(f"the policies in {folder} cannot be used:\n{error}")
    print(f"{len(policies.by_category)} policies, {len(policies.holders)} holders: all is well")


@policy_app.command("plan")
def policy_plan(
    folder: Annotated[Path, typer.Argument(help="Folder with the policies.")] = Path("policies"),
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Show what it would do to put the policies of a folder in force; nothing changes yet."""
    from gallra import policies  # noqa: PLC0415

    made, in_force = _held(lambda: policies.plan(data, folder))
    found = {"plan": made.sha256.hex(), "made_on": made.made_on, "effects": made.shown}
    _print(found, as_json, lambda: policies.in_words(made, in_force))
    if not as_json:
        print(f"two people approve it: gallra policy apply {made.sha256.hex()[:12]} --by ACCOUNT")


@policy_app.command("apply")
def policy_apply(
    plan: Annotated[str, typer.Argument(help="Hash of the plan, or the beginning of it.")],
    by: Annotated[str, typer.Option(help="Account of the person who approves it.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Approve a plan; when another person does too, it is in force."""
    from gallra import policies  # noqa: PLC0415

    applied = _held(lambda: policies.approve(data, plan, by=by))
    if applied is None:
        print("noted; it is applied when another person says the same")
    else:
        print("in force: " + ", ".join(f"{p.category} {p.version}" for p in applied.policies))


@hold_app.command("place")
def hold_place(  # noqa: PLR0913, PLR0917 - options are named by who calls
    reason: Annotated[str, typer.Option(help="Why; it goes into the master log.")],
    by: Annotated[str, typer.Option(help="Account of the person who decided it.")],
    review: Annotated[str, typer.Option(help="Day on which it is looked at again.")],
    customer: Annotated[str | None, typer.Option(help="Whose records.")] = None,
    category: Annotated[str | None, typer.Option(help="Of which category.")] = None,
    subject: Annotated[str | None, typer.Option(help="Token of the person they tell of.")] = None,
    record: Annotated[
        str | None, typer.Option(help="One record: HOLDER/CATEGORY/RECORD_ID.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First day that their time runs from.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last such day.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Keep the records that fit all that is named from being purged."""
    from gallra import holds  # noqa: PLC0415

    holder, of, record_id = _record(record)
    named: dict[str, Any] = {
        "customer_id": customer,
        "category": of or category,
        "subject": subject,
        "holder": holder,
        "record_id": record_id,
        "first_day": _day(first, "--from"),
        "last_day": _day(last, "--to"),
    }
    day = _day(review, "--review") or date.min
    placed = _held(
        lambda: holds.place(data, holds.Scope(**named), reason=reason, review_on=day, by=by)
    )
    found = {"hold_id": str(placed.id), "beyond_recall": placed.beyond_recall}
    _print(found, as_json, lambda: str(placed.id))
    if placed.beyond_recall:
        _say(
            f"{placed.beyond_recall} of these records were ordered to be erased just before: call"
            " their holders at once"
        )


def _record(ref: str | None) -> tuple[str | None, str | None, str | None]:
    if ref is None:
        return None, None, None
    parts = ref.split("/", 2)
    if len(parts) < len(("holder", "category", "record_id")):
        fail("--record takes HOLDER/CATEGORY/RECORD_ID", 2)
    return parts[0], parts[1], parts[2]


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        fail(f"{option} takes a day such as 2026-12-31", 2)


@hold_app.command("release")
def hold_release(
    hold_id: str,
    by: Annotated[str, typer.Option(help="Account of the person who says so.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Ask for a hold to be lifted; when another person does too, its grace of 14 days begins."""
    from gallra import holds  # noqa: PLC0415

    if _held(lambda: holds.release(data, hold_id, by=by)):
        print("released; records stay through the grace of 14 days")
    else:
        print("asked for; it is lifted when another person says the same")


@hold_app.command("list")
def hold_list(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List all holds, newest first."""
    from gallra import holds  # noqa: PLC0415

    found = _held(lambda: holds.all_of(data))
    _print(found, as_json, lambda: "\n".join(map(holds.in_words, found)) or "no holds")


def _held(work: Callable[[], Any]) -> Any:
    from gallra.stackfile import NoStackError  # noqa: PLC0415
    from shared.document import DocumentError  # noqa: PLC0415
    from shared.errors import Rejected  # noqa: PLC0415

    try:
        return asyncio.run(work())
    except (NoStackError, Rejected, DocumentError) as error:
        fail(error)


Url = Annotated[str | None, typer.Option(help="Of the notifier.")]


@alert_app.command("list")
def alert_list(url: Url = None, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List what stands, who looks after it, and what is silenced."""
    from gallra import alerts  # noqa: PLC0415

    found = _held(lambda: alerts.standing(data, url))
    quiet = _held(lambda: alerts.silences(data, url))
    lines = [*map(alerts.in_words, found), *map(alerts.silence_in_words, quiet)]
    said = {"alerts": found, "silences": quiet}
    _print(said, as_json, lambda: "\n".join(lines) or "all is well")


@alert_app.command("ack")
def alert_ack(
    fingerprints: list[str],
    by: Annotated[str, typer.Option(help="Account of the person who looks after them.")],
    url: Url = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Say that somebody looks after alerts: nobody is reminded, and nobody else is told."""
    from gallra import alerts  # noqa: PLC0415

    found = _held(lambda: alerts.acknowledge(data, url, fingerprints, by=by))
    if not found["acknowledged"]:
        fail("none of these alerts stands; `gallra alert list` shows those that do")
    words = f"{', '.join(found['acknowledged'])}: acknowledged until {found['until']}"
    _print(found, as_json, lambda: words)


@alert_app.command("silence")
def alert_silence(  # noqa: PLR0917 - options are named by who calls
    matchers: Annotated[list[str], typer.Argument(help="Such as holder=crm; all must fit.")],
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 2h.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: Annotated[str, typer.Option(help="Account of the person who decided it.")],
    url: Url = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Tell nobody of alerts that fit, for a while; of grave ones as the policy allows."""
    from gallra import alerts  # noqa: PLC0415

    made = _held(lambda: alerts.silence(data, url, matchers, lasts=lasts, by=by, reason=reason))
    _print(made, as_json, lambda: f"{made['silenceID']}")
    for kind, until in made["ends_earlier_for"].items():
        _say(f"{kind.replace('_', ' ')} alerts are silenced until {until} only")


@alert_app.command("unsilence")
def alert_unsilence(
    silence_id: str,
    by: Annotated[str, typer.Option(help="Account of the person who says so.")],
    url: Url = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """End a silence before its time."""
    from gallra import alerts  # noqa: PLC0415

    _held(lambda: alerts.unsilence(data, url, silence_id, by=by))
    print("ended")


@erasure_app.command("accept")
def erasure_accept(
    by: Annotated[str, typer.Option(help="Account of the person who grants it.")],
    record: Annotated[
        str | None, typer.Option(help="One record: HOLDER/CATEGORY/RECORD_ID.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Token of a person, for all records that tell of them.")
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Grant a request to erase; it is done as soon as neither a law nor a hold forbids it."""
    from gallra import erasures  # noqa: PLC0415

    if (record is None) == (subject is None):
        fail("name either --record or --subject", 2)
    if subject is not None:
        accepted = _held(lambda: erasures.accept_all_of(data, subject, by=by))
    else:
        ref = _record(record)
        accepted = _held(lambda: erasures.accept(data, ref, by=by))
    found = [erasures.as_json(each) for each in accepted]
    _print(found, as_json, lambda: "\n".join(erasures.in_words(each) for each in accepted))


@deadline_app.command("explain")
def deadline_explain(
    ref: Annotated[str, typer.Argument(help="The record: HOLDER/CATEGORY/RECORD_ID.")],
    lang: Annotated[Literal["en", "sv"], typer.Option(help="Language of the steps.")] = "en",
    as_of: Annotated[str | None, typer.Option(help="Day for which one asks; today.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Tell until when a record is kept, and why, step by step."""
    from gallra import deadlines  # noqa: PLC0415

    found = _held(lambda: deadlines.explain(data, ref, lang, as_of))
    _print(found, as_json, lambda: deadlines.in_words(found))


@purge_app.command("list")
def purge_list(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List the newest purge jobs."""
    from gallra import certificates  # noqa: PLC0415

    found = _held(lambda: certificates.jobs(data))
    lines = [
        f"{job['job_id']}  {job['opened_at'][:19]}  {job['records']:6}  {job['category']:28}"
        f" {'closed' if job['closed_at'] else 'open'}"
        for job in found
    ]
    _print(found, as_json, lambda: "\n".join(lines) or "nothing was due yet")


@purge_app.command("show")
def purge_show(job: str, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show a purge job, and how far each holder has come with it."""
    from gallra import certificates  # noqa: PLC0415

    found = _held(lambda: certificates.show(data, job))
    lines = [f"{name:15} {found[name]}" for name in _OF_A_JOB if found[name] is not None]
    lines += [
        f"  {chunk['holder']:12} {chunk['state']:10} tried {chunk['attempts']}  gone"
        f" {chunk['erased'] + chunk['anonymised']}  not found {chunk['not_found']}"
        f"  refused {chunk['refused']}"
        for chunk in found["chunks"]
    ]
    _print(found, as_json, lambda: "\n".join(lines))


_OF_A_JOB = (
    "job_id", "category", "reason", "policy_version", "records", "opened_at", "must_purge_by",
    "closed_at",
)  # fmt: skip


@purge_app.command("approve")
def purge_approve(
    category: Annotated[str, typer.Argument(help="Whose purge is frozen.")],
    by: Annotated[str, typer.Option(help="Account of the person who says so.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Approve a frozen purge; when another person does too, it goes on."""
    from gallra import approvals  # noqa: PLC0415

    if _held(lambda: approvals.approve(data, category, by=by)):
        print("approved; it goes on with the next search for what is due")
    else:
        print("noted; it goes on when another person says the same")


@purge_app.command("certificate")
def purge_certificate(
    job: str,
    out: Annotated[Path, typer.Option(help="File to write it to.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Write the deletion certificate of a closed purge job."""
    from gallra import certificates  # noqa: PLC0415

    out.write_bytes(_held(lambda: certificates.fetch(data, job)))
    print(f"{out}: check it with `gallra certificate verify {out} --vkey KEY`")


@certificate_app.command("verify")
def certificate_verify(
    file: Annotated[Path, typer.Argument(help="The certificate.")],
    vkey: Annotated[
        list[str],
        typer.Option(help="Key of the log, from elsewhere; and of each witness, if there are any."),
    ],
    as_json: AsJson = False,
) -> None:
    """Check a deletion certificate offline."""
    from audit_log.checkpoint import Verifier  # noqa: PLC0415
    from gallra import certificates  # noqa: PLC0415
    from shared.errors import Rejected  # noqa: PLC0415

    try:
        keys = [Verifier.parse(key) for key in vkey]
        statement, checkpoint = certificates.check(file.read_bytes(), *keys)
    except (Rejected, OSError) as error:
        fail(error)
    facts = {"valid": True, "statement": statement, "checkpoint_size": checkpoint.size}
    _print(facts, as_json, lambda: certificates.in_words(statement, checkpoint))
