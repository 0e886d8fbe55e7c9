"""Down-sampling: one value for each window of a signal, without giving up at-least-once. No I/O, no clock of its own.

Theory of operation. A value that goes into a window keeps its token (see `progress`) and stays open: nothing of its
chunk is committed before the window's value is inserted. A window is closed when a value of the same signal shows that
its end, and the time to wait for late values, are past; or, where no value comes any more, when as much time has
passed on our own clock since its first value came. A closed window is one sample whose token stands for all of its
values: when it is inserted, the last of them counts as inserted and the others as filtered. Windows begin at multiples
of their length since 1970; the sample has the time of the window's start.

A window that was inserted must not be computed again from a part of its values: after a crash or a restart the log
begins with the oldest value that is not settled, and others of the same window may stand before it. So it is
remembered, durably and before anything of the window is committed, up to where each signal's windows are done; a value
below that is late: it is filtered, and counted. What is remembered stays with one connector: where another member takes
a Kafka partition over, the first window of a signal there has only the values that are left.

A stop leaves open windows as they are: their values are still in the log, and come again. Only where a log has ended
(a file was read to its end) the windows that are open are closed.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from connector.mapping.thinning.thinning import Aggregate, Thinning
from connector.records import Mapped, Part, Rows, Sample


@dataclass(slots=True)
class _Window:
    """The values of one window, in order of arrival."""

    closes: float
    """On the caller's clock, in seconds, at the latest."""
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    tokens: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class _Signal:
    how: Thinning
    newest_us: int = -(2**62)
    open: dict[int, _Window] = field(default_factory=dict)
    """By the window's start, in µs."""
    done_us: int = -(2**62)
    """Windows that begin before this are closed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A window that is complete."""

    input_id: str
    start_us: int
    end_us: int
    value: float
    tokens: Counter[int]
    """Token → how many values of that record it stands for."""
    last: int
    """The token of the value that came last."""


