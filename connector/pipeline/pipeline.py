"""source → mapping → waiting tables → planner → sender → commit.

Each source has an intake thread, which polls, maps and adds to what is under way. One sender thread waits for a slot,
plans a frame out of everything that waits, delivers it and settles it. They meet in `UnderWay`, at one lock. While
there is no room, the sources are held until a quarter is free, and each source keeps what comes (see its promises). A
chunk is committed to its source when it and all before it are settled. A source that has to give a partition away asks
the pipeline to settle quickly what is under way of it, and then to forget the rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from connector.delivery.circuit import Circuit
from connector.delivery.divided import by_record
from connector.delivery.pace import Pace, effective_share
from connector.delivery.sender import Inserter, Sender
from connector.delivery.slots import Slots
from connector.ledger.account import Outcome
from connector.mapping.mapper import Mapper
from connector.packing.frame import Frame, encode_frame
from connector.packing.planner import Planner
from connector.pipeline.discoveries import Discoveries
from connector.pipeline.intake import Intake, SharedMapper, ended
from connector.pipeline.notices import Notices
from connector.pipeline.rejects import DeadLetters, Rejects
from connector.pipeline.status import PipelineStatus
from connector.pipeline.under_way import Limits, UnderWay
from connector.records import Part, Record
from connector.sources.source import Source
from connector.threads.watched import Threaded, WatchedThread

_ACCOUNT_SECONDS: Final = 10.0
"""How often the account of packing is told."""

_log = structlog.get_logger(__name__)


def _mean(shares: Sequence[float]) -> float:
    return effective_share("auto", shares)


class Pipeline:
    """Carries records from the sources to Clarify: the threads, and the commits."""

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
        notices: Notices | None = None,
        saw: Callable[[str, Sequence[Record]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`admit` replaces samples of signals that are not let in by rejects. `share` makes of the sources' shares the
        share of `requests_per_second` that this process may use. `windows_done` is as in `WindowBook`. `saw` is told
        which records came from which source."""
        self._sources = {source.name: source for source in sources}
        self._mapper = mapper
        self._discoveries = discoveries
        self._clock = clock
        self._share = share
        notices = notices or Notices()
        self._draining = threading.Event()
        self._aborted = threading.Event()
        self.stopped = threading.Event()
        """Set when the sender has ended: nothing will be sent any more."""
        self._failed: str | None = None
        self._committing = threading.Lock()
        """One commit at a time, so that the positions that a source is told only rise."""
        self._account_due = 0.0
        self.pace = Pace(requests_per_second)
        self._slots = Slots(self.rate, self._aborted, clock)
        self.sender = Sender(client, self._slots, self, pace=self.pace, circuit=circuit, clock=clock)
        self._under_way = UnderWay(len(sources), limits, planner, mapper.thinner, windows_done or {}, clock)
        self._rejects = Rejects(self._sources, dead_letters, self._aborted, notices)
        shared = SharedMapper(mapper, discoveries, clock)
        self.status = PipelineStatus(
            self._sources,
            mapper,
            shared,
            self._under_way,
            self._rejects,
            self.sender,
            lambda: self.pace.rate,
            lambda: self.failure,
            notices,
            clock,
        )
        self._intakes = [
            Intake(
                source,
                shared,
                self._under_way,
                self._rejects,
                admit,
                self.status,
                saw,
                self._commit,
                self._draining,
                self._aborted,
            )
            for source in sources
        ]
        self._threads = [
            WatchedThread(f"intake-{source.name}", source.name, partial(self._guarded, intake.run))
            for source, intake in zip(sources, self._intakes, strict=True)
        ]
        self._threads.append(WatchedThread("sender", "", partial(self._guarded, self._send)))

    # -- the way of the data ----------------------------------------------------------------------

    def _send(self) -> None:
        """The sender's work; the threads of the intakes run `Intake.run`."""
        while self._under_way.wait_until_due(self._draining, self._aborted) and self._slots.wait():
            slabs, waiting = self._under_way.take()
            if slabs:
                frame = encode_frame(slabs)
                self._under_way.made(frame, waiting, self.pace.rate)
                self._tell_packing_now_and_then()
                if not self.sender.deliver(frame):
                    return
        self._tell_packing()

    def inserted(self, frame: Frame, seconds: float) -> None:
        """Clarify has this frame: settle it."""
        self._remember_windows(frame)
        self.status.overwrote(self._under_way.overwrites(frame))
        self._under_way.settle(frame, Outcome.INSERTED)
        self.status.inserted(frame, seconds)
        self._commit()

    def rejected(self, frame: Frame, reason: str) -> None:
        """Clarify named all of this frame as bad: write dead letters, then settle it."""
        if not self._rejects.keep_refused(by_record(frame.columns), self._under_way.locate, reason):
            return  # aborted: what is not settled comes again
        self._remember_windows(frame)
        self._under_way.settle(frame, Outcome.DEAD_LETTERED)
        self._commit()

    def still_ours(self, frame: Frame) -> Frame | None:
        """As `UnderWay.still_ours`."""
        return self._under_way.still_ours(frame)

    def _remember_windows(self, frame: Frame) -> None:
        """Before anything of a window is committed: a part of its values must not make the window a second time."""
        if done := self._under_way.windows_of(frame):
            self._discoveries.windows_done(done)

    def _commit(self) -> None:
        """Tell the sources how far they are settled."""
        with self._committing:
            commits = self._under_way.commits()
            for commit in commits:
                self._sources[commit.source].commit(commit)
                self.status.committed(commit)
        if commits:
            self._under_way.notify()

    # -- what a source may ask when it gives partitions away (see Handover) -----------------------

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        """Send at once what waits, until nothing of these partitions is under way and the source knows. Returns False
        after `timeout` seconds, or while Clarify is away."""
        if not self._under_way.wait_settled(source, partitions, timeout, self._cannot_settle):
            return False
        with self._committing:  # whoever settled the last of it has told the source when this lock is free
            return True

    def _cannot_settle(self) -> bool:
        return self._aborted.is_set() or self.stopped.is_set() or self.sender.circuit.trouble is not None

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop what is under way in these partitions. Returns how many records that were."""
        with self._committing:
            records = self._under_way.forget(source, partitions)
            self._mapper.forget(source)
        return records

    # -- start and stop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the sources and the threads."""
        for source in self._sources.values():
            source.start(self)
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Begin to stop: read nothing more from outside, send what is here, then set `stopped`."""
        for source in self._sources.values():
            source.stop_reading()
        self._draining.set()
        self._under_way.notify()

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

    def threads(self) -> list[WatchedThread]:
        """The threads of the pipeline and of its sources."""
        return [
            *self._threads,
            *(
                thread
                for source in self._sources.values()
                if isinstance(source, Threaded)
                for thread in source.threads()
            ),
        ]

    @property
    def failure(self) -> str | None:
        """Why a source gave up for good, or which thread ended without having been asked; the pipeline then drains and
        stops. None if all is well."""
        found = (f"source {name}: {why}" for name, source in self._sources.items() if (why := ended(source)))
        return self._failed or next(found, None)

    # -- details ----------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], str | None]) -> None:
        """A thread that dies must not leave the others running as if nothing had happened."""
        try:
            if failure := work():
                self._failed = self._failed or failure
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the whole pipeline, and loudly
            thread = threading.current_thread().name
            _log.exception("pipeline_failed", thread=thread)
            self._failed = self._failed or f"internal error in the thread {thread}: {error!r}"
            self._aborted.set()
        finally:
            if self.failure:
                self.drain()
            if work == self._send:
                self.stopped.set()

    def rate(self) -> float:
        """Requests a second that are allowed at this moment: partitions come and go, and the server may be slow."""
        self.pace.share = self._share([source.share() for source in self._sources.values()])
        return self.pace.rate

    def _tell_packing_now_and_then(self) -> None:
        now = self._clock()
        if now >= self._account_due:
            self._account_due = now + _ACCOUNT_SECONDS
            self._tell_packing()

    def _tell_packing(self) -> None:
        if (account := self.status.packing()) is not None:
            self._discoveries.packed(account)
        if overwritten := self.status.take_overwritten():
            self._discoveries.overwritten(overwritten)
