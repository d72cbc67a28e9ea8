"""An identity provider for one machine, with a demo user for each role."""

import json
import sys
from typing import Final

from gallra.stack.infrastructure import Infrastructure, answers, check_free
from gallra.stack.processes import Part

DOMAIN: Final = "gallra.example"
USERS: Final = {
    "viewer": "Vera Viewer",
    "compliance": "Conny Compliance",
    "dpo": "Disa Dataskydd",
    "approver": "Agnes Approver",
    "operator": "Olle Operator",
    "auditor": "Aron Auditor",
}
"""Names of the demo users by role; each signs in as ``ROLE@gallra.example``."""
SECOND: Final = ("approver2", "Anders Approver")
"""Another approver, for what takes two of them."""


def prepare(infra: Infrastructure) -> Part:
    """Return the provider, ready to start; it takes anybody's word for who they are."""
    port = infra.ports.provider
    check_free(port, "the identity provider")
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    people = [(role, role, name) for role, name in USERS.items()]
    people.append((SECOND[0], "approver", SECOND[1]))
    for account, role, name in people:
        email = f"{account}@{DOMAIN}"
        user = {"sub": email, "name": name, "email": email, "groups": [f"gallra-{role}"]}
        command += ["--user-claims", json.dumps(user)]
    log = infra.folder / "logs" / "provider.log"
    found = answers(f"http://127.0.0.1:{port}/.well-known/openid-configuration")
    return Part("provider", command, log, found)
