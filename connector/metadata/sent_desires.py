"""Desires that are in a request, and the result of the request for each of them.

`take` marks desires as sent in the book before the request is sent. If the program ends during the request, nobody
knows whether Clarify has carried out the request, and the next run sends the desires again. After the request, one of
`done`, `refused`, `broken` and `postpone` stores the result. If the result cannot be stored, the saving waits for the
disk; otherwise the same desires would be sent again and again. Only for the saving thread.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import structlog

from connector.metadata.guarded_store import GuardedStore
from connector.metadata.reconciler import (
    BatchVerdict,
    Entry,
    EntryChange,
    SaveInterval,
    invalid,
    later,
    rejected,
    saved,
    sending,
    unanswered,
)

_DISK_SECONDS: Final = 5.0
"""Seconds between two attempts to store a result."""
_NO_NOTES: Final[Mapping[str, str]] = MappingProxyType({})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SentDesire:
    """A desire in a request."""

    digest: str
    content: bytes
    was_sent: bool
    """Whether an earlier request with this desire, or one that it replaced, has no known result."""


class SentDesires:
    """Takes desires for a request, and stores the result.

    All methods that store return False if the result could not be stored because the program ends. Then no more
    requests may be sent.
    """

    def __init__(
        self,
        what: str,
        book: GuardedStore,
        interval: SaveInterval,
        clock: Callable[[], float],
        pause: Callable[[float], bool],
        closing: threading.Event,
        notify: Callable[[], None],
    ) -> None:
        """`what` is the name of the kind in the log; `notify` is called after each change of the book.

        `pause` waits for a number of seconds and returns False if the program ends.
        """
        self._what = what
        self._book = book
        self._interval = interval
        self._clock = clock
        self._pause = pause
        self._closing = closing
        self._notify = notify

    def take(self, inputs: Collection[str]) -> dict[str, SentDesire]:
        """Mark the due desires of these signals as sent, and return them; empty if the book cannot be written."""
        now = self._clock()

        def is_due(entry: Entry) -> bool:
            wants = entry.outstanding
            return wants is not None and wants.due is not None and wants.due <= now

        def change(_: str, entry: Entry) -> Entry:
            return sending(entry) if is_due(entry) else entry

        before = self._book.ask(lambda store: store.revise(inputs, change)) or {}
        return {
            input_id: SentDesire(wants.digest, wants.content, wants.sent)
            for input_id, entry in before.items()
            if (wants := entry.outstanding) is not None and is_due(entry)
        }

    def done(self, batch: Mapping[str, SentDesire], notes: Mapping[str, str] = _NO_NOTES) -> bool:
        """Store that Clarify has saved these desires. `notes` maps an input ID to a text for people."""
        now = self._clock()

        def change(input_id: str, entry: Entry) -> Entry:
            return saved(entry, batch[input_id].digest, now, self._interval, notes.get(input_id, ""))

        return self._store(batch.keys(), change)

    def refused(self, batch: Mapping[str, SentDesire], verdict: BatchVerdict, *, definite: bool) -> bool:
        """Store that the request failed. `definite` says that Clarify certainly carried out no part of it."""
        now = self._clock()

        def change(input_id: str, entry: Entry) -> Entry:
            desire = batch[input_id]
            was_sent = desire.was_sent if definite else True
            if (reason := verdict.rejected.get(input_id)) is not None:
                return rejected(entry, desire.digest, reason, was_sent, now, self._interval)
            return unanswered(entry, was_sent)

        for input_id, reason in verdict.rejected.items():
            log_failed(self._what, input_id, reason, "tried again in an hour, or when the mapping changes")
        return self._store(batch.keys() if definite else verdict.rejected.keys(), change)

    def broken(self, batch: Mapping[str, SentDesire], reasons: Mapping[str, str]) -> bool:
        """Store that some desires were left out of the request, because they break a documented rule.

        `reasons` has the input IDs of these desires, with the reasons.
        """
        now = self._clock()

        def change(input_id: str, entry: Entry) -> Entry:
            entry = unanswered(entry, batch[input_id].was_sent)
            return invalid(entry, batch[input_id].digest, reasons[input_id], now)

        for input_id, reason in reasons.items():
            log_failed(self._what, input_id, reason, "not tried again before the mapping changes")
        return self._store(reasons.keys(), change)

    def postpone(self, batch: Mapping[str, SentDesire | None], seconds: float) -> bool:
        """Store that these desires cannot be sent for a number of seconds; this is no failure.

        None stands for a desire that was not taken for a request.
        """
        due = self._clock() + seconds

        def change(input_id: str, entry: Entry) -> Entry:
            desire = batch[input_id]
            return later(entry if desire is None else unanswered(entry, desire.was_sent), due)

        return self._store(batch.keys(), change)

    def _store(self, inputs: Collection[str], change: EntryChange) -> bool:
        while True:
            try:
                self._book.store.revise(inputs, change)
            except sqlite3.Error as error:
                if self._closing.is_set():
                    return False
                _log.error(
                    f"{self._what}_metadata_not_remembered",
                    reason=str(error),
                    effect="no more metadata is sent until the result is stored; trying again",
                )
                if not self._pause(_DISK_SECONDS):
                    return False
            else:
                self._notify()
                return True


def log_failed(what: str, input_id: str, reason: str, retry: str) -> None:
    """Log that the metadata, or the item, of one signal cannot be saved; `retry` is a text about the next attempt."""
    _log.error(
        f"{what}_metadata_failed",
        input=input_id,
        reason=reason,
        effect=f"samples of the signal are not affected; {retry}",
        remedy="see clarify-connector metadata CONFIG --failed",
    )
