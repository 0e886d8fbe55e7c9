"""/healthz, /readyz, /metrics and /ledger of a running connector, on localhost unless configured otherwise."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = structlog.get_logger(__name__)
_SECONDS: Final = 10

Page = Callable[[], tuple[int, str, bytes]]
"""Gives (status, content type, body)."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 16


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        _log.debug("http_request", line=format % args)


class ObserveServer:
    """Serves pages in the background."""

    def __init__(self, listen: str, pages: dict[str, Page]) -> None:
        """`listen` is HOST:PORT. Raises OSError if the address cannot be used."""
        host, _, port = listen.rpartition(":")
        host = host.strip("[]")
        self._pages = pages
        server = _Server6 if ":" in host else _Server
        self._server = make_server(host, int(port), self._answer, server_class=server, handler_class=_Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="observe", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        page = self._pages.get(str(environ.get("PATH_INFO")))
        if page is None:
            status, kind, body = 404, "text/plain", ("see " + " ".join(sorted(self._pages)) + "\n").encode()
        elif environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            status, kind, body = 405, "text/plain", b"only GET\n"
        else:
            status, kind, body = page()
        reasons = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
        start(
            f"{status} {reasons.get(status, '')}",
            [
                ("Content-Type", f"{kind}; charset=utf-8"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]


def json_page(status: int, content: object) -> tuple[int, str, bytes]:
    """A page of JSON."""
    return status, "application/json", json.dumps(content, indent=1).encode() + b"\n"
