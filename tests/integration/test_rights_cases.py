"""Requests about the rights of persons on a real database: from receipt to answer, and beyond."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import Database
from tests.integration.test_closed_loop import NO_LIMITS, Retention, named
from tests.integration.test_erasures import TODAY, lead, through

from retention import rights_store
from retention.calendar import start_of
from retention.override import Scope
from retention.rights_matrix import Decision
from retention.rights_store import Case
from shared.errors import Rejected
from shared.events.gallra import RightsCommand, RightsResult
from shared.events.platform import (
    Anchor,
    Claimant,
    FiscalYearClosed,
    RecordRegistered,
    RightsRequestReceived,
    ServiceStarted,
    ServiceTerminated,
    Subject,
)
from shared.exports import Exports
from shared.postgres import open_pool
from shared.sealing import seal

PERSON = (Subject(token="s-1", role="contact"),)  # noqa: S106 - of a person, no secret
ANNA = Claimant(email="anna@home.example", name="Anna", locale="sv")


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    return Exports((tmp_path / "exports").as_uri())


@pytest.fixture
async def retention(retention_db: Database, exports: Exports) -> AsyncIterator[Retention]:
    async with open_pool(retention_db.service, "test") as pool:
        made = await Retention.on(pool, NO_LIMITS, exports)
        made.clock.advance(start_of(TODAY) + timedelta(hours=9) - made.clock.now())
        await made.take(
            FiscalYearClosed(entity="ab", start=date(2024, 1, 1), end=date(2024, 12, 31)),
            ServiceStarted(customer_id="c-1", service_id="sv-1", date=date(2026, 1, 1)),
            lead("l-1"),
            lead("l-2", "s-2"),
            RecordRegistered(
                holder="crm",
                category="account.master",
                record_id="m-1",
                entity="ab",
                customer_id="c-1",
                subjects=PERSON,
            ),
            RecordRegistered(
                holder="billing",
                category="billing.invoice",
                record_id="F1",
                entity="ab",
                customer_id="c-1",
                subjects=PERSON,
                anchors=(Anchor(anchor_id="a", kind="booked", date=date(2024, 3, 15)),),
            ),
        )
        await made.announced()
        yield made


def request(right: str, **changes: Any) -> RightsRequestReceived:
    fields: dict[str, Any] = {
        "request_id": "r-1",
        "right": right,
        "subjects": ("s-1",),
        "received_on": TODAY,
        "channel": "portal",
        "claimant": ANNA,
    }
    return RightsRequestReceived(**{**fields, **changes})


async def case(retention: Retention, case_id: str = "r-1") -> Case:
    async with retention.pool.acquire() as tx:
        found = await rights_store.case(tx, case_id)
    assert found is not None
    return found


async def decisions(retention: Retention) -> dict[str, Decision]:
    async with retention.pool.acquire() as tx:
        return {d.category: d for d in await rights_store.decisions(tx, "r-1")}


async def opened(retention: Retention, right: str, **changes: Any) -> list[Any]:
    """Bring a request to where it is decided, or to where copies of it are waited for."""
    await retention.take(request(right, **changes))
    await retention.rights.confirm_identity(retention.pool, "r-1", by="anna")
    return await retention.announced()


async def sweep(retention: Retention) -> list[Any]:
    await retention.answers.sweep(retention.pool)
    return await retention.announced()


def done(command: RightsCommand, **changes: Any) -> RightsResult:
    fields: dict[str, Any] = {
        "command_id": command.command_id,
        "request_id": command.request_id,
        "holder": command.holder,
        "outcome": "done",
        "records": len(command.refs),
    }
    return RightsResult(**{**fields, **changes})


async def laid(exports: Exports, command: Any) -> RightsResult:
    body = json.dumps([{"record": ref, "of": command.category} for ref in command.refs]).encode()
    await exports.put(command.object, seal(body, command.seal_to, command.object))
    return done(command, object=command.object)


def steps(announced: list[Any]) -> list[tuple[str, str]]:
    return [(told.step, told.state) for told in named(announced, "RightsCaseChanged")]


# Receipt, identity, the clock.


async def test_a_request_is_a_case_with_a_clock_and_a_record_of_its_own(
    retention: Retention,
) -> None:
    await retention.take(request("access"))
    announced = await retention.announced()
    assert steps(announced) == [("receive", "received")]
    [told] = named(announced, "RightsCaseChanged")
    assert told.due_on == date(2026, 12, 24)  # no holiday by law
    assert "anna" not in told.model_dump_json()
    [registered] = named(announced, "RecordRegistered")
    assert (registered.holder, registered.category, registered.record_id) == (
        "retention", "rights.case", "r-1",
    )  # fmt: skip
    with pytest.raises(Rejected, match="came before"):
        await retention.take(request("erase"))
    with pytest.raises(Rejected, match="today at the latest"):
        await retention.take(request("erase", request_id="r-2", received_on=date(2027, 1, 1)))


async def test_the_clock_stands_still_while_proof_is_waited_for(retention: Retention) -> None:
    await retention.take(request("erase"))
    await retention.announced()
    asked = await retention.rights.ask_identity(retention.pool, "r-1", by="anna")
    assert (asked.state, asked.due_on) == ("identity", None)
    announced = await retention.announced()
    [mail] = named(announced, "MessageRequested")
    assert (mail.template, mail.params["about"]) == ("rights-notice", "identity")
    retention.clock.advance(timedelta(days=10))
    shown = await retention.rights.confirm_identity(retention.pool, "r-1", by="anna")
    assert (shown.state, shown.due_on) == ("open", date(2027, 1, 4))  # 3 January is a Sunday
    with pytest.raises(Rejected, match="cannot take the step"):
        await retention.rights.refuse_identity(retention.pool, "r-1", by="anna")


async def test_without_proof_it_is_refused_and_the_person_told_where_to_complain(
    retention: Retention,
) -> None:
    await retention.take(request("erase"))
    with pytest.raises(Rejected, match="cannot take the step"):
        await retention.rights.refuse_identity(retention.pool, "r-1", by="anna")
    await retention.rights.ask_identity(retention.pool, "r-1", by="anna")
    await retention.announced()
    refused = await retention.rights.refuse_identity(retention.pool, "r-1", by="anna")
    assert refused.state == "refused"
    announced = await retention.announced()
    [mail] = named(announced, "MessageRequested")
    assert mail.to[0].email == "anna@home.example"
    assert "styrker vem ni är" in mail.params["answer"]
    [closed] = named(announced, "RecordAnchored")
    assert (closed.record_id, closed.kind) == ("r-1", "closed")


async def test_two_months_more_with_notice_within_the_first(retention: Retention) -> None:
    await opened(retention, "erase")
    extend = retention.rights.extend
    extended = await extend(retention.pool, "r-1", reason="complexity", by="anna")
    assert extended.due_on == date(2027, 2, 24)
    [mail] = named(await retention.announced(), "MessageRequested")
    assert mail.params["day"] == "2027-02-24"
    with pytest.raises(Rejected, match="once"):
        await extend(retention.pool, "r-1", reason="number", by="anna")


async def test_on_call_is_told_before_it_is_late_each_time_anew(retention: Retention) -> None:
    await opened(retention, "erase")  # due on 24 December
    told: list[tuple[str, str]] = []
    for _ in range(36):
        retention.clock.advance(timedelta(days=1))
        alerts = named(await retention.sweep(), "AlertRaised")
        told += [(a.fingerprint, a.severity) for a in alerts if a.runbook == "rights-due"]
    assert told == [
        ("rights-due/r-1/14", "warning"),
        ("rights-due/r-1/7", "warning"),
        ("rights-due/r-1/3", "critical"),
        ("rights-due/r-1/1", "critical"),
        ("rights-due/r-1/0", "critical"),
    ]
    await retention.rights.withdraw(retention.pool, "r-1", by="anna")
    over = named(await retention.sweep(), "AlertResolved")
    assert "rights-due/r-1/0" in {alert.fingerprint for alert in over}


# Erasure.


async def test_an_erasure_is_decided_by_one_and_approved_by_another(retention: Retention) -> None:
    await opened(retention, "erase")
    decided = await retention.rights.decide(retention.pool, "r-1", by="anna")
    assert (decided.state, decided.four_eyes) == ("decided", True)
    with pytest.raises(Rejected, match="another person"):
        await retention.rights.approve(retention.pool, "r-1", by="anna")
    with pytest.raises(asyncpg.CheckViolationError):
        await retention.pool.execute("UPDATE rights_case SET approved_by = decided_by")
    found = await decisions(retention)
    assert (found["lead.form"].decision, found["account.master"].decision) == ("granted", "refused")
    assert found["billing.invoice"].until_last == date(2031, 12, 31)
    await retention.announced()
    approved = await retention.rights.approve(retention.pool, "r-1", by="bo")
    assert approved.state == "approved"
    accepted = named(await retention.announced(), "ErasureAccepted")
    assert {(a.record_id, a.keep_through) for a in accepted} == {
        ("l-1", TODAY - timedelta(days=1)),
        ("F1", date(2031, 12, 31)),
    }
    announced = await sweep(retention)
    assert steps(announced) == [("answer", "answered"), ("close", "closed")]
    [mail] = named(announced, "MessageRequested")
    assert "Fakturor" in mail.params["answer"]
    assert "2031-12-31" in mail.params["answer"]
    assert "link" not in mail.params
    [commit] = await through(retention, await retention.sweep())
    assert commit.refs == ["l-1"]


async def test_what_a_service_needs_is_erased_when_it_ends_without_a_new_request(
    retention: Retention,
) -> None:
    await opened(retention, "erase")
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    await retention.rights.approve(retention.pool, "r-1", by="bo")
    await sweep(retention)
    await through(retention, await retention.sweep())
    assert "m-1" in await retention.records()
    await retention.take(
        ServiceTerminated(customer_id="c-1", service_id="sv-1", date=TODAY - timedelta(days=1))
    )
    await retention.announced()
    [accepted] = named(await sweep(retention), "ErasureAccepted")
    assert (accepted.record_id, accepted.by) == ("m-1", "bo")
    await through(retention, await retention.sweep())
    assert await retention.records() == ["F1", "l-2"]


async def test_a_hold_refuses_it_until_it_is_lifted(retention: Retention) -> None:
    await opened(retention, "erase")
    hold = await retention.hold(Scope(subject="s-1"))
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    assert (await decisions(retention))["lead.form"].article == "17(3)(e)"
    await retention.rights.approve(retention.pool, "r-1", by="bo")
    await sweep(retention)
    assert not named(await retention.sweep(), "PurgePrepare")
    for person in ("anna", "bo"):
        await retention.holds.release(retention.pool, hold, by=person)
    retention.clock.advance(timedelta(days=1))
    commits = await through(retention, await retention.sweep())
    assert [commit.refs for commit in commits] == [["l-1"]]


async def test_a_person_decides_otherwise_and_another_sends_it_back(retention: Retention) -> None:
    await opened(retention, "erase")
    debt = Decision("lead.form", "refused", "17(3)(e)", "Det finns en tvist om en skuld.")
    await retention.rights.decide(retention.pool, "r-1", [debt], by="anna")
    assert (await decisions(retention))["lead.form"].by_hand
    await retention.rights.send_back(retention.pool, "r-1", by="bo")
    await retention.rights.decide(retention.pool, "r-1", by="bo")
    assert not (await decisions(retention))["lead.form"].by_hand


# Copies.


async def collected(retention: Retention, exports: Exports, right: str = "access") -> list[Any]:
    commands = [c for c in await opened(retention, right) if isinstance(c, RightsCommand)]
    for command in commands:
        assert (await case(retention)).state == "collecting"
        await retention.take(await laid(exports, command))
    await retention.announced()
    return commands


async def test_a_copy_is_collected_sealed_and_fetched_until_it_runs_out(
    retention: Retention, exports: Exports, tmp_path: Path
) -> None:
    commands = await collected(retention, exports)
    assert {(c.holder, c.category) for c in commands} == {
        ("crm", "lead.form"), ("crm", "account.master"), ("billing", "billing.invoice"),
    }  # fmt: skip
    assert (await case(retention)).state == "open"
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    await retention.rights.approve(retention.pool, "r-1", by="bo")
    announced = await sweep(retention)
    assert steps(announced)[-1] == ("answer", "answered")
    [mail] = named(announced, "MessageRequested")
    link = mail.params["link"].removeprefix("https://answers.example/r/")
    answered = await case(retention)
    assert answered.unseal is None, "what was collected can be opened by nobody any more"
    assert all(b"l-1" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    with zipfile.ZipFile(io.BytesIO(await retention.answers.fetch(retention.pool, link))) as file:
        told = json.loads(file.read("answer.json"))
        names = set(file.namelist())
        data = [json.loads(file.read(name)) for name in names if name.startswith("data/lead.form")]
    assert [r["record"] for part in data for r in part] == ["l-1"]
    assert {"answer.json", "answer.pdf"} <= names
    assert len(names) == 5
    assert told["case"] == "r-1"
    assert "imy.se" in told["complaint"]
    assert steps(await retention.announced()) == [("fetch", "answered")]

    with pytest.raises(Rejected, match="run out"):
        await retention.answers.fetch(retention.pool, link[:-1])
    retention.clock.advance(timedelta(days=14))
    with pytest.raises(Rejected, match="run out"):
        await retention.answers.fetch(retention.pool, link)
    assert steps(await sweep(retention)) == [("close", "closed")]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_silent_holder_is_asked_again_and_a_lost_copy_anew(
    retention: Retention, exports: Exports
) -> None:
    commands = [c for c in await opened(retention, "access") if isinstance(c, RightsCommand)]
    first, *rest = commands
    for command in rest:
        await retention.take(await laid(exports, command))
    await retention.announced()
    retention.clock.advance(timedelta(minutes=2))
    [again] = [c for c in await sweep(retention) if isinstance(c, RightsCommand)]
    assert again.command_id == first.command_id
    await retention.take(await laid(exports, again), await laid(exports, again))
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    await retention.rights.approve(retention.pool, "r-1", by="bo")
    await exports.delete(again.object)  # type: ignore[attr-defined]
    await sweep(retention)
    assert (await case(retention)).state == "approved"
    [anew] = [c for c in await sweep(retention) if isinstance(c, RightsCommand)]
    await retention.take(await laid(exports, anew))
    await sweep(retention)
    assert (await case(retention)).state == "answered"


async def test_what_a_holder_leaves_to_people_is_waited_for(retention: Retention) -> None:
    for command in await opened(retention, "access"):
        if isinstance(command, RightsCommand):
            await retention.take(done(command, outcome="by-hand", records=0))
    assert (await case(retention)).state == "collecting"
    async with retention.pool.acquire() as tx:
        tasks = await rights_store.tasks(tx, "r-1")
    for task in tasks:
        await retention.rights.done(retention.pool, task.id, by="anna")
    assert (await case(retention)).state == "open"
    with pytest.raises(Rejected, match="not left to people"):
        await retention.rights.done(retention.pool, tasks[0].id, by="anna")


async def test_who_withdraws_leaves_nothing_that_can_be_opened(
    retention: Retention, exports: Exports, tmp_path: Path
) -> None:
    first, *rest = [c for c in await opened(retention, "access") if isinstance(c, RightsCommand)]
    await retention.take(await laid(exports, first))
    await retention.rights.withdraw(retention.pool, "r-1", by="anna")
    await retention.take(await laid(exports, rest[0]))  # it was on its way
    retention.clock.advance(timedelta(hours=1))
    assert [c for c in await sweep(retention) if isinstance(c, RightsCommand)] == []
    assert (await case(retention)).unseal is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_an_answer_that_nobody_was_asked_for_is_refused(retention: Retention) -> None:
    [command, *_] = [c for c in await opened(retention, "access") if isinstance(c, RightsCommand)]
    for wrong in (
        {"holder": "portal"},
        {"command_id": "no-such"},
        {"object": "rights/00000000-0000-0000-0000-000000000000"},
    ):
        with pytest.raises(Rejected):
            await retention.take(done(command, **wrong))


# Restriction, objection, rectification.


async def test_a_restriction_stands_until_it_is_lifted(retention: Retention) -> None:
    await opened(retention, "restrict")
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    commands = named(await retention.announced(), "RightsRestrict")
    assert {(c.holder, c.category) for c in commands} == {
        ("crm", "lead.form"), ("crm", "account.master"), ("billing", "billing.invoice"),
    }  # fmt: skip
    for command in commands:
        await retention.take(done(command))
    assert steps(await sweep(retention)) == [("answer", "answered")]
    await retention.rights.lift(retention.pool, "r-1", by="bo")
    announced = await retention.announced()
    assert len(named(announced, "RightsLift")) == 3
    assert [step for step, _ in steps(announced)] == ["lift", "close"]
    [mail] = named(announced, "MessageRequested")
    assert mail.params["about"] == "lift"


async def test_an_objection_to_marketing_is_passed_on_when_it_comes(retention: Retention) -> None:
    await retention.take(request("object"))
    [told] = named(await retention.announced(), "RightsObject")
    assert (told.holder, told.category, told.refs) == ("crm", "lead.form", ["l-1"])
    await retention.rights.confirm_identity(retention.pool, "r-1", by="anna")
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    [other] = named(await retention.announced(), "RightsObject")
    assert other.category == "account.master"


async def test_the_file_of_a_case_is_purged_like_any_record(retention: Retention) -> None:
    await retention.take(request("erase"))
    await retention.take(*named(await retention.announced(), "RecordRegistered"))
    await retention.rights.withdraw(retention.pool, "r-1", by="anna")
    await retention.take(*named(await retention.announced(), "RecordAnchored"))
    retention.clock.advance(start_of(date(2031, 11, 25)) - retention.clock.now())
    prepares = named(await retention.sweep(), "PurgePrepare")
    [prepare] = [command for command in prepares if command.holder == "retention"]
    await retention.take(prepare)
    [result] = named(await retention.announced(), "PurgeResult")
    await retention.take(result)
    [commit] = named(await retention.announced(), "PurgeCommit")
    await retention.take(commit)
    [result] = named(await retention.announced(), "PurgeResult")
    assert result.counts.erased == 1
    await retention.take(result)
    assert await retention.pool.fetchval("SELECT count(*) FROM rights_case") == 0


# Crashes.


async def test_a_crash_after_the_package_is_laid_gives_one_answer_all_the_same(
    retention: Retention, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collected(retention, exports)
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    await retention.rights.approve(retention.pool, "r-1", by="bo")
    await retention.announced()

    async def dies(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr("retention.rights_store.keep", dies)
        with pytest.raises(ConnectionError):
            await sweep(retention)
    assert (await case(retention)).state == "approved"
    assert await retention.announced() == []
    announced = await sweep(retention) + await sweep(retention)
    [mail] = named(announced, "MessageRequested")
    link = mail.params["link"].removeprefix("https://answers.example/r/")
    assert await retention.answers.fetch(retention.pool, link)


async def test_sweeps_at_once_answer_once(retention: Retention) -> None:
    await opened(retention, "erase")
    await retention.rights.decide(retention.pool, "r-1", by="anna")
    await retention.rights.approve(retention.pool, "r-1", by="bo")
    await asyncio.gather(*(retention.answers.sweep(retention.pool) for _ in range(4)))
    assert len(named(await retention.announced(), "MessageRequested")) == 1


async def test_who_is_in_no_record_is_told_so_by_one_person(retention: Retention) -> None:
    await opened(retention, "access", subjects=("s-9",))
    assert (await case(retention)).state == "open"
    decided = await retention.rights.decide(retention.pool, "r-1", by="anna")
    assert (decided.state, decided.four_eyes) == ("approved", False)
    await retention.announced()
    announced = await sweep(retention)
    assert steps(announced) == [("answer", "answered"), ("close", "closed")]
    [mail] = named(announced, "MessageRequested")
    assert mail.params["answer"].startswith("Utkast i molnguiden: kan inte knytas till personen")
    assert "Vi har inga uppgifter om er i: " in mail.params["answer"]
    assert "link" not in mail.params
