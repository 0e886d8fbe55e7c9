"""The intakes of all sources, each in a thread of its own. Sources may come and go while the pipeline runs.

A source ends in one of two ways. *Drained*: the source gives all that it has received, then the intake ends by itself.
*Stopped*: the intake ends after its present chunk, and what is left stays with the source, for its next start. In both
ways, the records under way are then settled or forgotten (`UnderWay.forget`), and nothing more is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connector.pipeline.intake import Intake, ended
from connector.pipeline.under_way import UnderWay
from connector.sources.source import Handover, Source
from connector.threads.watched import Threaded, WatchedThread


@dataclass(slots=True)
class _Running:
    """A source, its intake and its thread."""

    source: Source
    intake: Intake
    thread: WatchedThread
    draining: threading.Event
    stopping: threading.Event
    leaving: bool = False
    """Whether the source is being taken away: its failure is then none of the pipeline."""


MakeIntake = Callable[[Source, threading.Event, threading.Event], Intake]
"""Makes the intake of a source: the first event drains the intake, the second one stops it."""


class Intakes:
    """All sources with their intakes. One thread at a time may add and remove sources; any thread may ask."""

    def __init__(
        self, under_way: UnderWay, make: MakeIntake, guarded: Callable[[Callable[[], str | None]], None]
    ) -> None:
        """`guarded` runs the work of a thread, and stops the pipeline if the work returns a failure."""
        self.sources: dict[str, Source] = {}
        """Name → source. Other threads may read the dictionary at any time; they copy what they iterate over."""
        self._under_way = under_way
        self._make = make
        self._guarded = guarded
        self._running: dict[str, _Running] = {}
        self._draining = self._stopping = False

    def add(self, source: Source) -> None:
        """Add a source; its thread starts with `start`."""
        draining, stopping = threading.Event(), threading.Event()
        intake = self._make(source, draining, stopping)
        one = _Running(source, intake, self._thread(source, intake), draining, stopping)
        self._under_way.intake_added()
        self.sources[source.name] = source
        self._running[source.name] = one
        if self._draining:  # set before `drain` looks at the sources
            draining.set()
        if self._stopping:
            stopping.set()

    def start(self, name: str, handover: Handover) -> None:
        """Start a source and its intake."""
        one = self._running[name]
        one.source.start(handover)
        one.thread.start()

    def drain(self, name: str) -> None:
        """Let a source give what it has received, and then let its intake end."""
        one = self._running[name]
        one.leaving = True
        one.draining.set()
        one.source.stop_reading()

    def stop(self, name: str, timeout: float) -> bool:
        """Let the intake of a source end after its present chunk; returns False if it goes on after `timeout` seconds.

        The source goes on receiving.
        """
        one = self._running[name]
        one.stopping.set()
        if one.thread.ident is not None:
            one.thread.join(timeout)
        if not one.thread.is_alive():
            return True
        self.resume(name)
        return False

    def resume(self, name: str) -> None:
        """Let the intake of a source go on that was stopped, or that was asked to stop."""
        one = self._running[name]
        if self._stopping:
            return
        one.stopping.clear()
        if one.thread.ident is not None and not one.thread.is_alive() and not one.intake.finished:
            self._under_way.intake_added(again=True)
            one.thread = self._thread(one.source, one.intake)
            one.thread.start()

    def of(self, name: str) -> Intake:
        """Returns the intake of a source."""
        return self._running[name].intake

    def is_over(self, name: str) -> bool:
        """Whether the intake of a source has ended, or never began."""
        return not self._running[name].thread.is_alive()

    def remove(self, name: str) -> Source:
        """Take a source away whose intake is over, and whose records are settled or forgotten; returns it, open."""
        one = self._running.pop(name)
        del self.sources[name]
        self._under_way.intake_removed(ended=one.thread.ident is not None, finished=one.intake.finished)
        return one.source

    # -- all of them ------------------------------------------------------------------------------

    def start_all(self, handover: Handover) -> None:
        """Start all sources, then all intakes."""
        for one in self._running.values():
            one.source.start(handover)
        for one in self._running.values():
            one.thread.start()

    def drain_all(self) -> None:
        """Drain all intakes; also a signal handler may call."""
        self._draining = True
        for one in list(self._running.values()):
            one.draining.set()
        for source in list(self.sources.values()):
            source.stop_reading()

    def stop_all(self) -> None:
        """Stop all intakes; also a signal handler may call."""
        self._stopping = True
        for one in list(self._running.values()):
            one.stopping.set()

    def close_all(self, timeout: float) -> None:
        """Wait for each intake, then close each source; each of these steps takes at most `timeout` seconds."""
        for one in list(self._running.values()):
            if one.thread.ident is not None:
                one.thread.join(timeout)
        for source in list(self.sources.values()):
            source.close(timeout)

    def threads(self) -> Iterator[WatchedThread]:
        """Yields the threads of the intakes and of the sources."""
        for one in list(self._running.values()):
            yield one.thread
            if isinstance(one.source, Threaded):
                yield from one.source.threads()

    def failure(self) -> str | None:
        """The first source that failed for good, and why, for people; None if there is none."""
        found = (
            f"source {one.source.name}: {why}"
            for one in list(self._running.values())
            if not one.leaving and (why := ended(one.source))
        )
        return next(found, None)

    def _thread(self, source: Source, intake: Intake) -> WatchedThread:
        def work() -> str | None:
            failure = intake.run()
            return None if self._running[source.name].leaving else failure

        return WatchedThread(f"intake-{source.name}", source.name, lambda: self._guarded(work))
