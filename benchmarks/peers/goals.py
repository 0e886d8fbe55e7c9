"""The goals, and the figures that are compared with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.goals import Goal
from benchmarks.peers.candidates import BARE, OURS, TELEGRAF, TUNED

Medians = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Scenario → candidate → figure → median of the rounds."""


def _figure(scenario: str, figure: str, candidate: str = OURS) -> Callable[[Medians], float]:
    return lambda medians: medians[scenario][candidate][figure]


def _ratio(scenario: str, figure: str, other: str) -> Callable[[Medians], float]:
    return lambda medians: medians[scenario][OURS][figure] / medians[scenario][other][figure]


def _to_best(scenario: str, figure: str) -> Callable[[Medians], float]:
    """Ours against the better one of both settings of Telegraf."""

    def value(medians: Medians) -> float:
        of = medians[scenario]
        return of[OURS][figure] / min(of[name][figure] for name in {TELEGRAF, TUNED} & of.keys() or {TUNED})

    return value


def _more_delay(medians: Medians) -> float:
    of = medians["steady-100"]
    return of[OURS]["delay_p50"] - of[TUNED]["delay_p50"]


GOALS: Final = (
    Goal("backlog: µs of CPU a message", 10, _figure("backlog", "cpu_us")),
    Goal("backlog: CPU, ours / tuned Telegraf", 0.3, _ratio("backlog", "cpu_us", TUNED)),
    Goal("backlog: stored a second, ours / tuned Telegraf", 2, _ratio("backlog", "per_second", TUNED), at_least=True),
    Goal("properties of MQTT 5: µs of CPU a message", 15, _figure("properties", "cpu_us")),
    Goal("properties of MQTT 5 over TLS: µs of CPU a message", 15, _figure("properties-tls", "cpu_us")),
    Goal("published live: CPU, ours / Telegraf", 0.4, _to_best("live", "cpu_us")),
    Goal("100 messages a second: CPU, ours / Telegraf", 1, _to_best("steady-100", "cpu_percent")),
    Goal("100 messages a second: median delay, ours - tuned Telegraf, s", 0.05, _more_delay),
    Goal("1,000 messages a second, own clocks: CPU, ours / Telegraf", 0.6, _to_best("steady-1000", "cpu_percent")),
    Goal("Kafka: µs of CPU a record", 6, _figure("kafka", "cpu_us")),
    Goal("Kafka: CPU, ours / bare loop", 1.3, _ratio("kafka", "cpu_us", BARE)),
    Goal("from exec to subscribed, s", 0.6, _figure("start", "start_seconds")),
    Goal("idle memory, MB", 45, _figure("start", "idle_mb")),
    Goal("command health, s", 0.15, _figure("start", "health_seconds")),
)
