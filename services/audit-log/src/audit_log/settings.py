"""What an operator may set, read once at start from ``GALLRA_*`` variables."""

from datetime import timedelta

from pydantic import Field, SecretStr

from shared.settings import Seconds, ServiceSettings


class Settings(ServiceSettings):
    """Configuration of the audit-log."""

    log_origin: str = Field(
        pattern=r"^[^\s+]+$", description="Name of the log: a URL without scheme, for ever."
    )
    log_key: SecretStr = Field(description="Ed25519 seed of the log, 32 bytes in base64.")
    entity: str = Field(default="provider-ab", description="Legal entity whose log it is.")
    checkpoint_every: Seconds = Field(
        default=timedelta(seconds=1), description="Pause between checkpoints."
    )
