"""Readings of a running connector, from its pages /metrics, /readyz and /ledger."""

from __future__ import annotations

import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from connector.commands.live.pages import NoPageError, RunningPages
from connector.dead_letters.remedies import remedy
from connector.terminal.rates import Meter, RateMeter, Rates

_PREFIX: Final = "clarify_connector_"
_RECEIVED: Final = re.compile(rf"{_PREFIX}\w+_(received|lines)_total")
"""The counters of what a source has read, by the kind of the source."""
_LEDGER_SECONDS: Final = 5.0
"""The connector makes its page of the ledger at most once in ten seconds."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source."""

    name: str
    messages_per_second: float | None
    """None before the second reading, and for a kind of source without a counter."""
    messages: Mapping[str, int]
    """Name in an account → number, as in the ledger."""
    samples: Mapping[str, int]
    lag: float | None
    """Records that Kafka has and that are not read yet; None for other sources."""
    loss_seconds: float | None
    """Time until messages would be lost at the present rates; None if no loss is in sight."""
    loss_cause: str


@dataclass(frozen=True, slots=True)
class IntegrationState:
    """One integration of Clarify. A number is None before the first frame."""

    name: str
    samples_per_second: float | None
    requests_per_second: float | None
    allowed_requests_per_second: float | None
    waiting_samples: float | None
    oldest_seconds: float | None
    density: float | None
    """Share of the cells of all frames with a value, 0 to 1."""
    samples_per_request: float | None
    inflow: float | None
    """Samples a second that come in."""
    capacity: float | None
    """Samples a second that can be sent at the present packing."""
    backlog_seconds: float | None
    """Time to send all that waits."""
    sustainable: bool | None
    """False while more comes in than can be sent at the best packing."""
    held: bool
    """Whether Clarify refuses inserts until a person acts."""


@dataclass(frozen=True, slots=True)
class TopReading:
    """The state of a running connector at one moment."""

    at: float
    """Seconds since the epoch."""
    ready: bool
    problems: Sequence[str]
    notices: Sequence[Mapping[str, Any]]
    """As in /readyz: `text`, `remedy`, `source`, `kind` …"""
    rates: Rates
    history: Sequence[Rates]
    oldest_seconds: float
    messages: Mapping[str, int]
    samples: Mapping[str, int]
    balanced: bool
    ledger_trouble: str
    """The reason why there is no account; mostly empty."""
    sources: Sequence[SourceState]
    integrations: Sequence[IntegrationState]
    dead_letters: Mapping[str, int]
    """Reason → number of dead letters since the start."""
    dead_letters_kept: float | None
    filtered: Mapping[str, int]
    """Reason → number of messages left out on purpose since the start."""

    def as_json(self) -> dict[str, object]:
        """Return the reading as JSON data."""
        found = asdict(self)
        del found["history"]
        found["dead_letters"] = [
            {"reason": reason, "count": n, "remedy": remedy(reason)} for reason, n in self.dead_letters.items()
        ]
        return found


class Metrics:
    """The numbers of /metrics. With several workers, each number comes once for each worker."""

    def __init__(self, text: str) -> None:
        self._found: list[tuple[str, Mapping[str, str], float]] = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def by(self, name: str, label: str, join: Callable[[Iterable[float]], float] = sum) -> dict[str, float]:
        """Return the text of a label (empty without it) → the values of a metric, joined by `join`."""
        return self._joined((one for one in self._found if one[0] == _PREFIX + name), label, join)

    def total(self, name: str, join: Callable[[Iterable[float]], float] = sum) -> float | None:
        """Return all values of a metric, joined by `join`; None if there are none."""
        return self.by(name, "", join).get("")

    def received(self) -> dict[str, float]:
        """Return source → the number of messages that it has read."""
        of_sources = (one for one in self._found if "source" in one[1] and _RECEIVED.fullmatch(one[0]))
        return self._joined(of_sources, "source", sum)

    def losses(self) -> dict[str, tuple[float, str]]:
        """Return source → (seconds until a loss, its cause), for sources with a loss in sight; the earliest counts."""
        found: dict[str, tuple[float, str]] = {}
        for name, labels, value in self._found:
            if name == f"{_PREFIX}time_to_loss_seconds" and math.isfinite(value):
                ahead = (value, labels["cause"])
                found[labels["source"]] = min(ahead, found.get(labels["source"], ahead))
        return found

    @staticmethod
    def _joined(
        found: Iterable[tuple[str, Mapping[str, str], float]], label: str, join: Callable[[Iterable[float]], float]
    ) -> dict[str, float]:
        values: dict[str, list[float]] = {}
        for _, labels, value in found:
            values.setdefault(labels.get(label, ""), []).append(value)
        return {text: join(some) for text, some in values.items()}


