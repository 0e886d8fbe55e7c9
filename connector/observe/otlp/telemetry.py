"""Sends metrics, logs and spans to a collector, from a thread of its own.

No thread that carries data waits for the collector: it puts a line of the log or a delivery into a queue of bounded
length, where the oldest is dropped if there is no room. While the collector is away, the thread tries again after
longer and longer delays. The metrics have no queue: they are cumulative, so the next report has everything.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector as Families

from connector import __version__
from connector.config.otlp import OtlpSection
from connector.observe.metrics import PREFIX
from connector.observe.otlp.channel import Channel
from connector.observe.otlp.collector import Collector, NotSentError
from connector.observe.otlp.messages import (
    LogLine,
    Request,
    logs_request,
    metrics_request,
    resource_of,
    traces_request,
)
from connector.pipeline.traces import Delivery
from connector.threads.watched import STILL_SECONDS, WatchedThread, moves

MOST_LINES: Final = 2_048
MOST_SPANS: Final = 512
"""The most lines of the log and spans that wait: with long values and many links, about 20 MB together."""
_BATCH: Final = 256
_BATCH_SECONDS: Final = 5.0
"""Time between two requests with logs or spans."""
_CLOSE_SECONDS: Final = 5.0
"""Time for the last requests at the stop."""
_LOOK_SECONDS: Final = 30.0
"""The thread moves after this time at the latest: a collector may ask for a longer delay than a thread may stand still.
"""
_SPAN_ID_BYTES: Final = 24

_log = structlog.get_logger(__name__)


class Telemetry(Families):
    """What the section `observe.otlp` asks for. Safe for threads."""

    def __init__(
        self,
        section: OtlpSection,
        attributes: Mapping[str, object],
        *,
        collector: Collector | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`attributes` describe the sender. Raises SettingsError if the settings cannot be used."""
        self._section = section
        self._collector = collector or Collector(section)
        self._clock = clock
        self._resource = resource_of({**attributes, **section.resource})
        self._begun_ns = time.time_ns()
        self._families: Callable[[], Iterable[Metric]] | None = None
        self._measuring = threading.Lock()
        """Held while the metrics are read: not while the connector closes."""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._ends = float("inf")
        self._metrics: Channel[None] = Channel("metrics", 1, 1, self._wake.set)
        self._logs: Channel[LogLine] = Channel("logs", MOST_LINES, _BATCH, self._wake.set)
        self._spans: Channel[tuple[bytes, Delivery]] = Channel("traces", MOST_SPANS, _BATCH, self._wake.set)
        self.thread = WatchedThread("telemetry", "", self._work)

    # -- what is sent -----------------------------------------------------------------------------

    @property
    def log(self) -> Callable[[Mapping[str, Any]], None] | None:
        """Takes each event of the log; None if logs are not sent."""
        return self._take_line if "logs" in self._section.send else None

    @property
    def tracer(self) -> Telemetry | None:
        """Takes each delivery of a frame; None if traces are not sent."""
        return self if "traces" in self._section.send else None

    def delivered(self, delivery: Delivery) -> None:
        """As `Tracer.delivered`."""
        self._spans.put((secrets.token_bytes(_SPAN_ID_BYTES), delivery))

    def measure(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Send these metrics from now on, if metrics are sent."""
        if "metrics" in self._section.send:
            self._families = families
            self._metrics.due = 0.0
            self._wake.set()

    def take_last_metrics(self) -> None:
        """Read the metrics for the last time, for the report at the end: the connector is about to close."""
        try:
            with self._measuring:
                if self._families is not None:
                    last = list(self._families())
                    self._families = lambda: last
        except Exception:  # noqa: BLE001 - a fault of the telemetry must not keep the connector from stopping
            self._families = None
            _log.exception("telemetry_failed", signal="metrics", remedy="report it")

    def _take_line(self, event: Mapping[str, Any]) -> None:
        self._logs.put(LogLine.of(event, time.time_ns()))

    # -- the thread -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start to send."""
        self.thread.start()

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what waits, within `seconds`, and stop. Nothing is sent to a collector that is away already."""
        self._ends = self._clock() + seconds
        self._stopping.set()
        self._wake.set()
        self.thread.join(seconds + 1.0)
        left = {channel.signal: n for channel in (self._logs, self._spans) if (n := channel.drop_all())}
        if left:
            _log.warning("telemetry_left_behind", endpoint=self._section.endpoint, **left)

    def _work(self) -> None:
        while not self._stopping.is_set():
            moves()
            now = self._clock()
            wait = min(channel.due for channel in (self._metrics, self._logs, self._spans)) - now
            if wait > 0:
                self._wake.wait(min(wait, _LOOK_SECONDS))
            self._wake.clear()
            self._turn(last=False)
        self._turn(last=True)
        self._collector.close()

    def _turn(self, *, last: bool) -> None:
        now = self._clock()
        interval = self._section.interval
        if self._is_due(self._metrics, now, last=last):
            self._metrics.due = now + interval
            self._report()
        pause = min(_BATCH_SECONDS, interval)
        if self._is_due(self._logs, now, last=last):
            self._logs.due = now + pause
            self._empty(self._logs, logs_request)
        if self._is_due(self._spans, now, last=last):
            self._spans.due = now + pause
            self._empty(self._spans, traces_request)

    @staticmethod
    def _is_due(channel: Channel[Any], now: float, *, last: bool) -> bool:
        return not channel.failures_in_a_row if last else now >= channel.due or channel.full

    def _report(self) -> None:
        if self._families is not None:
            self._send(self._metrics, self._metrics_request, 1)

    def _metrics_request(self) -> Request:
        with self._measuring:
            found = list(self._families()) if self._families is not None else []
        return metrics_request(found, self._resource, self._begun_ns, time.time_ns())

    def _empty(self, channel: Channel[Any], request: Callable[[list[Any], Any], Request]) -> None:
        """Send all that waits, until a request fails."""
        while items := channel.take():
            left = self._send(channel, lambda items=items: request(items, self._resource), len(items))  # type: ignore[misc]
            if left is not None:
                if left:
                    channel.put_back(items)
                else:
                    channel.count_dropped(len(items))
                return

    def _send(self, channel: Channel[Any], make: Callable[[], Request], items: int) -> bool | None:
        """Send one request; returns None if the collector took it, else whether the same may be sent again."""
        seconds = min(self._section.timeout, self._ends - self._clock())
        if seconds <= 0:
            return True
        moves(STILL_SECONDS + seconds)
        try:
            refused, said = self._collector.send(channel.signal, make(), seconds)
        except NotSentError as error:
            self._failed(channel, error)
            return error.again
        except Exception as error:  # noqa: BLE001 - a fault of the telemetry must not end the connector
            _log.exception("telemetry_failed", signal=channel.signal, remedy="report it")
            self._failed(channel, NotSentError(repr(error), "report it", again=False))
            return False
        if refused:
            channel.count_dropped(refused)
            _log.warning("telemetry_refused", signal=channel.signal, items=refused, reason=said)
        if channel.failures_in_a_row:
            _log.info("telemetry_works_again", signal=channel.signal, items_dropped=channel.dropped_now)
        channel.sent += max(0, items - refused)
        channel.worked()
        return None

    def _failed(self, channel: Channel[Any], error: NotSentError) -> None:
        delay, tell = channel.failed(self._clock(), error.after)
        if tell:
            _log.warning(
                "telemetry_not_sent",
                signal=channel.signal,
                endpoint=self._collector.url(channel.signal),
                reason=str(error),
                effect="the data of the sources is carried as ever",
                items_dropped=channel.dropped_now,
                next_try_in_seconds=round(delay, 1),
                remedy=error.remedy,
            )

    # -- its own metrics --------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of the telemetry itself."""
        channels = [one for one in (self._metrics, self._logs, self._spans) if one.signal in self._section.send]
        for name, text, count in (
            ("telemetry_sent", "Log lines, spans and reports of metrics that the OTLP endpoint took", "sent"),
            ("telemetry_dropped", "Log lines and spans that the OTLP endpoint never got, or refused", "dropped"),
            ("telemetry_failures", "Requests that the OTLP endpoint did not take", "failures"),
        ):
            family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=["signal"])
            for channel in channels:
                family.add_metric([channel.signal], getattr(channel, count))
            yield family


@contextmanager
def running(section: OtlpSection | None, state_dir: Path, part: str) -> Iterator[Telemetry | None]:
    """Send telemetry during the block; None without a section. `part` tells the processes of one `state_dir` apart:
    the number of a worker, or `supervisor`; empty for the only process.

    Raises SettingsError if the settings cannot be used.
    """
    if section is None:
        yield None
        return
    host = socket.gethostname()
    telemetry = Telemetry(
        section,
        {
            "service.name": "clarify-connector",
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{host}:{state_dir.absolute()}:{part}")),
            "host.name": host,
            "process.pid": os.getpid(),
            **({"clarify_connector.worker": part} if part else {}),
        },
    )
    telemetry.start()
    try:
        yield telemetry
    finally:
        telemetry.close()
