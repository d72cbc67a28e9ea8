"""``gallra up``: everything on this machine, until Ctrl-C."""

import base64
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from gallra.stack import postgres, provider
from gallra.stack.infrastructure import (
    External,
    Infrastructure,
    Ports,
    Say,
    answers,
    check_free,
    holding,
    infrastructure,
    make_ready,
    service_address,
)
from gallra.stack.processes import Part, StackError
from gallra.stackfile import Stack
from shared.web.access import ROLES

POLICIES: Final = Path(__file__).parents[4] / "policies"
LONGEST_PAUSE: Final = 30.0  # seconds between restarts of a part that keeps dying


def up(folder: Path, base: int, external: External, policies: Path, say: Say) -> None:
    """Run the whole stack until told to stop.

    Raises:
        StackError: it cannot be started; what had been started is stopped again.
    """
    told: list[int] = []  # an Event's lock may be held just when the signal comes
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signalled, _: told.append(signalled))
    ports = Ports.from_base(base)
    with holding(folder), infrastructure(folder, ports, external, say=say) as infra:
        owners = make_ready(infra, say)
        services = [_service(infra, name, policies) for name in postgres.PROCESSES]
        services.append(provider.prepare(infra))
        try:
            say("starting the services")
            for service in services:
                infra.parts.append(service)
                service.start()
            for service in services:
                service.wait_ready()
            stack = _stack(infra, owners)
            _write(folder, stack)
            say("")
            _watch(infra, owners, told, say)
        finally:
            (folder / "stack.json").unlink(missing_ok=True)
            say("stopping")


def _service(infra: Infrastructure, name: str, policies: Path) -> Part:
    port: int = getattr(infra.ports, name)
    check_free(port, name)
    return Part(
        name.replace("_", "-"),
        [sys.executable, "-m", name],
        infra.folder / "logs" / f"{name.replace('_', '-')}.log",
        answers(f"{_url(port)}/readyz"),
        env=_clean() | _environment(infra, name, policies) | {"GALLRA_HTTP_PORT": str(port)},
    )


def _clean() -> dict[str, str]:
    """Return our environment without settings of Gallra, which are meant for somebody else."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GALLRA_")}


def _environment(infra: Infrastructure, name: str, policies: Path) -> dict[str, str]:
    database = {"GALLRA_DATABASE": service_address(infra, name)}
    if name == "console":
        return database | _of_console(infra)
    shared = {
        **database,
        "GALLRA_KAFKA": infra.kafka,
        "GALLRA_INSTANCE": name,
        "GALLRA_TOKEN_KEYS_FILE": token_keys(infra.folder),
        # All listens on loopback: who can call it can read the folder with the keys, too.
        "GALLRA_WITHOUT_TOKEN": ",".join(sorted(ROLES)),
    }
    own: Mapping[str, str]
    match name:
        case "audit_log":
            own = {
                "GALLRA_LOG_ORIGIN": "gallra.local/master",
                "GALLRA_LOG_KEY_FILE": _key(infra.folder, "log-key"),
            }
        case "retention":
            own = {
                "GALLRA_POLICIES": str(policies),
                "GALLRA_AUDIT_LOG_URL": _url(infra.ports.audit_log),
                "GALLRA_SWEEP_EVERY": "1",
                "GALLRA_EXPORTS": exports(infra.folder),
                "GALLRA_PUBLIC_URL": _url(infra.ports.retention),
                "GALLRA_CONSOLE_URL": _url(infra.ports.console),
                "GALLRA_REPORT_TO": "compliance@gallra.example",
            }
        case _:
            own = {
                "GALLRA_POLICIES": str(policies),
                "GALLRA_SMTP": infra.smtp,
                "GALLRA_MAIL_FROM": "notices@gallra.example",
                "GALLRA_ONCALL": "oncall@gallra.example",
                "GALLRA_ADDRESS_KEY_FILE": _key(infra.folder, "address-key"),
                "GALLRA_PUBLIC_URL": _url(infra.ports.notifier),
                "GALLRA_EXPORTS": exports(infra.folder),
            }
    return {**shared, **own}


def _of_console(infra: Infrastructure) -> dict[str, str]:
    return {
        "GALLRA_PUBLIC_URL": _url(infra.ports.console),
        "GALLRA_OIDC_ISSUER": _url(infra.ports.provider),
        "GALLRA_OIDC_CLIENT_SECRET": "any",  # the provider takes every secret, but wants one
        "GALLRA_TOKEN_KEY_FILE": _key(infra.folder, "token-key"),
        **{f"GALLRA_{s.upper()}_URL": _url(getattr(infra.ports, s)) for s in postgres.SERVICES},
    }


def token_keys(folder: Path) -> str:
    """Return the path of the JWK Set with the public key of the console, which signs its tokens."""
    seed = base64.b64decode(Path(_key(folder, "token-key")).read_text(encoding="ascii"))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(public).decode().rstrip("=")
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
    listed = {**key.as_dict(private=False), "kid": key.thumbprint(), "iss": "gallra-console"}
    path = folder.absolute() / "secrets" / "token-keys.json"
    path.write_text(json.dumps({"keys": [listed]}), encoding="ascii")
    return str(path)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def exports(folder: Path) -> str:
    """Return the address of the store for sealed copies of personal data."""
    return (folder.absolute() / "exports").as_uri()


def _key(folder: Path, name: str) -> str:
    """Return the path of a file with 32 random bytes in base64, made at the first call."""
    path = folder.absolute() / "secrets" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(base64.b64encode(secrets.token_bytes(32)).decode(), encoding="ascii")
    return str(path)


def _stack(infra: Infrastructure, owners: dict[str, str]) -> Stack:
    urls = {s: _url(getattr(infra.ports, s)) for s in (*postgres.PROCESSES, "provider")}
    return Stack(
        kafka=infra.kafka,
        databases=owners,
        smtp=infra.smtp,
        mail_api=infra.mail_api,
        urls=urls,
        pids={part.name.replace("-", "_"): part.pid for part in infra.parts},
    )


def _write(folder: Path, stack: Stack) -> None:
    """Write ``stack.json``, whole or not at all, for our eyes only: it holds passwords."""
    draft = folder / "stack.json.part"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(stack), indent=2), encoding="utf-8")
    draft.replace(folder / "stack.json")


def _watch(infra: Infrastructure, owners: dict[str, str], told: Sequence[int], say: Say) -> None:
    """Start again what dies, a little later each time, until told to stop."""
    due: dict[str, float] = {}
    while not told:
        time.sleep(0.1)
        for part in infra.parts:
            if part.alive:
                continue
            if part.name not in due:
                pause = min(0.1 * 2**part.restarts, LONGEST_PAUSE)
                due[part.name] = time.monotonic() + pause
                say(f"{part.name} died; it is started again (log: {part.log})")
            elif time.monotonic() >= due[part.name]:
                del due[part.name]
                part.restarts += 1
                part.start()
                _write(infra.folder, _stack(infra, owners))


__all__ = ["External", "StackError", "up"]
