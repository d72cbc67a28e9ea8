"""Programs that check a log which their authors never saw, unmodified and pinned by go/go.sum."""

import base64
import hashlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import httpx
import pytest

from audit_log.merkle import EMPTY_ROOT

WITNESS = "witness.test/w1"

_MODULE = Path(__file__).parent / "go"
_PACKAGES = {
    "gofakes3": "github.com/johannesboyne/gofakes3/cmd/gofakes3",
    "fsck": "github.com/transparency-dev/tessera/cmd/fsck",
    "litewitness": "filippo.io/torchwood/cmd/litewitness",
    "merkle": "./cmd/merkle",
    "spicy": "filippo.io/torchwood/cmd/spicy",
    "sumdb": "./cmd/sumdb",
}
_BUILD = 900.0  # seconds: a first build downloads and compiles everything
_OLDEST = 26  # as in go.mod
_RUN = 120.0
_START = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a program found; true if it calls the log sound.

    Attributes:
        found: the figures it gave: ``size``, and ``inclusion`` and ``consistency`` of our two.
        said: all that it printed.
    """

    ok: bool
    found: dict[str, int] = field(default_factory=dict)
    said: str = ""

    def __bool__(self) -> bool:
        return self.ok


def go_tool(name: str) -> Path:
    """Return the program *name*, built unless that was done before from the same sources."""
    go = _go()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gallra" / f"foreign-{_version()}"
    program = folder / name
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as fresh:
            built = Path(fresh) / name
            command = [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o", built]
            environment = {**os.environ, "CGO_ENABLED": "0"}
            subprocess.run(
                [*command, _PACKAGES[name]],
                cwd=_MODULE,
                env=environment,
                check=True,
                timeout=_BUILD,
            )
            built.replace(program)  # whole or not at all, whoever else builds it now
    return program


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        _absent("Go is not installed")
    # In the module's folder, where a Go that may fetches the one that go.mod asks for.
    asked = subprocess.run(
        [go, "version"], cwd=_MODULE, capture_output=True, text=True, check=False
    )
    version = re.search(r"go1\.(\d+)", asked.stdout)
    if asked.returncode or version is None or int(version[1]) < _OLDEST:
        _absent(f"Go is older than 1.{_OLDEST}")
    return go


def _absent(what: str) -> NoReturn:
    """Skip the test, but in CI, which brings all that is needed."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def _version() -> str:
    """Return a digest of whatever decides what is built."""
    digest = hashlib.sha256()
    for path in sorted(_MODULE.rglob("*")):
        if path.suffix in {".go", ".mod", ".sum"}:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(_MODULE)} {content}\n".encode())
    return digest.hexdigest()[:16]


def fsck(url: str, vkey: str) -> Verdict:
    """Let Tessera's fsck read the whole log at *url*, which ends in /log, and rebuild its tree.

    Only what it prints tells: fsck 1.0.4 exits with 0 on damage too.  It has four workers, because
    each damaged tile ends one, and with none left it would wait for ever.
    """
    with TemporaryDirectory() as folder:
        key = Path(folder) / "vkey"
        key.write_text(vkey.strip())
        _, said = _run("fsck", f"--storage_url={url}", f"--public_key={key}", "-N=4", "--ui=false")
    success = re.search(r"Successfully fsck'd log with size (\d+) and root ", said)
    failed = success is None or "fsck failed" in said
    found = {} if success is None else {"size": int(success[1])}
    return Verdict(not failed, found, said)


def sumdb(url: str, vkey: str, old: str | None = None) -> Verdict:
    """Check the log at *url* with golang.org/x/mod/sumdb; *old* is an older signed checkpoint.

    Beyond 2000 entries it reads 500 of them: only fsck sees every single one.
    """
    return _ours("sumdb", url, vkey, old)


def merkle(url: str, vkey: str, old: str | None = None) -> Verdict:
    """Check the log at *url* as :func:`sumdb` does, with the libraries of transparency-dev."""
    return _ours("merkle", url, vkey, old)


def _ours(name: str, url: str, vkey: str, old: str | None) -> Verdict:
    with TemporaryDirectory() as folder:
        options = [f"-url={url}", f"-vkey={vkey.strip()}"]
        if old is not None:
            path = Path(folder) / "old"
            path.write_text(old)
            options.append(f"-old={path}")
        code, said = _run(name, *options)
    success = re.search(rf"^{name}: ok((?: \w+=\d+)+)$", said, re.MULTILINE)
    if code or success is None:
        return Verdict(ok=False, said=said)
    found = {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", success[1])}
    return Verdict(ok=True, found=found, said=said)


def _run(name: str, *options: str) -> tuple[int | None, str]:
    """Return the exit code and all output; no code if it had to be ended."""
    command = [go_tool(name), *options]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_RUN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"{name} did not end within {_RUN:.0f} s"
    return done.returncode, done.stdout


@contextmanager
def litewitness(folder: Path, origin: str, vkey: str) -> Iterator[tuple[str, str]]:
    """Run torchwood's litewitness in *folder*; lend its address and its verifier key.

    It knows one log, empty so far: that of *origin*, which signs with *vkey*.
    """
    program = go_tool("litewitness")
    if shutil.which("ssh-agent") is None:
        _absent("ssh-agent is not installed")  # litewitness takes its key from nothing else
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    # Paths are relative, as that of a socket may not be long.
    options = ["-name", WITNESS, "-db", "witness.db", "-ssh-agent", "agent.sock"]
    with _agent(folder) as fingerprint:
        options += ["-key", fingerprint, "-listen", f"127.0.0.1:{port}"]
        log = folder / "witness.log"
        with log.open("w") as output, _process([program, *options], folder, output) as process:
            vkey_of_witness = _key_shown(url, process, log)
            _introduce(folder / "witness.db", origin, vkey.strip())
            yield url, vkey_of_witness


def _key_shown(url: str, process: subprocess.Popen[str], log: Path) -> str:
    """Return the key on the witness's front page, as soon as it serves one."""
    deadline = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            page = httpx.get(url, timeout=_START).text
        except httpx.TransportError:
            time.sleep(0.02)
            continue
        if shown := re.search(rf"{re.escape(WITNESS)}\+[0-9a-f]{{8}}\+[\w+/=]+", page):
            return shown[0]
        break
    pytest.fail(f"litewitness did not start: {log.read_text()}")


def _introduce(database: Path, origin: str, vkey: str) -> None:
    """Add a log, row by row as witnessctl does."""
    root = base64.b64encode(EMPTY_ROOT).decode()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, root))
        connection.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))


@contextmanager
def _agent(folder: Path) -> Iterator[str]:
    """Run an ssh-agent on agent.sock in *folder* with a new key; lend the key's fingerprint."""
    with _process(["ssh-agent", "-D", "-a", "agent.sock"], folder, subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # which it prints once it listens
        _call(folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "witness.key")
        _call(folder, "ssh-add", "-q", "witness.key")
        yield _call(folder, "ssh-keygen", "-l", "-f", "witness.key.pub").split()[1]


def _call(folder: Path, *command: str) -> str:
    environment = {**os.environ, "SSH_AUTH_SOCK": "agent.sock"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_START,
    ).stdout


@contextmanager
def _process(
    command: Sequence[str | Path], folder: Path, output: object
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_START)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
