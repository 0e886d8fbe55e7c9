"""A thread that a source cannot work without."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)


class WatchedThread(threading.Thread):
    """A thread that runs until its work returns.

    If the work raises an error, the thread ends, and the log and `ended` say so. Then the connector reports that it is
    not alive, because no other thread does the work.
    """

    def __init__(self, name: str, source: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._source = source
        self._work = work
        self.ended: str | None = None
        """Why the thread ended unexpectedly, for people; None if it did not."""

    def run(self) -> None:
        """Do the work. An error is logged and kept in `ended`."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - any error ends the thread, and must be reported
            _log.exception("source_thread_ended", source=self._source, thread=self.name, remedy="restart; report it")
            self.ended = f"the thread {self.name} ended for a reason that nobody foresaw: {error!r}; please report it"
