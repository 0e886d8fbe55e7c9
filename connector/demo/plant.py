"""A simulated plant: machines whose clocks do not agree, and their messages. No I/O, and no real clock.

`Plant(...).messages()` is an endless stream in the order of time. The same arguments give the same stream. Most
machines have a clock of their own, which is some seconds wrong and drifts. So each of their messages has a time that no
other message has. Presses share the clock of their gateway. A gateway reads all its presses at once, and passes the
readings on in bursts: a frame with a burst is much denser than other frames. The clocks of conveyors have whole seconds
only, and conveyors report three times as often. Climate sensors send bare numbers without a time. What the values are
called, and their units, is in messages of their own.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType
from typing import Final, Protocol

from connector.demo.nameplates import nameplates
from connector.demo.odd_devices import OddDevices

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND_US: Final = 1_000
SECOND_US: Final = 1_000_000

_HALLS: Final = 3
_KINDS: Final = (
    "pump", "press", "press", "pump", "meter", "press", "climate", "pump", "press", "conveyor", "pump", "meter",
)  # fmt: skip
"""The kinds of the machines, in turn."""
_PER_GATEWAY: Final = 12
_BURST: Final = 5
"""The number of readings in one burst of a gateway."""
_LOG_SECONDS: Final = 3.0
_ODD_SECONDS: Final = 0.25
_BACKLOG_SECONDS: Final = 6.0
_BACKLOG_READINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message; `due` is its time in seconds after the start of the plant."""

    due: float
    topic: str
    payload: bytes


class Device(Protocol):
    """A device that publishes in a rhythm of its own."""

    @property
    def interval(self) -> float:
        """The mean time between two turns of the device, in seconds."""

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """(topic, payload) of each message of one turn; `now_us` is the true time, in µs since the epoch."""


class Clock:
    """The clock of a machine, with an offset, a drift and a resolution."""

    def __init__(self, random: Random, resolution_us: int = MILLISECOND_US) -> None:
        self._offset_us = round(random.gauss(0, 1.5) * SECOND_US)
        self._drift = random.gauss(0, 20e-6)
        self._resolution_us = resolution_us
        self._start_us: int | None = None

    def read(self, now_us: int) -> int:
        """The time of the clock at the true time `now_us`; both are in µs since the epoch."""
        if self._start_us is None:
            self._start_us = now_us
        shown = now_us + self._offset_us + round((now_us - self._start_us) * self._drift)
        return shown - shown % self._resolution_us


class Wave:
    """A quantity that swings slowly around its mean, with some noise."""

    def __init__(self, random: Random, mean: float, swing: float, digits: int = 2) -> None:
        self._random = random
        self._mean = mean * random.uniform(0.9, 1.1)
        self._swing = swing
        self._period_us = random.uniform(20, 90) * SECOND_US
        self._phase = random.uniform(0, math.tau)
        self._digits = digits

    def at(self, now_us: int) -> float:
        """The value of the quantity at `now_us`."""
        angle = self._phase + math.tau * (now_us % (3600 * SECOND_US)) / self._period_us
        return round(self._mean + self._swing * (math.sin(angle) + self._random.gauss(0, 0.1)), self._digits)


class Pump:
    """A pump: a clock of its own, ISO 8601 times, and one text beside the numbers."""

    def __init__(self, random: Random, topic: str, interval: float) -> None:
        self.interval = interval
        self._random = random
        self._topic = topic
        self._clock = Clock(random)
        self._temperature = Wave(random, 55, 6)
        self._pressure = Wave(random, 4.2, 0.4)
        self._flow = Wave(random, 120, 15, 1)
        self._running = True

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """Temperature, pressure, flow, and whether the pump runs."""
        if self._random.random() < 0.02:
            self._running = not self._running
        content = {
            "ts": iso(self._clock.read(now_us)),
            "temperature": self._temperature.at(now_us),
            "pressure": self._pressure.at(now_us) if self._running else 0.0,
            "flow": self._flow.at(now_us) if self._running else 0.0,
            "running": self._running,
            "firmware": "2.4.1",
        }
        return [(self._topic, encode(content))]


