"""What every group of commands says and reads in the same way."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer

Data = Annotated[Path, typer.Option("--data", help="Folder that holds all state of the stack.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_DATA: Final = Path(".data")

T = TypeVar("T")


def fail(text: object, code: int = 1) -> NoReturn:
    """Say why it did not work, and end with *code*."""
    print(f"gallra: {text}", file=sys.stderr)
    raise typer.Exit(code)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns; if it cannot be done, say why and end.

    The call was wrong (2) where what was asked for lies beyond the log; else it did not work (1).
    """
    import httpx  # noqa: PLC0415

    from gallra.stackfile import NoStackError  # noqa: PLC0415
    from shared.errors import Rejected  # noqa: PLC0415

    try:
        return asyncio.run(work)
    except Rejected as error:
        fail(error, 2 if error.code == "beyond-the-log" else 1)
    except (NoStackError, OSError, httpx.HTTPError) as error:
        fail(error)
