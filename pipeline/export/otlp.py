"""Sends exchanges as OpenTelemetry spans over OTLP/HTTP, by OpenTelemetry's own exporter.

A conversation is a trace, an exchange a span, and its parent the exchange that it goes on from. Ids follow from ours:
exchanges that are sent again are the same spans. What the attributes say is decided in `genai`.
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
# Collectors take 20 MiB at once unless they are told otherwise; attributes are nearly all of a request.
SPANS_AT_ONCE = 200
CHARACTERS_AT_ONCE = 4_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8


def send(exchanges: Iterable[Exchange], count: Count, endpoint: str | None, *, with_content: bool) -> None:
    """Send a span an exchange; without an endpoint to where OTEL_EXPORTER_OTLP_* say.

    Raises DataError when the collector does not take them; `count` says how many it has taken.
    """
    exporter = OTLPSpanExporter(endpoint=_traces_url(endpoint))
    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "tapeline")})
    spans = (_span(exchange, resource, with_content=with_content) for exchange in exchanges)
    try:
        for portion in _portions(spans):
            with _complaints() as complaints:
                result = exporter.export(portion)
            if result is not SpanExportResult.SUCCESS:
                raise DataError(_refusal(endpoint, complaints, count))
            count.exported += len(portion)
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


def _portions(spans: Iterator[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    """Spans in lists that a collector takes at once."""
    portion: list[ReadableSpan] = []
    size = 0
    for span in spans:
        length = sum(len(value) for value in (span.attributes or {}).values() if isinstance(value, str))
        if portion and (len(portion) == SPANS_AT_ONCE or size + length > CHARACTERS_AT_ONCE):
            yield portion
            portion, size = [], 0
        portion.append(span)
        size += length
    if portion:
        yield portion


def _traces_url(endpoint: str | None) -> str | None:
    """Where spans go: as for every signal, a URL without a path stands for all of them."""
    if endpoint is None:
        return None
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageError(f"--endpoint {endpoint!r} is no URL of a collector: write http://localhost:4318.")
    return endpoint if url.path.strip("/") else url._replace(path=TRACES_PATH).geturl()


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the exporter logs meanwhile: it gives no other reason."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def _refusal(endpoint: str | None, complaints: list[str], count: Count) -> str:
    reason = complaints[0].strip().rstrip(".") if complaints else "it gave no reason"
    return (
        f"{endpoint or 'The collector'} did not take the spans ({reason}). It has {count.exported:,} of them; "
        "sending all again doubles none."
    )
