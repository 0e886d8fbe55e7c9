"""Thinning: leaves out values of a signal that change too little, or come too soon.

A value that is left out counts as filtered at once: the value that stands for it came earlier in the same log, so that
value is settled before it or together with it. Down-sampling works in another way: see `windows`. After a restart, the
first value passes. A value that is older than the last passed value also passes, because its neighbours are unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from connector.records import Sample

Aggregate = Literal["last", "mean", "min", "max"]


@dataclass(frozen=True, slots=True)
class Thinning:
    """The settings of thinning. Each setting alone may leave a value out. Times are in µs."""

    change_only: bool = False
    deadband: float = 0.0
    """A change of at most this, in the unit of the value, is left out."""
    deadband_percent: float = 0.0
    """A change of at most this, in percent of the last passed value, is left out."""
    min_interval_us: int = 0
    at_least_every_us: int = 0
    """After this time, the next value passes even with a small change; 0 turns this off."""
    window_us: int = 0
    """Down-sampling: the length of a window, which gives one value; 0 turns down-sampling off."""
    by: Aggregate = "last"
    wait_us: int = 0
    """The time that a window waits for late values."""

    @property
    def filters(self) -> bool:
        """Whether single values are left out."""
        return bool(self.change_only or self.deadband or self.deadband_percent or self.min_interval_us)


class Thinner:
    """Thins samples, by the last passed value of each signal."""

    def __init__(self) -> None:
        self.how: dict[str, Thinning] = {}
        """Input ID → its thinning, for the signals with thinning."""
        self.windows = False
        """Whether any signal is down-sampled."""
        self.left_out: Callable[[str], None] | None = None
        """Called with the input ID of each value that is left out, so that its signal does not count as silent."""
        self._last: dict[str, tuple[str, int, float]] = {}

    def add(self, input_id: str, thinning: Thinning) -> None:
        """Add a signal with thinning."""
        self.how[input_id] = thinning
        self.windows = self.windows or thinning.window_us > 0

    def thin(self, source: str, samples: list[Sample]) -> list[Sample]:
        """Returns the samples that pass, in their order."""
        how: Mapping[str, Thinning] = self.how
        kept = []
        for sample in samples:
            thinning = how.get(sample[0])
            if thinning is None or not thinning.filters or self._passes(thinning, source, sample):
                kept.append(sample)
            elif self.left_out is not None:
                self.left_out(sample[0])
        return kept

    def forget(self, source: str) -> None:
        """Let the next value of each signal of the source pass: the last passed values may not have been sent."""
        self._last = {input_id: last for input_id, last in self._last.items() if last[0] != source}

    def _passes(self, how: Thinning, source: str, sample: Sample) -> bool:
        input_id, time_us, value = sample
        last = self._last.get(input_id)
        if last is not None:
            _, last_us, last_value = last
            if time_us < last_us:
                return True
            if time_us == last_us:
                if value == last_value:
                    return False
            elif not how.at_least_every_us or time_us - last_us < how.at_least_every_us:
                change = abs(value - last_value)
                if how.change_only and not change:
                    return False
                band = max(how.deadband, abs(last_value) * how.deadband_percent / 100)
                if (how.deadband or how.deadband_percent) and change <= band:
                    return False
                if time_us - last_us < how.min_interval_us:
                    return False
        self._last[input_id] = (source, time_us, value)
        return True
