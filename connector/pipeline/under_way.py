"""All records and samples that were taken in and are not settled; intakes and sender share them under one lock.

The intakes add the parts of chunks. What waits for one integration is its lane; the sender of the integration takes
rows from it as a plan says, and settles the frame. These conditions share the lock: `changed` is for threads that wait
for room or for settlement, and each lane's `due` is for its sender. New samples wake a sender only if they change when
the next frame is due. So a quiet connector sleeps.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from connector.delivery.load import PackingAccount
from connector.ledger.account import Commit, Outcome
from connector.ledger.progress import Progress, RecordLocation
from connector.mapping.thinning.thinning import Thinner
from connector.packing.frame import Frame, RowBlock, build_frame, values_of_rows, without
from connector.packing.overwrites import Overwrite, overwrites
from connector.packing.planner import Planner
from connector.packing.rates import SampleRates
from connector.pipeline.by_integration import ByIntegration
from connector.pipeline.lane import Lane
from connector.pipeline.room import OPEN_RECORDS, Room
from connector.pipeline.traces import Contexts, TraceContext
from connector.records import Chunk, Part, at_integration
from connector.threads.watched import moves

IDLE_SECONDS: Final = 1.0
"""A thread with nothing to do looks again after this time at the latest; every reason to look earlier wakes it."""
LOOK_SECONDS: Final = 0.2
"""The same for a thread that waits for something that wakes nobody: open windows, a schema, a circuit."""
_LONGEST_REST: Final = 0.5
_MOST_OVERWRITES: Final = 1_000


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
    """Records and samples from intake to settlement, with a lane for each integration. Safe for threads.

    The class is long because one lock guards the books and all lanes: whatever changes both is here.
    """

    def __init__(
        self,
        limits: Mapping[str, Limits],
        planner: Planner,
        thinner: Thinner,
        windows_done: Mapping[str, int],
        clock: Callable[[], float],
        default: str = "default",
        *,
        traced: bool = False,
    ) -> None:
        """`limits` has the bounds for each integration. `clock` gives seconds.

        `thinner` belongs to the mapper, and knows the down-sampled inputs. `windows_done` is as in `WindowBook`.
        `default` is the name of the default integration for people. With `traced`, the trace contexts of records are
        kept until the records are settled.
        """
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self._limits = limits
        self.rest = min(_LONGEST_REST, min(one.max_delay for one in limits.values()) / 2)
        """The most seconds that an intake rests, so that records come together."""
        self._clock = clock
        self._progress = Progress()
        self._contexts = Contexts() if traced else None
        self._divide = ByIntegration(default)
        plain = (lambda parts: parts) if len(limits) == 1 else self._divide.plain
        self.lanes = {
            name: Lane(name, found, planner, thinner, windows_done, self._progress, lock, plain)
            for name, found in limits.items()
        }
        """Integration → its lane; to be used while the lock of `changed` is held."""
        self._only = next(iter(self.lanes.values())) if len(limits) == 1 else None
        """The lane of the only integration; None if there are several."""
        self._rooms: dict[str, Room] = {}
        """Source → its room; all sources share one room if there is one integration."""
        self._given_away: Counter[tuple[str, str]] = Counter()
        """(source, partition) → number of times that the partition was given away.

        The new owner of a partition reads its unsettled records again.
        """
        self._intakes_running = self._intakes_unfinished = 0
        self._hurried = 0
        """Number of sources that wait until the samples under way are sent."""

    # -- intake -----------------------------------------------------------------------------------

    def _waited(self, chunk: Chunk) -> float:
        """Returns the seconds that a chunk has waited for others while its intake rested: they count as `max_delay`."""
        return min(self.rest, max(0.0, time.time() - chunk.durable_us / 1e6)) if chunk.durable_us else 0.0

    def has_room(self, source: str) -> bool:
        """Returns whether a source may be read.

        Each integration has a bound of waiting samples. A source is held while an integration that this source has
        given samples for is full: a record of this integration cannot be left out, since positions are committed in
        order. All other sources are read on.
        """
        with self.changed:
            now, progress = self._clock(), self._progress
            if self._only is not None:
                samples, waiting = self._only.samples, self._only.pending.waiting
                return self._room("").look(samples, waiting, progress.open_records, progress.open_topics, now)
            fed = [lane for lane in self.lanes.values() if source in lane.sources]
            used, waiting = max(map(self._used, fed), default=0.0), sum(lane.pending.waiting for lane in fed)
            own = progress.open_in_source[source]
            return self._room(source).look(used, waiting, own.records, own.topics, now)

    def _used(self, lane: Lane) -> float:
        """The part of the bound of this lane that is in use."""
        return lane.samples / self._limits[lane.name].max_waiting_samples

    def _room(self, source: str) -> Room:
        room = self._rooms.get(source)
        if room is None:
            most = max(limits.max_waiting_samples for limits in self._limits.values())
            if self._only is not None:
                room = Room(most, self._clock())
            else:  # records of one integration stay under way behind those of another one
                room = Room(1.0, self._clock(), max(most, OPEN_RECORDS))
            self._rooms[source] = room
        return room

    def _window_now(self, lane: Lane, now: float) -> float:
        """The time on the clock of the windows: it stands still while a source of the lane is held."""
        rooms = ("",) if self._only is not None else lane.sources
        return now - max((self._rooms[name].held_seconds for name in rooms if name in self._rooms), default=0.0)

    def times_given_away(self, chunk: Chunk) -> int:
        """Returns how often the partition of this chunk was given away so far; `add` needs this number."""
        return self._given_away[chunk.source, chunk.partition]

    def add(self, chunk: Chunk, parts: list[Part], given_away: int, *, more: bool) -> tuple[int, int] | None:
        """Add these parts of a chunk; with `more`, further parts of the same chunk may follow.

        `given_away` is the earlier result of `times_given_away`. If the partition was given away since then, adds
        nothing and returns None. Else returns the numbers of records and samples that were received since the start.
        """
        now = self._clock()
        arrived = now - self._waited(chunk)
        contexts = None if self._contexts is None else self._contexts.of(chunk.source, chunk.records)
        with self.changed:
            if self._given_away[chunk.source, chunk.partition] != given_away:
                return None
            progress, only = self._progress, self._only
            if only is not None:
                token = progress.begin(chunk, parts, more=more, contexts=contexts)
                only.add(chunk.source, token, parts, self._window_now(only, now), arrived)
            else:
                lines = self._divide.lines(chunk, parts)
                token = progress.begin(chunk, parts, more=more, lines=lines, contexts=contexts)
                for name, some in self._divide.divided(parts).items():
                    lane = self.lanes[name]
                    lane.add(chunk.source, token, some, self._window_now(lane, now), arrived)
            return progress.received_records, progress.received_samples

    def seconds_to_frame(self) -> float:
        """Returns the seconds until a frame is due; infinity if no sample waits, negative while a frame is overdue."""
        now = self._clock()
        with self.changed:
            due = [
                lane.oldest + self._limits[name].max_delay
                for name, lane in self.lanes.items()
                if lane.oldest is not None
            ]
        return min(due, default=math.inf) - now

    def intake_added(self, *, again: bool = False) -> None:
        """Record that an intake will run; `again` means that the same intake ran before, and goes on."""
        with self.changed:
            self._intakes_running += 1
            self._intakes_unfinished += not again

    def intake_removed(self, *, ended: bool, finished: bool) -> None:
        """Record that the intake of a source that has `ended` will not run again; `finished` is as it was then.

        If the intake never began, it has not `ended`.
        """
        with self.changed:
            self._intakes_running -= not ended
            self._intakes_unfinished -= not finished
            self._wake_senders()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Let the senders wait for more as long as the context lasts, although no intake may be left."""
        self.intake_added()
        try:
            yield
        finally:
            self.intake_removed(ended=False, finished=False)

    def intake_ended(self, *, finished: bool) -> None:
        """Record that the intake of one source ended; `finished` means that the source can never give more records."""
        with self.changed:
            self._intakes_running -= 1
            self._intakes_unfinished -= finished
            self._wake_senders()

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
            self._wake_senders()

    def _wake_senders(self) -> None:
        for lane in self.lanes.values():
            lane.due.notify()

    # -- sender -----------------------------------------------------------------------------------

    def wait_until_due(self, integration: str, draining: threading.Event, aborted: threading.Event) -> bool:
        """Wait until a frame is due; returns False if there will never be another frame for this integration."""
        lane, max_delay = self.lanes[integration], self._limits[integration].max_delay
        with self.changed:
            while not aborted.is_set():
                moves()
                self._close_windows(lane)
                age = None if lane.oldest is None else self._clock() - lane.oldest
                ending = draining.is_set() or not self._intakes_unfinished
                flushing = ending and not self._intakes_running
                look = LOOK_SECONDS if lane.windows.held else IDLE_SECONDS
                if age is None:
                    if flushing:
                        return False
                    lane.due.wait(look)
                elif flushing or self._hurried or age >= max_delay or lane.is_full:
                    return True
                else:
                    lane.due.wait(min(look, max_delay - age))
        return False

    def _close_windows(self, lane: Lane) -> None:
        if not lane.windows.held:
            return
        now = self._clock()
        if self._intakes_running or self._intakes_unfinished:
            lane.windows.close_due(self._window_now(lane, now), now)
        else:
            lane.windows.close_all(now)
        lane.note_oldest(now)

    def take(self, integration: str) -> tuple[list[RowBlock], int]:
        """Take the rows of the next frame; returns the rows, and the number of samples that waited before the call."""
        with self.changed:
            found = self.lanes[integration].take(self._clock())
            self.changed.notify_all()
        return found

    def made(self, integration: str, frame: Frame, waiting: int, rate: float) -> None:
        """Note a frame for the forecast of the load.

        The frame was made when `waiting` samples waited. `rate` is the allowed rate in requests a second.
        """
        with self.changed:
            lane = self.lanes[integration]
            lane.load.made(frame, waiting, lane.pending, rate, self._clock())

    def windows_of(self, integration: str, frame: Frame) -> dict[str, int]:
        """Returns input ID → µs up to which all its windows are inserted, as `WindowBook.arrived` does."""
        with self.changed:
            return self.lanes[integration].windows.arrived(frame)

    def overwrites(self, integration: str, frame: Frame) -> list[tuple[Overwrite, RecordLocation]]:
        """Returns the values that a later value replaced, each with the location of the later value's record.

        The replaced values are in `frame` or in earlier frames. The list is bounded, for a person to read. This
        method must be called before `settle`, because `settle` forgets the records.
        """
        with self.changed:
            pending = self.lanes[integration].pending
            found, pending.overwritten = pending.overwritten, []
            found += islice(overwrites(frame), _MOST_OVERWRITES)
            return [
                (one._replace(input_id=at_integration(integration, one.input_id)), self._progress.locate(one.token))
                for one in found
                if self._progress.knows(one.token)
            ]

    def settle(self, frame: Frame, outcome: Outcome) -> None:
        """Settle the samples of a frame: superseded samples as superseded, and the other samples with `outcome`."""
        with self.changed:
            if frame.superseded or outcome is not Outcome.INSERTED:
                self._progress.settle(frame.superseded, Outcome.SUPERSEDED)
                self._progress.settle(frame.inserted, outcome)
            else:
                rows = [(len(block.inputs), block.tokens) for block in frame.blocks]
                rest = [(width, self._progress.insert_runs(tokens, width)) for width, tokens in rows]
                self._progress.settle(values_of_rows(rest), outcome)

    def commits(self) -> list[Commit]:
        """Returns the commits of all partitions with newly settled records."""
        with self.changed:
            return self._progress.commits()

    def origins(self, tokens: Iterable[int]) -> list[tuple[str, int]]:
        """Returns (source, time in µs at which the record was durable) of each token, as in `Progress.origin`."""
        with self.changed:
            return [self._progress.origin(token) for token in tokens]

    def locate(self, tokens: Iterable[int]) -> list[tuple[str, str, int, str]]:
        """Returns (source, partition, position, topic) of the record of each token."""
        with self.changed:
            return [self._progress.locate(token) for token in tokens]

    def contexts(self, tokens: Iterable[int]) -> list[TraceContext]:
        """Returns the trace contexts of the records with these tokens, each once; to be called before `settle`."""
        with self.changed:
            return self._progress.contexts(tokens)

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
            self._wake_senders()
            try:
                while self._progress.open_in(source, partitions):
                    if any(lane.windows.held for lane in self.lanes.values()) and self._progress.only_open(
                        source, partitions, chain.from_iterable(lane.windows.tokens() for lane in self.lanes.values())
                    ):
                        return False
                    moves()
                    left = until - self._clock()
                    if left <= 0 or give_up():
                        return False
                    self.changed.wait(min(left, LOOK_SECONDS))
            finally:
                self._hurried -= 1
        return True

    def partitions(self, source: str) -> list[str]:
        """Returns the partitions of a source with records under way."""
        with self.changed:
            return self._progress.partitions(source)

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop all records of `partitions` that are under way; returns the number of dropped records."""
        with self.changed:
            self._given_away.update((source, partition) for partition in partitions)
            records = self._progress.forget(source, partitions)
            if self._progress.any_abandoned:
                for lane in self.lanes.values():
                    lane.forget(self._progress)
            self.changed.notify_all()
        return records

    # -- state for metrics and pages --------------------------------------------------------------

    def holds(self, source: str) -> bool:
        """Whether a source is not read at present, because too much is under way."""
        room = self._rooms.get("" if self._only is not None else source)
        return room is not None and room.full

    def feeds(self, source: str, integration: str) -> bool:
        """Whether a source has given samples for an integration."""
        return source in self.lanes[integration].sources

    def waiting(self) -> tuple[int, int]:
        """Returns the numbers of records and of samples that were taken in and are not settled yet."""
        with self.changed:
            return self._progress.open_records, sum(lane.samples for lane in self.lanes.values())

    def waiting_for(self, integration: str) -> int:
        """Returns the number of samples that wait for a frame of this integration, with the values in open windows."""
        with self.changed:
            return self.lanes[integration].samples

    def oldest_seconds(self, integration: str) -> float:
        """Returns the age of the oldest waiting sample, in seconds; 0 while no sample waits."""
        oldest = self.lanes[integration].oldest
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def account(self, integration: str, rate: float) -> PackingAccount | None:
        """Returns how full the frames are and whether the load fits; None before the first frame.

        `rate` is the allowed rate in requests a second.
        """
        with self.changed:
            lane = self.lanes[integration]
            return lane.load.account(lane.pending.waiting, rate, self._clock())

    def abandoned(self) -> Abandoned:
        """Returns the counts of records and samples that went to another member before they were settled."""
        with self.changed:
            progress = self._progress
            return Abandoned(progress.abandoned_records, progress.abandoned_samples, progress.late_samples)

    def signal_rates(self, integration: str) -> SampleRates | None:
        """Sample rates of all signals in the last complete window; None before the first window ends."""
        with self.changed:
            lane = self.lanes[integration]
            return lane.load.rates(lane.pending, self._clock())

    @property
    def late_for_windows(self) -> int:
        """Number of values, since the start, that came after their window was closed."""
        return sum(lane.windows.late for lane in self.lanes.values())
