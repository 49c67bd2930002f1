"""A collector of OpenTelemetry's: takes OTLP over HTTP, as protobuf, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A span, ids as lower-case hex. ``instance``: of the process; ``links``: span ids."""

    name: str
    service: str
    instance: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: list[str]
    is_error: bool


class Collector(ThreadingHTTPServer):
    """``hangs``: it takes requests and answers none until it ends."""

    daemon_threads = True

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Told] = []
        self.hangs = hangs
        self.has_ended = threading.Event()
        self.was_asked = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, trace_id: str) -> dict[str, Told]:
        """The spans of a trace by name; names are distinct in one."""
        return {each.name: each for each in list(self.spans) if each.trace_id == trace_id}

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_told(span, process) for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.was_asked.set()
        if self.server.hangs:
            self.server.has_ended.wait()
            return
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.server.take(gzip.decompress(body) if is_packed else body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal."""


def _told(span: Span, process: dict[str, Any]) -> Told:
    return Told(
        name=span.name,
        service=process["service.name"],
        instance=process["service.instance.id"],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        links=[link.span_id.hex() for link in span.links],
        is_error=span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in pairs}


@contextmanager
def collecting(*, hangs: bool = False) -> Iterator[Collector]:
    with Collector(hangs=hangs) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.has_ended.set()
            server.shutdown()
            thread.join(5)
