"""Asks Sparkplug's nodes for their births: what `formats.sparkplug.rebirths` finds due is published to the broker."""

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
"""Hands (topic, payload) to a broker, QoS 0; False where that cannot be done now, and then nothing is kept."""


class RebirthRequester:
    """Asks in a thread of its own, which begins when there is something to ask for."""

    def __init__(
        self,
        publishers: Mapping[str, Publish],
        *,
        pace: RebirthPace | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`publishers` are the sources that can publish; requests to others are not made."""
        self._publishers = publishers
        self._clock = clock
        self._wall_clock = wall_clock
        self._sources = {source: Rebirths(pace) for source in publishers}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.thread: WatchedThread | None = None
        """None before there was something to ask for."""
        self.sent = 0
        """Requests that were handed to a broker."""

    def note(self, notes: Iterable[NodeEvent]) -> None:
        """Births that are needed, and births that came."""
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
        """Send what is due."""
        with self._lock:
            due = [(source, *node) for source, known in self._sources.items() for node in known.due(self._clock())]
        for source, group, node in due:
            command = rebirth_command(group, node, round(self._wall_clock() * 1000))
            sent = self._publishers[source](command.topic, command.payload)
            self.sent += sent
            _log.info(
                "sparkplug_rebirth_requested" if sent else "sparkplug_rebirth_not_requested",
                source=source,
                node=f"{group}/{node}",
                **({} if sent else {"reason": "not connected to the broker; trying again later"}),
            )

    def close(self, timeout: float) -> None:
        """Ask no more."""
        self._stopping.set()
        if self.thread is not None:
            self.thread.join(timeout)

    def _start(self) -> None:
        if self.thread is None and not self._stopping.is_set():
            thread = WatchedThread("rebirths", "", self._run)
            thread.start()  # may fail where the system has no more threads: then it is tried again
            self.thread = thread

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            moves()
            self.tick()
