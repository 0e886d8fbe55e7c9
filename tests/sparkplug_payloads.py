"""Sparkplug payloads for tests, written field by field: what a device sends, however odd it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.formats.sparkplug.datatypes import DataType
from connector.formats.sparkplug.schema import PayloadMessage

FIELD = {
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
    DataType.INT64: "long_value",
    DataType.UINT64: "long_value",
    DataType.DATE_TIME: "long_value",
}


def properties(said: Mapping[str, Any]) -> dict[str, Any]:
    """A property set: text, numbers, booleans, and sets of them."""
    return {"keys": list(said), "values": [_property(value) for value in said.values()]}


def _property(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"type": DataType.PROPERTY_SET, "propertyset_value": properties(value)}
    if value is None:
        return {"type": DataType.STRING, "is_null": True}
    if isinstance(value, bool):
        return {"type": DataType.BOOLEAN, "boolean_value": value}
    if isinstance(value, int):
        return {"type": DataType.INT32, "int_value": value & 0xFFFFFFFF}
    if isinstance(value, float):
        return {"type": DataType.DOUBLE, "double_value": value}
    return {"type": DataType.STRING, "string_value": value}


def metric(name: str | None, datatype: DataType | None, value: Any = None, **more: Any) -> dict[str, Any]:
    """One metric; `field` in `more` says where the value stands, `said` its properties."""
    field = more.pop("field", None)
    if "said" in more:
        more["properties"] = properties(more.pop("said"))
    found = dict(more)
    if name is not None:
        found["name"] = name
    if datatype is not None:
        found["datatype"] = datatype
    if value is not None:
        found[field or FIELD.get(datatype or DataType.UNKNOWN, "int_value")] = value
    return found


def payload(*metrics: dict[str, Any], seq: int | None = None, time_ms: int | None = None, **more: Any) -> bytes:
    """A whole payload."""
    if seq is not None:
        more["seq"] = seq
    if time_ms is not None:
        more["timestamp"] = time_ms
    made: bytes = PayloadMessage(metrics=metrics, **more).SerializeToString()
    return made


def bd_seq(number: int) -> dict[str, Any]:
    """The metric that ties a death to its birth."""
    return metric("bdSeq", DataType.INT64, number)
