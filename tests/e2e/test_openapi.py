"""The HTTP APIs asked what nobody thought of: no fault of ours, no answer that is undocumented."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.conftest import new_folder, running

from gallra.stackfile import Stack, read

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Run a stack of our own: what is made up here is no business of other tests."""
    with new_folder() as folder:
        for up in running(folder):
            yield read(up)


@pytest.mark.parametrize("service", ["audit_log", "retention", "notifier"])
def test_no_answer_is_a_surprise(stack: Stack, service: str, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{stack.urls[service]}/openapi/openapi.json",
        f"--checks={','.join(CHECKS)}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=15",
        "--request-timeout=30",
        "--seed=4712",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.parametrize("service", ["audit_log", "retention", "notifier"])
def test_the_document_is_openapi_3_1(stack: Stack, service: str) -> None:
    document = json.loads(httpx.get(f"{stack.urls[service]}/openapi/openapi.json").text)
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) > 9
