"""Down-sampling: one value for each window of a signal, still at least once. No I/O; the time is an argument.

Theory of operation. A value in a window keeps its token (see `progress`) and stays open: nothing of its chunk is
committed before the window's value is inserted. A window is closed when a value of the same signal is later than the
window's end and the time to wait for late values. If no value comes any more, the window is closed when the same time
has passed on the connector's clock since its first value. A closed window is one sample whose token stands for all of
its values. When this sample is inserted, the last value counts as inserted and the others count as filtered. Windows
begin at multiples of their length since 1970. The sample has the time of the window's start.

An inserted window must not be computed again from a part of its values. After a crash or a restart, the log begins with
the oldest value that is not settled, and earlier values of the same window may be missing. So the end of each signal's
last closed window is stored durably, before anything of the window is committed. An older value is late: it is filtered
and counted. Each connector stores its own ends: if another member takes over a Kafka partition, the first window of a
signal there has only the remaining values.

A stop does not close open windows: their values are still in the log, and come again. Open windows are closed only when
a log has ended (a file was read to its end).
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
    """The latest time to close the window, in seconds of the caller's clock."""
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    tokens: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class _Signal:
    how: Thinning
    newest_us: int = -(2**62)
    open: dict[int, _Window] = field(default_factory=dict)
    """Start of an open window, in µs → the window."""
    done_us: int = -(2**62)
    """Windows that begin before this time are closed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed window."""

    input_id: str
    start_us: int
    end_us: int
    value: float
    tokens: Counter[int]
    """Token of a record → number of its values in the window."""
    last: int
    """The token of the last value that arrived."""


class Windows:
    """The windows of all down-sampled signals.

    `done` comes from earlier runs: input ID → time in µs up to which its windows are inserted.
    """

    def __init__(self, how: Mapping[str, Thinning], done: Mapping[str, int]) -> None:
        self._how = how
        self._done = dict(done)
        self._signals: dict[str, _Signal] = {}
        self._soonest = float("inf")
        """No window must be closed before this time of the caller's clock."""
        self.held = 0
        """Number of values in open windows."""
        self.late = 0
        """Number of values that came after their window was closed."""

    def take(self, token: int, parts: Iterable[Part], now: float) -> tuple[list[Part], Counter[int], list[Closed]]:
        """Move samples of down-sampled signals into their windows; `token` is the token of record 0 of the chunk.

        Returns (the parts with the remaining samples, token → number of its late values, windows that are closed now).
        """
        rest: list[Part] = []
        late: Counter[int] = Counter()
        closed: list[Closed] = []
        for index, part in parts:
            if isinstance(part, Rows):  # rows have no down-sampled inputs
                rest.append((index, part))
                continue
            kept, too_late, complete = self.take_samples(token + index, part.samples, now)
            closed += complete
            if too_late:
                late[token + index] += too_late
            rest.append((index, part if len(kept) == len(part.samples) else Mapped(kept)))
        return rest, late, closed

    def take_samples(self, token: int, samples: Sequence[Sample], now: float) -> tuple[list[Sample], int, list[Closed]]:
        """(remaining samples, number of late values, windows that are closed now) for the samples of one record."""
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
        """Close the windows whose time is up at `now`, and return them."""
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
        """Open a closed window again, because its sample was dropped: its values will come again."""
        signal = self._signals[input_id]
        signal.done_us = self._done[input_id] = min(signal.done_us, start_us)

    def done(self, input_id: str) -> int:
        """Returns the time in µs up to which the windows of an input are closed."""
        return self._done[input_id]

    def end(self) -> list[Closed]:
        """Close all windows, because no more values will come, and return them."""
        return self.due(float("inf"))

    def forget(self, lost: Callable[[int], bool]) -> Counter[int]:
        """Drop the values whose token is `lost`; returns token → number of its dropped values."""
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
        """Yields the token of each value in an open window."""
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
        """Put a value into its window; returns False if this window is closed."""
        signal = self._signals.get(input_id)
        if signal is None:
            signal = self._signals[input_id] = _Signal(how, done_us=self._done.get(input_id, -(2**62)))
        elif signal.how is not how and signal.how != how:
            self._change(input_id, signal, how, closed)
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

    def _change(self, input_id: str, signal: _Signal, how: Thinning, closed: list[Closed]) -> None:
        """Go on with another setting: close the open windows, and begin after them, at the window of the newest value.

        No value of the old windows may make another value for the same time.
        """
        last = max(signal.open, default=None)
        while signal.open:
            self._close(input_id, signal, min(signal.open), closed)
        signal.how = how
        if last is not None:
            signal.done_us = max(signal.newest_us // how.window_us * how.window_us, last + 1)
            self._done[input_id] = signal.done_us

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
    """Returns the value that stands for a window.

    If several values have the same time, only the one that arrived last counts. `last` is the value with the newest
    time.
    """
    distinct = dict(zip(times, values, strict=True))
    if by == "last":
        return distinct[max(distinct)]
    if by == "min":
        return min(distinct.values())
    if by == "max":
        return max(distinct.values())
    mean = sum(value / len(distinct) for value in distinct.values())  # the sum alone may be too large for a number
    return min(max(mean, min(distinct.values())), max(distinct.values()))
