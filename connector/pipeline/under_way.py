"""Everything that was taken in and is not settled: where intake and sender meet, under one lock.

Intake adds the parts of a chunk; the sender takes what a plan says, and settles it. Whoever changes something here
notifies `changed`, so that nobody who waits for room, for a frame or for the end has to poll.
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

LOOK_SECONDS: Final = 0.2
"""Who waits looks again after this time at the latest."""
_MOST_OVERWRITES: Final = 1_000
_BYTES_A_SAMPLE: Final = 12
"""A sample in a dense frame: enough to see that a request's worth waits; the planner knows exactly."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, how long, and how large a frame may be."""

    max_delay: float
    """Seconds."""
    max_frame_bytes: int
    max_waiting_samples: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What was given to another member of a group before it was settled, since the start."""

    records: int
    samples: int
    late_samples: int
    """Samples of these that were settled all the same, too late to count."""


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
        """`sources` is how many intakes run. `thinner` is the mapper's, and says which inputs are down-sampled;
        `windows_done` is as in `WindowBook`."""
        self.changed = threading.Condition()
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
        """When the oldest sample that waits was added; None while nothing waits."""
        self._given_away: Counter[tuple[str, str]] = Counter()
        """(source, partition) → how often the partition was given away: its new owner reads again what was read of it
        before."""
        self._intakes_running = self._intakes_unfinished = sources
        self._hurried = 0
        """Sources that wait for everything under way to be sent."""

    # -- intake -----------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether sources may be read."""
        with self.changed:
            return self._room.look(
                self._pending.waiting + self._windows.held,
                self._pending.waiting,
                self._progress.open_records,
                self._progress.open_topics,
                self._clock(),
            )

    def times_given_away(self, chunk: Chunk) -> int:
        """How often the partition of this chunk was given away so far: for `add`."""
        return self._given_away[chunk.source, chunk.partition]

    def add(self, chunk: Chunk, parts: list[Part], given_away: int, *, more: bool) -> tuple[int, int] | None:
        """Begin with these parts of a chunk; `more` parts of the same chunk may follow. Returns how many records and
        samples were received since the start. Returns None, and takes nothing, if the partition was given away since
        `times_given_away` said `given_away`."""
        now = self._clock()
        with self.changed:
            if self._given_away[chunk.source, chunk.partition] != given_away:
                return None
            progress, pending = self._progress, self._pending
            token = progress.begin(chunk, parts, more=more)
            before = pending.waiting
            if self._thinner.windows:
                parts = self._windows.take(token, parts, now - self._room.held_seconds, now)
            pending.add(token, parts, now)
            self._load.came(pending.waiting - before, now)
            self._note_oldest(now)
            self.changed.notify_all()
            return progress.received_records, progress.received_samples

    def intake_ended(self, *, finished: bool) -> None:
        """Record that the intake of one source ended. `finished`: the source can never give more records."""
        with self.changed:
            self._intakes_running -= 1
            self._intakes_unfinished -= finished
            self.changed.notify_all()

    def wait_for_change(self) -> None:
        """Wait until something changes, for a moment at most."""
        with self.changed:
            self.changed.wait(LOOK_SECONDS)

    def wait_a_while(self, seconds: float, meanwhile: Callable[[], None], aborted: threading.Event) -> None:
        """Wait for so long, and call `meanwhile` every moment."""
        until = self._clock() + seconds
        while self._clock() < until and not aborted.is_set():
            moves()
            meanwhile()
            self.wait_for_change()

    def notify(self) -> None:
        """Have everybody who waits look again."""
        with self.changed:
            self.changed.notify_all()

    # -- sender -----------------------------------------------------------------------------------

    def wait_until_due(self, draining: threading.Event, aborted: threading.Event) -> bool:
        """Wait until a frame should leave. Returns False when there will never be another frame."""
        limits = self._limits
        with self.changed:
            while not aborted.is_set():
                moves()
                self._close_windows()
                age = None if self._oldest is None else self._clock() - self._oldest
                ending = draining.is_set() or not self._intakes_unfinished
                flushing = ending and not self._intakes_running
                if age is None:
                    if flushing:
                        return False
                    self.changed.wait(LOOK_SECONDS)
                elif (
                    flushing
                    or self._hurried
                    or age >= limits.max_delay
                    or self._pending.waiting * _BYTES_A_SAMPLE >= limits.max_frame_bytes
                    or self._pending.waiting * 2 >= limits.max_waiting_samples
                ):
                    return True
                else:
                    self.changed.wait(min(LOOK_SECONDS, limits.max_delay - age))
        return False

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
        """What the next frame should be made of, which waits no longer; and how many samples waited before."""
        with self.changed:
            waiting = self._pending.waiting
            plan = self._planner(self._pending, self._limits.max_frame_bytes, self._clock())
            slabs = self._pending.take(plan)
            self._pending.forget_before(plan.left)
            self._oldest = None if plan.left is None else self._pending.arrived(plan.left)
            self.changed.notify_all()
        return slabs, waiting

    def made(self, frame: Frame, waiting: int, rate: float) -> None:
        """For the forecast of the load: a frame was made when `waiting` samples waited; `rate` is in requests a
        second."""
        with self.changed:
            self._load.made(frame, waiting, self._pending, rate, self._clock())

    def windows_of(self, frame: Frame) -> dict[str, int]:
        """As `WindowBook.arrived`."""
        with self.changed:
            return self._windows.arrived(frame)

    def overwrites(self, frame: Frame) -> list[tuple[Overwrite, RecordLocation]]:
        """Values of this frame, or of frames before, that other values replaced, with the records that replaced them.
        To be asked before the frame is settled; at most so many as a person would look at."""
        with self.changed:
            found, self._pending.overwritten = self._pending.overwritten, []
            found += islice(overwrites(frame), _MOST_OVERWRITES)
            return [(one, self._progress.locate(one.token)) for one in found if self._progress.knows(one.token)]

    def settle(self, frame: Frame, outcome: Outcome) -> None:
        """The samples of this frame reached their end; samples that others in the frame replaced are superseded."""
        with self.changed:
            self._progress.settle(frame.superseded, Outcome.SUPERSEDED)
            self._progress.settle(frame.inserted, outcome)

    def commits(self) -> list[Commit]:
        """How far the partitions are settled, where that is new."""
        with self.changed:
            return self._progress.commits()

    def locate(self, tokens: Iterable[int]) -> list[tuple[str, str, int, str]]:
        """(source, partition, position, topic) of the record behind each token."""
        with self.changed:
            return [self._progress.locate(token) for token in tokens]

    def still_ours(self, frame: Frame) -> Frame | None:
        """The frame without samples of partitions that were given away meanwhile; None if nothing is left."""
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
        """Have everything sent at once until nothing of these partitions is under way. Returns False after `timeout`
        seconds, when `give_up` says so, or when only open windows are left: their values go to the new owner."""
        until = self._clock() + timeout
        with self.changed:
            self._hurried += 1
            self.changed.notify_all()
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
        """Drop everything under way in these partitions. Returns how many records that were."""
        with self.changed:
            self._given_away.update((source, partition) for partition in partitions)
            records = self._progress.forget(source, partitions)
            if self._progress.any_abandoned:
                self._windows.forget(self._progress.is_abandoned)
                self._progress.dropped(self._pending.drop(self._progress.is_abandoned))
                self._oldest = self._pending.oldest()
            self.changed.notify_all()
        return records

    # -- for whoever watches ----------------------------------------------------------------------

    def waiting(self) -> tuple[int, int]:
        """(records, samples) that were taken in and are not settled yet."""
        with self.changed:
            return self._progress.open_records, self._pending.waiting + self._windows.held

    def oldest_seconds(self) -> float:
        """How long the oldest waiting sample has waited, in seconds; 0 while nothing waits."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def account(self, rate: float) -> PackingAccount | None:
        """How well frames are filled, and whether the load fits at `rate` requests a second; None before the first
        frame."""
        with self.changed:
            return self._load.account(self._pending.waiting, rate, self._clock())

    def abandoned(self) -> Abandoned:
        """Records and samples that were given to another member before they were settled."""
        with self.changed:
            progress = self._progress
            return Abandoned(progress.abandoned_records, progress.abandoned_samples, progress.late_samples)

    @property
    def signal_rates(self) -> SampleRates | None:
        """How often signals have samples, in the last window of time that is over."""
        return self._load.rates

    @property
    def late_for_windows(self) -> int:
        """Values that came after their window was closed, since the start."""
        return self._windows.late
