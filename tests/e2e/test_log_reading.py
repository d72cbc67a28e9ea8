"""What compliance, auditors and tenants read from a running log."""

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from tests.conftest import Database, copy_of, new_prefix
from tests.live import ORIGIN, Live, action, eventually, live

from audit_log.checkpoint import Signer
from gallra.stack.infrastructure import Infrastructure

COUNT = 450


@contextmanager
def filled(infra: Infrastructure) -> Iterator[Live]:
    """Run a log with COUNT events of five customers, two hours after another, the oldest first."""
    with copy_of(infra, "audit_log") as database, live(infra, database, new_prefix(infra)) as log:
        log.publish([(made(n), {"ce_time": instant(n)}) for n in range(COUNT)])
        log.service.reaches(COUNT)
        yield log


@pytest.fixture(scope="module")
def shown(infra: Infrastructure) -> Iterator[Live]:
    """A log for tests that only read."""
    with filled(infra) as log:
        yield log


@pytest.fixture
def log(infra: Infrastructure) -> Iterator[Live]:
    """A log for one test."""
    with filled(infra) as log:
        yield log


def instant(number: int) -> str:
    day, hour = divmod(2 * number, 24)
    month, day = (10, day + 1) if day < 31 else (11, day - 30)
    return f"2026-{month:02}-{day:02}T{hour:02}:00:00Z"


def made(number: int) -> dict[str, Any]:
    verb = ("create", "delete", "update")[number % 3]
    return action(
        number,
        f"c-{number % 5}",
        action=f"compute.server.{verb}" if number % 2 else f"network.port.{verb}",
        outcome="denied" if number % 10 == 0 else "success",
        origin={"channel": "portal" if number % 4 else "api", "ip": "192.0.2.1"},
    )


def found(log: Live, **params: str) -> list[dict[str, Any]]:
    """Return all entries that match, page by page."""
    entries: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = log.service.get("/api/v1/entries", **params, **cursor).raise_for_status().json()
        entries += answer["entries"]
        if answer["cursor"] is None:
            return entries
        assert len(answer["entries"]) == 100
        cursor = {"cursor": answer["cursor"]}


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"customer": "c-2"}, lambda n: n % 5 == 2),
        ({"actor": "u-3"}, lambda n: n % 7 == 3),
        ({"action": "network.port.create"}, lambda n: n % 2 == 0 and n % 3 == 0),
        ({"action": "compute."}, lambda n: n % 2 == 1),
        ({"target": "srv-17"}, lambda n: n == 17),
        ({"outcome": "denied", "action": "network"}, lambda n: n % 10 == 0),
        ({"channel": "api", "customer": "c-0"}, lambda n: n % 20 == 0),
        ({"from": instant(100), "to": instant(200), "channel": "portal"},
         lambda n: 100 <= n < 200 and n % 4),
    ],
)  # fmt: skip
def test_people_find_entries_newest_first(shown: Live, params: dict[str, str], wanted: Any) -> None:
    numbers = [n for n in range(COUNT) if wanted(n)]
    entries = found(shown, **params)
    assert [e["target"] for e in entries] == [f"srv-{n}" for n in reversed(numbers)]
    assert all(e["at"] == instant(n) for e, n in zip(entries, reversed(numbers), strict=True))


def test_new_entries_do_not_disturb_a_page(log: Live) -> None:
    first = log.service.get("/api/v1/entries", action="compute.").json()
    log.publish([(made(n), {"ce_time": "2026-11-20T00:00:00Z"}) for n in range(40)])
    log.service.reaches(COUNT + 40)
    second = log.service.get("/api/v1/entries", action="compute.", cursor=first["cursor"]).json()
    told = [e["index"] for e in first["entries"] + second["entries"]]
    assert len(told) == len(set(told)) == 200


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "x"}, {"cursor": "1-" + "9" * 40}, {"from": "yesterday"},
        {"to": "2026-01-01T00"}, {"customer_id": "c-1"},
    ],
)  # fmt: skip
def test_what_cannot_be_searched_for_is_said(shown: Live, params: dict[str, str]) -> None:
    answer = shown.service.get("/api/v1/entries", **params)
    assert answer.status_code == 400, answer.text


def test_who_reads_personal_content_is_logged(log: Live) -> None:
    before = log.service.size()
    index = found(log, target="srv-44")[0]["index"]
    shown = log.service.get(f"/api/v1/entries/{index}").json()
    assert shown["content"]["parts"]["who"]["value"]["actor"]["name"] == "Kim Lind"
    assert shown["content"]["parts"]["network"]["value"] == {}, "the notice does not list it"
    log.service.reaches(before + 2)
    notes = found(log, action="audit.access.v1")
    assert len(notes) == 2
    note = log.service.get(f"/api/v1/entries/{notes[0]['index']}").json()
    assert note["kind"] == "access"
    assert note["content"]["parts"]["what"]["value"]["purpose"] == "entry"


