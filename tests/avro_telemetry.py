"""A record of Avro with every type, as Apache's library writes it."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import avro.io
import avro.schema

TIME = datetime(2024, 5, 1, 12, 0, 0, 500000, tzinfo=UTC)
TELEMETRY = {
    "type": "record",
    "name": "Telemetry",
    "namespace": "plant",
    "fields": [
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "exact", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "machine", "type": "string"},
        {"name": "temperature", "type": ["null", "double"], "default": None},
        {"name": "pressure", "type": "float"},
        {"name": "count", "type": "long"},
        {"name": "running", "type": "boolean"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OFF", "ON", "FAULT"]}},
        {"name": "previous", "type": "State"},
        {"name": "cost", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "readings", "type": {"type": "array", "items": "int"}},
        {"name": "limits", "type": {"type": "map", "values": "double"}},
        {"name": "either", "type": ["string", "int", {"type": "record", "name": "Pair", "fields": [
            {"name": "a", "type": "int"}]}]},
        {"name": "checksum", "type": {"type": "fixed", "name": "Four", "size": 4}},
        {"name": "made", "type": {"type": "int", "logicalType": "date"}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    ],
}  # fmt: skip
WRITTEN: dict[str, Any] = {
    "time": TIME, "exact": TIME.replace(microsecond=500001), "machine": "press", "temperature": None, "pressure": 1.5,
    "count": 2**40, "running": True, "state": "FAULT", "previous": "ON", "cost": Decimal("-12.34"),
    "readings": [1, -2, 3], "limits": {"low": 0.5, "high": 2.5}, "either": {"a": 7}, "checksum": b"\0\1\2\3",
    "made": date(2024, 5, 1), "id": "12345678-1234-5678-1234-567812345678",
}  # fmt: skip
EXPECTED = {
    **WRITTEN, "cost": -12.34, "made": "2024-05-01",
}  # fmt: skip


def written(schema: object, value: object) -> bytes:
    """Encoded by Apache's library."""
    buffer = io.BytesIO()
    avro.io.DatumWriter(avro.schema.parse(json.dumps(schema))).write(value, avro.io.BinaryEncoder(buffer))
    return buffer.getvalue()
