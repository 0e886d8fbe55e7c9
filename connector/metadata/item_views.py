"""Items as Clarify has them, and as the mapping wants them: the look-up, and the decision about each item.

Each published item has an annotation with a digest of its content. If the content of an item has another digest, or the
annotation is missing, another client or a person has changed or made the item. With `overwrite: unedited`, the default,
such an item is left alone. The running connector (`items`) and the command `publish --plan` (`item_plan`) decide here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
import structlog

from connector.clarify.errors import InvalidParams, NotAllowed, Retryable
from connector.clarify.limits import NAME_LENGTH
from connector.clarify.models import Item
from connector.records import ItemMetadata, Overwrite

ANNOTATION: Final = "clarify-connector/published"
"""The annotation with the digest of the content that was last published."""
_OURS: Final = ("name", "description", "labels", "sourceType", "valueType", "engUnit", "enumValues", "visible")
"""The attributes that the connector publishes."""
_UNCHANGED: Final = ("sampleInterval", "gapDetection")
"""Attributes that are sent without a change: a request replaces all attributes."""
_FORMAT: Final = {"dataAsArray": True, "groupIncludedByType": True}
_SELECT_SIGNALS: Final = "admin.selectSignals"
_SELECT_ITEMS: Final = "clarify.selectItems"
_PUBLISH: Final = "admin.publishSignals"

_log = structlog.get_logger(__name__)

Call: TypeAlias = Callable[[str, Mapping[str, object]], dict[str, object]]
"""Calls a method of the API with its parameters, at the right time; returns the result. Raises `ClarifyError`."""
View: TypeAlias = dict[str, object]
"""All attributes of an item, as they are sent."""


@dataclass(frozen=True, slots=True)
class FoundSignal:
    """A signal in Clarify, and its item."""

    id: str
    attributes: Mapping[str, Any]
    item: str | None
    """The ID of the item; None if the signal is not published."""
    item_attributes: Mapping[str, Any] | None
    """The attributes of the item; None if there is no item, or if the connector may not read it."""
    annotations: Mapping[str, str]


class ItemAction(StrEnum):
    """What is to be done with the item of a signal."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"
    """The item is as the mapping wants it."""
    LEAVE_ALONE = "leave_alone"
    """The item is not as the connector left it, or `overwrite: never` protects it."""


class Decision(NamedTuple):
    """The action, and the item as the mapping wants it."""

    action: ItemAction
    view: View


class Items:
    """The items of one integration, in Clarify. For one thread."""

    def __init__(self, integration: str, call: Call) -> None:
        """What `call` raises passes through."""
        self._integration = integration
        self._call = call
        self._includes_items = True
        self._sees_items = True

    def look_up(self, inputs: Collection[str]) -> dict[str, FoundSignal]:
        """Returns input ID → signal and item, for those of at most 1,000 signals that exist in Clarify."""
        params: dict[str, object] = {
            "integration": self._integration,
            "query": {"filter": {"input": {"$in": list(inputs)}}, "limit": len(inputs)},
            "include": ["item"] if self._includes_items else [],
            "format": _FORMAT,
        }
        try:
            result: dict[str, Any] = self._call(_SELECT_SIGNALS, params)
        except InvalidParams as error:
            if not self._includes_items or not any(problem.path.startswith("include") for problem in error.problems):
                raise
            self._includes_items = False  # the service does not know this relationship, but the documentation does
            return self.look_up(inputs)
        with _as_documented(_SELECT_SIGNALS):
            signals = {signal["attributes"]["input"]: signal for signal in result.get("data") or ()}
            items = {item["id"]: item for item in (result.get("included") or {}).get("items") or ()}
            linked = [item for signal in signals.values() if (item := _item_of(signal)) is not None]
        if not self._includes_items and linked:
            items = self._items(linked)
        with _as_documented(_SELECT_SIGNALS):
            return {input_id: _found(signal, items) for input_id, signal in signals.items() if input_id in inputs}

    def publish(self, views: Mapping[str, View]) -> None:
        """Publish signals: ID of the signal → all attributes of its item."""
        annotated = {signal: {**view, "annotations": {ANNOTATION: digest_of(view)}} for signal, view in views.items()}
        self._call(_PUBLISH, {"integration": self._integration, "itemsBySignal": annotated, "createOnly": False})

    def _items(self, ids: list[str]) -> dict[str, Any]:
        if not self._sees_items:
            return {}
        query = {"filter": {"id": {"$in": ids}}, "limit": len(ids)}
        try:
            result: dict[str, Any] = self._call(_SELECT_ITEMS, {"query": query, "format": _FORMAT})
        except NotAllowed as error:
            self._sees_items = False
            _log.warning(
                "items_not_seen",
                reason=str(error),
                effect="existing items are left alone, since the connector cannot see the changes of people",
                remedy="grant the integration access to the clarify namespace in Clarify's admin panel",
            )
            return {}
        with _as_documented(_SELECT_ITEMS):
            return {item["id"]: item for item in result.get("data") or ()}


def decide(signal: FoundSignal, wanted: ItemMetadata) -> Decision:
    """Returns what is to be done with the item of a signal.

    Raises ValueError if the wanted item breaks a documented rule.
    """
    view = _view(signal, wanted)
    if signal.item is None:
        return Decision(ItemAction.CREATE, view)
    if not _may_overwrite(signal, wanted.overwrite):
        return Decision(ItemAction.LEAVE_ALONE, view)
    seen = signal.item_attributes
    is_same = seen is not None and digest_of(seen) == digest_of(view)
    return Decision(ItemAction.NOTHING if is_same else ItemAction.UPDATE, view)


def changes(signal: FoundSignal, view: View) -> dict[str, tuple[object, object]]:
    """Returns attribute → (in Clarify, as the mapping wants it), for each attribute that the decision sees differ."""
    before, after = _compared(signal.item_attributes or {}), _compared(view)
    return {name: (before[name], after[name]) for name in _OURS if before[name] != after[name]}


def digest_of(attributes: Mapping[str, Any]) -> str:
    """Returns the digest of the published attributes: the same for sent attributes and for the answer of Clarify."""
    return hashlib.sha256(orjson.dumps(_compared(attributes), option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _compared(attributes: Mapping[str, Any]) -> dict[str, object]:
    """Returns the published attributes as they are compared; None stands for an empty one."""
    ours: dict[str, object] = {name: attributes.get(name) or None for name in _OURS}
    labels = attributes.get("labels") or {}
    ours["labels"] = {key: sorted(set(values)) for key, values in labels.items() if values}
    return ours


def _may_overwrite(signal: FoundSignal, overwrite: Overwrite) -> bool:
    if overwrite is not Overwrite.UNEDITED:
        return overwrite is Overwrite.ALWAYS
    attributes = signal.item_attributes
    return attributes is not None and signal.annotations.get(ANNOTATION) == digest_of(attributes)


def _view(signal: FoundSignal, wanted: ItemMetadata) -> View:
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


def _found(signal: Mapping[str, Any], items: Mapping[str, Any]) -> FoundSignal:
    item = _item_of(signal)
    seen = items.get(item) if item is not None else None
    annotations = ((seen or {}).get("meta") or {}).get("annotations") or {}
    return FoundSignal(signal["id"], signal["attributes"], item, seen["attributes"] if seen else None, annotations)
