"""What an operator may set, read once at start from ``GALLRA_*`` variables."""

from datetime import timedelta

from pydantic import Field, SecretStr

from shared.settings import ProcessSettings, Seconds


class Settings(ProcessSettings):
    """Configuration of the console."""

    public_url: str = Field(description="Address that browsers know the console by.")
    oidc_issuer: str = Field(description="Issuer of the OpenID Connect provider.")
    oidc_client_id: str = "gallra"
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""), description="None where the provider takes public clients."
    )
    oidc_scope: str = "openid profile email"
    oidc_groups_claim: str = Field(
        default="groups", description="Claim of the ID token that names a person's groups."
    )
    token_key: SecretStr = Field(
        description="Base64 of the 32 bytes of the Ed25519 key that signs what services are told."
    )
    audit_log_url: str = "http://127.0.0.1:8081"
    retention_url: str = "http://127.0.0.1:8082"
    notifier_url: str = "http://127.0.0.1:8083"
    session_lasts: Seconds = Field(
        default=timedelta(hours=10), description="Then a person has to sign in again."
    )
    session_idles: Seconds = Field(
        default=timedelta(hours=1), description="So long without a page ends a session as well."
    )
