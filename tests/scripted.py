"""Stand-ins for what the core talks to: a clock that is moved by hand, a Clarify that follows a script, a log."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import orjson

from connector.clarify import ClarifyError, InsertResult, Saved, SaveSignalsResult, SignalInfo
from connector.ledger.account import Commit, Counts, Tallies, merge
from connector.mapping.time.times import EPOCH
from connector.metadata.book import MetadataBook
from connector.metadata.reconciler import Entry, EntryChange
from connector.records import Chunk, Record
from connector.sources.source import Handover, Reread, Source, SourceFailedError, SourceFinishedError

Stored = dict[tuple[str, int], float]
"""(input ID, time in µs) → value: what Clarify has."""


class Clock:
    """Seconds, moved by hand, or by `sleep`, which costs no time."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Abort(threading.Event):
    """An event of which a wait costs no time: it moves the clock instead, and may be set in the n-th wait."""

    def __init__(self, clock: Clock, in_wait: int | None = None) -> None:
        super().__init__()
        self.clock = clock
        self.waits: list[float] = []
        self.in_wait = in_wait

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "a wait without a bound"
        self.waits.append(timeout)
        if len(self.waits) == self.in_wait:
            self.set()
        elif not self.is_set():
            self.clock.now += timeout
        return self.is_set()


def read_frame(body: bytes) -> Stored:
    """The cells of an encoded frame that hold a value."""
    frame = orjson.loads(body)
    times = [(datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1) for text in frame["times"]]
    return {
        (name, time_us): cell
        for name, cells in frame["series"].items()
        for time_us, cell in zip(times, cells, strict=True)
        if cell is not None
    }


Step = ClarifyError | Callable[[bytes], None] | None
"""What happens to a request: this error, whatever this function does, or nothing: it is stored."""


class ScriptedClarify:
    """Answers inserts as the script says, then stores them; and `judge` may refuse any frame."""

    def __init__(self, steps: Iterable[Step] = (), judge: Callable[[Stored], None] = lambda frame: None) -> None:
        self.steps = deque(steps)
        self.judge = judge
        self.clock: Callable[[], float] = time.monotonic
        self.requests: list[Stored] = []
        self.at: list[float] = []
        """When each request came, on the clock."""
        self.stored: Stored = {}
        self.gate = threading.Event()
        self.gate.set()

    def insert_encoded(self, data_json: bytes) -> InsertResult:
        assert self.gate.wait(30)
        frame = read_frame(data_json)
        self.requests.append(frame)
        self.at.append(self.clock())
        step = self.steps.popleft() if self.steps else None
        if isinstance(step, ClarifyError):
            raise step
        if step is not None:
            step(data_json)
        self.judge(frame)
        self.stored |= frame
        return InsertResult({})


class ScriptedSignals:
    """Answers saveSignals as the script says."""

    integration = "integration"

    def __init__(
        self, steps: Iterable[ClarifyError] = (), judge: Callable[[set[str]], None] = lambda ids: None
    ) -> None:
        self.steps = deque(steps)
        self.judge = judge
        self.requests: list[dict[str, SignalInfo]] = []
        self.saved: dict[str, SignalInfo] = {}

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        self.requests.append(dict(signals_by_input))
        if self.steps:
            raise self.steps.popleft()
        self.judge(set(signals_by_input))
        self.saved.update(signals_by_input)
        return SaveSignalsResult({input_id: Saved("id", True, False) for input_id in signals_by_input})


class FragileBook(MetadataBook):
    """A book on a disk that can be full."""

    full = False

    def revise(self, inputs: Collection[str], change: EntryChange) -> dict[str, Entry]:
        if self.full and inputs:
            raise sqlite3.OperationalError("database or disk is full")
        return super().revise(inputs, change)


