"""Structured logs, one JSON object a line, that cannot hold personal data.

What is logged is an event's name and fields from an allow-list.  Of an exception we log its type,
its code and where it was raised, not its text: drivers quote the values they choke on.
"""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, cast

import structlog
from aiokafka.errors import KafkaError
from opentelemetry import trace

from shared.errors import Rejected
from shared.settings import SettingsError

FIELDS: Final = frozenset(
    {
        "event", "level", "logger", "timestamp", "service", "trace_id",
        "topic", "partition", "offset", "group", "event_id", "event_type", "code", "reason",
        "job", "job_id", "chunk_id", "category", "holder", "size", "count", "seconds", "delay",
        "state", "error", "sqlstate", "where", "address", "version", "names",
        "witness",
    }
)  # fmt: skip

_SPEAKABLE: Final = (Rejected, SettingsError, OSError, KafkaError)


def configure(service: str, level: str) -> None:
    """Log to standard output in this process, and make the libraries do the same."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace_id,
        _exception,
        _allowed(service),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # Its errors are tracebacks with the exception's text in them; we log our own.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    # It warns of each turn that it passes over while the one before still runs, which is meant.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    for own in ("shared", service.replace("-", "_")):
        logging.getLogger(own).setLevel(level)


def get(name: str) -> Any:
    """Return a logger; keyword arguments outside :data:`FIELDS` are dropped."""
    return structlog.stdlib.get_logger(name)


def describe(error: BaseException) -> dict[str, str]:
    """Return what may be said of an exception in a log or an alert."""
    said = {"error": type(error).__name__}
    if sqlstate := getattr(error, "sqlstate", None):
        said["sqlstate"] = str(sqlstate)
    if isinstance(error, _SPEAKABLE):
        said["reason"] = str(error)
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        said["where"] = " < ".join(
            f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in reversed(frames[-6:])
        )
    return said


def _foreign(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep a library's message template and drop its arguments, which may be anything."""
    record: logging.LogRecord = event["_record"]
    # Where an exception is logged as the message itself, its text is as unsafe as an argument.
    event["event"] = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    if record.exc_info:
        event["exc_info"] = record.exc_info
    return event


def _trace_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def _exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    info: Any = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, tuple):
        error = cast("tuple[Any, Any, Any]", error)[1]
    if isinstance(error, BaseException):
        event.update(describe(error))
    return event


def _allowed(service: str) -> structlog.typing.Processor:
    def keep(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        kept = {k: v for k, v in event.items() if k in FIELDS or k.startswith("_")}
        return {**kept, "service": service}

    return keep
