"""Signals and items as JSON in answers. Source: docs api/1.1/types/views, and answers of the live service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson

from connector.sandbox.store import ItemRow, SignalRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def signal_resource(row: SignalRow, integration: str) -> dict[str, object]:
    """The select view of a signal of this integration."""
    relationships = {
        "integration": {"data": {"type": "integrations", "id": integration}},
        "item": {"data": None if row.item is None else {"type": "items", "id": row.item}},
    }
    return _resource("signals", row, {**row.attributes, "input": row.input}, relationships)


def item_resource(row: ItemRow) -> dict[str, object]:
    """The select view of an item."""
    return _resource("items", row, row.attributes, {})


def _resource(
    kind: str, row: SignalRow | ItemRow, attributes: Mapping[str, object], relationships: Mapping[str, object]
) -> dict[str, object]:
    return {
        "type": kind,
        "id": row.id,
        "meta": {
            "annotations": dict(row.annotations),
            "attributesHash": _hash(attributes),
            "relationshipsHash": _hash(relationships),
            "createdAt": _shown(row.created_us),
            "updatedAt": _shown(row.updated_us),
        },
        "attributes": dict(attributes),
        "relationships": dict(relationships),
    }


def fields_of(row: SignalRow | ItemRow) -> dict[str, object]:
    """Field path → value of the fields of a resource, for filters and sorting."""
    fields: dict[str, object] = {"id": row.id, "createdAt": _shown(row.created_us), "updatedAt": _shown(row.updated_us)}
    if isinstance(row, SignalRow):
        fields["input"] = row.input
    for name, value in row.attributes.items():
        if isinstance(value, dict):
            fields |= {f"{name}.{key}": entry for key, entry in value.items()}
        else:
            fields[name] = value
    return fields | {f"annotations.{key}": text for key, text in row.annotations.items()}


def _hash(value: Mapping[str, object]) -> str:
    return hashlib.sha1(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), usedforsecurity=False).hexdigest()


def _shown(time_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=time_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