def test_a_correction_stands_beside_what_it_corrects(log: Live) -> None:
    path = f"{log.service.url}/api/v1/entries/7/corrections"
    said = {"note": "it was Ada, on Kim's session", "by": "compliance-1"}
    added = httpx.post(path, json=said).json()["index"]
    assert log.service.get("/api/v1/entries/7").json()["corrected_by"] == [added]
    log.service.reaches(added + 1)
    shown = log.service.get(f"/api/v1/entries/{added}").json()
    assert shown["kind"] == "correction"
    assert httpx.post(path, json={"note": "x"}).status_code == 400
    nowhere = f"{log.service.url}/api/v1/entries/99999/corrections"
    assert httpx.post(nowhere, json=said).status_code == 404


def test_everything_is_exported_in_three_forms(shown: Live, tmp_path: Path) -> None:
    wanted = [n for n in range(COUNT) if n % 5 == 1]
    sheet, lines, siem = (tmp_path / name for name in ("a.csv", "a.jsonl", "a.ocsf"))
    for form, path in (("csv", sheet), ("jsonl", lines), ("ocsf", siem)):
        shown.gallra("search", "--customer", "c-1", "--format", form, "--out", str(path))
    rows = list(csv.DictReader(io.StringIO(sheet.read_text())))
    assert [row["target"] for row in rows] == [f"srv-{n}" for n in reversed(wanted)]
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [t["parts"]["what"]["data"]["request"]["id"] for t in told] == [
        f"req-{n}" for n in reversed(wanted)
    ]
    events = [json.loads(line) for line in siem.read_text().splitlines()]
    assert len(events) == len(wanted)
    assert {e["class_uid"] for e in events} == {6003}
    counted = shown.service.get("/api/v1/exports", customer="c-1", format="csv")
    assert counted.headers["x-total-count"] == str(len(wanted))