class Gateway:
    """Reads several presses at once; its own clock gives all readings one time, in milliseconds since 1970."""

    def __init__(self, random: Random, topics: list[str], interval: float, number: int) -> None:
        """`number` decides when the bursts of this gateway come; gateway 0 begins with a burst."""
        self.interval = interval
        self._clock = Clock(random)
        self._presses = [Press(random, topic) for topic in topics]
        self._collected: list[tuple[str, bytes]] = []
        self._readings = _BURST - 1 - number % _BURST

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """Nothing, or the burst of all collected readings: one message for each press and reading."""
        time_ms = self._clock.read(now_us) // MILLISECOND_US
        for press in self._presses:
            self._collected.append((press.topic, encode({"timestamp": time_ms, **press.read(now_us)})))
        self._readings += 1
        if self._readings % _BURST:
            return []
        collected, self._collected = self._collected, []
        return collected


class Press:
    """A press behind a gateway, without a clock."""

    def __init__(self, random: Random, topic: str) -> None:
        self.topic = topic
        self._random = random
        self._force = Wave(random, 850, 60, 1)
        self._oil = Wave(random, 48, 3, 1)
        self._strokes = random.randrange(10_000, 900_000)
        self._state = 2

    def read(self, now_us: int) -> dict[str, object]:
        """Force, strokes, state, and the temperature of the oil."""
        if self._random.random() < 0.03:
            self._state = self._random.choice((0, 1, 2, 2, 2, 3))
        if self._state == 2:
            self._strokes += self._random.randrange(1, 4)
        return {
            "force": self._force.at(now_us) if self._state == 2 else 0,
            "strokes": self._strokes,
            "state": self._state,
            "oil": {"temperature": self._oil.at(now_us)},
        }


class Meter:
    """An energy meter: nested values, and times as seconds since 1970 with a fraction."""

    def __init__(self, random: Random, topic: str, interval: float) -> None:
        self.interval = interval
        self._topic = topic
        self._clock = Clock(random)
        self._phases = [Wave(random, 11.5, 1.2) for _ in range(3)]
        self._energy = random.uniform(10_000, 90_000)

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """Power of the three phases, and energy since the installation."""
        power = [phase.at(now_us) for phase in self._phases]
        self._energy += sum(power) * self.interval / 3600
        content = {
            "time": self._clock.read(now_us) / SECOND_US,
            "power": {f"l{number}": value for number, value in enumerate(power, 1)},
            "energy": round(self._energy, 4),
        }
        return [(self._topic, encode(content))]


class ClimateSensor:
    """A climate sensor: bare numbers without a time, and a topic for each quantity."""

    def __init__(self, random: Random, topic: str, interval: float) -> None:
        self.interval = interval
        self._topic = topic
        self._temperature = Wave(random, 21, 1.5, 1)
        self._humidity = Wave(random, 45, 5, 0)

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """Temperature and humidity."""
        return [
            (f"{self._topic}/temperature", b"%.1f" % self._temperature.at(now_us)),
            (f"{self._topic}/humidity", b"%.0f" % self._humidity.at(now_us)),
        ]


class Conveyor:
    """A conveyor: it reports more often than its clock of whole seconds moves, so some readings replace others."""

    def __init__(self, random: Random, topic: str, interval: float) -> None:
        self.interval = interval / 3
        self._topic = topic
        self._clock = Clock(random, SECOND_US)
        self._speed = Wave(random, 0.8, 0.05)
        self._parts = random.randrange(1_000, 50_000)

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """Speed, and the number of parts."""
        self._parts += 1
        content = {"ts": iso(self._clock.read(now_us)), "speed": self._speed.at(now_us), "parts": self._parts}
        return [(self._topic, encode(content))]


