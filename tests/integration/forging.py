"""An OpenID Connect provider that keeps the rules, or breaks the one that a test names."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import OKPKey

RIGHT = OKPKey.generate_key("Ed25519", auto_kid=True)
WRONG = OKPKey.generate_key("Ed25519", parameters={"kid": RIGHT.kid})


@dataclass
class Forger:
    """What the provider was asked, and what it says.

    Attributes:
        claims: That differ from the true ones.
        issuer_said: What it calls itself.
    """

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    key: OKPKey = field(default_factory=lambda: RIGHT)
    issuer_said: str = ""
    unsigned: bool = False
    asked: dict[str, str] = field(default_factory=dict[str, str])

    def authorize(self, address: str) -> str:
        """Let the person in who was sent to *address*; return the code."""
        self.asked = dict(parse_qsl(urlsplit(address).query))
        return "the-code"

    def redeem(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        hashed = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
        if self.asked["code_challenge_method"] != "S256":
            return 400, {"error": "invalid_request"}
        if form.get("code") != "the-code" or challenge != self.asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "gallra",
            "sub": "kim",
            "name": "Kim Lind",
            "groups": ["gallra-dpo", "staff"],
            "nonce": self.asked["nonce"],
            "iat": now,
            "exp": now + 60,
            **self.claims,
        }
        token = {"access_token": "a", "token_type": "Bearer", "id_token": self._signed(claims)}
        return 200, token

    def _signed(self, claims: dict[str, Any]) -> str:
        if self.unsigned:
            parts = ({"alg": "none"}, claims)
            return ".".join(
                [*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode() for p in parts), ""]
            )
        header = {"alg": "Ed25519", "kid": RIGHT.kid}
        return jwt.encode(header, claims, self.key, algorithms=["Ed25519"])


@contextmanager
def forger() -> Iterator[Forger]:
    """Serve one on a port of its own."""
    made = Forger()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = made.issuer_said or made.issuer
            known = {
                "/.well-known/openid-configuration": {
                    "issuer": said,
                    "authorization_endpoint": f"{made.issuer}/authorize",
                    "token_endpoint": f"{made.issuer}/token",
                    "jwks_uri": f"{made.issuer}/keys",
                },
                "/keys": {"keys": [RIGHT.as_dict(private=False)]},
            }
            self._answer(200, known[self.path])

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            self._answer(*made.redeem({n: v[0] for n, v in parse_qs(body).items()}))

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()
