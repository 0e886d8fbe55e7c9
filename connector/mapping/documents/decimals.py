"""Decimals of Kafka Connect that come as bytes: read by their schema, or noticed.

Kafka Connect's JSON converter writes a decimal as its unscaled bytes in base64, unless it is told otherwise. The schema
of the message has the scale, and so has Debezium's struct for decimals of any scale. Without both, the decimal is left
out like any text, so a person must know; then only the padding at the end of the text tells base64 from words.
https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-decimal-types
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import Plan
from connector.mapping.rules.numbers import base64_integer
from connector.mapping.time.times import format_time

_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_VARIABLE: Final = frozenset({"scale", "value"})
"""The members of `io.debezium.data.VariableScaleDecimal`."""
_PADDED: Final = re.compile(r"(?:[A-Za-z0-9+/]{4}){0,6}(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)")
_VARIABLE_NAME: Final = "io.debezium.data.VariableScaleDecimal"
_TIMES: Final = {
    "org.apache.kafka.connect.data.Timestamp": 1_000,
    "org.apache.kafka.connect.data.Date": 86_400_000_000,
    "io.debezium.time.Date": 86_400_000_000,
    "io.debezium.time.Timestamp": 1_000,
    "io.debezium.time.MicroTimestamp": 1,
}
"""Name of a type for times → its unit in µs."""
_NANOSECONDS: Final = "io.debezium.time.NanoTimestamp"
_NO_SCHEMA: Final[Mapping[str, object]] = {}
_GREATEST_SCALE: Final = 100
_MOST_CHARACTERS: Final = 100
"""Characters of a name or a text that are looked at: a decimal is short."""
_MOST_DEPTH: Final = 4
"""Levels of a schema: the envelope, its `after`, and two more for converters that wrap it."""
_REMEDY: Final = (
    "say number: base64 and the scale in values (scale: 0.01 for two decimals), or let the sender write numbers: "
    "decimal.handling.mode=double in Debezium's connector, or value.converter.decimal.format=NUMERIC for the JSON "
    "converter of Kafka Connect"
)


def read_by_schema(document: object, _arrival_us: int) -> object:
    """Returns a message of Kafka Connect with numbers for its decimals, and with ISO 8601 for its times.

    What does not fit its schema stays as it is.
    """
    if type(document) is dict and type(document.get("schema")) is dict and "payload" in document:
        return {**document, "payload": _read(document["payload"], document["schema"], 0)}
    return _read(document, _NO_SCHEMA, 0)


def _read(value: object, schema: Mapping[str, object], depth: int) -> object:
    read: object = None
    if depth > _MOST_DEPTH:
        pass
    elif type(value) is dict:
        if value.keys() == _VARIABLE and schema.get("name") in (None, _VARIABLE_NAME):
            read = _decimal(value["value"], value["scale"])
        if read is None:
            known = {field["field"]: field for field in _fields(schema)}
            read = {key: _read(inner, known.get(key, _NO_SCHEMA), depth + 1) for key, inner in value.items()}
    elif type(value) is list:
        items = schema.get("items")
        if isinstance(items, dict):
            read = [_read(inner, items, depth + 1) for inner in value]
    elif schema.get("name") == _DECIMAL:
        parameters = schema.get("parameters")
        read = _decimal(value, parameters.get("scale") if isinstance(parameters, dict) else None)
    elif type(value) is int:
        read = _time(value, schema.get("name"))
    return value if read is None else read


def _fields(schema: Mapping[str, object]) -> list[dict[str, object]]:
    """The fields of a schema that have a name."""
    fields = schema.get("fields")
    if not isinstance(fields, list):
        return []
    return [field for field in fields if isinstance(field, dict) and isinstance(field.get("field"), str)]


def _time(value: int, name: object) -> str | None:
    """Returns a time in ISO 8601; None if the name is of no type for times."""
    unit_us = _TIMES.get(name) if isinstance(name, str) else None
    if unit_us is None and name != _NANOSECONDS:
        return None
    try:
        return format_time(value // 1000 if unit_us is None else value * unit_us)
    except (OverflowError, ValueError):
        return None


def _decimal(unscaled: object, scale: object) -> float | None:
    """Returns the number of a decimal; None if this is no decimal as bytes. A scale may be written as text."""
    if type(unscaled) is not str or len(unscaled) > _MOST_CHARACTERS:
        return None
    try:
        digits = int(scale) if isinstance(scale, int | str) else None
        number = base64_integer(unscaled)
    except ValueError:
        return None
    if number is None or digits is None or abs(digits) > _GREATEST_SCALE:
        return None
    return number / 10**digits if digits >= 0 else float(number * 10**-digits)


class DecimalsAsBytes:
    """Looks at the rows of Kafka Connect's messages. For one thread at a time."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations

    def look(self, plan: Plan, message: object, row: object) -> None:
        """Add an observation for each field of `row` that is a decimal as bytes; `message` is what the row is in."""
        if type(message) is not dict or type(row) is not dict:
            return
        declared: set[str] | None = None
        rules = plan.rule.values
        for field, value in row.items():
            if field in rules and rules[field].conversion is not None:
                continue  # a person has said how the field is read
            if type(value) is dict and value.keys() == _VARIABLE and type(value["value"]) is str:
                self._say(plan, field, f"is a decimal as bytes, such as {value['value'][:40]!r}, beside its scale")
            elif type(value) is str and value and len(value) % 4 == 0 and len(value) <= _MOST_CHARACTERS:
                if declared is None:
                    declared = set(_declared(message.get("schema"), 0))
                if field in declared:
                    self._say(plan, field, f"is a decimal as bytes, such as {value!r}")
                elif "schema" not in message and "source" in message and _PADDED.fullmatch(value):
                    self._say(plan, field, f"looks like bytes in base64, such as {value!r}: probably a decimal")

    def _say(self, plan: Plan, field: str, what: str) -> None:
        self._observations.add(
            Observation(
                "decimal_as_bytes",
                plan.source,
                f"{plan.topic}: {field[:_MOST_CHARACTERS]}",
                f"the field {field[:_MOST_CHARACTERS]!r} {what}; it is not read, and counts as filtered",
                _REMEDY,
            )
        )


def _declared(schema: object, depth: int) -> Iterator[str]:
    """The names of the fields that a schema of Kafka Connect declares as decimals."""
    if not isinstance(schema, dict) or depth > _MOST_DEPTH:
        return
    for field in _fields(schema):
        if field.get("name") == _DECIMAL:
            yield str(field["field"])
        yield from _declared(field, depth + 1)