class RemoteTank:
    """A tank behind a radio link that works only now and then: each message has all readings since the last one."""

    interval = _BACKLOG_SECONDS

    def __init__(self, random: Random, topic: str) -> None:
        self._topic = topic
        self._clock = Clock(random)
        self._level = Wave(random, 63, 8)
        self._temperature = Wave(random, 12, 1)

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """A list of readings, each with its own time."""
        step_us = round(_BACKLOG_SECONDS * SECOND_US / _BACKLOG_READINGS)
        times = [now_us - step_us * back for back in reversed(range(_BACKLOG_READINGS))]
        readings = [
            {
                "ts": iso(self._clock.read(time_us)),
                "level": self._level.at(time_us),
                "temperature": self._temperature.at(time_us),
            }
            for time_us in times
        ]
        return [(self._topic, encode(readings))]


class MachineLog:
    """Lines of text, which do not belong into Clarify: the configuration filters them."""

    interval = _LOG_SECONDS

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._lines = 0

    def speak(self, now_us: int) -> list[tuple[str, bytes]]:
        """One line of the log."""
        self._lines += 1
        return [(self._topic, f"{iso(now_us)} INFO cycle {self._lines} done".encode())]


class Plant:
    """All devices of the plant."""

    def __init__(self, machines: int, rate: float, seed: int, start_us: int) -> None:
        """A plant of `machines` machines, which each send `rate` messages a second.

        A tank, a log and odd devices come in addition, in their own rhythm. `start_us` is in µs since the epoch.
        """
        self._start_us = start_us
        self._random = _random(seed, "turns")
        topics = _topics(machines)
        self.nameplates = nameplates(topic for _, topic in topics)
        """(topic, payload) of the retained messages in which machines say their names and units."""
        self.devices = _devices(topics, 1 / rate, seed)

    def messages(self) -> Iterator[Message]:
        """All messages of the plant in the order of time; the stream has no end."""
        random = self._random
        turns = [(random.uniform(0, device.interval), number) for number, device in enumerate(self.devices)]
        heapq.heapify(turns)
        while True:
            due, number = turns[0]
            device = self.devices[number]
            for topic, payload in device.speak(self._start_us + round(due * SECOND_US)):
                yield Message(due, topic, payload)
            heapq.heapreplace(turns, (due + device.interval * random.uniform(0.9, 1.1), number))


_MACHINES: Final[Mapping[str, Callable[[Random, str, float], Device]]] = MappingProxyType(
    {"pump": Pump, "meter": Meter, "climate": ClimateSensor, "conveyor": Conveyor}
)


def _random(seed: int, name: str) -> Random:
    """Random numbers for the part `name`: more machines do not change the numbers of the others."""
    return Random(f"{seed}:{name}")  # noqa: S311 - a simulation


def _topics(machines: int) -> list[tuple[str, str]]:
    """(kind, topic) of each machine."""
    found: list[tuple[str, str]] = []
    numbers: dict[str, int] = {}
    for index in range(machines):
        kind = _KINDS[index % len(_KINDS)]
        hall = f"hall-{(index + index // len(_KINDS)) % _HALLS + 1}"
        number = numbers[kind] = numbers.get(kind, 0) + 1
        found.append((kind, f"plant/{hall}/{kind}/{kind}-{number:02d}"))
    return found


def _devices(machines: Iterable[tuple[str, str]], interval: float, seed: int) -> list[Device]:
    devices: list[Device] = []
    presses: list[str] = []
    for kind, topic in machines:
        random = _random(seed, topic)
        if kind == "press":
            presses.append(topic)
        else:
            devices.append(_MACHINES[kind](random, topic, interval))
    for number, first in enumerate(range(0, len(presses), _PER_GATEWAY)):
        topics = presses[first : first + _PER_GATEWAY]
        devices.append(Gateway(_random(seed, f"gateway {number}"), topics, interval, number))
    devices.append(RemoteTank(_random(seed, "tank"), "plant/yard/tank/tank-01"))
    devices.append(MachineLog("plant/hall-1/log"))
    devices.append(OddDevices(_random(seed, "odd"), _ODD_SECONDS))
    return devices


def iso(time_us: int) -> str:
    """The time as text: RFC 3339 in UTC, with milliseconds."""
    return (EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(content: object) -> bytes:
    """The content as compact JSON, as a device sends it."""
    return json.dumps(content, separators=(",", ":")).encode()
