"""Items: the thread that publishes signals as items, as the mapping wants them. Edits by people are left alone.

Each published item has an annotation with a digest of its content. If the content of an item has another digest, or the
annotation is missing, another client or a person has changed or made the item. With `overwrite: unedited`, the default,
such an item is left alone, and this is logged once. As for metadata, the book has the wanted, the saved and the failed
items: a restart forgets nothing, and no request is repeated. The requests have their own rate limit and never delay
inserts or metadata.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import msgspec
import orjson
import structlog

from connector.clarify import ClarifyError, InvalidParams, Item, NotAllowed, Retryable
from connector.clarify.limits import NAME_LENGTH, PUBLISHED_SIGNALS
from connector.delivery.slots import Slots
from connector.metadata.guarded_store import EntryStore
from connector.metadata.outbox import Outbox
from connector.metadata.reconciler import Batches, Desire, OutstandingCounts, SaveInterval
from connector.metadata.sent_desires import SentDesire
from connector.records import ItemMetadata, Overwrite, SignalMetadata
from connector.threads.watched import WatchedThread

ANNOTATION: Final = "clarify-connector/published"
"""The annotation with the digest of the content that was last published."""
_OURS: Final = ("name", "description", "labels", "sourceType", "valueType", "engUnit", "enumValues", "visible")
"""The attributes that the connector publishes."""
_UNCHANGED: Final = ("sampleInterval", "gapDetection")
"""Attributes that are sent without a change: a request replaces all attributes."""
_NO_SIGNAL_SECONDS: Final = 5.0
"""Seconds until a missing signal is looked up again: Clarify creates the signal with its first insert."""
_UNDESCRIBED_SECONDS: Final = 1.0
"""Seconds until a signal without saved metadata is checked again."""
_REQUEST_BYTES: Final = 4 * 1024 * 1024
LEFT_ALONE: Final = "left alone: somebody else has made or changed the item"
"""The note in the book on a signal with such an item."""
_FORMAT: Final = {"dataAsArray": True, "groupIncludedByType": True}

_log = structlog.get_logger(__name__)


class Caller(Protocol):
    """The part of the Clarify client that the publisher needs."""

    @property
    def integration(self) -> str:
        """The integration that the signals belong to."""

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        """Call a method of the API; returns its result. Raises `ClarifyError`."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A signal in Clarify, and its item."""

    id: str
    attributes: Mapping[str, Any]
    item: str | None
    """The ID of the item; None if the signal is not published."""
    item_attributes: Mapping[str, Any] | None
    """The attributes of the item; None if there is no item, or if the connector may not read it."""
    annotations: Mapping[str, str]


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
        self._includes_items = True
        self._sees_items = True
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
            found = self._look_up(wanted)
            missing: dict[str, SentDesire | None] = {
                input_id: batch[input_id] for input_id in wanted.keys() - found.keys()
            }
            if missing and not self.outbox.sent.postpone(missing, _NO_SIGNAL_SECONDS):
                return False
            views = self._decide(batch, wanted, found)
            keys = {found[input_id].id: input_id for input_id in views}
            if views:
                publishing = True
                self._send({found[input_id].id: view for input_id, view in views.items()})
        except _AbortedError:
            return False
        except ClarifyError as error:
            left = {input_id: batch[input_id] for input_id in (keys.values() if publishing else wanted)}
            return self._failed(left, error, keys, publishing=publishing)
        self._batches.succeeded()
        self.outbox.in_trouble(None)
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
                _log.warning("publishing_failed", reason=str(error), next_try_in_seconds=round(verdict.delay, 1))
        remembered = self.outbox.sent.refused(batch, verdict, definite=verdict.definite or not publishing)
        return remembered and (not verdict.delay or self._slots.pause(verdict.delay))

    def _call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        if not self._slots.wait():
            raise _AbortedError
        return self._client.call(method, params)

    # -- looking up signals and items --------------------------------------------------------------

    def _look_up(self, batch: Collection[str]) -> dict[str, _Found]:
        """Returns input ID → signal and item, for the signals of the batch that exist in Clarify."""
        params: dict[str, object] = {
            "integration": self._client.integration,
            "query": {"filter": {"input": {"$in": list(batch)}}, "limit": len(batch)},
            "include": ["item"] if self._includes_items else [],
            "format": _FORMAT,
        }
        try:
            result: dict[str, Any] = self._call("admin.selectSignals", params)
        except InvalidParams as error:
            if not self._includes_items or not any(problem.path.startswith("include") for problem in error.problems):
                raise
            self._includes_items = False  # the service does not know this relationship, but the documentation does
            return self._look_up(batch)
        with _as_documented("admin.selectSignals"):
            signals = {signal["attributes"]["input"]: signal for signal in result.get("data") or ()}
            items = {item["id"]: item for item in (result.get("included") or {}).get("items") or ()}
            linked = [item for signal in signals.values() if (item := _item_of(signal)) is not None]
        if not self._includes_items and linked:
            items = self._items(linked)
        with _as_documented("admin.selectSignals"):
            return {input_id: _found(signal, items) for input_id, signal in signals.items() if input_id in batch}

    def _items(self, ids: list[str]) -> dict[str, Any]:
        if not self._sees_items:
            return {}
        query = {"filter": {"id": {"$in": ids}}, "limit": len(ids)}
        try:
            result: dict[str, Any] = self._call("clarify.selectItems", {"query": query, "format": _FORMAT})
        except NotAllowed as error:
            self._sees_items = False
            _log.warning(
                "items_not_seen",
                reason=str(error),
                effect="existing items are left alone, since the connector cannot see the changes of people",
                remedy="grant the integration access to the clarify namespace in Clarify's admin panel",
            )
            return {}
        with _as_documented("clarify.selectItems"):
            return {item["id"]: item for item in result.get("data") or ()}

    # -- deciding and publishing -------------------------------------------------------------------

    def _decide(
        self, batch: Mapping[str, SentDesire], wanted: Mapping[str, ItemMetadata], found: Mapping[str, _Found]
    ) -> dict[str, dict[str, object]]:
        """Returns input ID → attributes of its item, for the signals to publish now.

        The results for all other signals are stored. Raises `_AbortedError`.
        """
        views: dict[str, dict[str, object]] = {}
        done: dict[str, str] = {}
        broken: dict[str, str] = {}
        for input_id, signal in found.items():
            item = wanted[input_id]
            try:
                view = _view(signal, item)
            except ValueError as error:
                broken[input_id] = f"the item breaks a rule: {error}"
                continue
            if signal.item is None:
                views[input_id] = view
            elif not self._may_overwrite(signal, item.overwrite):
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
            elif signal.item_attributes is not None and digest_of(signal.item_attributes) == digest_of(view):
                self.unchanged += 1
                done[input_id] = ""
            else:
                views[input_id] = view
        kept = self.outbox.sent.done({input_id: batch[input_id] for input_id in done}, done)
        if not kept or not self.outbox.sent.broken(batch, broken):
            raise _AbortedError
        return views

    @staticmethod
    def _may_overwrite(signal: _Found, overwrite: Overwrite) -> bool:
        if overwrite is not Overwrite.UNEDITED:
            return overwrite is Overwrite.ALWAYS
        attributes = signal.item_attributes
        return attributes is not None and signal.annotations.get(ANNOTATION) == digest_of(attributes)

    def _send(self, views: Mapping[str, dict[str, object]]) -> None:
        annotated = {signal: {**view, "annotations": {ANNOTATION: digest_of(view)}} for signal, view in views.items()}
        self._call(
            "admin.publishSignals",
            {"integration": self._client.integration, "itemsBySignal": annotated, "createOnly": False},
        )


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


