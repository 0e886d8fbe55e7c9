"""A thread without which the connector does not work: its unexpected end, and its standing still, are noticed.

The loop of each thread calls `moves` at each turn, and says before a step of long duration how long the step may take.
So every wait of a watched thread has a bound. A thread that does not call `moves` in time stands still: it waits for a
lock that nobody gives up, for a server that never answers, or it is caught in an endless loop.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Final, Protocol, runtime_checkable

import structlog

STILL_SECONDS: Final = 120.0
"""How long one step of a thread may take where the thread says nothing else: longer than any bounded wait for a disk or
for a broker, and short enough for a restart to help."""
_MOST_FRAMES: Final = 12

_log = structlog.get_logger(__name__)


class WatchedThread(threading.Thread):
    """A thread that runs until its work returns.

    If the work raises an error, the thread ends, and the log and `ended` say so. Then the connector reports that it is
    not alive, because no other thread does the work.
    """

    def __init__(
        self, name: str, source: str, work: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`source` is the name of the source for which the thread works; empty if the thread works for all."""
        super().__init__(name=name, daemon=True)
        self._source = source
        self._work = work
        self._clock = clock
        self._moved = 0.0
        self._due = float("inf")
        self._returned = False
        self._error: str | None = None

    @property
    def ended(self) -> str | None:
        """Why the thread ended unexpectedly, for people; None if it did not."""
        if self._error is None and not self._returned and self.ident is not None and not self.is_alive():
            return f"the thread {self.name} ended without a word, perhaps for want of memory"
        return self._error

    def run(self) -> None:
        """Do the work. An error is logged, and `ended` says it."""
        self.moves()
        try:
            self._work()
            self._returned = True
        except BaseException as error:  # noqa: BLE001 - any error ends the thread, and must be reported
            _log.exception("thread_ended", source=self._source, thread=self.name, remedy="restart; report it")
            self._error = f"the thread {self.name} ended for a reason that nobody foresaw: {error!r}; please report it"

    def moves(self, within: float = STILL_SECONDS) -> None:
        """Say that the thread moves, and that it will say so again within so many seconds."""
        self._moved = now = self._clock()
        self._due = now + within

    def still_seconds(self) -> float:
        """How long the thread has stood still, in seconds; 0 while it moves in time, and when it has ended."""
        now = self._clock()
        return now - self._moved if now > self._due and self.is_alive() else 0.0

    def where(self) -> str:
        """The calls that the thread is in, outermost first: file, line and function, without values; empty if the
        thread has ended."""
        frame = sys._current_frames().get(self.ident or 0)
        calls = traceback.extract_stack(frame, _MOST_FRAMES) if frame is not None else []
        return " > ".join(f"{call.filename.rpartition('connector/')[2]}:{call.lineno} {call.name}" for call in calls)


@runtime_checkable
class Threaded(Protocol):
    """A part of the connector, such as a source or a store of dead letters, that has threads of its own."""

    def threads(self) -> Sequence[WatchedThread]:
        """The threads that were started and call `moves`, so that their end and their standing still are noticed."""


def moves(within: float = STILL_SECONDS) -> None:
    """As `WatchedThread.moves` of the calling thread; nothing in a thread that nobody watches.

    For loops that wait, and are called by several threads.
    """
    thread = threading.current_thread()
    if isinstance(thread, WatchedThread):
        thread.moves(within)
