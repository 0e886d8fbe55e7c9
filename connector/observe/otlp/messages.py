"""What the connector knows of itself → the messages of OTLP. Pure: no clock, no network.

The metrics are those of the page /metrics, under the same names: each is defined once, in `observe.metrics`.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

from connector import __version__
from connector.observe.logs import LONGEST_VALUE
from connector.pipeline.traces import Delivery

Request: TypeAlias = ExportMetricsServiceRequest | ExportLogsServiceRequest | ExportTraceServiceRequest

_SCOPE: Final = InstrumentationScope(name="clarify-connector", version=__version__)
_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_SEVERITIES: Final = {
    "debug": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "info": SeverityNumber.SEVERITY_NUMBER_INFO,
    "warning": SeverityNumber.SEVERITY_NUMBER_WARN,
    "error": SeverityNumber.SEVERITY_NUMBER_ERROR,
    "critical": SeverityNumber.SEVERITY_NUMBER_FATAL,
}
_UNITS: Final = (("_seconds", "s"), ("_bytes", "By"))
_LONGEST_TRACEBACK: Final = 16_000
_NO_FIELDS: Final = frozenset(("event", "level", "timestamp", "exc_info"))
"""Parts of an event that are no attributes of its line."""
_PREFIX: Final = "clarify_connector."
"""Of the attributes of a span."""
_FLAGS_KNOWN: Final = 0x100
"""The bit of a link's flags which says that it is known whether the context is remote, and the next: that it is."""
_REMOTE: Final = 0x200
_SAMPLED: Final = 1


class LogLine(NamedTuple):
    """One line of the log, which may wait for long: it holds no exception, whose variables would stay in memory."""

    at_ns: int
    """Time in ns since the epoch."""
    level: str
    event: str
    fields: Mapping[str, object]

    @classmethod
    def of(cls, event: Mapping[str, Any], at_ns: int) -> LogLine:
        """Returns the line of an event of structlog, for the thread that logs it."""
        fields = {key: value for key, value in event.items() if key not in _NO_FIELDS}
        error = event.get("exc_info")
        if isinstance(error, tuple):
            error = error[1]
        elif error and not isinstance(error, BaseException):
            error = sys.exc_info()[1]
        if error:
            fields |= {
                "exception.type": type(error).__qualname__,
                "exception.message": str(error)[:LONGEST_VALUE],
                # without local variables, which may hold tokens, passwords and data of devices
                "exception.stacktrace": "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:],
            }
        return cls(at_ns, str(event.get("level", "info")), str(event.get("event", "")), fields)


# -- metrics --------------------------------------------------------------------------------------


def metrics_request(
    families: Iterable[Family], resource: Resource, begun_ns: int, now_ns: int
) -> ExportMetricsServiceRequest:
    """Returns the metrics as cumulative values since `begun_ns`, read at `now_ns`; both in ns since the epoch."""
    metrics = [metric for family in families for metric in _metrics(family, begun_ns, now_ns)]
    scope = ScopeMetrics(scope=_SCOPE, metrics=metrics)
    return ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope])])


def _metrics(family: Family, begun_ns: int, now_ns: int) -> Iterator[Metric]:
    """A family of Prometheus is one metric, unless its samples have several names."""
    if family.type == "histogram":
        if family.samples:
            metric = _described(family.name, family)
            metric.histogram.aggregation_temporality = _CUMULATIVE
            metric.histogram.data_points.extend(_histogram_points(family, begun_ns, now_ns))
            yield metric
        return
    counts = family.type == "counter"
    named: dict[str, list[NumberDataPoint]] = {}
    for sample in family.samples:
        if sample.name.endswith("_created"):  # the begin, which every point has
            continue
        point = NumberDataPoint(
            attributes=_attributes(sample.labels),
            start_time_unix_nano=begun_ns if counts else 0,
            time_unix_nano=now_ns,
            as_double=sample.value,
        )
        named.setdefault(sample.name, []).append(point)
    for name, points in named.items():
        metric = _described(name, family)
        if counts:
            metric.sum.aggregation_temporality = _CUMULATIVE
            metric.sum.is_monotonic = True
            metric.sum.data_points.extend(points)
        else:
            metric.gauge.data_points.extend(points)
        yield metric


