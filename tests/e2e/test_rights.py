"""A person's rights against the whole stack, by the command line and by events."""

import io
import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from confluent_kafka import Producer
from tests.conftest import PATIENCE
from tests.live import eventually

from gallra.stackfile import Stack

RUN = uuid4().hex[:8]
STEPS = 7  # receive, confirm-identity, collected, decide, approve, answer, fetch


def publish(stack: Stack, topic: str, kind: str, key: str, body: dict[str, Any]) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka})
    headers = {
        "ce_specversion": "1.0",
        "ce_id": uuid4().hex,
        "ce_source": "//test/rights",
        "ce_type": kind,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    producer.produce(topic, json.dumps(body).encode(), key, headers=list(headers.items()))
    assert producer.flush(PATIENCE) == 0


def known(stack: Stack, person: str) -> None:
    """Have a contact of a person known, and registered with retention."""
    contact = {
        "customer_id": f"c-{person}",
        "contact_id": f"ct-{person}",
        "email": f"{person}@home.example",
        "roles": ["technical"],
        "subject_token": person,
    }
    publish(
        stack, "platform.contacts.v1", "platform.contact.added.v1", contact["customer_id"], contact
    )
    url = f"{stack.urls['retention']}/api/v1/subjects/{person}"
    eventually(lambda: httpx.get(url).json()["records"])


def gallra(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "gallra", "rights", *arguments, "--data", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def state(folder: Path, case: str) -> str:
    return json.loads(gallra(folder, "show", case, "--json"))["state"]


def test_a_copy_goes_from_the_holders_to_the_person(stack: Stack, stack_folder: Path) -> None:
    person = f"p-{RUN}"
    known(stack, person)
    case = gallra(
        stack_folder, "open", "access", "--subject", person, "--email", f"{person}@home.example",
        "--lang", "en",
    )  # fmt: skip
    assert case in gallra(stack_folder, "list")
    gallra(stack_folder, "identity", case, "confirm", "--by", "anna")
    eventually(lambda: state(stack_folder, case) == "open")
    gallra(stack_folder, "decide", case, "--by", "anna")
    gallra(stack_folder, "approve", case, "--by", "bo")
    eventually(lambda: state(stack_folder, case) == "answered")
    assert "Contact addresses for the services: granted" in gallra(stack_folder, "answer", case)

    def link() -> str | None:
        mails = f"{stack.mail_api}/api/v1/mails"
        for mail in httpx.get(mails, timeout=PATIENCE).json():
            text = httpx.get(f"{mails}/{mail['id']}").json()["text"] if case in str(mail) else ""
            if found := re.search(r"http://\S+/r/[\w-]+", text):
                return found[0]
        return None

    fetched = httpx.post(eventually(link), timeout=PATIENCE)
    package = zipfile.ZipFile(io.BytesIO(fetched.content))
    [name] = [n for n in package.namelist() if n.startswith("data/contact.address/")]
    assert json.loads(package.read(name))[0]["email"] == f"{person}@home.example"
    entries = f"{stack.urls['audit_log']}/api/v1/entries"
    asked = {"action": "retention.rights-case.changed.v1"}

    def logged() -> bool:
        told = httpx.get(entries, params=asked).json()["entries"]
        return len([entry for entry in told if entry["target"] == case]) == STEPS

    eventually(logged)


def test_an_objection_stops_mail_within_a_minute(stack: Stack) -> None:
    person = f"q-{RUN}"
    known(stack, person)
    request = {
        "request_id": f"r-{person}",
        "right": "object",
        "subjects": [person],
        "received_on": datetime.now(UTC).date().isoformat(),
        "channel": "portal",
    }
    began = datetime.now(UTC)
    kind = "rights.request.received.v1"
    publish(stack, "rights.requests.v1", kind, request["request_id"], request)
    url = f"{stack.urls['retention']}/api/v1/rights/{request['request_id']}"

    def stopped() -> bool:
        answer = httpx.get(url)
        tasks = answer.json()["tasks"] if answer.is_success else []
        return any(t["holder"] == "notifier" and t["state"] == "done" for t in tasks)

    eventually(stopped)
    assert (datetime.now(UTC) - began).total_seconds() < 60
