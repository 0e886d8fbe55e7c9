"""The thread's side of the book of metadata: what is wanted is written down, what is due is waited for, what became of
a request is remembered.

`want` is called by whoever maps records and waits for nothing but the disk, once for a desire that is new. Where even
the disk does not take it, it is kept in memory, up to a bound, until the disk does. The saving thread alone calls the
rest.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import structlog

from connector.metadata.reconciler import (
    Change,
    Counts,
    Desire,
    Entry,
    Failure,
    Pace,
    Step,
    invalid,
    later,
    rejected,
    saved,
    sending,
    unanswered,
    wanted,
)

_LOOK_SECONDS: Final = 2.0
"""How often it is looked whether something has become due, or another process has written something down."""
_UNWRITTEN: Final = 100_000
"""Desires that are kept in memory while the disk cannot be written."""
_AT_ONCE: Final = 1000
_DISK_SECONDS: Final = 5.0
_BUG_SECONDS: Final = 30.0
_CLOCK_SECONDS: Final = 5.0
_RESTART_SECONDS: Final = 600.0
"""What was rejected is tried again after a restart, if that was longer ago: a crash loop must not be a storm."""
_AGAIN_SECONDS: Final = 3600.0

_POLL_SECONDS: Final = 0.05

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class Book(Protocol):
    """What is needed of the book; all of it raises sqlite3.Error, and what is written is durable."""

    def entries(self, inputs: Collection[str]) -> dict[str, Entry]:
        """The entries of these signals."""

    def revise(self, inputs: Collection[str], change: Change) -> dict[str, Entry]:
        """Change them, all or none; returns them as they were before."""

    def due(self, now: float, most: int, max_bytes: int) -> list[str]:
        """Signals of which something is due, what is due longest first."""

    def waiting_among(self, inputs: Collection[str]) -> set[str]:
        """Those of these signals of which something waits that has not failed."""

    def counts(self, now: float) -> Counts:
        """How many are outstanding."""

    def begin(self, now: float, failed_before: float) -> None:
        """A new run: what was rejected before `failed_before` is due."""

    def clock_put_back(self, now: float) -> None:
        """What is due at a time that the clock cannot have meant is due now."""

    def all_due(self, now: float) -> None:
        """All that waits is due now."""

    def note(self, text: str, now: float) -> None:
        """Leave a note on why nothing is saved."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A desire that is in a request."""

    digest: str
    content: bytes
    was_sent: bool
    """Whether, before this request, Clarify may have got something that we do not know of."""


