"""The way to the collector: one request at a time, and what its answer means.

| answer | meaning |
|---|---|
| 2xx | taken, but for what a partial success names |
| none in time, 429, 502, 503, 504 | the same may be sent again |
| another | refused: the same would be refused again |
"""

from __future__ import annotations

import gzip
from typing import Final

import httpx
import structlog
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from connector import __version__
from connector.config.otlp import HEADER_TEXT, OtlpSection, Signal
from connector.exchange.http import BadAnswer, Exchanges, NoAnswer, Received, SetUpError, environment_trust
from connector.observe.otlp.messages import Request
from connector.settings import CredentialsInUse, SettingsError, TlsSection

_log = structlog.get_logger(__name__)

_PROTOBUF: Final = "application/x-protobuf"
_MOST_ANSWER: Final = 64 * 1024
_MOST_SAID: Final = 300
_LONGEST_WAIT: Final = 600.0
"""The longest delay that a collector may ask for, in seconds."""
_AGAIN: Final = frozenset((429, 502, 503, 504))
_REMEDIES: Final = {
    401: "check observe.otlp.headers",
    403: "check observe.otlp.headers",
    404: "check the path of observe.otlp.endpoint; leave out of observe.otlp.send what the collector does not take",
    405: "check the path of observe.otlp.endpoint",
    415: "let the collector take OTLP over HTTP with protobuf",
}
_REMEDY: Final = "check observe.otlp.endpoint, and see whether the collector works"


class NotSentError(Exception):
    """The collector did not take a request. The text is for people, and holds no secret."""

    def __init__(self, reason: str, remedy: str = _REMEDY, *, again: bool = True, after: float = 0.0) -> None:
        """`again` says whether the same may be sent again, after `after` seconds at the earliest."""
        super().__init__(reason)
        self.remedy = remedy
        self.again = again
        self.after = after


class Collector:
    """The collector that the section names. For one thread."""

    def __init__(self, section: OtlpSection, transport: httpx.BaseTransport | None = None) -> None:
        """Uses no network yet. `transport` replaces the network. Raises SettingsError for unusable certificates."""
        self._section = section
        self._transport = transport
        self._credentials = CredentialsInUse(section, otlp=section.endpoint)
        self._headers: dict[str, str] = {}
        self._exchanges = self._open()

    def send(self, signal: Signal, request: Request, seconds: float) -> tuple[int, str]:
        """Send a request within `seconds`; returns how many of its items the collector refused, and why.

        Headers and certificates that have changed are read again before. Raises NotSentError.
        """
        if self._credentials.renewed():
            self._read_again()
        try:
            received = self._exchanges.send(
                "POST",
                self.url(signal),
                seconds=seconds,
                limit=_MOST_ANSWER,
                body=gzip.compress(request.SerializeToString(), 1),
                headers={"Content-Type": _PROTOBUF, "Content-Encoding": "gzip"},
            )
        except NoAnswer as error:
            if self._section.tls.ca_file is None:
                self._read_again()  # the authorities of the environment may have been renewed
            raise NotSentError(f"no answer: {error}") from None
        except BadAnswer as error:
            raise NotSentError(str(error)) from None
        if received.status // 100 != 2:
            raise NotSentError(
                f"the collector answered {received.status} {received.reason}".rstrip(),
                _REMEDIES.get(received.status, _REMEDY),
                again=received.status in _AGAIN,
                after=_asked(received),
            )
        return self._refused(signal, received)

    def url(self, signal: Signal) -> str:
        """The address for a signal."""
        return f"{self._section.endpoint}/v1/{signal}"

    def close(self) -> None:
        """Close the connections."""
        self._exchanges.close()

    def _open(self) -> Exchanges:
        tls = self._section.tls
        headers = {name: value.get_secret_value() for name, value in self._section.headers.items()}
        if any(not HEADER_TEXT.fullmatch(value) for value in headers.values()):
            raise SettingsError("observe.otlp.headers: the value of a header has only printable ASCII characters")
        try:
            opened = Exchanges(
                headers={**headers, "User-Agent": f"clarify-connector/{__version__}"},
                timeout=httpx.Timeout(self._section.timeout),
                verify=True if tls == TlsSection() else tls.context(None if tls.ca_file else environment_trust()),
                transport=self._transport,
            )
        except (SetUpError, OSError) as error:  # an ssl.SSLError is an OSError
            raise SettingsError(f"observe.otlp cannot be used: {error}") from None
        self._headers = headers
        return opened

    def _read_again(self) -> None:
        try:
            renewed = self._open()
        except SettingsError as error:  # the files may be in the middle of a change
            _log.error(
                "credentials_not_reloaded",
                otlp=self._section.endpoint,
                reason=str(error),
                effect="those that were read before are used",
                remedy="correct the files that observe.otlp names; they are read again when they change",
            )
            return
        self._exchanges.close()
        self._exchanges = renewed

    def _refused(self, signal: Signal, received: Received) -> tuple[int, str]:
        kind = (received.header("Content-Type") or "").partition(";")[0].strip().lower()
        if kind == "text/html":
            raise NotSentError("the answer is a web page: this is no collector", again=False)
        if kind != _PROTOBUF:
            return 0, ""
        try:
            refused, said = _partial(signal, received.body)
        except DecodeError:
            raise NotSentError("the answer is no OTLP", again=False) from None
        for secret in self._headers.values():
            said = said.replace(secret, "…")
        return refused, said[:_MOST_SAID]


def _partial(signal: Signal, body: bytes) -> tuple[int, str]:
    if signal == "metrics":
        points = ExportMetricsServiceResponse.FromString(body).partial_success
        return points.rejected_data_points, points.error_message
    if signal == "logs":
        lines = ExportLogsServiceResponse.FromString(body).partial_success
        return lines.rejected_log_records, lines.error_message
    spans = ExportTraceServiceResponse.FromString(body).partial_success
    return spans.rejected_spans, spans.error_message


def _asked(received: Received) -> float:
    """The delay that the collector asks for, in seconds."""
    text = received.header("Retry-After") or ""
    return min(float(text), _LONGEST_WAIT) if text.isascii() and text.isdecimal() else 0.0
