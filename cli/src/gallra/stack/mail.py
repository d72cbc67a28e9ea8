"""A mail server that delivers nowhere: it keeps what it gets and shows it.

``python -m gallra.stack.mail FOLDER SMTP_PORT HTTP_PORT``
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import uvicorn
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session
from litestar import Litestar, Response, delete, get
from litestar.datastructures import ResponseHeader, State
from litestar.exceptions import NotFoundException
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from shared.ids import new_id

_TEMPLATES: Final = Path(__file__).parent / "templates"
_LARGEST: Final = 40 * 1024 * 1024


class Sink:
    """Keeps each mail as a file, named by an id that sorts by time of arrival."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take a mail: it is on disk before the sender hears so."""
        content = envelope.content
        assert isinstance(content, bytes)  # noqa: S101 - aiosmtpd decodes only when told to
        recipients = ", ".join(envelope.rcpt_tos)
        trace = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {recipients}\r\n"
        part = self.folder / f"{new_id()}.part"
        part.write_bytes(trace.encode() + content)
        part.rename(part.with_suffix(".eml"))
        return "250 kept"

    def ids(self) -> list[str]:
        """Return the ids of all mails, newest first."""
        return sorted((path.stem for path in self.folder.glob("*.eml")), reverse=True)

    def open(self, mail_id: str) -> EmailMessage:
        """Return a mail."""
        path = self.folder / f"{mail_id}.eml"
        if not mail_id.replace("-", "").isalnum() or not path.is_file():
            raise NotFoundException("there is no such mail")
        return message_from_bytes(path.read_bytes(), policy=default)  # type: ignore[return-value]

    def summary(self, mail_id: str) -> dict[str, Any]:
        """Return what a list shows of a mail."""
        mail = self.open(mail_id)
        arrived = datetime.fromtimestamp((self.folder / f"{mail_id}.eml").stat().st_mtime, UTC)
        return {
            "id": mail_id,
            "at": arrived.isoformat(),
            "from": str(mail["X-Envelope-From"]),
            "to": str(mail["X-Envelope-To"]).split(", "),
            "subject": str(mail["Subject"] or ""),
            "message_id": str(mail["Message-ID"] or ""),
            "headers": [[name, str(value)] for name, value in mail.items()],
        }

    def full(self, mail_id: str) -> dict[str, Any]:
        """Return a mail with its text."""
        body = self.open(mail_id).get_body(("plain", "html"))
        return {**self.summary(mail_id), "text": body.get_content() if body else ""}


@get("/", include_in_schema=False, sync_to_thread=True)
def inbox(state: State) -> Template:
    """Show all mails."""
    sink: Sink = state.sink
    return Template("inbox.html", context={"mails": [sink.summary(i) for i in sink.ids()[:500]]})


@get("/mails/{mail_id:str}", include_in_schema=False, sync_to_thread=True)
def one(state: State, mail_id: str) -> Template:
    """Show a mail."""
    return Template("mail.html", context={"mail": state.sink.full(mail_id)})


@get("/api/v1/mails", sync_to_thread=True)
def mails(state: State) -> list[dict[str, Any]]:
    """Return all mails, newest first, without their text."""
    return [state.sink.summary(mail_id) for mail_id in state.sink.ids()]


@get("/api/v1/mails/{mail_id:str}", sync_to_thread=True)
def mail(state: State, mail_id: str) -> dict[str, Any]:
    """Return a mail."""
    full: dict[str, Any] = state.sink.full(mail_id)
    return full


@delete("/api/v1/mails", sync_to_thread=True)
def empty(state: State) -> None:
    """Throw all mails away."""
    for mail_id in state.sink.ids():
        (state.sink.folder / f"{mail_id}.eml").unlink(missing_ok=True)


@get("/readyz", include_in_schema=False)
async def readyz() -> Response[str]:
    """Say that mails are taken."""
    return Response("ready", media_type="text/plain")


def make_app(sink: Sink, smtp_port: int) -> Litestar:
    """Return the pages and the API, with the mail server running beside them."""

    @asynccontextmanager
    async def serving(_app: Litestar) -> AsyncGenerator[None]:
        controller: Any = UnthreadedController(
            sink,
            "127.0.0.1",
            smtp_port,
            loop=asyncio.get_running_loop(),
            data_size_limit=_LARGEST,
            enable_SMTPUTF8=True,
        )
        make_protocol = controller._factory_invoker  # noqa: SLF001 - it has no async start
        loop = asyncio.get_running_loop()
        server = await loop.create_server(make_protocol, "127.0.0.1", smtp_port)
        yield
        server.close()

    frame = Path(str(files("shared.web")))
    return Litestar(
        [
            *(inbox, one, mails, mail, empty, readyz),
            create_static_files_router("/static", [frame / "static"]),
        ],
        lifespan=[serving],
        state=State({"sink": sink}),
        template_config=TemplateConfig(
            directory=[frame / "templates", _TEMPLATES], engine=JinjaTemplateEngine
        ),
        response_headers=[
            ResponseHeader(
                name="content-security-policy",
                value="default-src 'none'; style-src 'self'; img-src data:",
            )
        ],
        logging_config=None,
        openapi_config=None,
    )


def main() -> None:
    """Run until told to stop."""
    folder, smtp_port, http_port = sys.argv[1:]
    app = make_app(Sink(Path(folder)), int(smtp_port))
    uvicorn.run(app, host="127.0.0.1", port=int(http_port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
