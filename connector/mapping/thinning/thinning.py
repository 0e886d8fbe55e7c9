"""Thinning: which values of a signal are worth keeping.

What is dropped here counts as filtered at once: the value that stands for it came earlier in the same log, so it is
settled before or together with it. Down-sampling is another matter: see `windows`.
After a restart the first value passes, and so does whatever is older than the value that passed last: its neighbours
are not known any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from connector.records import Sample

Aggregate = Literal["last", "mean", "min", "max"]


@dataclass(frozen=True, slots=True)
class Thinning:
    """How values are thinned. Each setting by itself may leave a value out; times are in µs."""

    change_only: bool = False
    deadband: float = 0.0
    """A change of at most this is none."""
    deadband_percent: float = 0.0
    """The same, in percent of the value that passed last."""
    min_interval_us: int = 0
    at_least_every_us: int = 0
    """Pass a value after this time, however little it changed; 0: never for that."""
    window_us: int = 0
    """Down-sampling: one value a window."""
    by: Aggregate = "last"
    wait_us: int = 0
    """How long a window stays open for values that come late."""

    @property
    def filters(self) -> bool:
        """Whether single values are left out."""
        return bool(self.change_only or self.deadband or self.deadband_percent or self.min_interval_us)


class Thinner:
    """What passed last, of each signal that is thinned."""

    def __init__(self) -> None:
        self.how: dict[str, Thinning] = {}
        """Input ID → how it is thinned, where it is."""
        self.windows = False
        """Whether any of them is down-sampled."""
        self._last: dict[str, tuple[str, int, float]] = {}

    def add(self, input_id: str, thinning: Thinning) -> None:
        """A signal that is thinned."""
        self.how[input_id] = thinning
        self.windows = self.windows or thinning.window_us > 0

    def thin(self, source: str, samples: list[Sample]) -> list[Sample]:
        """The samples that are kept, in their order."""
        how: Mapping[str, Thinning] = self.how
        kept = []
        for sample in samples:
            thinning = how.get(sample[0])
            if thinning is None or not thinning.filters or self._passes(thinning, source, sample):
                kept.append(sample)
        return kept

    def forget(self, source: str) -> None:
        """What passed of this source may not have been sent: let the next values pass."""
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
