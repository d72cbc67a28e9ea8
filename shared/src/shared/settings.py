"""What an operator may set: ``GALLRA_*`` in the environment, read once at start.

A secret may be given as ``GALLRA_<NAME>`` or, better, as the path of a file that holds it in
``GALLRA_<NAME>_FILE``.  A name that nobody reads is an error: it is a misspelt one.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX: Final = "GALLRA_"


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        raise ValueError("a number of seconds is needed") from None


Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]
"""A length of time, written as a number of seconds."""


def listed(value: object) -> object:
    """Return the names in *value*, if it is written with commas between them."""
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(",") if name.strip())


Names = Annotated[tuple[str, ...], BeforeValidator(listed)]
"""Names, written with commas between them."""


class SettingsError(Exception):
    """The environment is not one that the service can start in; the text says what to change."""


class ProcessSettings(BaseSettings):
    """What every process with a database and a web app needs to know."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    database: SecretStr = Field(description="libpq address of the process's own database.")
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=1, le=65535)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from :meth:`read` alone."""
        return (init_settings,)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings in *environ*.

        Raises:
            SettingsError: a name is unknown, a value is missing or unfit, a file is unreadable.
        """
        values: dict[str, Any] = {}
        for name, value in environ.items():
            if not name.startswith(PREFIX):
                continue
            field = name.removeprefix(PREFIX).lower()
            if field not in cls.model_fields and field.endswith("_file"):
                field, value = field.removesuffix("_file"), _content(name, value)  # noqa: PLW2901
            if field not in cls.model_fields:
                known = ", ".join(sorted(PREFIX + f.upper() for f in cls.model_fields))
                raise SettingsError(f"{name} is not a setting of this service; it reads {known}")
            if field in values:
                raise SettingsError(f"{PREFIX}{field.upper()} is set twice, also as a file")
            values[field] = value
        try:
            return cls(**values)
        except ValidationError as error:
            problems = (
                f"{PREFIX}{'_'.join(map(str, p['loc'])).upper()}: {p['msg']}"
                for p in error.errors(include_input=False, include_url=False)
            )
            raise SettingsError("; ".join(problems)) from None


class ServiceSettings(ProcessSettings):
    """What every service needs to know."""

    kafka: str = Field(default="127.0.0.1:9092", description="Bootstrap servers.")
    topic_prefix: str = Field(
        default="", description="Stands before the name of every topic and consumer group."
    )
    instance: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Name of this process among its replicas, the same after a restart.",
    )
    token_keys: str = Field(
        default="", description="JWK Set of the keys whose bearer tokens are trusted (RFC 7517)."
    )
    without_token: Names = Field(
        default=(), description="Roles of who brings no bearer token; for a machine of one's own."
    )


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name} names a file that cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name} names a file that is not UTF-8") from None