class Outbox:
    """Desires of one kind, from the mapping to Clarify."""

    def __init__(
        self,
        what: str,
        book: Book,
        pace: Pace,
        clock: Callable[[], float],
        pause: Callable[[float], bool],
        may_save: Callable[[], bool],
    ) -> None:
        """`what` is its name in the log, `clock` gives seconds since the epoch, `pause` waits so many seconds and says
        whether to go on; `may_save` says whether it is for this process to save, or for another one that has the same
        book."""
        self._what = what
        self._book = book
        self._clock = clock
        self._pause = pause
        self._may_save = may_save
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._changes = 0
        self._writing = threading.Lock()
        self._unwritten: dict[str, Desire] = {}
        self._disk_trouble = False
        self._last_look = clock()
        self._warned_at = float("-inf")
        self._counts = Counts()
        self._pace = pace
        self.merged = 0
        """Changes of a signal's metadata that a newer one replaced before they were saved."""
        self.forgotten = 0
        """Desires that found neither disk nor memory."""
        self.trouble: str | None = None
        """Why nothing is saved at present."""

    # -- for whoever maps records ---------------------------------------------------------------------

    def want(self, desires: Mapping[str, Desire]) -> None:
        """These signals should have this. Durable when it returns, unless the disk cannot be written."""
        with self._writing:
            for input_id, desire in desires.items():
                if input_id in self._unwritten or len(self._unwritten) < _UNWRITTEN:
                    self._unwritten[input_id] = desire
                else:
                    self.forgotten += 1
            if not self._disk_trouble or len(self._unwritten) <= _AT_ONCE:  # else the saving thread tries, now and then
                self._write()
        self._notify()

    def _write(self) -> None:
        """Write down what is not written yet."""
        desires, now = self._unwritten, self._clock()
        if not desires:
            return

        def change(input_id: str, entry: Entry) -> Entry:
            return wanted(entry, desires[input_id], now, self._pace)

        try:
            known = self._book.entries(desires.keys())
            new = [input_id for input_id, entry in known.items() if change(input_id, entry) != entry]
            before = self._book.revise(new, change)
        except sqlite3.Error as error:
            self._disk_fails(error)
            return
        self._unwritten = {}
        self._disk_trouble = False
        for input_id, entry in before.items():
            self._tell(input_id, entry, change(input_id, entry), now)

    def _tell(self, input_id: str, before: Entry, after: Entry, now: float) -> None:
        new, old = after.outstanding, before.outstanding
        if new is None:
            return
        if new.failure is Failure.INVALID:
            self._say_failed(input_id, new.reason, "not tried again before the mapping changes")
        elif old is not None and old.failure is Failure.NONE:
            self.merged += 1
        if new.due is not None and new.due > now >= self._warned_at + _AGAIN_SECONDS:
            self._warned_at = now
            _log.warning(
                f"{self._what}_metadata_changes_often",
                input=input_id,
                effect=f"it is saved at most once in {self._pace.interval:g} s; what changes in between is merged",
                remedy="leave out of the mapping what changes with every message",
            )

    # -- for the thread that saves --------------------------------------------------------------------

    def begin(self) -> None:
        """A new run; before anything is sent."""
        now = self._clock()
        self._guarded(lambda: self._book.begin(now, now - _RESTART_SECONDS))
        if self._may_save():
            self._guarded(lambda: self._book.note("", now))
        if failed := self.counts().failed:
            _log.warning(
                f"{self._what}_metadata_failed_before",
                signals=failed,
                effect="what Clarify rejected is tried again, now and then; samples are not affected",
                remedy="see clarify-connector metadata CONFIG --failed",
            )

    def run(self, send: Callable[[], bool]) -> None:
        """Call `send` whenever something is due, and is ours to save, until it says False or all is to end."""
        self.begin()
        while self._wait_due():
            try:
                if not send():
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the saving in silence
                _log.exception(f"{self._what}_metadata_bug")
                self.in_trouble(f"a bug: {error!r}; please report it")
                if not self._pause(_BUG_SECONDS):
                    return

    def _wait_due(self) -> bool:
        while True:
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

    def take(self, inputs: Collection[str]) -> dict[str, Taken]:
        """What of these signals is to be sent now; it counts as sent from here on. Empty if that cannot be written."""
        found: dict[str, Taken] = {}
        now = self._clock()

        def is_due(entry: Entry) -> bool:
            wants = entry.outstanding
            return wants is not None and wants.due is not None and wants.due <= now

        def change(_: str, entry: Entry) -> Entry:
            return sending(entry) if is_due(entry) else entry

        before = self._guarded(lambda: self._book.revise(inputs, change)) or {}
        for input_id, entry in before.items():
            if entry.outstanding is not None and is_due(entry):
                wants = entry.outstanding
                found[input_id] = Taken(wants.digest, wants.content, wants.sent)
        return found

    def due(self, most: int, max_bytes: int) -> list[str]:
        """Signals of which something is due."""
        return self._guarded(lambda: self._book.due(self._clock(), most, max_bytes)) or []

    def waiting_among(self, inputs: Collection[str]) -> set[str]:
        """Those of these signals of which something waits; all, where that cannot be read."""
        found = self._guarded(lambda: self._book.waiting_among(inputs))
        return set(inputs) if found is None else found

    # what became of it: each is remembered when the method returns, or the method returns False, and all is to end

    def done(self, batch: Mapping[str, Taken], notes: Mapping[str, str] = _NOTHING) -> bool:
        """Clarify has these. `notes` say what became of one, where that is not plain."""
        now = self._clock()

        def change(input_id: str, entry: Entry) -> Entry:
            return saved(entry, batch[input_id].digest, now, self._pace, notes.get(input_id, ""))

        return self._settle(batch.keys(), change)

    def refused(self, batch: Mapping[str, Taken], step: Step, *, definite: bool) -> bool:
        """A request failed. `definite`: it is certain that Clarify took nothing of it."""
        now = self._clock()

        def change(input_id: str, entry: Entry) -> Entry:
            taken = batch[input_id]
            was_sent = taken.was_sent if definite else True
            if (reason := step.guilty.get(input_id)) is not None:
                return rejected(entry, taken.digest, reason, was_sent, now, self._pace)
            return unanswered(entry, was_sent)

        for input_id, reason in step.guilty.items():
            self._say_failed(input_id, reason, "tried again in an hour, or when the mapping changes")
        return self._settle(batch.keys() if definite else step.guilty.keys(), change)

    def broken(self, batch: Mapping[str, Taken], reasons: Mapping[str, str]) -> bool:
        """These of the batch were not sent: they break a documented rule."""
        now = self._clock()

        def change(input_id: str, entry: Entry) -> Entry:
            entry = unanswered(entry, batch[input_id].was_sent)
            return invalid(entry, batch[input_id].digest, reasons[input_id], now)

        for input_id, reason in reasons.items():
            self._say_failed(input_id, reason, "not tried again before the mapping changes")
        return self._settle(reasons.keys(), change)

    def postpone(self, batch: Mapping[str, Taken | None], seconds: float) -> bool:
        """These cannot be sent yet, which is nobody's fault. None: it was not taken for a request."""
        due = self._clock() + seconds

        def change(input_id: str, entry: Entry) -> Entry:
            taken = batch[input_id]
            return later(entry if taken is None else unanswered(entry, taken.was_sent), due)

        return self._settle(batch.keys(), change)

    def _settle(self, inputs: Collection[str], change: Change) -> bool:
        """Goes on trying until the disk takes it: otherwise the same would be saved again and again."""
        while True:
            try:
                self._book.revise(inputs, change)
            except sqlite3.Error as error:
                if self._closing.is_set():
                    return False
                _log.error(
                    f"{self._what}_metadata_not_remembered",
                    reason=str(error),
                    effect="nothing more of it is sent before it is; trying again",
                )
                if not self._pause(_DISK_SECONDS):
                    return False
            else:
                self._notify()
                return True

    def _say_failed(self, input_id: str, reason: str, when: str) -> None:
        _log.error(
            f"{self._what}_metadata_failed",
            input=input_id,
            reason=reason,
            effect=f"its samples are not affected; {when}",
            remedy="see clarify-connector metadata CONFIG --failed",
        )

    def in_trouble(self, reason: str | None) -> None:
        """Nothing can be saved for this reason; None: something was."""
        if self.trouble != reason:
            self.trouble = reason
            now = self._clock()
            self._guarded(lambda: self._book.note(reason or "", now))

    def look(self) -> bool:
        """Whether something is due, and is ours to save."""
        now = self._clock()
        if now < self._last_look - _CLOCK_SECONDS:
            self._guarded(lambda: self._book.clock_put_back(now))
        self._last_look = now
        if self._unwritten:
            with self._writing:
                self._write()
        return self._is_due()

    def _is_due(self) -> bool:
        return self._may_save() and bool(self.due(1, 1))

    def _guarded(self, ask: Callable[[], _T]) -> _T | None:
        """None where the disk cannot be used: whatever it is, it is tried again."""
        try:
            return ask()
        except sqlite3.Error as error:
            self._disk_fails(error)
            return None

    def _disk_fails(self, error: sqlite3.Error) -> None:
        if not self._disk_trouble and not self._closing.is_set():
            self._disk_trouble = True
            _log.error(
                f"{self._what}_metadata_not_written",
                reason=str(error),
                effect="what is wanted is kept in memory, and saved when the state file can be used again; samples are "
                "not affected",
            )

    # -- for whoever watches, starts and stops ----------------------------------------------------------

    def counts(self) -> Counts:
        """How many are outstanding; the last that is known, where the disk cannot be read."""
        found = self._guarded(lambda: self._book.counts(self._clock()))
        if found is not None:
            self._counts = found
        return self._counts

    def finish(self, timeout: float) -> bool:
        """Wait until nothing is due, as long as nothing is in the way; whether nothing is."""
        until = time.monotonic() + timeout
        while self._is_due():
            if self.trouble is not None or time.monotonic() >= until:
                return False
            with self._changed:
                self._changed.wait(_POLL_SECONDS)
        return True

    def hurry(self) -> None:
        """All that waits is due now."""
        self._guarded(lambda: self._book.all_due(self._clock()))
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def close(self) -> None:
        """End `wait_due`."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
