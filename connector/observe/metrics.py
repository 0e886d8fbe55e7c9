"""Prometheus metrics, read from the running parts when they are asked for: the hot path counts for itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from connector import __version__
from connector.delivery.circuit import CircuitState

if TYPE_CHECKING:
    from connector.runtime.connector import Connector

PREFIX: Final = "clarify_connector_"
"""How the names of our metrics begin; those of the process are Prometheus's own (`process_cpu_seconds_total` …)."""
_CIRCUIT_STATES: Final = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
_CLOCKS = 20
"""Devices whose clocks are shown: a fleet has too many for a page."""


class _Numbers(Collector):
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def collect(self) -> Iterator[Metric]:
        pipeline = self._connector.pipeline
        yield InfoMetricFamily(PREFIX.rstrip("_"), "The version that runs", {"version": __version__})
        for unit, counts in (("messages", pipeline.status.messages), ("samples", pipeline.status.samples)):
            family = CounterMetricFamily(
                f"{PREFIX}{unit}", f"{unit.capitalize()} since the start, by what became of them", labels=["outcome"]
            )
            for outcome in ("received", "inserted", "dead_lettered", "superseded", "filtered"):
                family.add_metric([outcome], getattr(counts, outcome))
            yield family
        reasons = CounterMetricFamily(
            f"{PREFIX}dead_letters", "Messages and values that could not become samples, by reason", labels=["reason"]
        )
        for reason, n in list(pipeline.status.reasons.items()):
            reasons.add_metric([reason], n)
        yield reasons
        filtered = CounterMetricFamily(
            f"{PREFIX}filtered_messages", "Messages that became nothing on purpose, by reason", labels=["reason"]
        )
        for why, n in dict(pipeline.status.filtered).items():
            filtered.add_metric([why], n)
        yield filtered
        overwritten = CounterMetricFamily(
            f"{PREFIX}overwritten_values",
            "Values that another value of the same input and time replaced, by the topic of the later one; at most "
            "1,000 a request are counted",
            labels=["topic"],
        )
        for topic, n in dict(pipeline.status.overwritten_by_topic).items():
            overwritten.add_metric([topic], n)
        yield overwritten
        notices = GaugeMetricFamily(
            f"{PREFIX}notices", "Notices in /readyz: a person should look, data flows", labels=["kind"]
        )
        for kind, n in self._connector.notice_counts().items():
            notices.add_metric([kind], n)
        yield notices
        late = pipeline.status.abandoned().late_samples
        yield CounterMetricFamily(
            f"{PREFIX}late_samples", "Samples that were settled after their partition had gone to another member", late
        )
        yield from self._mapping()
        yield from self._sender()
        yield from self._metadata()
        yield from self._circuits()
        yield from self._packing()
        yield from self._sources()

    def _mapping(self) -> Iterator[Metric]:
        pipeline = self._connector.pipeline
        yield CounterMetricFamily(
            f"{PREFIX}late_window_values",
            "Values left out because the window that they belong to was stored already",
            pipeline.status.late_for_windows,
        )
        clocks = GaugeMetricFamily(
            f"{PREFIX}clock_offset_seconds",
            "How far a device's clock is ahead of ours (negative: behind), of those that are furthest off",
            labels=["source", "device"],
        )
        for skew in pipeline.status.clocks(_CLOCKS):
            clocks.add_metric([skew.source, skew.device], -skew.lag_us / 1e6)
        yield clocks

    def _sender(self) -> Iterator[Metric]:
        connector = self._connector
        status, circuit = connector.pipeline.sender.status, connector.pipeline.sender.circuit
        records, samples = connector.pipeline.status.waiting()
        yield CounterMetricFamily(f"{PREFIX}insert_requests", "Insert requests sent", status.requests)
        yield CounterMetricFamily(f"{PREFIX}insert_failures", "Insert requests that failed", status.failures)
        yield CounterMetricFamily(f"{PREFIX}insert_bytes", "Bytes of frames sent", status.bytes_sent)
        yield CounterMetricFamily(
            f"{PREFIX}sparkplug_rebirth_requests", "Requests to nodes to send their births", connector.rebirths.sent
        )
        pace = connector.pipeline.pace
        usage, blocked = connector.dead_letters.usage(), connector.dead_letters.trouble is not None
        gauges = (
            ("messages_in_memory", "Messages taken in and not settled yet", records),
            ("samples_in_memory", "Samples that wait in the columns", samples),
            (
                "oldest_sample_seconds",
                "Age of the sample that has waited longest",
                connector.pipeline.status.oldest_seconds(),
            ),
            ("insert_held", "1 while Clarify does not let us in: a person must act", float(circuit.held)),
            ("dead_letters_blocked", "1 while dead letters cannot be written: intake waits", float(blocked)),
            ("request_rate", "Inserts a second that we allow ourselves now", connector.pipeline.rate()),
            ("request_share", "Our share of the allowed rate", pace.share),
            (
                "congestion_factor",
                "1 while Clarify is prompt, less while it is slow",
                pace.congestion,
            ),
            ("ready", "1 if ready", float(not connector.problems())),
            (
                "threads_in_trouble",
                "Threads that have ended or stand still: above 0 a restart helps, and /healthz fails",
                len(connector.supervision.problems()),
            ),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"{PREFIX}{name}", text, value)
        yield CounterMetricFamily(
            f"{PREFIX}dead_letters_discarded", "Dead letters that had to go because the store was full", usage.discarded
        )
        for name, text, size in (
            ("dead_letters_kept", "Dead letters in the store", usage.kept),
            ("dead_letters_bytes", "Bytes of dead letters in the store", usage.bytes),
            ("dead_letters_max_bytes", "Bound of the store of dead letters in bytes", usage.max_bytes),
        ):
            if size is not None:  # of a topic only its brokers know
                yield GaugeMetricFamily(f"{PREFIX}{name}", text, size)
        frames = list(connector.pipeline.status.frames)
        if frames:
            yield GaugeMetricFamily(f"{PREFIX}frame_samples", "Samples in the newest frame", frames[-1].samples)
            yield GaugeMetricFamily(f"{PREFIX}frame_density", "Share of its cells with a value", frames[-1].density)
            yield GaugeMetricFamily(f"{PREFIX}insert_seconds", "How long its insert took", frames[-1].seconds)

    def _metadata(self) -> Iterator[Metric]:
        signals, items = self._connector.signals, self._connector.items
        described, published = signals.counts(), items.counts()
        for name, text, n in (
            ("signals_saved", "Signals whose metadata was saved", signals.saved),
            (
                "signals_merged",
                "Changes of a signal's metadata that a newer one replaced before they were saved",
                signals.outbox.desires.merged,
            ),
            ("signals_published", "Signals that were published as items", items.published),
            ("items_left_alone", "Items that somebody else had made or changed", items.left_alone),
            (
                "metadata_forgotten",
                "Wishes for metadata or items for which there was neither disk nor memory",
                signals.outbox.desires.forgotten + items.outbox.desires.forgotten,
            ),
        ):
            yield CounterMetricFamily(f"{PREFIX}{name}", text, n)
        for name, text, n in (
            ("signals_waiting", "Signals whose metadata is still to be saved", described.waiting),
            (
                "signals_postponed",
                "Signals that wait because they were saved less than delivery.metadata_interval ago",
                described.postponed,
            ),
            ("signals_failed", "Signals whose metadata cannot be saved as the mapping wants it", described.failed),
            ("items_waiting", "Signals that are still to be published", published.waiting),
            ("items_failed", "Signals that cannot be published", published.failed),
        ):
            yield GaugeMetricFamily(f"{PREFIX}{name}", text, n)

    def _circuits(self) -> Iterator[Metric]:
        state, held, failures, next_try = (
            GaugeMetricFamily(f"{PREFIX}circuit_{name}", text, labels=["method"])
            for name, text in (
                ("state", "0 closed, 1 half-open: a probe is under way, 2 open: only probes are sent, now and then"),
                ("held", "1 while Clarify does not let this method in: a person must act"),
                ("failures", "Failures in a row"),
                ("next_try_seconds", "Seconds until a request may be sent"),
            )
        )
        for method, status in self._connector.circuits.statuses(time.monotonic()).items():
            state.add_metric([method], _CIRCUIT_STATES[status.state])
            held.add_metric([method], float(status.held))
            failures.add_metric([method], status.failures)
            next_try.add_metric([method], status.next_try_seconds)
        yield from (state, held, failures, next_try)

    def _packing(self) -> Iterator[Metric]:
        packing = self._connector.pipeline.status.packing()
        if packing is not None:
            gauges = (
                ("inflow_samples_per_second", "Samples a second that come in", packing.inflow),
                ("capacity_samples_per_second", "Samples a second that leave at the present packing", packing.capacity),
                (
                    "most_samples_per_second",
                    "Samples a second that could leave with as much waiting as may",
                    packing.most,
                ),
                ("backlog_seconds", "How long what waits lasts at the present packing", packing.backlog_seconds),
                (
                    "load_sustainable",
                    "0 while more comes in than could ever leave",
                    float((packing.factor or 1.0) >= 1),
                ),
            )
            for name, text, value in gauges:
                yield GaugeMetricFamily(f"{PREFIX}{name}", text, value)
            yield GaugeMetricFamily(
                f"{PREFIX}samples_per_request",
                "Samples a request, since the start",
                packing.samples_per_request,
            )
            yield GaugeMetricFamily(
                f"{PREFIX}density", "Share of all frames' cells with a value, since the start", packing.density
            )
            for name, text, n in (
                ("samples_aligned", "Samples whose time was moved to a grid", packing.aligned),
                ("samples_not_aligned", "Samples that would have been moved too far", packing.not_aligned),
                ("align_collisions", "Samples that ended on the time of the one before them", packing.collisions),
            ):
                yield CounterMetricFamily(f"{PREFIX}{name}", text, n)
            yield GaugeMetricFamily(
                f"{PREFIX}align_greatest_shift_seconds",
                "The farthest that a sample was moved",
                packing.greatest_shift_us / 1e6,
            )
            yield CounterMetricFamily(f"{PREFIX}full_requests", "Requests that were full", packing.full_requests)
            yield CounterMetricFamily(
                f"{PREFIX}requests_saved_by_alignment",
                "Full requests that alignment to whole seconds would have saved",
                packing.aligned_saves,
            )
        if self._connector.new_signals is not None:
            signals = self._connector.new_signals.counts()
            yield GaugeMetricFamily(f"{PREFIX}signals_let_in", "Signals that may have samples", signals.let_in)
            yield GaugeMetricFamily(f"{PREFIX}signals_held", "New signals that wait for an approval", signals.held)
            yield CounterMetricFamily(
                f"{PREFIX}samples_not_let_in",
                "Samples of new signals that became dead letters",
                signals.refused_samples,
            )
        rates = self._connector.pipeline.status.signal_rates
        if rates is not None:
            for name, text, n in (
                ("signals_active", "Signals with samples in the last ten minutes", rates.signals),
                ("signals_over_one_a_minute", "Signals with more than one sample a minute", rates.over_average),
                ("signals_over_one_a_second", "Signals with more than one sample a second", rates.over_burst),
            ):
                yield GaugeMetricFamily(f"{PREFIX}{name}", text, n)

    def _sources(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        help_of = self._connector.metric_help
        said = self._connector.pipeline.status.sparkplug_gauges()
        for source in self._connector.pipeline.status.sources():
            for name, value in (source.gauges() | said.get(source.name, {})).items():
                family = families.get(name)
                if family is None:
                    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                    family = families[name] = kind(f"{PREFIX}{name}", help_of.get(name, name), labels=["source"])
                family.add_metric([source.name], value)  # type: ignore[attr-defined]
        yield from families.values()
        ahead = GaugeMetricFamily(
            f"{PREFIX}time_to_loss_seconds",
            "Seconds until something would be lost at the present rates; +Inf where nothing points to it",
            labels=["source", "cause"],
        )
        for (name, cause), seconds in self._connector.losses.seconds().items():
            ahead.add_metric([name, cause], seconds)
        yield ahead


def metrics_page(connector: Connector) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Numbers(connector))
    return generate_latest(registry)
