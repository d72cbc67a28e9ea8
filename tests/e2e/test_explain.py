"""Why a record is kept until when, asked on the running stack as compliance does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from tests.live import eventually

from gallra.stackfile import Stack


def publish(stack: Stack, topic: str, key: str, ce_type: str, data: dict[str, Any]) -> str:
    event_id = str(uuid4())
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": "//erp",
        "ce_type": ce_type,
        "ce_time": "2026-01-02T12:00:00Z",
        "content-type": "application/json",
    }
    producer = Producer({"bootstrap.servers": stack.kafka})
    producer.produce(topic, json.dumps(data), key, headers=list(headers.items()))
    assert producer.flush(30) == 0
    return event_id


def explain(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gallra", "deadline", "explain", "--data", str(folder)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def invoice(stack: Stack, stack_folder: Path) -> tuple[str, str, str]:
    """Register an invoice of a broken financial year; return its name and the events of both."""
    entity, number = f"ab-{uuid4().hex[:8]}", f"INV/{uuid4().hex[:8]}"
    year = publish(
        stack,
        "finance.fiscal-years.v1",
        entity,
        "finance.fiscal-year.closed.v1",
        {"entity": entity, "start": "2024-07-01", "end": "2025-06-30"},
    )
    ref = f"billing/billing.invoice/{number}"
    booked = publish(
        stack,
        "platform.records.v1",
        ref,
        "platform.record.registered.v1",
        {
            "holder": "billing",
            "category": "billing.invoice",
            "record_id": number,
            "entity": entity,
            "customer_id": f"c-{entity}",
            "anchors": [{"anchor_id": "a-1", "kind": "booked", "date": "2024-09-15"}],
        },
    )

    def known() -> bool:
        done = explain(stack_folder, ref, "--json")
        return done.returncode == 0 and json.loads(done.stdout)["status"] == "scheduled"

    eventually(known)
    return ref, year, booked


def test_every_step_names_fact_event_rule_and_source(
    stack_folder: Path, invoice: tuple[str, str, str]
) -> None:
    ref, year, booked = invoice
    told = json.loads(explain(stack_folder, ref, "--json").stdout)
    assert (told["keep_through"], told["purge_from"]) == ("2032-12-31", "2032-12-31T23:00:00Z")
    by_event = {step["event"]: step for step in told["steps"]}
    assert by_event[f"//erp {booked}"]["fact"] == "booked on 2024-09-15"
    assert by_event[f"//erp {year}"]["source"] == "Bokföringslagen (1999:1078) 7 kap. 2 §"


def test_people_read_it_in_both_languages(
    stack_folder: Path, invoice: tuple[str, str, str]
) -> None:
    english = explain(stack_folder, invoice[0]).stdout
    assert "kept through 31 December of the seventh year" in english
    assert f"//erp {invoice[1]}" in english
    assert (
        "räkenskapsåret 2024-07-01..2025-06-30"
        in explain(stack_folder, invoice[0], "--lang", "sv").stdout
    )


def test_a_hold_is_a_step(stack_folder: Path, invoice: tuple[str, str, str]) -> None:
    ref, _, _ = invoice
    customer = json.loads(explain(stack_folder, ref, "--json").stdout)["customer_id"]
    command = [sys.executable, "-m", "gallra", "hold"]
    scope = ["--customer", customer, "--reason", "a dispute", "--by", "anna", "--review"]
    data = ["--data", str(stack_folder)]
    held = [*command, "place", *scope, "2030-01-01", *data]
    subprocess.run(held, capture_output=True, timeout=60, check=True)
    told = json.loads(explain(stack_folder, ref, "--json").stdout)
    assert told["status"] == "held"
    assert told["steps"][-1]["rule"] == "nothing is purged under a hold"


@pytest.mark.parametrize("ref", ["billing/billing.invoice/NONE", "no-such/thing", "x"])
def test_what_is_not_registered_is_said_so(stack_folder: Path, ref: str) -> None:
    done = explain(stack_folder, ref)
    assert done.returncode == 1
    assert "gallra: " in done.stderr
    assert "Traceback" not in done.stderr
