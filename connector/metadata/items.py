"""Items: the thread that publishes signals as items, as the mapping wants them. Edits by people are left alone.

`item_views` decides about each item; an item that is left alone is logged once. As for metadata, the book has the
wanted, the saved and the failed items: a restart forgets nothing, and no request is repeated. The requests have their
own rate limit and never delay inserts or metadata.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Final, Protocol

import msgspec
import orjson
import structlog

from connector.clarify.errors import ClarifyError
from connector.clarify.limits import PUBLISHED_SIGNALS
from connector.delivery.slots import Slots
from connector.metadata.guarded_store import EntryStore
from connector.metadata.item_views import FoundSignal, ItemAction, Items, View, decide
from connector.metadata.outbox import Outbox
from connector.metadata.reconciler import Batches, Desire, OutstandingCounts, SaveInterval
from connector.metadata.sent_desires import SentDesire
from connector.records import ItemMetadata, Overwrite, SignalMetadata
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import WatchedThread

_NO_SIGNAL_SECONDS: Final = 5.0
"""Seconds until a missing signal is looked up again: Clarify creates the signal with its first insert."""
_UNDESCRIBED_SECONDS: Final = 1.0
"""Seconds until a signal without saved metadata is checked again."""
_REQUEST_BYTES: Final = 4 * 1024 * 1024
LEFT_ALONE: Final = "left alone: somebody else has made or changed the item"
"""The note in the book on a signal with such an item."""

_log = structlog.get_logger(__name__)


class Caller(Protocol):
    """The part of the Clarify client that the publisher needs."""

    @property
    def integration(self) -> str:
        """The integration that the signals belong to."""

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        """Call a method of the API; returns its result. Raises `ClarifyError`."""


class ItemPublisher:
    """Publishes signals as items, in its own thread."""

    def __init__(
        self,
        client: Caller,
        book: EntryStore,
        slots: Slots,
        interval: SaveInterval,
        undescribed: Callable[[Collection[str]], set[str]],
        *,
        may_save: Callable[[], bool] = lambda: True,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`undescribed` returns the subset of signals whose metadata is not saved yet.

        An item is made from the metadata of its signal, so these signals wait. The other arguments are as for a
        `SignalSaver`.
        """
        self._client = client
        self._slots = slots
        self._undescribed = undescribed
        self._chance = chance
        self._batches = Batches()
        self.outbox = Outbox("item", book, interval, clock, slots.pause, may_save)
        self._failing = RepeatedFailure("publishing_failed", None, is_error=False)
        self._in_clarify = Items(client.integration, self._call)
        self.thread = WatchedThread("items", "", self._run)
        self.published = self.unchanged = self.left_alone = 0

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def want(self, signals: Iterable[tuple[str, SignalMetadata]]) -> None:
        """Want items for signals, given as (input ID, metadata); signals without an item are skipped.

        Returns when the desires are on disk; never waits for Clarify.
        """
        desires = {
            input_id: Desire(
                hashlib.sha256(orjson.dumps(asdict(metadata))).hexdigest()[:32], msgspec.json.encode(metadata)
            )
            for input_id, metadata in signals
            if metadata.item is not None
        }
        if desires:
            self.outbox.want(desires)

    def counts(self) -> OutstandingCounts:
        """Returns the numbers of signals that are not published yet, or cannot be published."""
        return self.outbox.counts()

    def finish(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all signals that exist now are published.

        Returns False if a signal is not published then, or cannot be published.
        """
        self.outbox.hurry()
        return self.outbox.finish(timeout)

    def close(self, timeout: float) -> None:
        """End the thread after the request under way; waits for this at most `timeout` seconds.

        The remaining signals are published after the next start.
        """
        self.outbox.close()
        if self.thread.ident is not None:
            self.thread.join(timeout)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        self.outbox.run(self._work)

    def _work(self) -> bool:
        """Publish the signals that are due; returns False if the publishing must end."""
        due = self._batches.suspects() or self.outbox.due(PUBLISHED_SIGNALS, _REQUEST_BYTES)
        undescribed = self._undescribed(due)
        if undescribed and not self.outbox.sent.postpone(dict.fromkeys(undescribed), _UNDESCRIBED_SECONDS):
            return False
        batch = self.outbox.sent.take([input_id for input_id in due if input_id not in undescribed])
        if not batch and undescribed:
            self._batches.gone()
            return self._slots.pause(_UNDESCRIBED_SECONDS)
        wanted, unreadable = _read(batch)
        if unreadable and not self.outbox.sent.broken(batch, unreadable):
            return False
        if not wanted:
            self._batches.gone()
            return True
        return self._publish(batch, wanted)

    def _publish(self, batch: Mapping[str, SentDesire], wanted: Mapping[str, ItemMetadata]) -> bool:
        keys: dict[str, str] = {}
        publishing = False
        try:
            found = self._in_clarify.look_up(wanted)
            missing: dict[str, SentDesire | None] = {
                input_id: batch[input_id] for input_id in wanted.keys() - found.keys()
            }
            if missing and not self.outbox.sent.postpone(missing, _NO_SIGNAL_SECONDS):
                return False
            views = self._decide(batch, wanted, found)
            keys = {found[input_id].id: input_id for input_id in views}
            if views:
                publishing = True
                self._in_clarify.publish({found[input_id].id: view for input_id, view in views.items()})
        except _AbortedError:
            return False
        except ClarifyError as error:
            left = {input_id: batch[input_id] for input_id in (keys.values() if publishing else wanted)}
            return self._failed(left, error, keys, publishing=publishing)
        self._batches.succeeded()
        self.outbox.in_trouble(None)
        self._failing.works()
        self.published += len(views)
        if views:
            _log.info("signals_published", signals=len(views))
        return self.outbox.sent.done({input_id: batch[input_id] for input_id in views})

    def _failed(
        self, batch: Mapping[str, SentDesire], error: ClarifyError, keys: Mapping[str, str], *, publishing: bool
    ) -> bool:
        """Store the result of a failed request, and wait until the next one may be sent; returns False if aborted."""
        verdict = self._batches.failed(batch, error, "itemsBySignal", keys, self._chance)
        if verdict.delay:
            self.outbox.in_trouble(str(error))
            if not self._slots.aborted:
                self._failing.failed(str(error), next_try_in_seconds=round(verdict.delay, 1))
        remembered = self.outbox.sent.refused(batch, verdict, definite=verdict.definite or not publishing)
        return remembered and (not verdict.delay or self._slots.pause(verdict.delay))

    def _call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        if not self._slots.wait():
            raise _AbortedError
        return self._client.call(method, params)

    # -- deciding and publishing -------------------------------------------------------------------

    def _decide(
        self, batch: Mapping[str, SentDesire], wanted: Mapping[str, ItemMetadata], found: Mapping[str, FoundSignal]
    ) -> dict[str, View]:
        """Returns input ID → attributes of its item, for the signals to publish now.

        The results for all other signals are stored. Raises `_AbortedError`.
        """
        views: dict[str, View] = {}
        done: dict[str, str] = {}
        broken: dict[str, str] = {}
        for input_id, signal in found.items():
            item = wanted[input_id]
            try:
                action, view = decide(signal, item)
            except ValueError as error:
                broken[input_id] = f"the item breaks a rule: {error}"
                continue
            if action is ItemAction.LEAVE_ALONE:
                self.left_alone += 1
                done[input_id] = LEFT_ALONE
                if item.overwrite is Overwrite.UNEDITED:
                    _log.warning(
                        "item_left_alone",
                        input=input_id,
                        item=signal.item,
                        reason="somebody else has made or changed the item",
                        remedy="if the mapping should win, set publish: {overwrite: always} in its rule",
                    )
            elif action is ItemAction.NOTHING:
                self.unchanged += 1
                done[input_id] = ""
            else:
                views[input_id] = view
        kept = self.outbox.sent.done({input_id: batch[input_id] for input_id in done}, done)
        if not kept or not self.outbox.sent.broken(batch, broken):
            raise _AbortedError
        return views


def _read(batch: Mapping[str, SentDesire]) -> tuple[dict[str, ItemMetadata], dict[str, str]]:
    """(input ID → wanted item, input ID → reason why its desire cannot be read)."""
    wanted: dict[str, ItemMetadata] = {}
    unreadable: dict[str, str] = {}
    for input_id, taken in batch.items():
        try:
            item = msgspec.json.decode(taken.content, type=SignalMetadata).item
        except ValueError as error:  # another version wrote it
            unreadable[input_id] = str(error)
        else:
            if item is None:
                unreadable[input_id] = "the desire has no item for the signal"
            else:
                wanted[input_id] = item
    return wanted, unreadable


class _AbortedError(Exception):
    """The connector stops."""
