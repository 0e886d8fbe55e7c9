"""Decimals of Kafka Connect that come as bytes: read by their schema, or noticed.

Kafka Connect's JSON converter writes a decimal as its unscaled bytes in base64, unless it is told otherwise. The schema
of the message has the scale, and so has Debezium's struct for decimals of any scale. Without both, the decimal is left
out like any text, so a person must know; then only the padding at the end of the text tells base64 from words.
https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-decimal-types
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
_GREATEST_SCALE: Final = 300
_MOST_CHARACTERS: Final = 100
"""Characters of a name or a text that are looked at: a decimal is short."""
_MOST_DEPTH: Final = 4
"""Levels of a schema: the envelope, its `after`, and two more for converters that wrap it."""
_REMEDY: Final = (
    "say number: base64 and its scale in values (scale: 0.01 for two decimals), or let the sender write numbers: decimal.handling.mode=double in Debezium's connector, or "
    "value.converter.decimal.format=NUMERIC for the JSON converter of Kafka Connect"
)


def read_by_schema(document: object, _arrival_us: int) -> object:
    """Returns a message of Kafka Connect with numbers for its decimals, and with ISO 8601 for its times.

    What does not fit its schema stays as it is.
    """
    if type(document) is dict and type(document.get("schema")) is dict and "payload" in document:
        return {**document, "payload": _read(document["payload"], document["schema"], 0)}
    return _read(document, {}, 0)


def _read(value: object, schema: dict[str, object], depth: int) -> object:
    name = schema.get("name")
    if type(value) is dict:
        if value.keys() == _VARIABLE and name in (None, _VARIABLE_NAME):
            number = _decimal(value["value"], value["scale"])
            return value if number is None else number
        if depth > _MOST_DEPTH:
            return value
        fields = schema.get("fields")
        known = {
            field["field"]: field
            for field in (fields if isinstance(fields, list) else ())
            if isinstance(field, dict) and isinstance(field.get("field"), str)
        }
        return {key: _read(inner, known.get(key, {}), depth + 1) for key, inner in value.items()}
    if type(value) is list:
        items = schema.get("items")
        if depth > _MOST_DEPTH or type(items) is not dict:
            return value
        return [_read(inner, items, depth + 1) for inner in value]
    if name == _DECIMAL:
        parameters = schema.get("parameters")
        number = _decimal(value, parameters.get("scale") if isinstance(parameters, dict) else None)
        return value if number is None else number
    if type(value) is int and isinstance(name, str) and (name in _TIMES or name == _NANOSECONDS):
        try:
            return format_time(value // 1000 if name == _NANOSECONDS else value * _TIMES[name])
        except (OverflowError, ValueError):
            return value
    return value


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
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list) or depth > _MOST_DEPTH:
        return
    for field in fields:
        if isinstance(field, dict):
            if field.get("name") == _DECIMAL and isinstance(field.get("field"), str):
                yield field["field"]
            yield from _declared(field, depth + 1)
