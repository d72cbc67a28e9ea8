"""Processes of the local stack: started, watched, restarted and stopped from one place."""

import ctypes
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class StackError(Exception):
    """The stack cannot be started; the text says what to do."""


@dataclass(slots=True)
class Part:
    """One process of the stack.

    Attributes:
        ready: Returns True once the part does its work; called until it does.
        stop_with: The signal that makes it stop in good order.
        env: Its whole environment; None for ours.
        user: System user it runs as, where it may not run as ours.
        patience: Seconds that it may take to become ready, or to stop.
    """

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    env: Mapping[str, str] | None = None
    stop_with: signal.Signals = signal.SIGTERM
    user: str | None = None
    patience: float = 60.0
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0

    def start(self) -> None:
        """Start the process; it dies with ours, however ours dies.

        To be called from the main thread: Linux watches the thread that started a child.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own commands
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                user=self.user,
                group=self.user and pwd.getpwnam(self.user).pw_gid,
                start_new_session=True,  # Ctrl-C is ours to hand on, in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call, prepared beforehand
            )

    def wait_ready(self) -> None:
        """Wait until the part does its work.

        Raises:
            StackError: it ended, or took too long.
        """
        deadline = time.monotonic() + self.patience
        while not self.ready():
            if not self.alive:
                raise StackError(
                    f"{self.name} ended while it started; see {self.log}{self._tail()}"
                )
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} was not ready in {self.patience:.0f} s; see {self.log}"
                )
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid if self.process is not None else 0

    def stop(self) -> None:
        """Stop in good order; by force if that takes too long."""
        if self.process is None or not self.alive:
            return
        self.process.send_signal(self.stop_with)
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        return "".join(f"\n    {line}" for line in lines)


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
