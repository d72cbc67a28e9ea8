"""What an operator may set, read once at start from ``GALLRA_*`` variables."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from shared.events.model import Email
from shared.settings import Seconds, ServiceSettings, listed
from shared.wording import Language

Addresses = Annotated[tuple[Email, ...], BeforeValidator(listed)]
"""Addresses of mail, written with commas between them."""


class Settings(ServiceSettings):
    """Configuration of the retention service."""

    policies: Path = Field(description="Folder with one file for each category, and holders.yaml.")
    audit_log_url: str = Field(
        default="http://127.0.0.1:8081", description="Where reports look up master-log entries."
    )
    audit_log_token: SecretStr | None = Field(
        default=None, description="Bearer token by which it may count who looked at entries."
    )
    entity: str = Field(
        default="provider-ab", description="Legal entity that answers requests of persons."
    )
    exports: str = Field(
        default="",
        pattern=r"^((file|s3)://.+)?$",
        description="Store for sealed copies of personal data, shared with the holders; none:"
        " people collect copies by hand.",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^\s/]+$",
        description="Where the links in answers to requests lead.",
    )
    fetch_within: Seconds = Field(
        default=timedelta(days=14), description="How long a copy of personal data can be fetched."
    )
    report_to: Addresses = Field(
        default=(), description="Who is sent the report of each month; none: nobody."
    )
    report_language: Language = "en"
    console_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^\s/]+$",
        description="Where people read reports.",
    )
    sweep_every: Seconds = Field(
        default=timedelta(minutes=1), description="Pause between searches for what is due."
    )
    sweep_limit: int = Field(default=50_000, gt=0, description="Purges ordered per search.")
    answer_within: Seconds = Field(
        default=timedelta(minutes=2), description="A holder silent for longer is asked again."
    )
    alert_after: Seconds = Field(
        default=timedelta(minutes=15), description="A holder silent for longer is on-call's."
    )
    canary_every: Seconds = Field(
        default=timedelta(days=1), description="How long after a canary the next one is planted."
    )
    canary_limit: Seconds | None = Field(
        default=None,
        description="A canary that takes longer is on-call's; none: the grace of its category.",
    )
    guard_factor: float = Field(
        default=1.5, ge=1, description="A day's purges may be so many times their forecast."
    )
    guard_floor: int = Field(
        default=100, ge=0, description="So few purges of a category in a day are never frozen."
    )
    guard_share: float = Field(
        default=0.25, gt=0, le=1, description="A day's purges may be so much of a category."
    )
