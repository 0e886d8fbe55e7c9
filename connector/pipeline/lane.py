"""What waits for one integration: its tables, its open windows, and its load.

Integrations share nothing but the lock, the account of records, and the bounds of the sources that feed them. So an
integration that takes no samples delays no other: see `UnderWay.has_room`. Each method but `has_any` is called while
the lock of `UnderWay` is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from connector.delivery.load import Load
from connector.ledger.progress import Progress
from connector.mapping.thinning.thinning import Thinner
from connector.packing.frame import RowBlock
from connector.packing.pending import Pending
from connector.packing.planner import Planner
from connector.pipeline.window_book import WindowBook
from connector.records import Part

if TYPE_CHECKING:
    from connector.pipeline.under_way import Limits

_BYTES_A_SAMPLE: Final = 12
"""Estimate for a sample in a dense frame, to see whether a full request waits; the planner knows the exact size."""


class Lane:
    """The samples of one integration, from intake to the next frame."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        planner: Planner,
        thinner: Thinner,
        windows_done: Mapping[str, int],
        progress: Progress,
        lock: threading.RLock,
        plain: Callable[[list[Part]], list[Part]],
    ) -> None:
        """`plain` returns parts whose input IDs are written as Clarify knows them; the others are as in `UnderWay`."""
        self.name = name
        self.due = threading.Condition(lock)
        """For the sender: the time of the next frame has changed."""
        self.pending = Pending()
        self.windows = WindowBook(thinner.how, windows_done, progress, self._add_window)
        self.load = Load(limits.max_frame_bytes, limits.max_waiting_samples)
        self.oldest: float | None = None
        """Time at which the oldest waiting sample was added, in seconds; None while no sample waits."""
        self.sources: set[str] = set()
        """The sources that have given samples for this integration."""
        self._limits = limits
        self._planner = planner
        self._thinner = thinner
        self._plain = plain

    @property
    def samples(self) -> int:
        """Samples that wait for a frame, and values in open windows."""
        return self.pending.waiting + self.windows.held

    def add(self, source: str, token: int, parts: list[Part], window_now: float, now: float) -> None:
        """Add the parts of a chunk whose first record has this token, and wake the sender if a frame is due earlier.

        `window_now` is the time of the windows. `now` is the time of the pipeline at which the chunk arrived. Both are
        in seconds.
        """
        self.sources.add(source)
        before, quiet = self.pending.waiting, self.oldest is None
        if self._thinner.windows:
            parts = self.windows.take(token, parts, window_now, now)
        self.pending.add(token, self._plain(parts), now)
        self.load.came(self.pending.waiting - before, now)
        self.note_oldest(now)
        if quiet or self.is_full:
            self.due.notify()

    def _add_window(self, token: int, parts: list[Part], now: float) -> None:
        self.pending.add(token, self._plain(parts), now)

    @property
    def is_full(self) -> bool:
        """Whether so many samples wait that a frame is due before `max_delay` is over."""
        waiting, limits = self.pending.waiting, self._limits
        return waiting * _BYTES_A_SAMPLE >= limits.max_frame_bytes or waiting * 2 >= limits.max_waiting_samples

    def note_oldest(self, now: float) -> None:
        """Note that the oldest waiting sample was added at `now`, if no sample waited before."""
        if self.oldest is None and self.pending.waiting:
            self.oldest = now

    def take(self, now: float) -> tuple[list[RowBlock], int]:
        """Take the rows of the next frame; returns the rows, and the number of samples that waited before the call."""
        waiting = self.pending.waiting
        plan = self._planner(self.pending, self._limits.max_frame_bytes, now)
        slabs = self.pending.take(plan, plan.texts)
        self.pending.forget_before(plan.left)
        self.oldest = None if plan.left is None else self.pending.arrived(plan.left)
        return slabs, waiting

    def forget(self, progress: Progress) -> None:
        """Drop the samples of partitions that were given away."""
        self.windows.forget(progress.is_abandoned)
        progress.dropped(self.pending.drop(progress.is_abandoned))
        self.oldest = self.pending.oldest()