@contextmanager
def _as_documented(method: str) -> Iterator[None]:
    """Raise `Retryable` for an answer that does not have the documented shape: it must not end the thread."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise Retryable(f"The result makes no sense ({error!r}). Try again later.", code=200, method=method) from None


def _item_of(signal: Mapping[str, Any]) -> str | None:
    data = ((signal.get("relationships") or {}).get("item") or {}).get("data")
    return str(data["id"]) if data else None


def _found(signal: Mapping[str, Any], items: Mapping[str, Any]) -> _Found:
    item = _item_of(signal)
    seen = items.get(item) if item is not None else None
    annotations = ((seen or {}).get("meta") or {}).get("annotations") or {}
    return _Found(signal["id"], signal["attributes"], item, seen["attributes"] if seen else None, annotations)


def _view(signal: _Found, wanted: ItemMetadata) -> dict[str, object]:
    """Returns all attributes of the item: from the signal, from the mapping, and attributes that are not changed.

    Raises ValueError if the item breaks a documented rule.
    """
    kept = signal.item_attributes or signal.attributes
    fields = {name: signal.attributes[name] for name in _OURS if signal.attributes.get(name) is not None}
    fields |= {name: kept[name] for name in _UNCHANGED if kept.get(name)}
    fields["visible"] = wanted.visible
    if wanted.name is not None:
        fields["name"] = wanted.name
    fields["name"] = fields["name"][:NAME_LENGTH]
    if wanted.description is not None:
        fields["description"] = wanted.description
    if wanted.labels is not None:
        fields["labels"] = {key: list(values) for key, values in wanted.labels}
    return Item.model_validate(fields).to_wire()


def digest_of(attributes: Mapping[str, Any]) -> str:
    """Returns the digest of the published attributes: the same for sent attributes and for the answer of Clarify."""
    ours: dict[str, object] = {name: attributes.get(name) or None for name in _OURS}
    labels = attributes.get("labels") or {}
    ours["labels"] = {key: sorted(set(values)) for key, values in labels.items() if values}
    return hashlib.sha256(orjson.dumps(ours, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
