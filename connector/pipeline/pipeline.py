"""source → mapping → pending columns → planner → sender → commit.

One intake thread a source polls, maps and adds to the pending columns; one sender thread waits for a slot,
plans a frame out of all that waits, delivers and settles it. They meet at one lock. When the columns are
full, the sources are held until a quarter is free, and each keeps what comes (see its promises). A chunk is
committed to its source when it and all before it are settled. A source that has to give a partition away asks
for what is under way to be settled quickly, and has the rest forgotten.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from connector.delivery.circuit import Circuit
from connector.delivery.divided import by_record
from connector.delivery.load import Load, PackingAccount
from connector.delivery.pace import Pace, effective_share
from connector.delivery.sender import Inserter, Sender
from connector.delivery.slots import Slots
from connector.ledger.account import Counts, Outcome
from connector.ledger.progress import Progress
from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.thinning.windows import Closed, Windows
from connector.mapping.time.clock_skew import Skew
from connector.packing.frame import Frame, build_frame, encode_frame, without
from connector.packing.pending import Pending
from connector.packing.planner import Planner
from connector.packing.rates import SampleRates
from connector.pipeline.discoveries import Announcer, Discoveries
from connector.pipeline.rejects import DeadLetters, Rejects
from connector.records import Chunk, Mapped, Part
from connector.sources.source import Source, SourceFailedError, SourceFinishedError

_POLL_SECONDS: Final = 0.2
OPEN_RECORDS: Final = 300_000
"""Records that may be under way: memory for their bookkeeping, about 60 bytes each."""
_RESUME_BELOW: Final = 0.75
"""Share of the room in use below which a source that was held is read again."""
_BYTES_A_SAMPLE: Final = 12
"""A sample in a dense frame: enough to see that a request's worth waits; the planner knows exactly."""
_RECENT_FRAMES: Final = 50
_OPEN_TOPICS: Final = 64 * 1024 * 1024
"""Characters that the topics of the records under way may have together."""
_ACCOUNT_SECONDS: Final = 10.0
_LONGEST_SCHEMA_WAIT: Final = 60.0

_log = structlog.get_logger(__name__)


def _mean(shares: Sequence[float]) -> float:
    return effective_share("auto", shares)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, how long, and how large a frame may be."""

    max_delay: float
    max_frame_bytes: int
    max_waiting_samples: int


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame that Clarify has, for whoever watches."""

    at: float
    rows: int
    series: int
    samples: int
    bytes: int
    density: float
    seconds: float


