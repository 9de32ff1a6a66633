"""A collector of OpenTelemetry spans on loopback: a real endpoint that parses the requests it gets."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

READY_SECONDS = 10.0
MAX_BODY = 20 * 1024 * 1024


@dataclass
class Collector:
    """The requests it got; it refuses every request while `status` is not 200."""

    url: str = ""
    status: int = HTTPStatus.OK
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]


def attributes_of(span: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource as Python values."""
    return {attribute.key: _value(attribute.value) for attribute in span.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector beside the test."""
    collector, loop = Collector(), asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_post("/v1/traces", _accepting(collector))
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(READY_SECONDS)
        yield collector
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(READY_SECONDS)
        loop.close()


def _accepting(collector: Collector) -> Any:
    async def accept(request: web.Request) -> web.Response:
        if collector.status != HTTPStatus.OK:
            return web.Response(status=collector.status)
        body = await request.read()
        assert request.headers["content-type"] == "application/x-protobuf"
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        collector.requests.append(ExportTraceServiceRequest.FromString(body))
        collector.headers.append(dict(request.headers))
        response = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=response, content_type="application/x-protobuf")

    return accept


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(member) for member in value.array_value.values]
    return getattr(value, str(kind))
