"""Who may call which route: bearer tokens of issuers that are trusted, and the roles they carry.

A token is a JWT (RFC 7519) in the ``Authorization`` header (RFC 6750), for the audience ``gallra``,
signed by a key of the JWK Set that the service was given; each key names the issuer whose tokens
it signs.  The claim ``groups`` says the roles: ``gallra-viewer`` is the role ``viewer``.  A route
that does not say who may use it may be used by nobody.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from pydantic import TypeAdapter, ValidationError

from shared.clock import Clock
from shared.errors import Rejected
from shared.events.model import Name
from shared.settings import SettingsError

Role = Literal["viewer", "compliance", "dpo", "approver", "operator", "auditor", "producer"]
"""What somebody may do.

- ``viewer``: see what tells of no person: numbers, policies, purges.
- ``compliance``: see all, place holds, plan, take requests of people.
- ``dpo``: the same, and decide on requests of people.
- ``approver``: agree to what another person asked for.
- ``operator``: alerts, deliveries, what was set aside.
- ``auditor``: see all, change nothing.
- ``producer``: a program that hands over events or alerts.
"""

ROLES: Final[frozenset[Role]] = frozenset(get_args(Role))
OPEN: Final = "open"
"""Stands for the roles of a route that anybody may use, without a token."""

EVERYBODY: Final[frozenset[Role]] = ROLES - {"producer"}
PERSONAL: Final[frozenset[Role]] = frozenset(("compliance", "dpo", "auditor"))
"""Who may see what tells of people."""

AUDIENCE: Final = "gallra"
GROUP: Final = "gallra-"
_ALGORITHMS: Final = ("Ed25519", "ES256", "RS256", "PS256")
_LEEWAY: Final = 10  # seconds by which clocks may differ
_LONGEST: Final = 8192  # characters of a token
_name: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        subject: Stable id of the person or program at its issuer; None for who brought no token.
    """

    subject: str | None
    roles: frozenset[Role]

    def acting(self, said: str) -> str:
        """Return who acts: the bearer of a token, whatever is *said*; else who it is said to be.

        Raises:
            Rejected: that is nobody, or no name that a decision can be noted under.
        """
        try:
            return _name.validate_python(self.subject or said)
        except ValidationError:
            raise Rejected("by is no name of who acts", code="unknown-person") from None


@dataclass(frozen=True, slots=True)
class By:
    """Who decides, unless a token tells that."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """Tells who calls by what they bring.

    Attributes:
        keys: The keys that are trusted.
        issuers: Whose tokens a key signs, by its id.
        without_token: The roles of who brings no token.
    """

    keys: KeySet
    issuers: Mapping[str, str]
    clock: Clock
    without_token: frozenset[Role] = frozenset()

    @classmethod
    def read(cls, keys: str, clock: Clock, without_token: Collection[str] = ()) -> "Access":
        """Return the access that a JWK Set (RFC 7517) in JSON gives; an empty text gives none.

        Raises:
            SettingsError: it is no such set; a key is private, of an unfit kind or nobody's.
        """
        unknown = set(without_token) - ROLES
        if unknown:
            raise SettingsError(f"GALLRA_WITHOUT_TOKEN: {', '.join(sorted(unknown))} is no role")
        try:
            listed: list[dict[str, Any]] = json.loads(keys)["keys"] if keys else []
            found: list[Key] = [_key(jwk) for jwk in listed]
        except (ValueError, KeyError, TypeError, JoseError) as error:
            raise SettingsError(f"GALLRA_TOKEN_KEYS: {type(error).__name__}: {error}") from None
        issuers = {str(key.kid): jwk["iss"] for key, jwk in zip(found, listed, strict=True)}
        roles = cast("frozenset[Role]", frozenset(without_token))
        return cls(KeySet(found), issuers, clock, roles)

    def caller(self, authorization: str | None) -> Caller:
        """Return who brings an ``Authorization`` header, or none.

        Raises:
            NotAuthorizedException: it is not one of ours; the text does not say why.
        """
        if authorization is None:
            return Caller(None, self.without_token)
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or len(token) > _LONGEST:
            raise _refusal()
        try:
            read = jwt.decode(token, self.keys, algorithms=_ALGORITHMS)
            self._registry(read.header.get("kid")).validate(read.claims)
        except (JoseError, ValueError, KeyError, TypeError):
            raise _refusal() from None
        groups: object = read.claims.get("groups")
        names = cast("list[object]", groups) if isinstance(groups, list) else []
        roles: set[Role] = {role for role in ROLES if f"{GROUP}{role}" in names}
        return Caller(str(read.claims["sub"]), frozenset(roles))

    def _registry(self, kid: object) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self.clock.now().timestamp()),
            leeway=_LEEWAY,
            iss={"essential": True, "value": self.issuers[str(kid)]},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
        )


def _key(jwk: dict[str, Any]) -> Key:
    kinds = {"OKP": OKPKey, "EC": ECKey, "RSA": RSAKey}
    if "d" in jwk:
        raise ValueError("a private key is nobody's but its owner's")
    if not isinstance(jwk["iss"], str) or not jwk["iss"]:
        raise ValueError("a key names no issuer (iss)")
    key = kinds[jwk["kty"]].import_key(jwk)
    if key.kid is None:
        raise ValueError("a key has no id (kid)")
    return key


def _refusal() -> NotAuthorizedException:
    return NotAuthorizedException(
        "the token is not one that is trusted here, or it has expired",
        headers={"www-authenticate": 'Bearer error="invalid_token"'},
    )


def guard(access: Access) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Return what lets a request pass that may use its route, and notes who it is from."""

    def let_pass(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        roles = handler.opt.get("roles", frozenset())
        if roles == OPEN:
            return
        caller = access.caller(connection.headers.get("authorization"))
        connection.scope["user"] = caller
        if not caller.roles & roles:
            if caller.subject is None:
                raise NotAuthorizedException(
                    "a bearer token is needed", headers={"www-authenticate": "Bearer"}
                )
            needed = ", ".join(sorted(roles)) or "nobody"
            raise PermissionDeniedException(f"this is for the roles {needed}")

    return let_pass
