"""Where the parts of a running stack are: ``DIR/stack.json``, as ``gallra up`` writes it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class NoStackError(Exception):
    """No stack is up on the folder; the text says how to start one."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of the parts.

    Attributes:
        databases: Owner's address of each service's database, by package name.
        urls: Of the services and the console by package name, and of the identity provider.
    """

    kafka: str
    databases: dict[str, str]
    smtp: str
    mail_api: str
    urls: dict[str, str]
    pids: dict[str, int]


def read(folder: Path) -> Stack:
    """Return the stack that is up on *folder*.

    Raises:
        NoStackError: there is none.
    """
    try:
        content: dict[str, Any] = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoStackError(
            f"no stack is up on {folder}: start one with `gallra up --data {folder}`"
        ) from None
    return Stack(**{name: content[name] for name in Stack.__slots__})
