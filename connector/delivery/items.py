"""Publishing: signals become items as the mapping wants them, and items that people have changed are left alone.

Each item that is published carries a digest of what it was published as, in an annotation. If the item is not like
that any more, or has no such annotation, somebody else has changed or made it: with `overwrite: unedited`, the
default, it is then left alone, and said once. What was done is remembered across restarts, so that nothing is asked
twice. On a rate budget of its own, never in the way of inserts or of metadata.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import orjson
import structlog

from connector.clarify import ClarifyError, InvalidParams, Item, NotAllowed, Retryable
from connector.clarify.limits import NAME_LENGTH, PUBLISHED_SIGNALS
from connector.delivery.policy import Action, judge
from connector.delivery.slots import Slots
from connector.records import ItemMetadata, Overwrite, SignalMetadata

ANNOTATION: Final = "clarify-connector/published"
"""Digest of what the item was last published as."""
_OURS: Final = ("name", "description", "labels", "sourceType", "valueType", "engUnit", "enumValues", "visible")
"""What we publish; the sample interval and the gap detection stay as they are."""
_LEFT_ALONE: Final = ("sampleInterval", "gapDetection")
_LOOK_AGAIN_SECONDS: Final = 5.0
"""A signal comes into being with its first insert; until then there is nothing to publish."""
_FORMAT: Final = {"dataAsArray": True, "groupIncludedByType": True}

_log = structlog.get_logger(__name__)


class Caller(Protocol):
    """What is needed of the Clarify client."""

    @property
    def integration(self) -> str:
        """The integration that the signals belong to."""

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        """The result of a method; raises `ClarifyError`."""


class Memory(Protocol):
    """What is needed of the state."""

    def published_signals(self, integration: str) -> dict[str, str]:
        """Input ID → digest of what was last published."""

    def add_published_signals(self, integration: str, digests: Iterable[tuple[str, str]]) -> None:
        """Remember more of them. Raises sqlite3.Error."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    digest: str
    item: ItemMetadata


@dataclass(frozen=True, slots=True)
class _Found:
    """A signal as Clarify has it, and its item."""

    id: str
    attributes: Mapping[str, Any]
    item: str | None
    item_attributes: Mapping[str, Any] | None
    """None if there is no item, or it cannot be looked at."""
    annotations: Mapping[str, str]