class Pipeline:
    """Carries records from the sources to Clarify."""

    def __init__(
        self,
        sources: Sequence[Source],
        mapper: Mapper,
        client: Inserter,
        planner: Planner,
        dead_letters: DeadLetters,
        discoveries: Discoveries,
        limits: Limits,
        requests_per_second: float,
        *,
        admit: Callable[[list[Part]], list[Part]] | None = None,
        share: Callable[[Sequence[float]], float] = _mean,
        windows_done: Mapping[str, int] | None = None,
        circuit: Circuit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._mapper = mapper
        self._chunks = ChunkMapper(mapper)
        self._admit = admit
        self._mapping_lock = threading.Lock()
        self._announcer = Announcer(mapper, self._mapping_lock, discoveries, clock)
        self._windows = Windows(mapper.thinner.how, windows_done or {})
        self._window_starts: dict[int, tuple[str, int]] = {}
        """Token of a window's sample that is under way → its input, and the start of the window in µs."""
        self._stood = 0.0
        """How long, in seconds, sources were held because Clarify took nothing: time that does not count for windows,
        since the rest of them waits in the log."""
        self._looked = clock()
        self.schema_trouble: dict[str, str] = {}
        """Source → which schema it waits for, and why that cannot be had."""
        self._schema_tries: dict[str, int] = {}
        self._planner = planner
        self._discoveries = discoveries
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._commit_lock = threading.Lock()
        self._pending = Pending()
        self._oldest: float | None = None
        self._progress = Progress()
        self._load = Load(limits.max_frame_bytes, limits.max_waiting_samples)
        self._account_due = 0.0
        self._draining = threading.Event()
        self._aborted = threading.Event()
        self._rejects = Rejects(self._sources, dead_letters, self._aborted)
        self._intake_running = len(self._sources)
        self._finished = 0
        self._full = False
        self._given_away: Counter[tuple[str, str]] = Counter()
        """(source, partition) → how often it was given away: what was read of it before is read again by its owner."""
        self._settling = 0
        """Sources that wait for what is under way."""
        self.pace = Pace(requests_per_second)
        self._slots = Slots(self.rate, self._aborted, clock)
        self._share = share
        self.sender = Sender(client, self._slots, self, pace=self.pace, circuit=circuit, clock=clock)
        self.failure: str | None = None
        """Why a source gave up for good; the pipeline then drains and stops."""
        self.stopped = threading.Event()
        self.messages = Counts()
        self.samples = Counts()
        self.frames: deque[SentFrame] = deque(maxlen=_RECENT_FRAMES)
        self._threads = [
            threading.Thread(
                target=self._guarded, args=(self._intake, source), name=f"intake-{source.name}", daemon=True
            )
            for source in sources
        ]
        self._threads.append(threading.Thread(target=self._guarded, args=(self._send,), name="sender", daemon=True))

    # -- the way of the data ----------------------------------------------------------------------

    def _intake(self, source: Source) -> None:
        try:
            while not self._aborted.is_set():
                if not self._has_room():
                    source.hold()
                    self._wait_a_little()
                    continue
                chunk = source.poll(_POLL_SECONDS)
                if chunk is not None:
                    self._take_in(chunk)
                elif self._draining.is_set():
                    return
        except SourceFinishedError:
            _log.info("source_finished", source=source.name, effect="all of it was read")
            with self._changed:
                self._finished += 1
        except SourceFailedError as error:
            _log.error("source_failed", source=source.name, reason=str(error))
            self.failure = f"source {source.name}: {error}"
        finally:
            with self._changed:
                self._intake_running -= 1
                self._changed.notify_all()

    def _take_in(self, chunk: Chunk) -> None:
        """Mostly it is one part; what becomes very much is taken in piece by piece, each once there is room for it."""
        rest: Chunk | None = chunk
        given_away = self._given_away[chunk.source, chunk.partition]
        while rest is not None and not self._aborted.is_set():
            done, parts = self._map(rest)
            if not done:  # a schema is missing: nothing of it is rejected for that
                self._wait_for_schema(rest)
                continue
            if self.schema_trouble.get(rest.source) and done == len(rest.records):
                del self.schema_trouble[rest.source]
                self._schema_tries.pop(rest.source, None)
                _log.info("schema_available", source=rest.source)
            first, rest = _divided(rest, done)
            if not self._add(first, parts, given_away, more=rest is not None):
                return
            while rest is not None and not self._has_room() and not self._aborted.is_set():
                self._sources[chunk.source].hold()
                self._wait_a_little()

    def _add(self, chunk: Chunk, parts: list[Part], given_away: int, *, more: bool) -> bool:
        """False if it stays with its source: it was aborted, or given away while it was held here."""
        self._announcer.keep_births(chunk.source)
        if self._admit is not None:
            parts = self._admit(parts)
        if not self._rejects.keep(chunk, parts):
            return False
        now = self._clock()
        with self._changed:
            if self._given_away[chunk.source, chunk.partition] != given_away:
                return False
            token = self._progress.begin(chunk, parts, more=more)
            before = self._pending.waiting
            if self._mapper.thinner.windows:
                parts, late, closed = self._windows.take(token, parts, now - self._stood)
                self._progress.settle(late, Outcome.FILTERED)
                self._add_closed(closed, now)
            self._pending.add(token, parts, now)
            self._load.came(self._pending.waiting - before, now)
            if self._oldest is None and self._pending.waiting:
                self._oldest = now
            self.messages.received = self._progress.received_records
            self.samples.received = self._progress.received_samples
            self._changed.notify_all()
        self._commit()
        return True

    def _send(self) -> None:
        while self._wait_until_due() and self._slots.wait():
            with self._changed:
                waiting = self._pending.waiting
                plan = self._planner(self._pending, self._limits.max_frame_bytes, self._clock())
                slabs = self._pending.take(plan)
                self._pending.forget_before(plan.left)
                self._oldest = None if plan.left is None else self._pending.arrived(plan.left)
                self._changed.notify_all()
            if slabs:
                frame = encode_frame(slabs)
                self._made(frame, waiting)
                if not self.sender.deliver(frame):
                    return
        self._tell_packing()

    def _made(self, frame: Frame, waiting: int) -> None:
        """For the forecast: this frame was made when so many samples waited."""
        now = self._clock()
        with self._changed:
            self._load.made(frame, waiting, self._pending, self.pace.rate, now)
        if now >= self._account_due:
            self._account_due = now + _ACCOUNT_SECONDS
            self._tell_packing()

    def _tell_packing(self) -> None:
        if (account := self.packing()) is not None:
            self._discoveries.packed(account)

    def inserted(self, frame: Frame, seconds: float) -> None:
        """Clarify has this frame: settle what was in it."""
        if self._window_starts:
            self._remember_windows(frame)
        with self._changed:
            self._progress.settle(frame.superseded, Outcome.SUPERSEDED)
            self._progress.settle(frame.inserted, Outcome.INSERTED)
        self.frames.append(
            SentFrame(self._clock(), frame.rows, frame.series, frame.samples, len(frame.body), frame.density, seconds)
        )
        self._commit()

    def rejected(self, frame: Frame, reason: str) -> None:
        """Clarify named this frame's data as bad: dead letters first, then it is settled."""
        if not self._rejects.keep_refused(by_record(frame.columns), self._locate, reason):
            return  # aborted: what is not settled comes again
        if self._window_starts:
            self._remember_windows(frame)
        with self._changed:
            self._progress.settle(frame.superseded, Outcome.SUPERSEDED)
            self._progress.settle(frame.inserted, Outcome.DEAD_LETTERED)
        self._commit()

    def _commit(self) -> None:
        """Tell the sources how far they are settled. One at a time, so that positions only rise."""
        with self._commit_lock:
            with self._changed:
                commits = self._progress.commits()
            for commit in commits:
                self._sources[commit.source].commit(commit)
                for tally in commit.tallies.values():
                    self._count(self.messages, tally.messages)
                    self._count(self.samples, tally.samples)
        if commits:
            with self._changed:
                self._changed.notify_all()

    def still_ours(self, frame: Frame) -> Frame | None:
        """A frame that waits to be sent again, without what belongs to another owner by now."""
        with self._changed:
            if not self._progress.any_abandoned:
                return frame
            columns, dropped = without(frame.columns, self._progress.is_abandoned)
            self._progress.dropped(dropped)
        if not dropped:
            return frame
        return build_frame(columns) if columns else None

    # -- what a source may ask when it gives partitions away (see Handover) -----------------------

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        """Send at once what waits, until nothing of these partitions is under way. Not while Clarify is away."""
        until = self._clock() + timeout
        with self._changed:
            self._settling += 1
            self._changed.notify_all()
            try:
                while self._progress.open_in(source, partitions):
                    if self._windows.held and self._progress.only_open(source, partitions, self._windows.tokens()):
                        return False  # windows that are open are left to whoever reads on
                    left = until - self._clock()
                    if left <= 0 or self._aborted.is_set() or self.stopped.is_set() or self.sender.circuit.trouble:
                        return False
                    self._changed.wait(min(left, _POLL_SECONDS))
            finally:
                self._settling -= 1
        with self._commit_lock:  # whoever settled the last of it has told the source when this lock is free
            return True

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop what is under way in these partitions."""
        with self._commit_lock, self._changed:
            self._given_away.update((source, partition) for partition in partitions)
            records = self._progress.forget(source, partitions)
            self._mapper.forget(source)
            if self._progress.any_abandoned:
                self._progress.dropped(self._windows.forget(self._progress.is_abandoned))
                for token in [token for token in self._window_starts if self._progress.is_abandoned(token)]:
                    self._windows.reopen(*self._window_starts.pop(token))
                self._progress.dropped(self._pending.drop(self._progress.is_abandoned))
                self._oldest = self._pending.oldest()
            self._changed.notify_all()
        return records

    # -- start and stop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the sources and the threads."""
        for source in self._sources.values():
            source.start(self)
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Begin to stop: read nothing more from outside, send what is here, then `stopped` is set."""
        for source in self._sources.values():
            source.stop_reading()
        self._draining.set()
        with self._changed:
            self._changed.notify_all()

    def abort(self) -> None:
        """Stop now; what is not settled stays with its source."""
        self._aborted.set()
        self.drain()

    def close(self, timeout: float) -> None:
        """Wait for the threads, then close the sources, each for at most `timeout` seconds."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout)
        for source in self._sources.values():
            source.close(timeout)

    # -- for whoever watches ----------------------------------------------------------------------

    def waiting(self) -> tuple[int, int]:
        """(records, samples) that were taken in and are not settled yet."""
        with self._changed:
            return self._progress.open_records, self._pending.waiting + self._windows.held

    def oldest_seconds(self) -> float:
        """How long the sample that has waited longest has waited, in seconds."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def packing(self) -> PackingAccount | None:
        """How well frames are filled and whether the load fits; None before the first frame."""
        rate = self.pace.rate
        with self._changed:
            account = self._load.account(self._pending.waiting, rate, self._clock())
        shifts = self._mapper.aligner.shifts
        if account is None or not shifts.aligned + shifts.left:
            return account
        return replace(
            account,
            aligned=shifts.aligned,
            not_aligned=shifts.left,
            collisions=shifts.collisions,
            greatest_shift_us=shifts.greatest_us,
        )

    @property
    def reasons(self) -> Counter[str]:
        """Why there were dead letters: reason → how many."""
        return self._rejects.reasons

    @property
    def signal_rates(self) -> SampleRates | None:
        """How often signals have samples, in the last window that is over."""
        return self._load.rates

    def problems(self) -> list[str]:
        """Why the pipeline is not ready."""
        found = [f"{name}: {problem}" for name, source in self._sources.items() for problem in source.problems()]
        if trouble := self.sender.circuit.trouble:
            found.append(f"Clarify: {trouble}")
        if self.failure:
            found.append(self.failure)
        found += [f"{name}: {trouble}" for name, trouble in dict(self.schema_trouble).items()]
        return found

    def abandoned(self) -> tuple[int, int, int]:
        """(records, samples) that were given away unsettled, and samples that were settled too late to count."""
        with self._changed:
            progress = self._progress
            return progress.abandoned_records, progress.abandoned_samples, progress.late_samples

    def clocks(self, most: int) -> list[Skew]:
        """The devices whose clocks are furthest off."""
        with self._mapping_lock:
            return self._mapper.clocks.worst(most)

    def late_for_windows(self) -> int:
        """Values that came after the window that they belong to was closed."""
        return self._windows.late

    def sparkplug_gauges(self) -> dict[str, dict[str, float]]:
        """Source → numbers about the nodes of Sparkplug that were heard there, for their gauges."""
        with self._mapping_lock:
            return self._mapper.sparkplug.gauges()

    def sources(self) -> list[Source]:
        """The sources, for their gauges."""
        return list(self._sources.values())

    # -- details ----------------------------------------------------------------------------------

    def _guarded(self, run: Callable[..., None], *args: Source) -> None:
        """A thread that dies must not leave the others running as if nothing had happened."""
        try:
            run(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the whole pipeline, and loudly
            _log.exception("pipeline_failed", thread=threading.current_thread().name)
            self.failure = self.failure or f"internal error: {error!r}"
            self._aborted.set()
        finally:
            if self.failure:
                self.drain()
            if run == self._send:
                self.stopped.set()

    def rate(self) -> float:
        """Requests a second at this moment: partitions come and go, and the server may be slow."""
        self.pace.share = self._share([source.share() for source in self._sources.values()])
        return self.pace.rate

    def _has_room(self) -> bool:
        """Whether sources may be read; once full, only after a quarter is free: pausing has its price."""
        with self._changed:
            used = max(
                (self._pending.waiting + self._windows.held) / self._limits.max_waiting_samples,
                self._progress.open_records / OPEN_RECORDS,
                self._progress.open_topics / _OPEN_TOPICS,
            )
            now = self._clock()
            if self._full and self._pending.waiting:
                self._stood += now - self._looked
            self._looked = now
            if used >= 1:
                self._full = True
            elif used <= _RESUME_BELOW:
                self._full = False
            return not self._full

    def _wait_a_little(self) -> None:
        with self._changed:
            self._changed.wait(_POLL_SECONDS)

    def _wait_until_due(self) -> bool:
        """Wait until a frame should leave; False when there will never be another one."""
        with self._changed:
            while not self._aborted.is_set():
                if self._windows.held:
                    self._close_windows()
                age = None if self._oldest is None else self._clock() - self._oldest
                ending = self._draining.is_set() or self._finished == len(self._sources)
                flushing = ending and self._intake_running == 0
                if age is None:
                    if flushing:
                        return False
                    self._changed.wait(_POLL_SECONDS)
                elif (
                    flushing
                    or self._settling > 0
                    or age >= self._limits.max_delay
                    or self._pending.waiting * _BYTES_A_SAMPLE >= self._limits.max_frame_bytes
                    or self._pending.waiting * 2 >= self._limits.max_waiting_samples
                ):
                    return True
                else:
                    self._changed.wait(min(_POLL_SECONDS, self._limits.max_delay - age))
        return False

    def _map(self, chunk: Chunk) -> tuple[int, list[Part]]:
        """How many of the records were mapped, and what they became: all of them, or up to one whose schema cannot be
        had now, or until that is very much."""
        source, records = chunk.source, chunk.records
        with self._mapping_lock:
            done, parts = self._chunks.map(source, records)
            if self._chunks.schema_trouble is not None:
                self.schema_trouble[source] = self._chunks.schema_trouble
            merged = self._mapper.merges_keys(source, records[0], records[-1])
        self._announcer.announce()
        if merged:
            _log.warning(
                "keys_not_told_apart",
                source=source,
                topic=records[0].topic,
                effect="records with different keys become samples of the same inputs",
                remedy="if a key is a device, use it: a rule with key: or with {key} in its input; if not, set "
                "shared_inputs: true in the rule",
            )
        return done, parts

    def _wait_for_schema(self, chunk: Chunk) -> None:
        """A second, then longer; the source keeps what comes meanwhile."""
        tries = self._schema_tries[chunk.source] = self._schema_tries.get(chunk.source, 0) + 1
        if tries == 1:
            _log.error(
                "schema_unavailable",
                source=chunk.source,
                reason=self.schema_trouble[chunk.source],
                effect="this source waits; trying again",
            )
        until = self._clock() + min(_LONGEST_SCHEMA_WAIT, 2.0 ** min(tries - 1, 10))
        while self._clock() < until and not self._aborted.is_set():
            self._sources[chunk.source].hold()
            self._wait_a_little()

    def _add_closed(self, closed: list[Closed], now: float) -> None:
        """Windows that are complete: each is one sample that stands for all of its values."""
        for window in closed:
            token = self._progress.bundle(window.tokens, window.last)
            self._window_starts[token] = (window.input_id, window.start_us)
            self._pending.add(token, [(0, Mapped([(window.input_id, window.start_us, window.value)]))], now)
        if closed and self._oldest is None:
            self._oldest = now

    def _close_windows(self) -> None:
        """Close the windows whose time is up."""
        ended = self._intake_running == 0 and self._finished == len(self._sources)
        closed = self._windows.end() if ended else self._windows.due(self._clock() - self._stood)
        self._add_closed(closed, self._clock())

    def _remember_windows(self, frame: Frame) -> None:
        """Before anything of a window is committed: a part of its values must not make it a second time."""
        with self._changed:
            starts = self._window_starts
            done = {
                starts.pop(token)[0]: 0
                for token in (*frame.inserted, *frame.superseded)
                if token < 0 and token in starts
            }
            for input_id in done:
                done[input_id] = self._windows.done(input_id)
            for input_id, start_us in starts.values():  # of these nothing is remembered before they are inserted too
                if input_id in done:
                    done[input_id] = min(done[input_id], start_us)
        if done:
            self._discoveries.windows_done(done)

    def _locate(self, tokens: Iterable[int]) -> list[tuple[str, str, int, str]]:
        with self._changed:
            return [self._progress.locate(token) for token in tokens]

    @staticmethod
    def _count(total: Counts, part: Counts) -> None:
        total.inserted += part.inserted
        total.dead_lettered += part.dead_lettered
        total.superseded += part.superseded
        total.filtered += part.filtered


def _divided(chunk: Chunk, first: int) -> tuple[Chunk, Chunk | None]:
    """Its first records, and the others, if there are any."""
    if first == len(chunk.records):
        return chunk, None
    return (
        replace(chunk, positions=chunk.positions[:first], records=chunk.records[:first]),
        replace(chunk, positions=chunk.positions[first:], records=chunk.records[first:]),
    )
