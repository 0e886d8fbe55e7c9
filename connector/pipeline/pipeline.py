"""source → mapping → waiting tables → planner → sender → commit.

Each source has an intake thread (`Intakes`). The intake thread polls the source, maps the records and adds the
samples to `UnderWay`. Each integration of Clarify has a sender thread, which waits for a rate slot, plans a frame out
of the waiting samples of the integration, delivers the frame and settles it (see `Destination`). All threads share
`UnderWay`, which has one lock. While an integration has as many waiting samples as it may, the sources that feed it are
held until a quarter of the room is free; a held source keeps new records (see `Source`). A chunk is committed to its
source when this chunk and all earlier chunks are settled, in every integration. Before a source gives a partition
away, the source asks the pipeline to settle the records of this partition quickly, and then to forget the rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import structlog

from connector.delivery.pace import effective_share
from connector.mapping.mapper import Mapper
from connector.packing.planner import Planner
from connector.pipeline.delays import Delays
from connector.pipeline.destination import Destination, Integration
from connector.pipeline.discoveries import Discoveries
from connector.pipeline.intake import Intake, SharedMapper
from connector.pipeline.intakes import Intakes
from connector.pipeline.notices import Notices
from connector.pipeline.rejects import DeadLetters, Rejects
from connector.pipeline.status import PipelineStatus
from connector.pipeline.tap import Tap
from connector.pipeline.traces import Tracer
from connector.pipeline.under_way import UnderWay
from connector.records import Part, Record
from connector.sources.source import Source
from connector.threads.watched import WatchedThread

_ACCOUNT_SECONDS: Final = 10.0
"""Time between two reports of the packing account."""

_log = structlog.get_logger(__name__)


def _mean(shares: Sequence[float]) -> float:
    return effective_share("auto", shares)


class Pipeline:
    """Carries records from the sources to Clarify: runs the threads, and commits settled records to the sources."""

    def __init__(
        self,
        sources: Sequence[Source],
        mapper: Mapper,
        integrations: Sequence[Integration],
        planner: Planner,
        dead_letters: DeadLetters,
        discoveries: Discoveries,
        *,
        admit: Callable[[list[Part]], list[Part]] | None = None,
        share: Callable[[Sequence[float]], float] = _mean,
        windows_done: Mapping[str, int] | None = None,
        default: str = "default",
        notices: Notices | None = None,
        saw: Callable[[str, Sequence[Record]], None] | None = None,
        saw_signals: Callable[[list[Part]], None] | None = None,
        forgot: Callable[[str], None] | None = None,
        delays: Delays | None = None,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        """Make the parts and the threads; nothing runs yet.

        `admit` puts a reject in the place of each sample of a signal that is not let in. `share` takes the shares of
        all sources and returns the share of each rate that this process may use. `windows_done` is as in `WindowBook`.
        `default` is the name for people of the integration whose name is empty. `saw` gets the name of a source and its
        new records, `saw_signals` the parts of these records, and `forgot` the name of a source that has given
        partitions away. `clock` gives seconds. `tracer` is told of each delivery of a frame.
        """
        self._discoveries = discoveries
        self._clock = clock
        self._share = share
        self._forgot = forgot
        self.delays = delays or Delays({}, {})
        self.max_delay = max(integration.limits.max_delay for integration in integrations)
        notices = notices or Notices()
        self._draining = threading.Event()
        self._aborted = threading.Event()
        self.stopped = threading.Event()
        """Set when all sender threads have ended: no further frame will be sent."""
        self._failed: str | None = None
        self._committing = threading.Lock()
        """Held during a commit: one commit at a time, so that the committed positions of a source only rise."""
        self._telling = threading.Lock()
        """Held while the packing accounts are told: each sender thread may tell them."""
        self._account_due = 0.0
        limits = {integration.name: integration.limits for integration in integrations}
        self._under_way = UnderWay(
            limits, planner, mapper.thinner, windows_done or {}, clock, default, traced=tracer is not None
        )
        self.tap = Tap()
        shared = self.mapping = SharedMapper(mapper, discoveries, clock)
        """The mapper in use."""

        def intake(source: Source, draining: threading.Event, stopping: threading.Event) -> Intake:
            return Intake(
                source,
                shared,
                self._under_way,
                self._rejects,
                admit,
                self.status,
                saw,
                saw_signals,
                self.delays,
                self.tap,
                self._commit,
                draining,
                stopping,
            )

        self.intakes = Intakes(self._under_way, intake, self._guarded)
        self._sources = self.intakes.sources
        self._rejects = Rejects(self._sources, dead_letters, self._aborted, notices)
        self.destinations: dict[str, Destination] = {}
        """Name → integration; the name of the default integration is empty."""
        self.status = PipelineStatus(
            self._sources,
            shared,
            self._under_way,
            self._rejects,
            self.destinations,
            lambda: self.failure,
            notices,
            clock,
            default,
        )
        for integration in integrations:
            self.destinations[integration.name] = Destination(
                integration,
                self._under_way,
                self._rejects,
                self.status,
                self.delays,
                discoveries,
                self._rate_share,
                self._commit,
                self.tell_packing_now_and_then,
                self._aborted,
                clock,
                tracer,
            )
        self._sending = len(self.destinations)
        """Number of sender threads that have not ended."""
        for source in sources:
            self.intakes.add(source)
        self._threads = []
        for name, destination in self.destinations.items():
            send = partial(self._guarded, partial(self._send, destination), sends=True)
            sender = WatchedThread(f"sender-{name}" if name else "sender", "", send)
            sender.about = {"integration": name} if name else {}
            self._threads.append(sender)

    # -- the way of the data ----------------------------------------------------------------------

    def _send(self, destination: Destination) -> None:
        """Send the samples of one integration until the pipeline is drained; each intake thread runs `Intake.run`."""
        destination.send(self._draining)
        self._tell_packing()

    def _commit(self) -> None:
        """Commit newly settled records to their sources."""
        with self._committing:
            commits = self._under_way.commits()
            for commit in commits:
                self._sources[commit.source].commit(commit)
                self.status.committed(commit)
        if commits:
            self._under_way.committed()

    # -- requests of a source that gives partitions away (see Handover) ---------------------------

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        """Send waiting samples at once, until all records of `partitions` are settled and committed to the source.

        Returns True if they are, and False after `timeout` seconds or while Clarify is not available.
        """
        if not self._under_way.wait_settled(source, partitions, timeout, partial(self._cannot_settle, source)):
            return False
        with self._committing:  # when this lock is free, the commit of the last settled record is done
            return True

    def _cannot_settle(self, source: str) -> bool:
        return self._aborted.is_set() or self.stopped.is_set() or self.status.clarify_trouble(source) is not None

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop all records of `partitions` that are under way; returns the number of dropped records."""
        with self._committing:
            records = self._under_way.forget(source, partitions)
            self.mapping.forget(source)
        if self._forgot is not None:
            self._forgot(source)
        return records

    # -- sources that go while the pipeline runs (see Intakes) ------------------------------------

    def kept_open(self) -> AbstractContextManager[None]:
        """Returns a context that keeps the pipeline going, although all its sources may be taken away."""
        return self._under_way.kept_open()

    def take_away(self, name: str, timeout: float) -> tuple[Source, int]:
        """Take away a source whose intake is over; its records under way get at most `timeout` seconds to be settled.

        Returns the source, which the caller closes, and the number of records that were not settled: the source gives
        them again after its next start.
        """
        settled = self.settle(name, self._under_way.partitions(name), timeout)
        left = 0 if settled else self.forget(name, self._under_way.partitions(name))
        return self.intakes.remove(name), left

    # -- start and stop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the sources and the threads."""
        self.intakes.start_all(self)
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Begin to stop: read no further records from outside, send all waiting samples, then set `stopped`."""
        self._draining.set()
        self.intakes.drain_all()
        self._under_way.notify()

    def abort(self) -> None:
        """Stop now; unsettled records stay with their source."""
        self._aborted.set()
        self.intakes.stop_all()
        self.drain()

    def close(self, timeout: float) -> None:
        """Wait for each thread, then close each source; each of these steps takes at most `timeout` seconds."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout)
        self.intakes.close_all(timeout)

    def tell_packing_now_and_then(self) -> None:
        """Tell the packing accounts, at most every ten seconds: after each frame, and while no frame is made, too."""
        now = self._clock()
        if now >= self._account_due:
            self._account_due = now + _ACCOUNT_SECONDS
            self._tell_packing()

    def threads(self) -> list[WatchedThread]:
        """Returns the threads of the pipeline and of its sources."""
        return [*self._threads, *self.intakes.threads()]

    @property
    def failure(self) -> str | None:
        """The reason, for people, why the pipeline drains and stops; None if there is none.

        The reason names a source that failed for good, or a thread that ended unexpectedly.
        """
        return self._failed or self.intakes.failure()

    # -- details ----------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], str | None], *, sends: bool = False) -> None:
        """Run the work of a thread; if the work fails, stop the pipeline, because no other thread does this work."""
        try:
            if failure := work():
                self._failed = self._failed or failure
        except BaseException as error:  # noqa: BLE001 - any error must end the whole pipeline, and be logged
            thread = threading.current_thread().name
            _log.exception("pipeline_failed", thread=thread)
            self._failed = self._failed or f"internal error in the thread {thread}: {error!r}"
            self._aborted.set()
            self.intakes.stop_all()
        finally:
            if self.failure:
                self.drain()
            if sends:
                with self._committing:
                    self._sending -= 1
                    ended = not self._sending
                if ended:
                    self.stopped.set()

    def _rate_share(self) -> float:
        return self._share([source.share() for source in list(self._sources.values())])

    def _tell_packing(self) -> None:
        with self._telling:
            for name in self.destinations:
                if (account := self.status.packing(name)) is not None:
                    self._discoveries.packed(account)
            if overwritten := self.status.take_overwritten():
                self._discoveries.overwritten(overwritten)
