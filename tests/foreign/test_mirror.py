"""The public log as files in an S3-compatible store, written and read through its interface."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from tests.conftest import Database
from tests.foreign import tools
from tests.live import action, eventually, free_port, live

from gallra.stack.infrastructure import Infrastructure


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run an S3-compatible store with an empty bucket; lend the bucket's name."""
    program = tools.go_tool("gofakes3")
    address = f"127.0.0.1:{free_port()}"
    command = [program, "-backend", "mem", "-host", address, "-initialbucket", "mirror", "-quiet"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as store:

        def answers() -> bool:
            try:
                return httpx.get(f"http://{address}/mirror").is_success
            except httpx.TransportError:
                return False

        eventually(answers)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield "mirror"
        store.terminate()


def test_a_mirror_in_an_object_store(
    infra: Infrastructure, audit_db: Database, topic_prefix: str, bucket: str
) -> None:
    target = f"s3://{bucket}/log"
    with live(infra, audit_db, topic_prefix) as log:
        for size in (300, 700):
            log.publish([(action(n), {}) for n in range(size - log.service.size())])
            log.service.reaches(size)
            assert f"{size} entries" in log.gallra("mirror", target)
            said = log.gallra("verify", "--url", target, "--vkey", log.vkey)
            assert f"intact: {size} entries" in said
