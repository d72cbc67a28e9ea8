"""Where sealed copies of personal data lie for a short while: a folder, or a store like S3."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import obstore
from obstore.store import from_url


@dataclass(slots=True)
class Exports:
    """The store that retention and the holders share; nothing in it can be read without a key.

    Calls go through threads of ours, not obstore's coroutines, which end in a thread of their own
    and crash an interpreter that is just coming down (PyO3/pyo3-async-runtimes issue 40).

    Attributes:
        url: ``file:///folder`` or ``s3://bucket/path``, with credentials in ``AWS_*`` variables.
    """

    url: str
    _files: Any = field(init=False)

    def __post_init__(self) -> None:
        """Open the store; a folder is made if it is not there."""
        is_folder = self.url.startswith("file://")
        self._files = from_url(self.url, mkdir=True) if is_folder else from_url(self.url)

    async def put(self, name: str, body: bytes) -> None:
        """Lay an object there, in the place of one of the same name."""
        await asyncio.to_thread(obstore.put, self._files, name, body)

    async def get(self, name: str) -> bytes | None:
        """Return an object; None if there is none of that name."""

        def read() -> bytes | None:
            try:
                return bytes(obstore.get(self._files, name).bytes())
            except FileNotFoundError:
                return None

        return await asyncio.to_thread(read)

    async def delete(self, name: str) -> None:
        """Delete an object, if it is there."""

        def remove() -> None:
            with suppress(FileNotFoundError):
                obstore.delete(self._files, name)

        await asyncio.to_thread(remove)
