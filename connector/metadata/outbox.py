"""The outbox of one kind of metadata: desires go in, requests go out, and the book has everything between them.

- `want` puts desires in; any thread may call it (see `desire_writer`).
- `run` calls the function that sends one request whenever a desire is due and this process is the one that saves. The
  sending function takes desires out of `sent` and stores the results there (see `sent_desires`).
- This file waits for new desires, for desires that become due, and for other processes that write into the same book.
  It also notices a clock that is put back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from connector.metadata.desire_writer import DesireWriter
from connector.metadata.guarded_store import EntryStore, GuardedStore
from connector.metadata.reconciler import Desire, OutstandingCounts, SaveInterval
from connector.metadata.sent_desires import SentDesires
from connector.threads.watched import moves

_LOOK_SECONDS: Final = 2.0
"""Seconds between two searches of the book for desires that became due, or that another process has written."""
_BUG_SECONDS: Final = 30.0
"""Pause after an error in the sending function."""
_CLOCK_SECONDS: Final = 5.0
"""A step back of the clock that is larger than this makes distant desires due."""
_RESTART_SECONDS: Final = 600.0
"""A start makes rejected desires due again, if the rejection is older than this: a crash loop must not be a storm."""
_POLL_SECONDS: Final = 0.05

_log = structlog.get_logger(__name__)


class Outbox:
    """Desires of one kind, from the mapping to Clarify. Safe for threads, except `begin`, `run`, `look` and `sent`."""

    def __init__(
        self,
        what: str,
        store: EntryStore,
        interval: SaveInterval,
        clock: Callable[[], float],
        pause: Callable[[float], bool],
        may_save: Callable[[], bool],
    ) -> None:
        """`what` is the name of the kind in the log. `clock` returns seconds since the epoch.

        `pause` waits for a number of seconds and returns False if the program ends. `may_save` returns False while
        another process with the same book saves.
        """
        self._what = what
        self._clock = clock
        self._pause = pause
        self._may_save = may_save
        self._changed = threading.Condition()
        self._changes = 0
        self._closing = threading.Event()
        self._book = GuardedStore(what, store, self._closing)
        self._last_look = clock()
        self._counts = OutstandingCounts()
        self.desires = DesireWriter(what, self._book, interval, clock)
        self.sent = SentDesires(what, self._book, interval, clock, pause, self._closing, self._notify)
        self.trouble: str | None = None
        """The reason why nothing can be saved at present, for people; None if there is none."""

    def want(self, desires: Mapping[str, Desire]) -> None:
        """Remember desires, by input ID. On return, they are durable unless the disk cannot be written."""
        self.desires.want(desires)
        self._notify()

    # -- for the saving thread ------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a new run, before the first request."""
        now = self._clock()
        self._book.ask(lambda store: store.begin(now, now - _RESTART_SECONDS))
        if self._may_save():
            self._book.ask(lambda store: store.note("", now))
        if failed := self.counts().failed:
            _log.warning(
                f"{self._what}_metadata_failed_before",
                signals=failed,
                effect="rejected metadata is tried again from time to time; samples are not affected",
                remedy="see clarify-connector metadata CONFIG --failed",
            )

    def run(self, send: Callable[[], bool]) -> None:
        """Call `send` whenever a desire is due and this process may save.

        This goes on until `send` returns False or `close` is called. An exception of `send` is logged as a bug and does
        not end the saving.
        """
        self.begin()
        while self._wait_due():
            try:
                if not send():
                    return
            except Exception as error:  # noqa: BLE001 - no error must end the saving in silence
                _log.exception(f"{self._what}_metadata_bug")
                self.in_trouble(f"a bug: {error!r}; please report it")
                if not self._pause(_BUG_SECONDS):
                    return

    def look(self) -> bool:
        """Write desires that are only in memory; returns whether a desire is due and this process may save."""
        now = self._clock()
        if now < self._last_look - _CLOCK_SECONDS:
            self._book.ask(lambda store: store.clock_put_back(now))
        self._last_look = now
        self.desires.write_rest()
        return self._is_due()

    def due(self, most: int, max_bytes: int) -> list[str]:
        """Returns signals with a desire that is due, the longest due first; empty if the book cannot be read.

        There are at most `most` signals with at most `max_bytes` of content, but at least one signal.
        """
        return self._book.ask(lambda store: store.due(self._clock(), most, max_bytes)) or []

    def in_trouble(self, reason: str | None) -> None:
        """Note the reason why nothing can be saved at present; None if a request succeeded, or no desire is due."""
        if self.trouble != reason:
            self.trouble = reason
            now = self._clock()
            self._book.ask(lambda store: store.note(reason or "", now))

    def _wait_due(self) -> bool:
        """Wait until a desire is due; returns False after `close`."""
        while True:
            moves()
            with self._changed:
                if self._closing.is_set():
                    return False
                seen = self._changes
            if self.look():
                return True
            self.in_trouble(None)
            with self._changed:
                if not self._closing.is_set() and self._changes == seen:
                    self._changed.wait(_LOOK_SECONDS)

    def _is_due(self) -> bool:
        return self._may_save() and bool(self.due(1, 1))

    def _notify(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    # -- for other threads ----------------------------------------------------------------------------

    def waiting_among(self, inputs: Collection[str]) -> set[str]:
        """Returns the subset of `inputs` with an unsent desire.

        If the book cannot be read, returns all of `inputs`, so that no signal is published too early.
        """
        found = self._book.ask(lambda store: store.waiting_among(inputs))
        return set(inputs) if found is None else found

    def counts(self) -> OutstandingCounts:
        """Returns the numbers of outstanding desires; if the book cannot be read, the last known numbers."""
        found = self._book.ask(lambda store: store.counts(self._clock()))
        if found is not None:
            self._counts = found
        return self._counts

    def finish(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until no desire is due.

        Returns False if a desire is still due then, or as soon as `trouble` has a reason why nothing can be saved.
        """
        until = time.monotonic() + timeout
        while self._is_due():
            if self.trouble is not None or time.monotonic() >= until:
                return False
            with self._changed:
                self._changed.wait(_POLL_SECONDS)
        return True

    def hurry(self) -> None:
        """Make all waiting desires due."""
        self._book.ask(lambda store: store.all_due(self._clock()))
        self._notify()

    def close(self) -> None:
        """End `run` after the request under way."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
