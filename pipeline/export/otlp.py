"""Sends exchanges as OpenTelemetry spans over OTLP/HTTP, with OpenTelemetry's own exporter.

A conversation is a trace, an exchange is a span, and its parent is the exchange that it continues. Span ids are derived
from Tapeline's ids, so an exchange that is sent again is the same span. `otel_attributes` makes the attributes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ..errors import DataError, UsageError
from .otel_attributes import attributes, span_name
from .selection import Count, Exchange

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.1"
TRACES_PATH = "/v1/traces"
# Collectors accept requests of 20 MiB by default; attributes are nearly all of a request.
BATCH_SPANS = 200
BATCH_CHARACTERS = 4_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8


def send(exchanges: Iterable[Exchange], count: Count, endpoint: str | None, *, with_content: bool) -> None:
    """Send a span for each exchange, to the endpoint or, without one, to that of OTEL_EXPORTER_OTLP_*.

    Raises DataError when the collector does not accept them; `count` counts those that it has accepted.
    """
    exporter = OTLPSpanExporter(endpoint=_traces_url(endpoint))
    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "tapeline")})
    spans = (_span(exchange, resource, with_content=with_content) for exchange in exchanges)
    try:
        for batch in _batches(spans):
            with _logged_messages() as messages:
                result = exporter.export(batch)
            if result is not SpanExportResult.SUCCESS:
                raise DataError(_refusal(endpoint, messages, count))
            count.exported += len(batch)
    finally:
        exporter.shutdown()


def _span(exchange: Exchange, resource: Resource, *, with_content: bool) -> ReadableSpan:
    row = exchange.row
    started_ns = _epoch_us(row["started_at"]) * 1000
    is_error = row["outcome"] != "complete"
    return ReadableSpan(
        name=span_name(row),
        context=_context(row["conversation_id"], row["exchange_id"]),
        parent=_context(row["conversation_id"], row["parent_exchange_id"]) if row["parent_exchange_id"] else None,
        resource=resource,
        attributes=attributes(exchange, with_content=with_content),
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, row["outcome"]) if is_error else Status(StatusCode.UNSET),
        start_time=started_ns,
        end_time=started_ns + (row["ended_us"] or 0) * 1000,
        instrumentation_scope=InstrumentationScope("tapeline", version("tapeline"), SCHEMA_URL),
    )


def _context(conversation_id: str, exchange_id: str) -> SpanContext:
    return SpanContext(
        trace_id=_number("conversation", conversation_id, _TRACE_ID_BYTES),
        span_id=_number("exchange", exchange_id, _SPAN_ID_BYTES),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _number(kind: str, name: str, size: int) -> int:
    return int.from_bytes(sha256(f"tapeline {kind} {name}".encode()).digest()[:size])


def _epoch_us(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _batches(spans: Iterator[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    """Yield the spans in lists that a collector accepts in one request."""
    batch: list[ReadableSpan] = []
    size = 0
    for span in spans:
        length = sum(len(value) for value in (span.attributes or {}).values() if isinstance(value, str))
        if batch and (len(batch) == BATCH_SPANS or size + length > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += length
    if batch:
        yield batch


def _traces_url(endpoint: str | None) -> str | None:
    """Return the URL for traces: by OTLP's rule, a URL without a path is the base URL for all signals."""
    if endpoint is None:
        return None
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageError(f"--endpoint {endpoint!r} is not the URL of a collector: write http://localhost:4318.")
    return endpoint if url.path.strip("/") else url._replace(path=TRACES_PATH).geturl()


@contextmanager
def _logged_messages() -> Iterator[list[str]]:
    """Collect what the exporter logs inside the block: it reports the reason for a failure nowhere else."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _refusal(endpoint: str | None, messages: list[str], count: Count) -> str:
    reason = messages[0].strip().rstrip(".") if messages else "it gave no reason"
    return (
        f"{endpoint or 'The collector'} did not accept the spans ({reason}). It has {count.exported:,} of them; "
        "sending all again duplicates none."
    )
