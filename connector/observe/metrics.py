"""Prometheus metrics, read from the running parts at each request; the hot path only counts, and exports nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from connector import __version__
from connector.delivery.circuit import CircuitState
from connector.ledger.account import Counts
from connector.observe.certificates import remaining
from connector.records import FILTERED_BECAUSE, Reason

if TYPE_CHECKING:
    from connector.runtime.connector import Connector

PREFIX: Final = "clarify_connector_"
"""Prefix of all our metrics; the metrics of the process have Prometheus's own names (`process_cpu_seconds_total` …)."""
_CIRCUIT_STATES: Final = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
_OUTCOMES: Final = ("inserted", "dead_lettered", "superseded", "filtered")
_SHARES: Final = (0.5, 0.9, 0.99)
_CLOCKS = 20
"""Number of devices whose clock offsets are exported; a fleet has too many devices for a page."""


def _field(values: Mapping[str, object], name: str) -> Callable[[str], float | None]:
    """Returns a function that returns the attribute `name` of the value of an integration; None without a value."""
    return lambda integration: getattr(values.get(integration), name, None)


def _by_reason(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    """Returns a counter by reason. `counts` has each known reason, also with 0: a counter whose first value is 1 does
    not rise for Prometheus."""
    family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=["reason"])
    for reason, n in counts.items():
        family.add_metric([reason], n)
    return family


