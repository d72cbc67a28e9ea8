"""What an operator may set, read once at start from ``GALLRA_*`` variables."""

import base64
import binascii
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from shared.addresses import normal
from shared.errors import Rejected
from shared.settings import ServiceSettings

_KEY = 32


def _key(value: SecretStr) -> SecretStr:
    try:
        size = len(base64.b64decode(value.get_secret_value(), validate=True))
    except binascii.Error:
        size = 0
    if size != _KEY:
        raise ValueError("32 bytes in base64 are needed")
    return value


def _address(value: str) -> str:
    try:
        return normal(value)
    except Rejected as error:
        raise ValueError("a mail address is needed") from error


def _addresses(value: str) -> str:
    for address in value.split(","):
        _address(address.strip())
    return value


class Settings(ServiceSettings):
    """Configuration of the notifier."""

    smtp: str = Field(pattern=r"^[^:\s]+:\d+$", description="host:port of the mail relay.")
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_starttls: bool = Field(default=False, description="Refuse to send without TLS.")
    smtp_connections: int = Field(default=4, ge=1, le=100, description="To the relay, at once.")
    smtp_batch: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Mails marked at once for each connection. Times the connections: so many at"
        " most are in doubt when the process dies.",
    )
    mail_from: Annotated[str, AfterValidator(_address)] = Field(
        description="Sender of all mails; its domain is ours."
    )
    inbound: str = Field(
        default="",
        pattern=r"^([^:\s]+:\d+)?$",
        description="host:port where mail comes back, over LMTP or SMTP; empty for nowhere.",
    )
    oncall: Annotated[str, AfterValidator(_addresses)] = Field(
        description="Addresses that alerts go to, separated by commas; of receivers in alerts.yaml"
        " that have none of their own."
    )
    alert_webhook: str = Field(
        default="",
        pattern=r"^(https://\S+)?$",
        description="Where alerts are passed on to in Alertmanager's format; none if empty.",
    )
    alert_webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Key of the HMAC that such posts are signed with."
    )
    address_key: Annotated[SecretStr, AfterValidator(_key)] = Field(
        description="Key of the HMAC that finds addresses again and signs links, 32 bytes in"
        " base64."
    )
    public_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[A-Za-z0-9.:/_-]*[A-Za-z0-9]$",
        description="Where people reach this service: links in mails begin with it.",
    )
    policies: Path = Field(description="Folder with messages.yaml, domains.yaml and alerts.yaml.")
    entity: str = Field(default="provider-ab", description="Legal entity that writes the mails.")
    exports: str = Field(
        default="",
        pattern=r"^((file|s3)://.+)?$",
        description="Store for sealed copies of personal data, as retention has it; none: people"
        " give copies by hand.",
    )