class Windows:
    """The windows of all signals that are down-sampled. `done` is what earlier runs remembered: input ID → µs up to
    which its windows are inserted."""

    def __init__(self, how: Mapping[str, Thinning], done: Mapping[str, int]) -> None:
        self._how = how
        self._done = dict(done)
        self._signals: dict[str, _Signal] = {}
        self._soonest = float("inf")
        """No window's time is up before this."""
        self.held = 0
        """Values in windows that are open."""
        self.late = 0
        """Values that came after their window was closed."""

    def take(self, token: int, parts: Iterable[Part], now: float) -> tuple[list[Part], Counter[int], list[Closed]]:
        """Take what goes into windows out of these parts' samples; `token` leads back to record 0 of their chunk.
        Returns the parts with the samples that are left, the tokens of values that were late, and windows that are
        complete."""
        rest: list[Part] = []
        late: Counter[int] = Counter()
        closed: list[Closed] = []
        for index, part in parts:
            if isinstance(part, Rows):  # of inputs that nothing is done with
                rest.append((index, part))
                continue
            kept, too_late, complete = self.take_samples(token + index, part.samples, now)
            closed += complete
            if too_late:
                late[token + index] += too_late
            rest.append((index, part if len(kept) == len(part.samples) else Mapped(kept)))
        return rest, late, closed

    def take_samples(self, token: int, samples: Sequence[Sample], now: float) -> tuple[list[Sample], int, list[Closed]]:
        """The same for the samples of one record: those that are left, how many were late, complete windows."""
        how = self._how
        kept = []
        late = 0
        closed: list[Closed] = []
        for sample in samples:
            thinning = how.get(sample[0])
            if thinning is None or not thinning.window_us:
                kept.append(sample)
            elif not self._add(thinning, *sample, token, now, closed):
                late += 1
        self.late += late
        return kept, late, closed

    def due(self, now: float) -> list[Closed]:
        """Windows whose time is up on the caller's clock."""
        closed: list[Closed] = []
        if now < self._soonest:
            return closed
        for input_id, signal in self._signals.items():
            while signal.open:
                start = min(signal.open)
                if signal.open[start].closes > now:
                    break
                self._close(input_id, signal, start, closed)
        self._soonest = min(
            (window.closes for signal in self._signals.values() for window in signal.open.values()),
            default=float("inf"),
        )
        return closed

    def reopen(self, input_id: str, start_us: int) -> None:
        """This window was closed, but its sample was dropped: its values will come again."""
        signal = self._signals[input_id]
        signal.done_us = self._done[input_id] = min(signal.done_us, start_us)

    def done(self, input_id: str) -> int:
        """Up to where, in µs, the windows of this input are closed."""
        return self._done[input_id]

    def end(self) -> list[Closed]:
        """All windows: nothing more will come."""
        return self.due(float("inf"))

    def forget(self, lost: Callable[[int], bool]) -> Counter[int]:
        """Drop the values whose token is `lost`; how many of each such token those were."""
        dropped: Counter[int] = Counter()
        for signal in self._signals.values():
            for start, window in list(signal.open.items()):
                keep = [i for i, token in enumerate(window.tokens) if not lost(token)]
                if len(keep) == len(window.tokens):
                    continue
                dropped.update(token for token in window.tokens if lost(token))
                if not keep:
                    del signal.open[start]
                    continue
                window.times = array("q", (window.times[i] for i in keep))
                window.values = array("d", (window.values[i] for i in keep))
                window.tokens = array("q", (window.tokens[i] for i in keep))
        self.held -= dropped.total()
        return dropped

    def tokens(self) -> Iterable[int]:
        """The tokens of all values that are held."""
        for signal in self._signals.values():
            for window in signal.open.values():
                yield from window.tokens

    def _add(
        self,
        how: Thinning,
        input_id: str,
        time_us: int,
        value: float,
        token: int,
        now: float,
        closed: list[Closed],
    ) -> bool:
        """Put a value into its window; False if that is closed."""
        signal = self._signals.get(input_id)
        if signal is None:
            signal = self._signals[input_id] = _Signal(how, done_us=self._done.get(input_id, -(2**62)))
        start = time_us // how.window_us * how.window_us
        if start < signal.done_us:
            return False
        window = signal.open.get(start)
        if window is None:
            left = max(0, start + how.window_us - time_us) + how.wait_us
            window = signal.open[start] = _Window(now + left / 1_000_000)
            self._soonest = min(self._soonest, window.closes)
        window.times.append(time_us)
        window.values.append(value)
        window.tokens.append(token)
        self.held += 1
        if time_us > signal.newest_us:
            signal.newest_us = time_us
            while signal.open:
                first = min(signal.open)
                if first + how.window_us + how.wait_us > time_us:
                    break
                self._close(input_id, signal, first, closed)
        return True

    def _close(self, input_id: str, signal: _Signal, start: int, closed: list[Closed]) -> None:
        window = signal.open.pop(start)
        end = start + signal.how.window_us
        signal.done_us = max(signal.done_us, end)
        self._done[input_id] = signal.done_us
        self.held -= len(window.tokens)
        closed.append(
            Closed(
                input_id,
                start,
                end,
                aggregate(signal.how.by, window.times, window.values),
                Counter(window.tokens),
                window.tokens[-1],
            )
        )


def aggregate(by: Aggregate, times: array[int], values: array[float]) -> float:
    """The value that stands for these. `last` is the one with the newest time, of several at that time the last that
    came. A value that came twice (the same time) counts as the later one."""
    distinct = dict(zip(times, values, strict=True))
    if by == "last":
        return distinct[max(distinct)]
    if by == "min":
        return min(distinct.values())
    if by == "max":
        return max(distinct.values())
    mean = sum(value / len(distinct) for value in distinct.values())  # the sum alone may be too large for a number
    return min(max(mean, min(distinct.values())), max(distinct.values()))
