"""A collector for tests: an OTLP/HTTP server that decodes what it gets with OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.ports import free_port

_REQUESTS = {
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/traces": ExportTraceServiceRequest,
}


def attributes(found: Any) -> dict[str, Any]:
    """The attributes of a log record, a span, a point or a resource."""
    pairs: list[KeyValue] = list(found.attributes)
    assert len({pair.key for pair in pairs}) == len(pairs), "each attribute once"
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "") for pair in pairs}


@dataclass
class OtlpReceiver:
    """Use as a context manager. What it answers next can be changed at any time."""

    port: int = field(default_factory=free_port)
    status: int = 200
    answer: bytes = b""
    content_type: str = "application/x-protobuf"
    answer_headers: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    hold: threading.Event = field(default_factory=threading.Event)
    """Every answer waits for it."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """(path, headers) of each request, with any answer."""
    taken: list[Any] = field(default_factory=list)
    """The requests that were answered with 200, decoded."""

    def __enter__(self) -> Self:
        receiver = self
        self.hold.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                request = _REQUESTS[self.path].FromString(gzip.decompress(body))
                receiver.hold.wait(30)
                if receiver.status == 200:
                    receiver.taken.append(request)
                self.send_response(receiver.status)
                for name, value in receiver.answer_headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", receiver.content_type)
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def refuse(self, lines: int, said: str) -> None:
        """Answer that it has refused so many log records."""
        found = ExportLogsServiceResponse()
        found.partial_success.rejected_log_records = lines
        found.partial_success.error_message = said
        self.answer = found.SerializeToString()

    # -- what came --------------------------------------------------------------------------------

    def resources(self) -> list[dict[str, Any]]:
        """The senders of all that came."""
        return [
            attributes(each.resource)
            for request in list(self.taken)
            for _, parts in request.ListFields()
            for each in parts
        ]

    def logs(self) -> list[LogRecord]:
        """All lines, in the order in which they came."""
        return [line for scope in self._scopes(ExportLogsServiceRequest) for line in scope.log_records]

    def spans(self) -> list[Span]:
        """All spans."""
        return [span for scope in self._scopes(ExportTraceServiceRequest) for span in scope.spans]

    def metrics(self) -> dict[str, Metric]:
        """Name → metric, the newest of each."""
        return {one.name: one for scope in self._scopes(ExportMetricsServiceRequest) for one in scope.metrics}

    def _scopes(self, kind: type[Any]) -> Iterator[Any]:
        for request in list(self.taken):
            if isinstance(request, kind):
                for _, resources in request.ListFields():
                    for resource in resources:
                        yield from (
                            scope
                            for field_, found in resource.ListFields()
                            if field_.name.startswith("scope_")
                            for scope in found
                        )
