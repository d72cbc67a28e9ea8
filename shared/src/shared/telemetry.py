"""Traces and metrics.

An event is followed from its producer's ``traceparent`` through the consumer, the transaction,
the outbox and the relay into the next service.  FastStream's own middleware is not used: it loses
the parent when a handler publishes, and writes Kafka keys into spans.

Without ``OTEL_EXPORTER_OTLP_ENDPOINT`` no spans are made and the producer's trace context travels
on as it came; nothing waits and nothing is logged about it.
"""

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from shared.cloudevents import Event

EVENTS: Final = Counter(
    "gallra_events", "Events taken from Kafka, by what became of them.", ["topic", "outcome"]
)
DEAD_LETTERS: Final = Counter(
    "gallra_dead_letters", "Events set aside, by reason.", ["topic", "code"]
)
RETRIES: Final = Counter("gallra_retries", "Batches tried again after a fault.", ["fault"])
BATCH_SECONDS: Final = Histogram(
    "gallra_batch_seconds", "From a batch in hand to its transaction committed."
)
OUTBOX_WAITING: Final = Gauge("gallra_outbox_waiting", "Events committed but not yet published.")
OUTBOX_OLDEST: Final = Gauge(
    "gallra_outbox_oldest_seconds", "Age of the oldest event not yet published."
)
DUTY_DONE: Final = Gauge(
    "gallra_duty_done_timestamp_seconds",
    "When this process last did what one process does at a time.",
    ["duty"],
)
JOB_FAILURES: Final = Counter("gallra_job_failures", "Scheduled work that failed.", ["job"])
CANARY_SECONDS: Final = Histogram(
    "gallra_canary_seconds",
    "From a canary that is due to its holder finding it no more.",
    ["holder", "category"],
    buckets=(1, 5, 15, 60, 180, 600, 1800, 3600, 4 * 3600, 86400, 7 * 86400),
)
RETURNS: Final = Counter(
    "gallra_returns",
    "What came back for mails that were handed over, by what came of it.",
    ["kind", "effect"],
)

_collected: Final = bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("gallra")


def configure(service: str) -> TracerProvider:
    """Name the service in all spans; send them to a collector if one is configured."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if _collected:
        # Imported here because it is slow to import and most runs have no collector.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def duties_done() -> dict[str, datetime]:
    """Return when this process last did each of its duties."""
    return {
        sample.labels["duty"]: datetime.fromtimestamp(sample.value, UTC)
        for family in DUTY_DONE.collect()
        for sample in family.samples
    }


def _parent(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    context = _propagator.extract({"traceparent": traceparent})
    span = trace.get_current_span(context).get_span_context()
    return span if span.is_valid else None


@contextmanager
def processing(topics: Iterable[str], events: Sequence["Event"]) -> Generator[None]:
    """Trace the handling of a batch, and note in each event the span it is handled in.

    The batch has a span that links to its producers.  An event that came with a trace context has
    a span of its own besides, as a child of its producer's, if anybody collects spans.
    """
    if not _collected:
        yield
        return
    parents = [_parent(event.traceparent) for event in events]
    links = [Link(parent) for parent in parents if parent is not None]
    with ExitStack() as stack:
        batch = stack.enter_context(
            _tracer.start_as_current_span(
                f"{' '.join(sorted(set(topics)))} process",
                kind=SpanKind.CONSUMER,
                links=links[:128],
                attributes={
                    "messaging.system": "kafka",
                    "messaging.operation.type": "process",
                    "messaging.batch.message_count": len(events),
                },
                record_exception=False,  # an exception's text may hold personal data
            )
        )
        for event, parent in zip(events, parents, strict=True):
            span = batch if parent is None else _child(stack, parent, event)
            event.span = span.get_span_context()
        yield


def _child(stack: ExitStack, parent: SpanContext, event: "Event") -> Span:
    span = _tracer.start_span(
        f"{event.type.topic.name} process",
        context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
        kind=SpanKind.CONSUMER,
        attributes={
            "messaging.system": "kafka",
            "messaging.destination.name": event.type.topic.name,
            "messaging.operation.type": "process",
            "cloudevents.event_id": event.id,
            "cloudevents.event_type": event.type.name,
        },
    )
    stack.callback(span.end)
    return span


def carry(cause: "Event | None") -> list[tuple[str, bytes]]:
    """Return the header that takes the present trace, or that of *cause*, through the outbox."""
    span = (cause.span or _parent(cause.traceparent)) if cause is not None else None
    context = trace.set_span_in_context(trace.NonRecordingSpan(span)) if span else None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return [(name, value.encode()) for name, value in carrier.items()]


def publishing(topic: str, headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Trace the publication of a queued event; return its headers with the new parent in them."""
    kept = list(headers)
    waiting = next((v for n, v in kept if n == "traceparent"), None)
    parent = _parent(waiting.decode("ascii", "replace")) if waiting else None
    if parent is None:
        return kept
    with _tracer.start_as_current_span(
        f"{topic} publish",
        context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
        kind=SpanKind.PRODUCER,
        attributes={
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.operation.type": "publish",
        },
    ):
        return [*(h for h in kept if h[0] not in ("traceparent", "tracestate")), *carry(None)]