class ScriptedHandover:
    """What a source may ask of a pipeline, as the test says: `settles` is the answer, `asked` what was asked."""

    def __init__(self, *, settles: bool = True, max_delay: float = 0.0) -> None:
        self.settles = settles
        self.max_delay = max_delay
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        self.asked.append(("settle", tuple(partitions)))
        return self.settles

    def forget(self, source: str, partitions: Collection[str]) -> int:
        self.asked.append(("forget", tuple(partitions)))
        return 0


class ListSource(Source):
    """A log in a list: positions from 1, chunks as they were put in; it remembers what was committed."""

    def __init__(self, name: str = "mqtt") -> None:
        self.name = name
        self._changed = threading.Condition()
        self._chunks: deque[Chunk] = deque()
        self._next = 1
        self.records: dict[int, Record] = {}
        """All that was put in, by position."""
        self.failure: str | None = None
        self.finished = False
        self.polls = 0
        self.holds = 0
        self.apart = False
        """Whether it can hold back a partition."""
        self.held_back: set[str] = set()
        self.commits: list[Commit] = []
        self.started = self.stopped_reading = self.closed = False

    def put(self, *records: Record, partition: str = "p", durable_us: int = 0) -> None:
        """One chunk of these records."""
        with self._changed:
            positions = range(self._next, self._next + len(records))
            self._chunks.append(Chunk(self.name, partition, positions, list(records), durable_us))
            self.records.update(zip(positions, records, strict=True))
            self._next += len(records)
            self._changed.notify_all()

    def fail(self, why: str) -> None:
        """From now on `poll` raises."""
        with self._changed:
            self.failure = why
            self._changed.notify_all()

    def finish(self) -> None:
        """There is nothing more to come."""
        with self._changed:
            self.finished = True
            self._changed.notify_all()

    def left(self) -> int:
        """Chunks that nobody has polled."""
        return len(self._chunks)

    @property
    def position(self) -> int:
        """The last position that was committed."""
        return self.commits[-1].position if self.commits else 0

    def tallies(self) -> Tallies:
        """The account of all commits together."""
        total: Tallies = {}
        for commit in self.commits:
            merge(total, commit.tallies)
        return total

    def messages(self) -> Counts:
        """The messages of all topics together."""
        total = Counts()
        for tally in self.tallies().values():
            total += tally.messages
        return total

    def samples(self) -> Counts:
        """The samples of all topics together."""
        total = Counts()
        for tally in self.tallies().values():
            total += tally.samples
        return total

    # -- the source -------------------------------------------------------------------------------

    def start(self, handover: Handover) -> None:
        self.handover = handover
        self.started = True

    def log(self, partition: str) -> str:
        return ""

    def hold(self) -> None:
        self.holds += 1

    def poll(self, timeout: float) -> Chunk | None:
        with self._changed:
            self.polls += 1
            self._changed.wait_for(
                lambda: self._open() or self.failure or self.finished or self.stopped_reading, timeout
            )
            if chunk := self._open():
                self._chunks.remove(chunk)
                return chunk
            if self.failure:
                raise SourceFailedError(self.failure)
            if self.finished:
                raise SourceFinishedError
            return None

    def _open(self) -> Chunk | None:
        return next((chunk for chunk in self._chunks if chunk.partition not in self.held_back), None)

    def hold_back(self, partition: str) -> bool:
        if self.apart:
            self.held_back.add(partition)
        return self.apart

    def go_on(self, partition: str) -> None:
        with self._changed:
            self.held_back.discard(partition)
            self._changed.notify_all()

    def commit(self, commit: Commit) -> None:
        before = [one.position for one in self.commits if one.partition == commit.partition]
        assert commit.position > max(before, default=0), "positions only rise"
        self.commits.append(commit)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        found: dict[int, Record] = {}
        for done, position in enumerate(positions):
            if sum(len(record.payload or b"") for record in found.values()) >= max_bytes:
                return Reread(found, done, "it is gone")
            if position in self.records:
                found[position] = self.records[position]
        return Reread(found, len(positions), "it is gone")

    def stop_reading(self) -> None:
        with self._changed:
            self.stopped_reading = True
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        self.closed = True
