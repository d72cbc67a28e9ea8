"""What the console says of a person to the services: short-lived signed tokens (RFC 7519)."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from console.person import Person
from shared.canonical import digest

_ALGORITHM: Final = "Ed25519"  # RFC 9864; what was called EdDSA
_LIFE: Final = timedelta(minutes=1)
_SEED: Final = 32


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True)
class Signer:
    """Signs with the console's key."""

    seed: bytes

    @classmethod
    def read(cls, encoded: str) -> Self:
        """Return the signer whose key is given in base64.

        Raises:
            ValueError: it is not the base64 of 32 bytes.
        """
        seed = base64.b64decode(encoded, validate=True)
        if len(seed) != _SEED:
            raise ValueError(f"{_SEED} bytes in base64 are needed")
        return cls(seed)

    @cached_property
    def _key(self) -> OKPKey:
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return OKPKey.import_key(
            {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public), "d": _base64url(self.seed)}
        )

    @cached_property
    def key_id(self) -> str:
        """The key's thumbprint (RFC 7638)."""
        return self._key.thumbprint()

    @property
    def csrf_secret(self) -> str:
        """A secret of its own for forms."""
        return digest(b"csrf\x00" + self.seed).hex()

    def of_person(self, person: Person, now: datetime) -> str:
        """Return what tells a service who asks."""
        said = {"sub": person.sub, "name": person.name, "groups": list(person.groups)}
        return self._sign("gallra", said, now, _LIFE)

    def sealed(self, purpose: str, content: dict[str, Any], now: datetime, life: timedelta) -> str:
        """Return *content* such that it can be given out and known again."""
        return self._sign(f"gallra-console/{purpose}", content, now, life)

    def opened(self, purpose: str, sealed: str, now: datetime) -> dict[str, Any] | None:
        """Return what was sealed for *purpose*; None if it was not, or is too old."""
        try:
            claims = jwt.decode(sealed, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            return None
        meant = claims.get("aud") == f"gallra-console/{purpose}"
        return claims if meant and claims["exp"] > now.timestamp() else None

    def _sign(self, audience: str, content: dict[str, Any], now: datetime, life: timedelta) -> str:
        issued = int(now.timestamp())
        claims = {
            "iss": "gallra-console",
            "aud": audience,
            "iat": issued,
            "exp": issued + int(life.total_seconds()),
            **content,
        }
        header = {"alg": _ALGORITHM, "kid": self.key_id, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])
