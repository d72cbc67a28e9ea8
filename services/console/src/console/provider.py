"""The OpenID Connect provider: code flow with PKCE (RFC 7636), its answer checked."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpx
import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import (
    AsyncOAuth2Client,  # pyright: ignore[reportUnknownVariableType]
)
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from console.person import Person, our_groups
from shared import logs

# Never "none", nor one that is keyed with the client's own secret.
_ALGORITHMS: Final = ["RS256", "PS256", "ES256", "Ed25519"]
_VERIFIER_BYTES: Final = 48
_SLACK: Final = 30  # seconds that clocks may differ
_log = logs.get(__name__)


class SignInError(Exception):
    """Somebody cannot be signed in; the text says why, to the person."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in on its way: what the answer must match.

    Attributes:
        verifier: Of PKCE: who redeems the code must know it.
        back: Path that the person wanted to see.
    """

    state: str
    nonce: str
    verifier: str
    back: str

    @classmethod
    def new(cls, back: str) -> "Attempt":
        """Return a fresh one."""
        state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        return cls(state, nonce, secrets.token_urlsafe(_VERIFIER_BYTES), back)


@dataclass
class Provider:
    """A provider, found by its issuer.

    Attributes:
        callback: Where it sends people back to.
        groups_claim: Claim of the ID token with a person's groups.
    """

    issuer: str
    client_id: str
    client_secret: str
    scope: str
    callback: str
    groups_claim: str
    _metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    async def address(self, attempt: Attempt) -> str:
        """Return where to send a person who wants to sign in."""
        metadata = await self._found()
        url, _ = self._client().create_authorization_url(
            metadata["authorization_endpoint"],
            state=attempt.state,
            nonce=attempt.nonce,
            code_verifier=attempt.verifier,
        )
        return str(url)

    async def redeem(self, attempt: Attempt, code: str, issuer: str | None) -> Person:
        """Return who signed in, given the code that the provider sent them back with.

        Raises:
            SignInError: the provider does not vouch for it, or not in answer to *attempt*.
        """
        if issuer is not None and issuer != self.issuer:  # RFC 9207
            raise SignInError("The answer is from another provider.")
        metadata = await self._found()
        async with self._client() as client:
            try:
                token: Mapping[str, Any] = await client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                )
            except (OAuthError, httpx2.HTTPError) as error:
                _log.warning("a sign-in was refused by the provider", error=type(error).__name__)
                raise SignInError("The provider does not confirm the sign-in.") from None
        if "id_token" not in token:
            raise SignInError("The provider does not say who signed in.")
        return self._person(await self._claims(token["id_token"], metadata), attempt)

    async def _claims(self, id_token: str, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        keys = KeySet.import_key_set(await _fetch(metadata["jwks_uri"]))
        rules = jwt.JWTClaimsRegistry(
            leeway=_SLACK,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        try:
            claims = jwt.decode(id_token, keys, algorithms=_ALGORITHMS).claims
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            _log.warning("an ID token was refused", error=type(error).__name__)
            raise SignInError("What the provider says cannot be verified.") from None
        return claims

    def _person(self, claims: Mapping[str, Any], attempt: Attempt) -> Person:
        if claims.get("nonce") != attempt.nonce:
            raise SignInError("The answer belongs to another attempt to sign in.")
        groups: Any = claims.get(self.groups_claim)
        named = claims.get("name") or claims.get("email") or claims["sub"]
        known = our_groups(cast("list[object]", groups)) if isinstance(groups, list) else ()
        return Person(str(claims["sub"]), str(named), known)

    async def _found(self) -> Mapping[str, Any]:
        if not self._metadata:
            found = await _fetch(f"{self.issuer}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise SignInError("The provider calls itself by another name.")
            self._metadata = found
        return self._metadata

    def _client(self) -> Any:  # the library has no types
        return AsyncOAuth2Client(
            self.client_id,
            self.client_secret or None,
            token_endpoint_auth_method="client_secret_basic" if self.client_secret else "none",
            scope=self.scope,
            redirect_uri=self.callback,
            code_challenge_method="S256",
        )


async def _fetch(url: str) -> Any:
    async with httpx.AsyncClient(timeout=10) as client:
        try:
            return (await client.get(url)).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            raise SignInError("The identity provider cannot be reached: try again.") from None
