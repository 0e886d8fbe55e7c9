"""Supervises the threads of a connector: finds threads that have ended or stand still.

The main thread looks twice a second. A request for a page checks that the main thread looks. In each case a restart of
the process helps, so `/healthz` fails. `/readyz` names the thread, and the log reports each case once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from connector.threads.watched import WatchedThread

_BLIND_SECONDS: Final = 30.0
"""If the last look is older than this, the main thread itself stands still."""
_FRESH_SECONDS: Final = 5.0
"""After a longer pause between two looks, the whole process was stopped; its threads then get time to move."""

_log = structlog.get_logger(__name__)


class Supervision:
    """The supervised threads of one connector. Only one thread may call `look`; any thread may call `problems`."""

    def __init__(
        self, threads: Callable[[], Iterable[WatchedThread]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`threads` returns the threads that must work at the time of the call; `clock` gives seconds."""
        self._threads = threads
        self._others: list[WatchedThread] = []
        self._clock = clock
        self._looked: float | None = None
        self._suspected: set[str] = set()
        """Threads that were too late at the last look."""
        self._still: dict[str, WatchedThread] = {}
        """Name → thread that stands still; the log has reported each of these threads."""
        self._ended: dict[str, str] = {}
        """Name → reason why this thread ended, for people."""

    def also(self, thread: WatchedThread) -> None:
        """Look after a thread that is not one of the connector's own, too."""
        self._others.append(thread)

    def look(self) -> None:
        """Look at all threads. A thread that is too late twice in succession stands still."""
        now = self._clock()
        was_stopped = self._looked is None or now - self._looked > _FRESH_SECONDS
        self._looked = now
        late: set[str] = set()
        for thread in (*self._threads(), *self._others):
            if thread.ended is not None:
                self._ended.setdefault(thread.name, thread.ended)
            elif thread.still_seconds():
                late.add(thread.name)
                if thread.name in self._suspected and not was_stopped and thread.name not in self._still:
                    self._stands_still(thread)
        self._suspected = late
        for name in self._still.keys() - late:
            del self._still[name]
            _log.warning("thread_moves_again", thread=name)

    def _stands_still(self, thread: WatchedThread) -> None:
        self._still[thread.name] = thread
        _log.error(
            "thread_stands_still",
            thread=thread.name,
            seconds=round(thread.still_seconds()),
            where=thread.where(),
            effect="/healthz fails until the thread moves again",
            remedy="restart; report it",
        )

    def pause(self) -> None:
        """Expect no further look, because the connector stops."""
        self._looked = None

    def problems(self) -> list[str]:
        """Returns the reasons why a restart would help, for people; empty if all threads work."""
        found = list(self._ended.values())
        found += [
            f"the thread {name} has not moved for {thread.still_seconds():.0f} s; restart, and please report the line "
            "thread_stands_still of the log"
            for name, thread in list(self._still.items())
        ]
        looked = self._looked
        if looked is not None and (blind := self._clock() - looked) > _BLIND_SECONDS:
            found.append(f"the main thread has not checked the others for {blind:.0f} s; restart, and report it")
        return found