class TopReader:
    """Takes readings of one connector."""

    def __init__(self, pages: RunningPages, clock: Callable[[], float] = time.monotonic) -> None:
        self._pages = pages
        self._clock = clock
        self.pages = 0
        """The number of different pages of metrics so far; from two on, there are rates."""
        self._text = ""
        self._at = 0.0
        self._meter = RateMeter()
        self._meters: defaultdict[tuple[str, str], Meter] = defaultdict(Meter)
        """(what, name) → the meter of a counter."""
        self._ledger: dict[str, Any] = {}
        self._ledger_trouble = ""
        self._ledger_due = 0.0

    def read(self) -> TopReading:
        """Take a reading. Raises `NoPageError`."""
        status, ready = self._pages.json("/readyz")
        metrics = self._metrics()
        now = self._at
        self._read_ledger()
        rates = self._meter.note(
            now,
            metrics.total("messages_received_total") or 0,
            metrics.total("samples_received_total") or 0,
            metrics.by("samples_settled_total", "outcome").get("inserted", 0),
            metrics.total("insert_requests_total") or 0,
        )
        reasons = Counter({reason: int(n) for reason, n in metrics.by("dead_letters_total", "reason").items() if n})
        return TopReading(
            at=time.time(),
            ready=status == 200,
            problems=ready.get("problems", []),
            notices=ready.get("notices", []),
            rates=rates,
            history=tuple(self._meter.history),
            oldest_seconds=metrics.total("oldest_sample_seconds", max) or 0.0,
            messages=self._ledger.get("messages", {}),
            samples=self._ledger.get("samples", {}),
            balanced=bool(self._ledger.get("balanced", True)),
            ledger_trouble=self._ledger_trouble,
            sources=self._sources(metrics, now),
            integrations=self._integrations(metrics, now),
            dead_letters=dict(reasons.most_common()),
            dead_letters_kept=metrics.total("dead_letters_kept"),
            filtered=ready.get("filtered_by", {}),
        )

    def _metrics(self) -> Metrics:
        """The metrics, and their time: a page that the connector has kept is as old as when it first came."""
        status, text = self._pages.text("/metrics")
        try:
            if status == 200:
                if text != self._text:
                    self._text, self._at = text, self._clock()
                    self.pages += 1
                return Metrics(text)
        except ValueError:
            text = "the page is not in the format of Prometheus"
        raise NoPageError(f"{self._pages.listen}/metrics: {text.strip()}")

    def _read_ledger(self) -> None:
        """Ask for the ledger now and then; without an answer, the last one stays, and the reason is kept."""
        now = self._clock()
        if now < self._ledger_due:
            return
        self._ledger_due = now + _LEDGER_SECONDS
        try:
            status, found = self._pages.json("/ledger")
        except NoPageError as error:
            self._ledger_trouble = str(error)
            return
        self._ledger_trouble = "" if status == 200 else str(found.get("error"))
        if not self._ledger_trouble:
            self._ledger = found

    def _rate(self, what: str, name: str, count: float | None, now: float) -> float | None:
        return None if count is None else self._meters[what, name].note(now, count)

    def _sources(self, metrics: Metrics, now: float) -> list[SourceState]:
        ledger, received = self._ledger.get("sources", {}), metrics.received()
        lag, losses = metrics.by("kafka_lag", "source"), metrics.losses()
        found = []
        for name in dict.fromkeys([*ledger, *received]):
            topics = ledger.get(name, {}).get("topics", {}).values()
            seconds, cause = losses.get(name, (None, ""))
            found.append(
                SourceState(
                    name,
                    self._rate("source", name, received.get(name), now),
                    _added(topic["messages"] for topic in topics),
                    _added(topic["samples"] for topic in topics),
                    lag.get(name),
                    seconds,
                    cause,
                )
            )
        return found

    def _integrations(self, metrics: Metrics, now: float) -> list[IntegrationState]:
        def of(name: str, join: Callable[[Iterable[float]], float] = sum) -> dict[str, float]:
            return metrics.by(name, "integration", join)

        requests = of("insert_requests_total")
        several = "" not in requests
        stored = (
            of("integration_samples_total")
            if several
            else {"": metrics.by("samples_settled_total", "outcome")["inserted"]}
        )
        waiting = of("integration_samples_in_memory") if several else {"": metrics.total("samples_in_memory")}
        allowed, oldest, density = (
            of("allowed_requests_per_second"),
            of("oldest_sample_seconds", max),
            of("density_ratio", _mean),
        )
        fill, inflow, capacity = (
            of("samples_per_request", _mean),
            of("inflow_samples_per_second"),
            of("capacity_samples_per_second"),
        )
        backlog, sustainable, held = of("backlog_seconds", max), of("load_sustainable", min), of("insert_held", max)
        return [
            IntegrationState(
                name or "Clarify",
                self._rate("stored", name, stored.get(name), now),
                self._rate("requests", name, requests[name], now),
                allowed.get(name),
                waiting.get(name),
                oldest.get(name),
                density.get(name),
                fill.get(name),
                inflow.get(name),
                capacity.get(name),
                backlog.get(name),
                bool(sustainable[name]) if name in sustainable else None,
                bool(held.get(name)),
            )
            for name in requests
        ]


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _added(accounts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for account in accounts:
        found.update(account)
    return dict(found)
