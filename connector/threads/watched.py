"""A thread without which its source cannot go on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)


class WatchedThread(threading.Thread):
    """Runs until its work returns. Where the work raises instead, the log and `ended` say so, and the connector is not
    alive any more: nobody would do the work."""

    def __init__(self, name: str, source: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._source = source
        self._work = work
        self.ended: str | None = None
        """Why it ended without having been asked, for people."""

    def run(self) -> None:
        """The work."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread ends here, and loudly
            _log.exception("source_thread_ended", source=self._source, thread=self.name, remedy="restart; report it")
            self.ended = f"the thread {self.name} ended for a reason that nobody foresaw: {error!r}; please report it"