class Publisher:
    """Publishes signals in a thread of its own."""

    def __init__(
        self,
        client: Caller,
        memory: Memory,
        slots: Slots,
        is_described: Callable[[str], bool],
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_described` says whether a signal's own metadata is saved, which its item follows."""
        self._client = client
        self._memory = memory
        self._slots = slots
        self._is_described = is_described
        self._chance = chance
        self._clock = clock
        self._known = memory.published_signals(client.integration)
        self._wanted: dict[str, _Wanted] = {}
        self._not_before: dict[str, float] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._includes_items = True
        self._sees_items = True
        self._thread = threading.Thread(target=self._run, name="items", daemon=True)
        self.published = self.unchanged = self.left_alone = 0
        self.failed: dict[str, str] = {}
        """Input ID → why it cannot be published."""
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def want(self, signals: Iterable[tuple[str, SignalMetadata]]) -> None:
        """These signals should be published, those of them that have an item. Returns at once."""
        with self._changed:
            for input_id, metadata in signals:
                if metadata.item is None:
                    continue
                digest = hashlib.sha256(orjson.dumps(asdict(metadata))).hexdigest()[:32]
                if self._known.get(input_id) != digest:
                    self._wanted[input_id] = _Wanted(digest, metadata.item)
            self._changed.notify_all()

    def waiting(self) -> int:
        """Signals that are still to be published."""
        with self._changed:
            return len(self._wanted)

    def finish(self, timeout: float) -> bool:
        """Wait until all is published that exists by now, as long as nothing is in the way; whether it is."""
        with self._changed:
            self._not_before.clear()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._wanted or self.trouble is not None, timeout)

    def close(self, timeout: float) -> None:
        """End after what is under way; the rest is published after the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt = 0
        size = PUBLISHED_SIGNALS
        while (batch := self._next_batch(size)) is not None:
            keys: dict[str, str] = {}
            try:
                found = self._look_up(batch)
                views = self._decide(batch, found)
                keys = {found[input_id].id: input_id for input_id in views}
                if views:
                    self._publish({found[input_id].id: view for input_id, view in views.items()})
            except _AbortedError:
                return
            except ClarifyError as error:
                attempt += 1
                self.trouble = str(error)
                verdict = judge(error, attempt, keys, "itemsBySignal", self._chance)
                if verdict.action is Action.SET_ASIDE:
                    self._give_up({keys[signal]: str(error) for signal in verdict.guilty}, batch)
                elif verdict.action is Action.HALVE and size > 1:
                    size = max(1, min(size, len(batch)) // 2)
                elif verdict.action is Action.HALVE:
                    self._give_up(dict.fromkeys(batch, str(error)), batch)
                else:
                    _log.warning("publishing_failed", reason=str(error), next_try_in_seconds=round(verdict.delay, 1))
                    if not self._slots.pause(verdict.delay):
                        return
            else:
                attempt, size, self.trouble = 0, PUBLISHED_SIGNALS, None
                self._done({input_id: batch[input_id] for input_id in views})
                self.published += len(views)
                if views:
                    _log.info("signals_published", signals=len(views))

    def _next_batch(self, size: int) -> dict[str, _Wanted] | None:
        """Signals to look at now; None when there will be no more."""
        with self._changed:
            while not self._closing:
                now = self._clock()
                due = {
                    input_id: wanted
                    for input_id, wanted in self._wanted.items()
                    if self._not_before.get(input_id, now) <= now and self._is_described(input_id)
                }
                if due:
                    return dict(list(due.items())[:size])
                self._changed.wait(1.0 if self._wanted else None)
        return None

    def _call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        if not self._slots.wait():
            raise _AbortedError
        return self._client.call(method, params)

    # -- what Clarify has -------------------------------------------------------------------------

    def _look_up(self, batch: Mapping[str, _Wanted]) -> dict[str, _Found]:
        """The signals that exist, with their items; those that do not are looked for later."""
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
            self._includes_items = False  # the service does not know this relationship, whatever its pages say
            return self._look_up(batch)
        with _as_documented("admin.selectSignals"):
            signals = {signal["attributes"]["input"]: signal for signal in result.get("data") or ()}
            items = {item["id"]: item for item in (result.get("included") or {}).get("items") or ()}
            linked = [item for signal in signals.values() if (item := _item_of(signal)) is not None]
        if not self._includes_items and linked:
            items = self._items(linked)
        later = self._clock() + _LOOK_AGAIN_SECONDS
        with self._changed:
            for input_id in batch.keys() - signals.keys():
                self._not_before[input_id] = later
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
                effect="items that exist are left alone, since it cannot be told whether a person has changed them",
                remedy="grant the integration access to the clarify namespace in Clarify's admin panel",
            )
            return {}
        with _as_documented("clarify.selectItems"):
            return {item["id"]: item for item in result.get("data") or ()}

    # -- what becomes of it -----------------------------------------------------------------------

    def _decide(self, batch: Mapping[str, _Wanted], found: Mapping[str, _Found]) -> dict[str, dict[str, object]]:
        """Input ID → the item's view, for what is to be published; the rest is done with."""
        views: dict[str, dict[str, object]] = {}
        done: dict[str, _Wanted] = {}
        for input_id, signal in found.items():
            wanted = batch[input_id]
            try:
                view = _view(signal, wanted.item)
            except ValueError as error:
                self._give_up({input_id: f"its item breaks a rule: {error}"}, batch)
                continue
            if signal.item is None:
                views[input_id] = view
            elif not self._may_overwrite(signal, wanted.item.overwrite):
                self.left_alone += 1
                done[input_id] = wanted
                if wanted.item.overwrite is Overwrite.UNEDITED:
                    _log.warning(
                        "item_left_alone",
                        input=input_id,
                        item=signal.item,
                        reason="somebody else has made or changed it",
                        remedy="if the mapping should win, set publish: {overwrite: always} in its rule",
                    )
            elif signal.item_attributes is not None and digest_of(signal.item_attributes) == digest_of(view):
                self.unchanged += 1
                done[input_id] = wanted
            else:
                views[input_id] = view
        self._done(done)
        return views

    @staticmethod
    def _may_overwrite(signal: _Found, overwrite: Overwrite) -> bool:
        if overwrite is not Overwrite.UNEDITED:
            return overwrite is Overwrite.ALWAYS
        attributes = signal.item_attributes
        return attributes is not None and signal.annotations.get(ANNOTATION) == digest_of(attributes)

    def _publish(self, views: Mapping[str, dict[str, object]]) -> None:
        marked = {signal: {**view, "annotations": {ANNOTATION: digest_of(view)}} for signal, view in views.items()}
        self._call(
            "admin.publishSignals",
            {"integration": self._client.integration, "itemsBySignal": marked, "createOnly": False},
        )

    def _done(self, batch: Mapping[str, _Wanted]) -> None:
        if not batch:
            return
        try:
            self._memory.add_published_signals(
                self._client.integration, [(input_id, wanted.digest) for input_id, wanted in batch.items()]
            )
        except sqlite3.Error as error:
            _log.error("published_signals_not_remembered", reason=str(error), effect="asked anew after the next start")
        self._forget(batch)
        for input_id in batch:
            self.failed.pop(input_id, None)

    def _give_up(self, reasons: Mapping[str, str], batch: Mapping[str, _Wanted]) -> None:
        """Not again until the mapping says something else, or the connector is restarted."""
        self._forget({input_id: batch[input_id] for input_id in reasons})
        for input_id, reason in reasons.items():
            self.failed[input_id] = reason
            _log.error("signal_not_published", input=input_id, reason=reason, effect="its samples are not affected")

    def _forget(self, batch: Mapping[str, _Wanted]) -> None:
        with self._changed:
            for input_id, wanted in batch.items():
                self._known[input_id] = wanted.digest
                self._not_before.pop(input_id, None)
                if self._wanted.get(input_id) == wanted:
                    del self._wanted[input_id]
            self._changed.notify_all()


class _AbortedError(Exception):
    """The connector stops."""


@contextmanager
def _as_documented(method: str) -> Iterator[None]:
    """An answer of another shape is a failure like any other: it must not end the thread."""
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
    """The whole item: as the signal, but for what the mapping says otherwise, and what is not ours to say."""
    kept = signal.item_attributes or signal.attributes
    fields = {name: signal.attributes[name] for name in _OURS if signal.attributes.get(name) is not None}
    fields |= {name: kept[name] for name in _LEFT_ALONE if kept.get(name)}
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
    """A digest of what we publish of an item, the same for what is sent and for what comes back."""
    ours: dict[str, object] = {name: attributes.get(name) or None for name in _OURS}
    labels = attributes.get("labels") or {}
    ours["labels"] = {key: sorted(set(values)) for key, values in labels.items() if values}
    return hashlib.sha256(orjson.dumps(ours, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
