"""What an operator may set, read once at start from ``GALLRA_*`` variables."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import Names, Seconds, ServiceSettings


class Settings(ServiceSettings):
    """Configuration of the audit-log."""

    log_origin: str = Field(
        pattern=r"^[^\s+]+$", description="Name of the log: a URL without scheme, for ever."
    )
    log_key: SecretStr = Field(
        description="Ed25519 seed of the log, 32 bytes in base64; after it, each on a line of its"
        " own, those of keys that are being retired."
    )
    entity: str = Field(default="provider-ab", description="Legal entity whose log it is.")
    keep_network: bool = Field(
        default=False, description="Keep IP address and user agent; the privacy notice says no."
    )
    witnesses: Path | None = Field(
        default=None, description="C2SP tlog-policy file that names the witnesses of the log."
    )
    cadf_topics: Names = Field(
        default=(), description="Topics with OpenStack's CADF notifications, commas between them."
    )
    checkpoint_every: Seconds = Field(
        default=timedelta(seconds=1), description="Pause between checkpoints."
    )
    tenant_heads_every: Seconds = Field(
        default=timedelta(days=1),
        description="Pause between the notes that tell tenants how many entries they have.",
    )
