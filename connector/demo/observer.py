"""Reads the data that the demo shows, from the same places as a user: the ledger, the sandbox's file, the connector.

A reading is a snapshot. The view turns a reading into text, and knows nothing else. A reading costs more time as the
files grow, so `due` limits readings to a small share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from connector.config.model import Config
from connector.dead_letters.letter import DeadLetter
from connector.demo.plant_process import PlantProcess
from connector.pipeline.status import SentFrame
from connector.runtime.connector import Connector
from connector.runtime.ledger import Account, read_ledger
from connector.sandbox.store import SignalRow, Store
from connector.terminal.rates import RateMeter, Rates

_LEAST_SECONDS: Final = 0.5
_SHARE: Final = 0.25
"""The largest share of the time for readings."""
_MOST_LETTERS: Final = 40
_MOST_SIGNALS: Final = 40
_TREND: Final = 24
_OF_THE_PLANT: Final = "plant/"
"""The begin of every topic of the plant, and so of every input of the plant that no rule describes."""


@dataclass(frozen=True, slots=True)
class SignalValue:
    """The newest value of a signal in the sandbox."""

    name: str
    value: float
    unit: str
    state: str
    """The name of the state, if the signal has named states; else empty."""
    time_us: int
    trend: tuple[float, ...]
    """The last values of the signal, the newest value last."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All data that the view shows, at one moment."""

    messages: Account
    samples: Account
    balanced: bool
    rates: Rates
    history: tuple[Rates, ...]
    """The rates of the last readings, the newest rates last."""
    oldest_seconds: float
    """The waiting time of the oldest sample in memory, in seconds."""
    frames: tuple[tuple[float, SentFrame], ...]
    """(seconds ago, frame), the newest frame first."""
    letters: tuple[DeadLetter, ...]
    """The newest dead letter first."""
    reasons: Mapping[str, int]
    """Reason → dead letters."""
    signals: int
    samples_stored: int
    newest: tuple[SignalValue, ...]
    requests: int
    published: int
    """Acknowledged messages of the plant, as in its last report."""
    problems: tuple[str, ...]


class Observer:
    """Takes readings, in one thread, while the connector is open."""

    def __init__(
        self,
        config: Config,
        connector: Connector,
        store: Store,
        plant: PlantProcess,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._connector = connector
        self._store = store
        self._plant = plant
        self._clock = clock
        self._next = 0.0
        self._meter = RateMeter()

    def due(self) -> bool:
        """Whether it is time for another reading."""
        return self._clock() >= self._next

    def read(self) -> Reading:
        """Take a reading. Raises sqlite3.Error if one of the files cannot be read."""
        began = self._clock()
        reading = self._read(began)
        cost = self._clock() - began
        self._next = began + max(_LEAST_SECONDS, cost / _SHARE)
        return reading

    def _read(self, now: float) -> Reading:
        pipeline = self._connector.pipeline
        ledger = read_ledger(self._config)
        total = ledger.total
        status = pipeline.destinations[""].sender.status
        rates = self._meter.note(
            now, total.messages.received, total.samples.received, total.samples.inserted, status.requests
        )
        signals = self._store.signals()
        problems = self._connector.problems()
        if self._plant.published and not self._plant.connected:
            problems.append("the simulated machines are not connected to the broker")
        return Reading(
            messages=total.messages,
            samples=total.samples,
            balanced=ledger.balanced,
            rates=rates,
            history=tuple(self._meter.history),
            oldest_seconds=pipeline.status.oldest_seconds(),
            frames=tuple((now - frame.at, frame) for frame in reversed(pipeline.status.frames.copy())),
            letters=tuple(self._connector.dead_letters.newest(_MOST_LETTERS)),
            reasons=dict(pipeline.status.reasons),
            signals=len(signals),
            samples_stored=self._store.count_samples(),
            newest=tuple(self._newest(signals)),
            requests=status.requests,
            published=self._plant.published,
            problems=tuple(problems),
        )

    def _newest(self, signals: Mapping[str, SignalRow]) -> list[SignalValue]:
        found = []
        for input_id in choose_signals(signals, _MOST_SIGNALS):
            samples = self._store.samples(input_id)
            if samples:
                found.append(_signal_value(signals[input_id], samples))
        return found


def choose_signals(signals: Mapping[str, SignalRow], most: int) -> list[str]:
    """Inputs of at most `most` signals, in the order of interest; `signals` are in the order of creation.

    The first input is the newest one that no rule describes and that the plant did not send: the user has just
    published it. Then each type has one input in turn; within a type, each quantity has one input in turn. The choice
    stays the same while no signals are added, so that a person can watch a value change.
    """
    theirs: list[str] = []
    others: list[str] = []
    quantities: dict[str, dict[str, list[str]]] = {}
    for input_id, signal in signals.items():
        labels = signal.attributes["labels"]
        types = labels.get("type") if isinstance(labels, dict) else None
        if types:
            quantities.setdefault(types[0], {}).setdefault(input_id.rpartition("/")[2], []).append(input_id)
        else:
            (others if input_id.startswith(_OF_THE_PLANT) else theirs).append(input_id)
    by_type = [_in_turn([sorted(inputs) for inputs in quantities[kind].values()]) for kind in sorted(quantities)]
    return _in_turn([theirs[::-1] + others[::-1], *by_type])[:most]


def _in_turn(lists: list[list[str]]) -> list[str]:
    """The first entry of each list, then the second entry of each list, and so on."""
    longest = max(map(len, lists), default=0)
    return [one[rank] for rank in range(longest) for one in lists if rank < len(one)]


def _signal_value(signal: SignalRow, samples: list[tuple[int, float]]) -> SignalValue:
    time_us, value = samples[-1]
    states = signal.attributes["enumValues"]
    state = states.get(str(int(value)), "") if isinstance(states, dict) else ""
    return SignalValue(
        name=str(signal.attributes["name"]),
        value=value,
        unit=str(signal.attributes["engUnit"]),
        state=str(state),
        time_us=time_us,
        trend=tuple(number for _, number in samples[-_TREND:]),
    )
