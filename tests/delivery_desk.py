"""What tests of delivery stand on: circuit breakers and a clock; a sender with slots and a list of all reports."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from connector.delivery.circuit import Circuits
from connector.delivery.pace import Pace
from connector.delivery.sender import Sender
from connector.delivery.slots import Slots
from connector.packing.frame import Column, Frame, build_frame
from tests.scripted import Abort, Clock, ScriptedClarify, Stored

Cells = dict[str, list[tuple[int, float]]]


def frame_of(cells: Cells) -> Frame:
    """A frame of these series; the token of a value is its place among all values."""
    columns, token = {}, 0
    for name, samples in cells.items():
        tokens = range(token, token + len(samples))
        token += len(samples)
        times = array("q", [time_us for time_us, _ in samples])
        columns[name] = Column(times, array("d", [value for _, value in samples]), array("q", tokens))
    return build_frame(columns)


class Account:
    """Collects the reports of the sender."""

    def __init__(self) -> None:
        self.settled: Counter[int] = Counter()
        self.lost: dict[str, str] = {}
        self.lost_cells: set[tuple[str, int]] = set()

    def inserted(self, frame: Frame, seconds: float) -> None:
        assert seconds >= 0
        self.settled += frame.inserted + frame.superseded

    def still_ours(self, frame: Frame) -> Frame | None:
        return frame

    def rejected(self, frame: Frame, reason: str) -> None:
        self.settled += frame.inserted + frame.superseded
        self.lost |= dict.fromkeys(frame.columns, reason)
        self.lost_cells |= {(name, time_us) for name, column in frame.columns.items() for time_us in column.times}


class Desk:
    """Circuit breakers, and a clock that a wait moves."""

    def __init__(self, abort_in_wait: int | None = None, chance: Callable[[], float] = lambda: 0.5) -> None:
        self.clock = Clock()
        self.abort = Abort(self.clock, abort_in_wait)
        self.circuits = Circuits(chance)

    @property
    def now(self) -> float:
        return self.clock.now

    @now.setter
    def now(self, seconds: float) -> None:
        self.clock.now = seconds


class SenderDesk(Desk):
    """A sender with everything that it needs."""

    def __init__(
        self,
        clarify: ScriptedClarify,
        abort_in_wait: int | None = None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        super().__init__(abort_in_wait, chance)
        self.clarify = clarify
        self.clarify.clock = self.clock
        self.account = Account()
        self.pace = Pace(1.0)
        self.slots = Slots(lambda: self.pace.rate, self.abort, self.clock)
        self.circuit = self.circuits.of("insert", first=True)
        self.sender = Sender(clarify, self.slots, self.account, pace=self.pace, circuit=self.circuit, clock=self.clock)

    def deliver(self, cells: Cells) -> bool:
        assert self.slots.wait()
        return self.sender.deliver(frame_of(cells))


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def stored(cells: Cells, *without: str) -> Stored:
    return {(name, t): value for name, samples in cells.items() if name not in without for t, value in samples}


def all_settled(cells: Cells) -> Counter[int]:
    return Counter(range(sum(map(len, cells.values()))))
