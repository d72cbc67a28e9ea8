"""`gallra up`, as its user meets it: from empty, warm, taken, killed."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import PATIENCE

from gallra.stack import kafka
from gallra.stack.infrastructure import Ports, check_free, infrastructure
from gallra.stack.processes import StackError


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gallra", "up", "--data", str(folder), "--port", "0", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_up(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    for line in up.stdout:
        if "All addresses" in line:
            return
    assert up.stderr is not None
    pytest.fail(f"it did not come up: {up.stderr.read()}")


def pids_of(folder: Path) -> list[int]:
    content = json.loads((folder / "stack.json").read_text())
    assert set(content) == {"kafka", "databases", "smtp", "mail_api", "urls", "pids"}
    return list(content["pids"].values())


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not any(runs(pid) for pid in pids):
            return
        time.sleep(0.1)
    pytest.fail(f"still running: {[pid for pid in pids if runs(pid)]}")


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_from_empty_then_held_then_stopped_then_warm(folder: Path) -> None:
    with start(folder) as up:
        wait_until_up(up)
        pids = pids_of(folder)
        assert (folder / "stack.json").stat().st_mode & 0o077 == 0

        second = start(folder)
        _, said = second.communicate(timeout=PATIENCE)
        assert second.returncode == 3
        assert f"process {up.pid}" in said

        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE) == 0
        assert not any(runs(pid) for pid in pids)
        assert not (folder / "stack.json").exists()
    with start(folder) as again:
        wait_until_up(again)
        again.terminate()
        assert again.wait(PATIENCE) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a dead parent")
def test_no_child_outlives_a_killed_parent(folder: Path) -> None:
    with start(folder) as up:
        wait_until_up(up)
        pids = pids_of(folder)
        os.kill(up.pid, signal.SIGKILL)
        wait_until_gone(pids)


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port}, meant for Kafka, is taken"):
            check_free(port, "Kafka")
        ports = Ports(*[port] * len(Ports.__slots__))
        with pytest.raises(StackError, match="is taken"), infrastructure(folder, ports):
            pass


def test_a_changed_jar_is_refused(folder: Path) -> None:
    first, *_ = kafka.LOCK.read_text().splitlines()
    coordinate, _ = first.split()
    lock = folder / "kafka.lock"
    lock.write_text(f"{coordinate} {hashlib.sha256(b'something else').hexdigest()}\n")
    with pytest.raises(StackError, match="sha256 differs"):
        kafka.fetch(lock, folder, say=lambda _: None)
    assert not list(folder.rglob("libs/*.jar"))


def test_the_lock_holds_no_addresses() -> None:
    assert "://" not in kafka.LOCK.read_text()
