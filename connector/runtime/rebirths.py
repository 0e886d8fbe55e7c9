"""Asks Sparkplug nodes for their births: publishes the requests that `formats.sparkplug.rebirths` finds due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from connector.formats.sparkplug.rebirths import RebirthPace, Rebirths, rebirth_command
from connector.mapping.sparkplug import NodeEvent
from connector.threads.watched import WatchedThread, moves

_TICK_SECONDS: Final = 0.5

_log = structlog.get_logger(__name__)

Publish = Callable[[str, bytes], bool]
"""Hands (topic, payload) to a broker, with QoS 0; returns False if that is impossible now, and keeps no copy."""


class RebirthRequester:
    """Asks for births in its own thread, which starts when the first birth is needed."""

    def __init__(
        self,
        publishers: Mapping[str, Publish],
        *,
        pace: RebirthPace | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`publishers` has the sources that can publish; nodes of other sources are not asked.

        `clock` and `wall_clock` give seconds; `wall_clock` gives seconds since the epoch.
        """
        self._publishers = publishers
        self._pace = pace
        self._clock = clock
        self._wall_clock = wall_clock
        self._sources = {source: Rebirths(pace) for source in publishers}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.thread: WatchedThread | None = None
        """The thread; None before the first birth was needed."""
        self.sent = 0
        """Number of requests that were handed to a broker."""

    def use(self, publishers: Mapping[str, Publish]) -> None:
        """Ask through these sources from now on, in place of those before."""
        with self._lock:
            self._publishers = publishers
            self._sources = {name: self._sources.get(name) or Rebirths(self._pace) for name in publishers}

    def note(self, notes: Iterable[NodeEvent]) -> None:
        """Note births that are needed, and births that came."""
        now = self._clock()
        with self._lock:
            for note in notes:
                known = self._sources.get(note.source)
                if known is None:
                    continue
                if note.born:
                    known.born(note.group, note.node, now)
                elif note.rebirth and note.ask:
                    known.want(note.group, note.node, now, self._wall_clock() - note.arrived_us / 1e6)
                    self._start()

    def tick(self) -> None:
        """Send all requests that are due."""
        with self._lock:
            due = [(source, *node) for source, known in self._sources.items() for node in known.due(self._clock())]
            publishers = self._publishers
        for source, group, node in due:
            command = rebirth_command(group, node, round(self._wall_clock() * 1000))
            sent = publishers[source](command.topic, command.payload)
            self.sent += sent
            _log.info(
                "sparkplug_rebirth_requested" if sent else "sparkplug_rebirth_not_requested",
                source=source,
                node=f"{group}/{node}",
                **({} if sent else {"reason": "not connected to the broker; trying again later"}),
            )

    def close(self, timeout: float) -> None:
        """Stop the thread, and wait for its end for at most `timeout` seconds."""
        self._stopping.set()
        if self.thread is not None:
            self.thread.join(timeout)

    def _start(self) -> None:
        if self.thread is None and not self._stopping.is_set():
            thread = WatchedThread("rebirths", "", self._run)
            thread.start()  # may fail if the system has no more threads: the next event tries again
            self.thread = thread

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            moves()
            self.tick()
