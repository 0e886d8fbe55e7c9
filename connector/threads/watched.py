"""Threads that the connector needs all the time: an unexpected end or a standstill of such a thread is noticed.

The loop of each thread calls `moves` at each turn. Before a long step, the thread says how long the step may take. So
every wait of a watched thread has a bound. A thread that does not call `moves` in time stands still. For example, the
thread waits for a lock that is never released, waits for a server that never answers, or runs in an endless loop.
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
"""Longest duration of one step of a thread, unless the thread gives another duration.

The duration is longer than every bounded wait for a disk or for a broker, and short enough for a restart to help.
"""
_MOST_FRAMES: Final = 12

_log = structlog.get_logger(__name__)


class WatchedThread(threading.Thread):
    """A thread that runs until its work returns.

    If the work raises an error, the thread ends, and the log and `ended` have the error. Then the connector's health
    check fails, because no other thread does the work.
    """

    def __init__(
        self, name: str, source: str, work: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`source` names the source for which the thread works; empty if the thread works for all sources."""
        super().__init__(name=name, daemon=True)
        self._source = source
        self._work = work
        self._clock = clock
        self._moved = 0.0
        self._due = float("inf")
        self._returned = False
        self._error: str | None = None
        self.about: dict[str, str] = {}
        """What each line of the log says that the thread writes; set before the start."""

    @property
    def ended(self) -> str | None:
        """The reason of an unexpected end, for people; None if the thread has not ended unexpectedly."""
        if self._error is None and not self._returned and self.ident is not None and not self.is_alive():
            return f"the thread {self.name} ended without an error, perhaps for want of memory"
        return self._error

    def run(self) -> None:
        """Do the work; an error of the work is logged, and kept in `ended`."""
        structlog.contextvars.bind_contextvars(**self.about)
        self.moves()
        try:
            self._work()
            self._returned = True
        except BaseException as error:  # noqa: BLE001 - any error ends the thread, and must be reported
            _log.exception("thread_ended", source=self._source, thread=self.name, remedy="restart; report it")
            self._error = f"the thread {self.name} ended for a reason that nobody foresaw: {error!r}; please report it"

    def moves(self, within: float = STILL_SECONDS) -> None:
        """Say that the thread moves, and that the next call comes within this number of seconds."""
        self._moved = now = self._clock()
        self._due = now + within

    def still_seconds(self) -> float:
        """Returns the duration of the standstill, in seconds; 0 while the thread moves in time, and after its end."""
        now = self._clock()
        return now - self._moved if now > self._due and self.is_alive() else 0.0

    def where(self) -> str:
        """Returns the thread's present calls, outermost first; empty if the thread has ended.

        Each call has file, line and function, but no values, which could be secret.
        """
        frame = sys._current_frames().get(self.ident or 0)
        calls = traceback.extract_stack(frame, _MOST_FRAMES) if frame is not None else []
        return " > ".join(f"{call.filename.rpartition('connector/')[2]}:{call.lineno} {call.name}" for call in calls)


@runtime_checkable
class Threaded(Protocol):
    """A part of the connector, such as a source or a store of dead letters, that has threads of its own."""

    def threads(self) -> Sequence[WatchedThread]:
        """Returns the part's started threads, which all call `moves`, so that an end or a standstill is noticed."""


def moves(within: float = STILL_SECONDS) -> None:
    """Call `WatchedThread.moves` of the calling thread; does nothing in a thread that is not watched.

    This function is for waiting loops that several kinds of threads run.
    """
    thread = threading.current_thread()
    if isinstance(thread, WatchedThread):
        thread.moves(within)