def _described(name: str, family: Family) -> Metric:
    plain = name.removesuffix("_total")
    unit = next((unit for end, unit in _UNITS if plain.endswith(end)), family.unit)
    return Metric(name=name, description=family.documentation, unit=unit)


def _histogram_points(family: Family, begun_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """Prometheus counts what is at most a bound, OTLP what is between two bounds."""
    found: dict[tuple[tuple[str, str], ...], dict[str, list[Sample]]] = {}
    for sample in family.samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        found.setdefault(labels, {}).setdefault(sample.name.removeprefix(family.name), []).append(sample)
    for labels, parts in found.items():
        buckets = sorted((float(sample.labels["le"]), int(sample.value)) for sample in parts.get("_bucket", ()))
        at_most = [0, *(n for _, n in buckets)]
        point = HistogramDataPoint(
            attributes=_attributes(dict(labels)),
            start_time_unix_nano=begun_ns,
            time_unix_nano=now_ns,
            count=at_most[-1],
            bucket_counts=[after - before for before, after in pairwise(at_most)],
            explicit_bounds=[bound for bound, _ in buckets[:-1]],  # the last one is +Inf
        )
        for sample in parts.get("_sum", ()):
            point.sum = sample.value
        yield point


# -- logs -----------------------------------------------------------------------------------------


def logs_request(lines: Iterable[LogLine], resource: Resource) -> ExportLogsServiceRequest:
    """Returns lines of the log; the event is the body."""
    scope = ScopeLogs(scope=_SCOPE, log_records=map(_log_record, lines))
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])])


def _log_record(line: LogLine) -> LogRecord:
    return LogRecord(
        time_unix_nano=line.at_ns,
        observed_time_unix_nano=line.at_ns,
        severity_number=_SEVERITIES.get(line.level, SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED),
        severity_text=line.level.upper(),
        body=AnyValue(string_value=_text(line.event)),
        event_name=_text(line.event),
        attributes=_attributes(line.fields),
    )


# -- traces ---------------------------------------------------------------------------------------


def traces_request(spans: Iterable[tuple[bytes, Delivery]], resource: Resource) -> ExportTraceServiceRequest:
    """Returns a span for each delivery; before it stands its ID, 16 bytes of the trace and 8 bytes of the span."""
    scope = ScopeSpans(scope=_SCOPE, spans=[_span(delivery, span_id) for span_id, delivery in spans])
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])])


def _span(delivery: Delivery, span_id: bytes) -> Span:
    failed = delivery.refused or not delivery.finished
    links = [
        Span.Link(trace_id=context[:16], span_id=context[16:24], flags=context[24] | _FLAGS_KNOWN | _REMOTE)
        for context in delivery.contexts
    ]
    attributes = {
        "integration": delivery.integration,
        "samples": delivery.samples,
        "series": delivery.series,
        "rows": delivery.rows,
        "bytes": delivery.bytes,
        "records": delivery.records,
        "attempts": delivery.attempts,
        "samples.inserted": delivery.inserted,
        "samples.dead_lettered": delivery.refused,
        "outcome": delivery.outcome,
    }
    if delivery.cut:
        attributes["links.cut"] = delivery.cut
    return Span(
        trace_id=span_id[:16],
        span_id=span_id[16:],
        flags=_SAMPLED,
        name="insert frame",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=delivery.begun_ns,
        end_time_unix_nano=delivery.ended_ns,
        attributes=_attributes({_PREFIX + name: value for name, value in attributes.items()}),
        links=links,
        dropped_links_count=delivery.cut,
        status=Status(
            code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET,
            message=delivery.reason[:LONGEST_VALUE] or (delivery.outcome if failed else ""),
        ),
    )


# -- attributes -----------------------------------------------------------------------------------


def resource_of(attributes: Mapping[str, object]) -> Resource:
    """Returns the description of the sender, which stands in every request."""
    return Resource(attributes=_attributes(attributes))


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=_text(key), value=_value(value)) for key, value in values.items()]


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes):
        return AnyValue(string_value=_text(json.dumps(value, default=str, ensure_ascii=False))[:LONGEST_VALUE])
    return AnyValue(string_value=_text(str(value)))


def _text(text: str) -> str:
    """Text that UTF-8 can carry: a topic or a path may have half a character of UTF-16."""
    return text.encode(errors="backslashreplace").decode()