class _Numbers(Collector):
    """The metrics of a connector, read when somebody asks.

    The class is long because it has a method for each group of metrics, with the help text of each metric.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def _by_integration(
        self, name: str, text: str, value: Callable[[str], float | None], *, counts: bool = False
    ) -> Metric:
        """Returns a metric with the value of each integration; the label `integration` only if there are several.

        `value` gets the name of the integration, and returns None if there is no value.
        """
        kind = CounterMetricFamily if counts else GaugeMetricFamily
        integrations = self._connector.integrations
        several = len(integrations) > 1
        family = kind(f"{PREFIX}{name}", text, labels=["integration"] if several else [])
        for integration in integrations:
            found = value(integration)
            if found is not None:
                family.add_metric([self._connector.pipeline.status.shown(integration)] if several else [], found)
        return family

    def collect(self) -> Iterator[Metric]:
        pipeline = self._connector.pipeline
        yield InfoMetricFamily(PREFIX.rstrip("_"), "The running version", {"version": __version__})
        yield from self._settled()
        yield _by_reason(
            "dead_letters",
            "Messages and values that could not become samples, by reason",
            {**dict.fromkeys(Reason, 0), **pipeline.status.reasons},
        )
        yield _by_reason(
            "filtered_messages",
            "Messages that were left out on purpose, by reason",
            {**dict.fromkeys(FILTERED_BECAUSE, 0), **pipeline.status.filtered},
        )
        overwritten = CounterMetricFamily(
            f"{PREFIX}overwritten_values",
            "Values that a later value of the same input and time replaced, by the topic of the later value; at most "
            "1,000 values a request are counted",
            labels=["topic"],
        )
        for topic, n in dict(pipeline.status.overwritten_by_topic).items():
            overwritten.add_metric([topic], n)
        yield overwritten
        notices = GaugeMetricFamily(
            f"{PREFIX}notices", "Notices in /readyz: data flows, but a person should look", labels=["kind"]
        )
        for kind, n in self._connector.notice_counts().items():
            notices.add_metric([kind], n)
        yield notices
        late = pipeline.status.abandoned().late_samples
        yield CounterMetricFamily(
            f"{PREFIX}late_samples", "Samples that were settled after their partition had gone to another member", late
        )
        yield from self._disk()
        yield from self._mapping()
        yield from self._sender()
        yield from self._metadata()
        yield from self._circuits()
        yield from self._packing()
        yield from self._sources()
        yield from self._delays()
        yield from self._freshness()
        yield from self._silence()
        yield from self._certificates()

    def _settled(self) -> Iterator[Metric]:
        status = self._connector.pipeline.status
        for unit, counts in (("messages", status.messages), ("samples", status.samples)):
            yield CounterMetricFamily(f"{PREFIX}{unit}_received", f"{unit.capitalize()} received", counts.received)
        messages = CounterMetricFamily(
            f"{PREFIX}messages_settled", "Messages settled, by outcome", labels=["source", "outcome"]
        )
        samples = CounterMetricFamily(f"{PREFIX}samples_settled", "Samples settled, by outcome", labels=["outcome"])
        for outcome in _OUTCOMES:
            samples.add_metric([outcome], getattr(status.samples, outcome))
        known = {source.name: Counts() for source in status.sources()} | status.settled
        for source, of_source in known.items():
            for outcome in _OUTCOMES:
                messages.add_metric([source, outcome], getattr(of_source, outcome))
        yield from (messages, samples)

    def _certificates(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            f"{PREFIX}certificate_expires_seconds",
            "Seconds until the certificate in the file of a setting expires; below 0, it has expired",
            labels=["setting"],
        )
        for setting, seconds in remaining(self._connector.config, time.time()):
            family.add_metric([setting], seconds)
        yield family

    def _delays(self) -> Iterator[Metric]:
        pipeline, now = self._connector.pipeline, time.monotonic()
        family = HistogramMetricFamily(
            f"{PREFIX}delay_seconds", "Delays between the stages of the data", labels=["source", "stage"]
        )
        quantiles = GaugeMetricFamily(
            f"{PREFIX}delay_quantile_seconds",
            "Quantiles of the delays of the last five to ten minutes",
            labels=["source", "stage", "quantile"],
        )
        for source in pipeline.status.sources():
            for stage, histogram in pipeline.delays.stages(source).items():
                buckets = [(str(bound) if isfinite(bound) else "+Inf", float(n)) for bound, n in histogram.shown()]
                family.add_metric([source.name, stage], buckets, histogram.sum_us / 1e6)
                for share, found in zip(_SHARES, histogram.quantiles(_SHARES, now), strict=False):
                    quantiles.add_metric([source.name, stage, f"{share:g}"], found)
        yield from (family, quantiles)

    def _freshness(self) -> Iterator[Metric]:
        objective = GaugeMetricFamily(
            f"{PREFIX}freshness_objective_seconds",
            "Longest time from the time of a sample until Clarify has stored it: freshness of the source",
            labels=["source"],
        )
        samples = CounterMetricFamily(
            f"{PREFIX}freshness_samples",
            "Samples that were stored within the objective (kept=yes), or later",
            labels=["source", "kept"],
        )
        for source, account in self._connector.pipeline.delays.freshness.items():
            objective.add_metric([source], account.objective)
            samples.add_metric([source, "yes"], account.kept)
            samples.add_metric([source, "no"], account.missed)
        yield from (objective, samples)

    def _silence(self) -> Iterator[Metric]:
        watched = GaugeMetricFamily(
            f"{PREFIX}signals_watched", "Signals of a rule with expect_every, by number of the rule", labels=["rule"]
        )
        silent = GaugeMetricFamily(
            f"{PREFIX}signals_silent", "Watched signals that are silent: see the page /silent", labels=["rule"]
        )
        for rule, n, n_silent in () if self._connector.silence is None else self._connector.silence.counts():
            watched.add_metric([str(rule.number)], n)
            silent.add_metric([str(rule.number)], n_silent)
        yield from (watched, silent)

    def _disk(self) -> Iterator[Metric]:
        try:
            found = shutil.disk_usage(self._connector.state_dir)
        except OSError:  # the folder is gone: /readyz says so
            return
        yield GaugeMetricFamily(f"{PREFIX}disk_free_bytes", "Free bytes of the disk of state_dir", found.free)
        yield GaugeMetricFamily(f"{PREFIX}disk_size_bytes", "Size of the disk of state_dir in bytes", found.total)

    def _mapping(self) -> Iterator[Metric]:
        pipeline = self._connector.pipeline
        yield CounterMetricFamily(
            f"{PREFIX}late_window_values",
            "Values left out because their window was stored already",
            pipeline.status.late_for_windows,
        )
        tolerated = CounterMetricFamily(
            f"{PREFIX}tolerated_messages",
            "Messages with a fault that was overlooked, by kind: see the notices payload_tolerated",
            labels=["source", "kind"],
        )
        for labels, n in pipeline.status.tolerated.items():
            tolerated.add_metric(labels, n)
        yield tolerated
        clocks = GaugeMetricFamily(
            f"{PREFIX}clock_offset_seconds",
            "Seconds by which a device's clock is ahead of ours (negative: behind); only the devices with the greatest "
            "offsets",
            labels=["source", "device"],
        )
        for skew in pipeline.status.clocks(_CLOCKS):
            clocks.add_metric([skew.source, skew.device], -skew.lag_us / 1e6)
        yield clocks
        yield from self._tags()

    def _tags(self) -> Iterator[Metric]:
        lists = self._connector.tags.counts()
        for name, text, field in (
            ("tags", "Rows of a tag list", "tags"),
            ("tags_unused", "Rows of a tag list that no record has used since the start", "unused"),
            ("tags_unknown", "Keys of records that a tag list does not have; at most 10,000 are counted", "unknown"),
            ("tag_list_refused", "1 while the file of a tag list has a mistake: an older list is in use", "refused"),
        ):
            family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=["file"])
            for one in lists:
                family.add_metric([one.file], float(getattr(one, field)))
            if lists:
                yield family

    def _sender(self) -> Iterator[Metric]:
        connector = self._connector
        destinations = connector.pipeline.destinations
        records, samples = connector.pipeline.status.waiting()
        for name, text, count in (
            ("insert_requests", "Insert requests sent", "requests"),
            ("insert_failures", "Insert requests that failed", "failures"),
            ("insert_bytes", "Bytes of frames sent", "bytes_sent"),
        ):
            yield self._by_integration(
                name, text, _field({name: one.sender.status for name, one in destinations.items()}, count), counts=True
            )
        yield CounterMetricFamily(
            f"{PREFIX}sparkplug_rebirth_requests", "Requests to nodes to send their births", connector.rebirths.sent
        )
        usage, blocked = connector.dead_letters.usage(), connector.dead_letters.trouble is not None
        if len(destinations) > 1:
            inserted = connector.pipeline.status.inserted_samples
            yield self._by_integration(
                "integration_samples", "Samples that the integration has stored", lambda one: inserted[one], counts=True
            )
            yield self._by_integration(
                "integration_samples_in_memory",
                "Samples of the integration that wait for a frame, and values in open windows",
                lambda one: destinations[one].waiting,
            )
        yield self._by_integration(
            "last_insert_timestamp_seconds",
            "Time of the last insert that Clarify has stored, in seconds since the epoch",
            connector.pipeline.status.inserted_at.get,
        )
        yield self._by_integration(
            "oldest_sample_seconds",
            "Age of the sample that has waited longest",
            lambda one: destinations[one].oldest_seconds(),
        )
        yield self._by_integration(
            "insert_held",
            "1 while Clarify refuses inserts until a person acts",
            lambda one: float(destinations[one].sender.circuit.held),
        )
        yield self._by_integration(
            "allowed_requests_per_second",
            "Allowed insert requests a second of this process, now",
            lambda one: destinations[one].rate(),
        )
        yield self._by_integration(
            "request_share_ratio",
            "Share of the allowed rate that this process may use",
            lambda one: destinations[one].pace.share,
        )
        yield self._by_integration(
            "congestion_ratio",
            "1 while Clarify is prompt, less while Clarify is slow",
            lambda one: destinations[one].pace.congestion,
        )
        gauges = (
            ("messages_in_memory", "Messages that were taken in and are not settled yet", records),
            ("samples_in_memory", "Samples that wait for a frame, and values in open windows", samples),
            ("dead_letters_blocked", "1 while dead letters cannot be written: intake waits", float(blocked)),
            ("ready", "1 if the connector is ready", float(not connector.problems())),
            (
                "threads_in_trouble",
                "Threads that have ended or stand still; above 0, a restart helps, and /healthz fails",
                len(connector.supervision.problems()),
            ),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"{PREFIX}{name}", text, value)
        yield CounterMetricFamily(
            f"{PREFIX}dead_letters_discarded", "Dead letters discarded because the store was full", usage.discarded
        )
        for name, text, size in (
            ("dead_letters_kept", "Dead letters in the store", usage.kept),
            ("dead_letters_bytes", "Bytes of dead letters in the store", usage.bytes),
            ("dead_letters_max_bytes", "Bound of the store of dead letters in bytes", usage.max_bytes),
        ):
            if size is not None:  # only the brokers know the size of a topic
                yield GaugeMetricFamily(f"{PREFIX}{name}", text, size)
        newest = {frame.integration: frame for frame in list(connector.pipeline.status.frames)}
        for name, text, field in (
            ("frame_samples", "Samples in the newest frame", "samples"),
            ("frame_density_ratio", "Share of the newest frame's cells with a value", "density"),
            ("insert_seconds", "Duration of the insert of the newest frame", "seconds"),
        ):
            if newest:
                yield self._by_integration(name, text, _field(newest, field))

    def _metadata(self) -> Iterator[Metric]:
        parts = self._connector.integrations
        described = {name: one.signals.counts() for name, one in parts.items()}
        published = {name: one.items.counts() for name, one in parts.items()}
        counters: tuple[tuple[str, str, Callable[[str], float]], ...] = (
            ("signals_saved", "Signals whose metadata was saved", lambda one: parts[one].signals.saved),
            (
                "signals_merged",
                "Changes of a signal's metadata that a newer change replaced before they were saved",
                lambda one: parts[one].signals.outbox.desires.merged,
            ),
            ("signals_published", "Signals that were published as items", lambda one: parts[one].items.published),
            (
                "items_left_alone",
                "Items left unchanged, because a person or another client had made or changed them",
                lambda one: parts[one].items.left_alone,
            ),
            (
                "metadata_forgotten",
                "Changes of metadata or items that were dropped for want of disk and memory",
                lambda one: parts[one].signals.outbox.desires.forgotten + parts[one].items.outbox.desires.forgotten,
            ),
        )
        for name, text, value in counters:
            yield self._by_integration(name, text, value, counts=True)
        gauges: tuple[tuple[str, str, Callable[[str], float]], ...] = (
            ("signals_waiting", "Signals whose metadata is not saved yet", lambda one: described[one].waiting),
            (
                "signals_postponed",
                "Signals that wait because the last save was less than delivery.metadata_interval ago",
                lambda one: described[one].postponed,
            ),
            (
                "signals_failed",
                "Signals whose metadata from the mapping cannot be saved",
                lambda one: described[one].failed,
            ),
            ("items_waiting", "Signals that are not published yet", lambda one: published[one].waiting),
            ("items_failed", "Signals that cannot be published", lambda one: published[one].failed),
        )
        for name, text, value in gauges:
            yield self._by_integration(name, text, value)

    def _circuits(self) -> Iterator[Metric]:
        several = len(self._connector.integrations) > 1
        labels = ["method", "integration"] if several else ["method"]
        state, held, failures, next_try = (
            GaugeMetricFamily(f"{PREFIX}circuit_{name}", text, labels=labels)
            for name, text in (
                ("state", "0 closed; 1 half-open: a probe is under way; 2 open: only probes are sent, now and then"),
                ("held", "1 while Clarify refuses this method until a person acts"),
                ("failures", "Failures in a row"),
                ("next_try_seconds", "Seconds until a request may be sent"),
            )
        )
        for name, parts in self._connector.integrations.items():
            for method, status in parts.circuits.statuses(time.monotonic()).items():
                of = [method, self._connector.pipeline.status.shown(name)] if several else [method]
                state.add_metric(of, _CIRCUIT_STATES[status.state])
                held.add_metric(of, float(status.held))
                failures.add_metric(of, status.failures)
                next_try.add_metric(of, status.next_try_seconds)
        yield from (state, held, failures, next_try)

    def _packing(self) -> Iterator[Metric]:
        status = self._connector.pipeline.status
        packing = {name: status.packing(name) for name in self._connector.integrations}
        aligned = next(filter(None, packing.values()), None)
        if aligned is not None:
            for name, text, field in (
                ("inflow_samples_per_second", "Samples a second that come in", "inflow"),
                ("capacity_samples_per_second", "Samples a second that can be sent at the present packing", "capacity"),
                (
                    "best_capacity_samples_per_second",
                    "Samples a second that could be sent at the best packing, with as many waiting samples as allowed",
                    "most",
                ),
                ("backlog_seconds", "Time to send all waiting samples at the present packing", "backlog_seconds"),
                ("samples_per_request", "Mean samples a request, since the start", "samples_per_request"),
                ("density_ratio", "Share of all frames' cells with a value, since the start", "density"),
            ):
                yield self._by_integration(name, text, _field(packing, field))
            yield self._by_integration(
                "load_sustainable",
                "0 while more samples come in than can be sent at the best packing",
                lambda one: None if (found := packing[one]) is None else float((found.factor or 1.0) >= 1),
            )
            for name, text, n in (
                ("samples_aligned", "Samples whose time was moved to a grid", aligned.aligned),
                (
                    "samples_not_aligned",
                    "Samples not moved to a grid, because the shift was too long",
                    aligned.not_aligned,
                ),
                ("align_collisions", "Samples moved to the time of the signal's earlier sample", aligned.collisions),
            ):
                yield CounterMetricFamily(f"{PREFIX}{name}", text, n)
            yield GaugeMetricFamily(
                f"{PREFIX}align_greatest_shift_seconds",
                "Longest shift of a sample's time",
                aligned.greatest_shift_us / 1e6,
            )
            for name, text, field in (
                ("full_requests", "Full requests", "full_requests"),
                (
                    "requests_saved_by_alignment",
                    "Full requests that alignment to whole seconds would have saved",
                    "aligned_saves",
                ),
            ):
                yield self._by_integration(name, text, _field(packing, field), counts=True)
        if self._connector.new_signals is not None:
            signals = self._connector.new_signals.counts()
            yield self._by_integration(
                "signals_let_in", "Signals that may have samples", lambda one: signals.let_in.get(one, 0)
            )
            yield self._by_integration(
                "signals_held", "New signals that wait for an approval", lambda one: signals.held.get(one, 0)
            )
            yield CounterMetricFamily(
                f"{PREFIX}samples_not_let_in",
                "Samples of new signals that became dead letters",
                signals.refused_samples,
            )
        rates = {name: one.signal_rates for name, one in self._connector.pipeline.destinations.items()}
        for name, text, field in (
            ("signals_active", "Signals with samples in the last ten minutes", "signals"),
            ("signals_over_one_a_minute", "Signals with more than one sample a minute", "over_average"),
            ("signals_over_one_a_second", "Signals with more than one sample a second", "over_burst"),
        ):
            if any(rates.values()):
                yield self._by_integration(name, text, _field(rates, field))

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
        troubled = GaugeMetricFamily(
            f"{PREFIX}source_in_trouble", "1 while a source cannot be read: /readyz says why", labels=["source"]
        )
        for source in self._connector.pipeline.status.sources():
            troubled.add_metric([source.name], float(bool(source.problems())))
        yield troubled
        ahead = GaugeMetricFamily(
            f"{PREFIX}time_to_loss_seconds",
            "Seconds until records would be lost at the present rates; +Inf if no loss is in sight",
            labels=["source", "cause"],
        )
        for (name, cause), seconds in self._connector.losses.seconds().items():
            ahead.add_metric([name, cause], seconds)
        yield ahead


def families(connector: Connector, *more: Collector) -> Iterator[Metric]:
    """Yields all metrics: of the process, of the connector, and of `more`."""
    yield from ProcessCollector(registry=None).collect()
    for collector in (_Numbers(connector), *more):
        yield from collector.collect()


class _Page(Collector):
    def __init__(self, found: Iterator[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        return self._found


def metrics_page(connector: Connector, *more: Collector) -> bytes:
    """Returns the metrics in Prometheus' text format; `more` are further ones."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(families(connector, *more)))
    return generate_latest(registry)