def test_an_evidence_package_is_checked_offline(shown: Live, tmp_path: Path) -> None:
    package = tmp_path / "evidence.zip"
    shown.gallra(
        "search", "--customer", "c-3", "--action", "compute.server.delete",
        "--format", "evidence", "--out", str(package),
    )  # fmt: skip
    said = shown.gallra("verify", "--offline", str(package), "--vkey", shown.vkey)
    assert "intact" in said
    assert str(len(found(shown, customer="c-3", action="compute.server.delete"))) in said
    body = bytearray(package.read_bytes())
    body[len(body) // 3] ^= 1
    package.write_bytes(body)
    shown.gallra("verify", "--offline", str(package), "--vkey", shown.vkey, code=1)
    assert zipfile.is_zipfile(package)


def test_a_tenant_finds_its_entries_and_what_is_missing(log: Live, tmp_path: Path) -> None:
    key = tmp_path / "c-4.json"
    log.gallra("tenant-key", "c-4", "--out", str(key))
    assert key.stat().st_mode & 0o077 == 0
    told = json.loads(log.gallra("my-entries", "--key", str(key), "--json"))
    mine = {str(n) for n in range(COUNT // 5)}
    assert (set(told["found"]), told["complete"]) == (mine, True)
    own = sorted(e["index"] for e in found(log, customer="c-4"))
    assert sorted(told["found"].values()) == own

    # A log whose keeper leaves one of the tenant's entries out, numbering on after it.
    asyncio.run(
        run(log.database, "UPDATE tenant SET entries = entries + 1 WHERE customer_id='c-4'")
    )
    before = log.service.size()
    log.publish([(action(9000, "c-4"), {})])
    log.service.reaches(before + 1)
    told = json.loads(log.gallra("my-entries", "--key", str(key), "--json", code=4))
    assert told["missing"] == [COUNT // 5]


def test_a_tenant_notices_that_its_last_entry_is_missing(
    infra: Infrastructure, audit_db: Database, topic_prefix: str, tmp_path: Path
) -> None:
    with live(infra, audit_db, topic_prefix, GALLRA_TENANT_HEADS_EVERY="1") as log:
        log.publish([(action(n), {}) for n in range(5)])
        eventually(lambda: log.service.size() > 5)
        key = tmp_path / "key.json"
        log.gallra("tenant-key", "c-1", "--out", str(key))
        told = json.loads(log.gallra("my-entries", "--key", str(key), "--json"))
        assert (told["told"], told["missing"]) == (5, [])
        # One is told of that nobody logged.
        asyncio.run(run(audit_db, "UPDATE tenant SET entries = entries + 1"))
        eventually(lambda: log.service.size() > 6)
        told = json.loads(log.gallra("my-entries", "--key", str(key), "--json", code=4))
        assert (told["told"], told["missing"]) == (6, [5])


def test_a_mirror_stands_in_for_the_log(log: Live, tmp_path: Path) -> None:
    target = f"file://{tmp_path}/mirror"
    assert f"{COUNT} entries" in log.gallra("mirror", target)
    assert "intact" in log.gallra("verify", "--url", target, "--vkey", log.vkey)
    log.publish([(action(n), {}) for n in range(200)])
    log.service.reaches(COUNT + 200)
    assert f"{COUNT + 200} entries" in log.gallra("mirror", target)
    assert "intact" in log.gallra("verify", "--url", target, "--vkey", log.vkey)
    for path in ("tile/0/000", "tile/entries/001", "tile/0/002.p/138"):
        served = log.service.get(f"/log/{path}")
        assert served.content == (tmp_path / "mirror" / path).read_bytes(), path
    bundle = tmp_path / "mirror" / "tile" / "entries" / "001"
    body = bytearray(bundle.read_bytes())
    body[-1] ^= 1
    bundle.write_bytes(body)
    log.gallra("verify", "--url", target, "--vkey", log.vkey, code=1)


def test_the_whole_a_part_and_the_rest_are_verified_from_the_command_line(
    log: Live, tmp_path: Path
) -> None:
    kept = tmp_path / "checkpoint"
    kept.write_text(log.service.get("/log/checkpoint").text)
    log.publish([(action(n), {}) for n in range(300)])
    log.service.reaches(COUNT + 300)
    told = log.gallra("verify")
    assert "intact" in told
    assert "complete" in told
    for more in (["--from", "256", "--to", "600"], ["--since", str(kept)],
                 ["--state", str(tmp_path / "state")]):  # fmt: skip
        assert json.loads(log.gallra("verify", *more, "--json"))["intact"], more
    assert not (tmp_path / "state").exists(), "nothing is left to resume"


def test_a_part_is_verified_as_asked_whether_or_not_it_can_be_resumed(
    shown: Live, tmp_path: Path
) -> None:
    beyond = str(shown.service.size() + 1000)  # whatever the notes of earlier looks still add
    forged = tmp_path / "forged"
    forged.write_text(Signer(ORIGIN, shown.seed).sign(COUNT - 1, bytes(32)))
    for resumable in ([], ["--state", str(tmp_path / "state")]):
        part = ["--from", "256", "--to", "400", "--json", *resumable]
        assert json.loads(shown.gallra("verify", *part))["with content"] == 400 - 256
        said = shown.gallra("verify", "--since", str(forged), *resumable, code=1)
        assert f"does not extend the checkpoint of {COUNT - 1} entries" in said
        said = shown.gallra("verify", "--from", beyond, *resumable, code=2)
        assert "entries are signed" in said
        shown.gallra("verify", "--from", "300", "--to", "300", *resumable, code=2)
        assert not (tmp_path / "state").exists()


def test_tiles_are_cached_and_asked_for_again(shown: Live) -> None:
    url = shown.service.url
    tile = httpx.get(f"{url}/log/tile/0/000")
    assert "immutable" in tile.headers["cache-control"]
    again = httpx.get(f"{url}/log/tile/0/000", headers={"if-none-match": tile.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    checkpoint = httpx.get(f"{url}/log/checkpoint")
    assert "immutable" not in checkpoint.headers["cache-control"]
    known = {"if-none-match": f'W/"other", {checkpoint.headers["etag"]}'}
    assert httpx.get(f"{url}/log/checkpoint", headers=known).status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "0/001.p/255", "0/999", "entries/001.p/256", "9/000", "entries/x999/000", "0/000.p/0",
        "0/000.p/256", "0/0", "0/1000", "0/x000/000", "64/000", "-1/000", "entries", "",
        "0/%00", "0/x999/" * 300 + "000", "entries/000.p/x",
    ],
)  # fmt: skip
def test_a_tile_that_is_not_there_is_said_so(shown: Live, path: str) -> None:
    assert httpx.get(f"{shown.service.url}/log/tile/{path}").status_code == 404


async def run(database: Database, statement: str) -> None:
    connection = await asyncpg.connect(database.owner)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
