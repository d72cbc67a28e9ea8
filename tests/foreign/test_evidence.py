"""An auditor checks an evidence package by docs/verifying.md, with nothing of ours."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import asyncpg
from tests.conftest import Database
from tests.foreign.tools import go_tool
from tests.live import action, live, new_seed

from audit_log.checkpoint import Signer
from gallra.stack.infrastructure import Infrastructure

OTHER = Signer("test.example/log", new_seed()).verifier.vkey
PAGE = Path(__file__).parents[2] / "docs" / "verifying.md"


def commands() -> list[str]:
    """Return the commands of the page, without the indentation of their list."""
    blocks = re.findall(r"^   ```sh\n(.*?)^   ```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in blocks]


def check(package: Path, key: str, folder: Path) -> str | None:
    """Run the commands on *package*; return what they print, None if one of them refuses."""
    folder.mkdir()
    spicy = go_tool("spicy").parent
    path = f"{spicy}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PACKAGE": str(package), "KEY": key}
    said = ""
    for command in commands():
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return None
        said += done.stdout + done.stderr
    return said


async def records(database: Database) -> list[str]:
    connection = await asyncpg.connect(database.owner)
    rows = await connection.fetch("SELECT record_id FROM bucket WHERE customer_id = 'c-1'")
    await connection.close()
    return [row["record_id"] for row in rows]


def changed(package: Path, member: str, old: str, new: str) -> Path:
    """Return a copy of *package* in which a member says something else."""
    copy = package.with_stem(f"changed-{member.replace('/', '-')}")
    with ZipFile(package) as source, ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == member:
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode(), 1)
            target.writestr(name, content)
    return copy


def test_programs_of_others_check_a_package(
    infra: Infrastructure, audit_db: Database, topic_prefix: str, tmp_path: Path
) -> None:
    with live(infra, audit_db, topic_prefix) as log:
        log.publish([(action(n), {}) for n in range(300)])
        log.service.reaches(300)
        package = tmp_path / "package.zip"
        package.write_bytes(log.service.get("/api/v1/evidence", actor="u-3").content)
        said = check(package, log.vkey, tmp_path / "whole")
        assert said is not None
        assert "verified" in said
        assert said.count("is what was logged") == len(range(3, 300, 7))

        for record in asyncio.run(records(audit_db)):
            log.purge(record, "anonymise")
        left = tmp_path / "left.zip"
        left.write_bytes(log.service.get("/api/v1/evidence", target="srv-44").content)
        assert "Kim Lind" not in ZipFile(left).read("entries.jsonl").decode()
        said = check(left, log.vkey, tmp_path / "left")
        assert said is not None
        assert said.count("is what was logged") == 1

        for member, old, new in (
            ("entries.jsonl", "Kim Lind", "Kim Lund"),
            ("entries.jsonl", '"leaf":"414c', '"leaf":"414d'),
            ("proofs/3.tlog-proof", "index 3\n", "index 4\n"),
            ("proofs/3.tlog-proof", "extra Q", "extra R"),
            ("proofs/3.tlog-proof", "test.example/log\n", "test.example/lug\n"),
        ):
            forged = changed(package, member, old, new)
            folder = tmp_path / f"forged-{len(list(tmp_path.iterdir()))}"
            assert check(forged, log.vkey, folder) is None, (member, new)
        assert check(package, OTHER, tmp_path / "other") is None
