"""All records and samples that were taken in and are not settled; intakes and sender share them under one lock.

The intakes add the parts of chunks; the sender takes rows as a plan says, and settles the frame. Two conditions share
the lock: `changed` is for threads that wait for room or for settlement, and `_due` is for the sender. New samples wake
the sender only if they change when the next frame is due. So a quiet connector sleeps.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from connector.delivery.load import Load, PackingAccount
from connector.ledger.account import Commit, Outcome
from connector.ledger.progress import Progress, RecordLocation
from connector.mapping.thinning.thinning import Thinner
from connector.packing.frame import Frame, RowBlock, build_frame, without
from connector.packing.overwrites import Overwrite, overwrites
from connector.packing.pending import Pending
from connector.packing.planner import Planner
from connector.packing.rates import SampleRates
from connector.pipeline.room import Room
from connector.pipeline.window_book import WindowBook
from connector.records import Chunk, Part
from connector.threads.watched import moves

IDLE_SECONDS: Final = 1.0
"""A thread with nothing to do looks again after this time at the latest; every reason to look earlier wakes it."""
LOOK_SECONDS: Final = 0.2
"""The same for a thread that waits for something that wakes nobody: open windows, a schema, a circuit."""
_MOST_OVERWRITES: Final = 1_000
_BYTES_A_SAMPLE: Final = 12
"""Estimate for a sample in a dense frame, to see whether a full request waits; the planner knows the exact size."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for waiting samples and for frames."""

    max_delay: float
    """Longest time that a sample waits for a frame, in seconds."""
    max_frame_bytes: int
    max_waiting_samples: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Counts, since the start, of records and samples that went to another group member before they were settled."""

    records: int
    samples: int
    late_samples: int
    """The part of `samples` that was settled here after all, too late to count."""


class UnderWay:
    """Records and samples from intake to settlement. Safe for threads."""

    def __init__(
        self,
        sources: int,
        limits: Limits,
        planner: Planner,
        thinner: Thinner,
        windows_done: Mapping[str, int],
        clock: Callable[[], float],
    ) -> None:
        """`sources` is the number of intakes. `clock` gives seconds.

        `thinner` belongs to the mapper, and knows the down-sampled inputs. `windows_done` is as in `WindowBook`.
        """
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self._due = threading.Condition(lock)
        self._limits = limits
        self._planner = planner
        self._thinner = thinner
        self._clock = clock
        self._progress = Progress()
        self._pending = Pending()
        self._windows = WindowBook(thinner.how, windows_done, self._progress, self._pending)
        self._room = Room(limits.max_waiting_samples, clock())
        self._load = Load(limits.max_frame_bytes, limits.max_waiting_samples)
        self._oldest: float | None = None
        """Time at which the oldest waiting sample was added, in seconds; None while no sample waits."""
        self._given_away: Counter[tuple[str, str]] = Counter()
        """(source, partition) → number of times that the partition was given away.

        The new owner of a partition reads its unsettled records again.
        """
        self._intakes_running = self._intakes_unfinished = sources
        self._hurried = 0
        """Number of sources that wait until the samples under way are sent."""

    # -- intake -----------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Returns whether sources may be read."""
        with self.changed:
            return self._room.look(
                self._pending.waiting + self._windows.held,
                self._pending.waiting,
                self._progress.open_records,
                self._progress.open_topics,
                self._clock(),
            )

    def times_given_away(self, chunk: Chunk) -> int:
        """Returns how often the partition of this chunk was given away so far; `add` needs this number."""
        return self._given_away[chunk.source, chunk.partition]

    def add(self, chunk: Chunk, parts: list[Part], given_away: int, *, more: bool) -> tuple[int, int] | None:
        """Add these parts of a chunk; with `more`, further parts of the same chunk may follow.

        `given_away` is the earlier result of `times_given_away`. If the partition was given away since then, adds
        nothing and returns None. Else returns the numbers of records and samples that were received since the start.
        """
        now = self._clock()
        with self.changed:
            if self._given_away[chunk.source, chunk.partition] != given_away:
                return None
            progress, pending = self._progress, self._pending
            token = progress.begin(chunk, parts, more=more)
            before, quiet = pending.waiting, self._oldest is None
            if self._thinner.windows:
                parts = self._windows.take(token, parts, now - self._room.held_seconds, now)
            pending.add(token, parts, now)
            self._load.came(pending.waiting - before, now)
            self._note_oldest(now)
            if quiet or self._is_full():
                self._due.notify()
            return progress.received_records, progress.received_samples

    def intake_ended(self, *, finished: bool) -> None:
        """Record that the intake of one source ended; `finished` means that the source can never give more records."""
        with self.changed:
            self._intakes_running -= 1
            self._intakes_unfinished -= finished
            self._due.notify()

    def now(self) -> float:
        """Seconds of the pipeline's clock."""
        return self._clock()

    def wait_for_change(self) -> None:
        """Wait until something changes, for a fifth of a second at most."""
        with self.changed:
            self.changed.wait(LOOK_SECONDS)

    def committed(self) -> None:
        """Make the threads look again that wait for room or for settlement."""
        with self.changed:
            self.changed.notify_all()

    def notify(self) -> None:
        """Make every waiting thread look again."""
        with self.changed:
            self.changed.notify_all()
            self._due.notify()

    # -- sender -----------------------------------------------------------------------------------

    def wait_until_due(self, draining: threading.Event, aborted: threading.Event) -> bool:
        """Wait until a frame is due; returns False if there will never be another frame."""
        limits = self._limits
        with self.changed:
            while not aborted.is_set():
                moves()
                self._close_windows()
                age = None if self._oldest is None else self._clock() - self._oldest
                ending = draining.is_set() or not self._intakes_unfinished
                flushing = ending and not self._intakes_running
                look = LOOK_SECONDS if self._windows.held else IDLE_SECONDS
                if age is None:
                    if flushing:
                        return False
                    self._due.wait(look)
                elif flushing or self._hurried or age >= limits.max_delay or self._is_full():
                    return True
                else:
                    self._due.wait(min(look, limits.max_delay - age))
        return False

    def _is_full(self) -> bool:
        """Whether so many samples wait that a frame is due before `max_delay` is over."""
        waiting = self._pending.waiting
        return (
            waiting * _BYTES_A_SAMPLE >= self._limits.max_frame_bytes or waiting * 2 >= self._limits.max_waiting_samples
        )

    def _close_windows(self) -> None:
        if not self._windows.held:
            return
        now = self._clock()
        if self._intakes_running or self._intakes_unfinished:
            self._windows.close_due(now - self._room.held_seconds, now)
        else:
            self._windows.close_all(now)
        self._note_oldest(now)

    def _note_oldest(self, now: float) -> None:
        if self._oldest is None and self._pending.waiting:
            self._oldest = now

    def take(self) -> tuple[list[RowBlock], int]:
        """Take the rows of the next frame; returns the rows, and the number of samples that waited before the call."""
        with self.changed:
            waiting = self._pending.waiting
            plan = self._planner(self._pending, self._limits.max_frame_bytes, self._clock())
            slabs = self._pending.take(plan)
            self._pending.forget_before(plan.left)
            self._oldest = None if plan.left is None else self._pending.arrived(plan.left)
            self.changed.notify_all()
        return slabs, waiting

    def made(self, frame: Frame, waiting: int, rate: float) -> None:
        """Note a frame for the forecast of the load.

        The frame was made when `waiting` samples waited. `rate` is the allowed rate in requests a second.
        """
        with self.changed:
            self._load.made(frame, waiting, self._pending, rate, self._clock())

    def windows_of(self, frame: Frame) -> dict[str, int]:
        """Returns input ID → µs up to which all its windows are inserted, as `WindowBook.arrived` does."""
        with self.changed:
            return self._windows.arrived(frame)

    def overwrites(self, frame: Frame) -> list[tuple[Overwrite, RecordLocation]]:
        """Returns the values that a later value replaced, each with the location of the later value's record.

        The replaced values are in `frame` or in earlier frames. The list is bounded, for a person to read. This
        method must be called before `settle`, because `settle` forgets the records.
        """
        with self.changed:
            found, self._pending.overwritten = self._pending.overwritten, []
            found += islice(overwrites(frame), _MOST_OVERWRITES)
            return [(one, self._progress.locate(one.token)) for one in found if self._progress.knows(one.token)]

    def settle(self, frame: Frame, outcome: Outcome) -> None:
        """Settle the samples of a frame: superseded samples as superseded, and the other samples with `outcome`."""
        with self.changed:
            self._progress.settle(frame.superseded, Outcome.SUPERSEDED)
            self._progress.settle(frame.inserted, outcome)

    def commits(self) -> list[Commit]:
        """Returns the commits of all partitions with newly settled records."""
        with self.changed:
            return self._progress.commits()

    def locate(self, tokens: Iterable[int]) -> list[tuple[str, str, int, str]]:
        """Returns (source, partition, position, topic) of the record of each token."""
        with self.changed:
            return [self._progress.locate(token) for token in tokens]

    def still_ours(self, frame: Frame) -> Frame | None:
        """Returns the frame without samples of partitions that were given away; None if no sample is left."""
        with self.changed:
            if not self._progress.any_abandoned:
                return frame
            columns, dropped = without(frame.columns, self._progress.is_abandoned)
            self._progress.dropped(dropped)
        if not dropped:
            return frame
        return build_frame(columns) if columns else None

    # -- partitions that are given away -----------------------------------------------------------

    def wait_settled(
        self, source: str, partitions: Collection[str], timeout: float, give_up: Callable[[], bool]
    ) -> bool:
        """Make the sender send at once, until no record of `partitions` is under way; then returns True.

        Returns False after `timeout` seconds, if `give_up` returns True, or if only values in open windows are left:
        the new owner reads these values again.
        """
        until = self._clock() + timeout
        with self.changed:
            self._hurried += 1
            self._due.notify()
            try:
                while self._progress.open_in(source, partitions):
                    if self._windows.held and self._progress.only_open(source, partitions, self._windows.tokens()):
                        return False
                    moves()
                    left = until - self._clock()
                    if left <= 0 or give_up():
                        return False
                    self.changed.wait(min(left, LOOK_SECONDS))
            finally:
                self._hurried -= 1
        return True

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop all records of `partitions` that are under way; returns the number of dropped records."""
        with self.changed:
            self._given_away.update((source, partition) for partition in partitions)
            records = self._progress.forget(source, partitions)
            if self._progress.any_abandoned:
                self._windows.forget(self._progress.is_abandoned)
                self._progress.dropped(self._pending.drop(self._progress.is_abandoned))
                self._oldest = self._pending.oldest()
            self.changed.notify_all()
        return records

    # -- state for metrics and pages --------------------------------------------------------------

    def waiting(self) -> tuple[int, int]:
        """Returns the numbers of records and of samples that were taken in and are not settled yet."""
        with self.changed:
            return self._progress.open_records, self._pending.waiting + self._windows.held

    def oldest_seconds(self) -> float:
        """Returns the age of the oldest waiting sample, in seconds; 0 while no sample waits."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def account(self, rate: float) -> PackingAccount | None:
        """Returns how full the frames are and whether the load fits; None before the first frame.

        `rate` is the allowed rate in requests a second.
        """
        with self.changed:
            return self._load.account(self._pending.waiting, rate, self._clock())

    def abandoned(self) -> Abandoned:
        """Returns the counts of records and samples that went to another member before they were settled."""
        with self.changed:
            progress = self._progress
            return Abandoned(progress.abandoned_records, progress.abandoned_samples, progress.late_samples)

    @property
    def signal_rates(self) -> SampleRates | None:
        """Sample rates of all signals in the last complete window; None before the first window ends."""
        return self._load.rates

    @property
    def late_for_windows(self) -> int:
        """Number of values, since the start, that came after their window was closed."""
        return self._windows.late
