"""Notices decimals of Kafka Connect that came as bytes: they are left out like any text, so a person must know.

Kafka Connect's JSON converter writes a decimal as its unscaled bytes in base64, unless it is told otherwise. Its schema
says so, if the message has one. Without a schema, only the padding at the end of the text tells base64 from words.
https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-decimal-types
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import Plan

_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_VARIABLE: Final = frozenset({"scale", "value"})
"""The members of `io.debezium.data.VariableScaleDecimal`."""
_PADDED: Final = re.compile(r"(?:[A-Za-z0-9+/]{4}){0,6}(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)")
_MOST_CHARACTERS: Final = 100
"""Characters of a name or a text that are looked at: a decimal is short."""
_MOST_DEPTH: Final = 4
"""Levels of a schema: the envelope, its `after`, and two more for converters that wrap it."""
_REMEDY: Final = (
    "let the sender write numbers: decimal.handling.mode=double in Debezium's connector, or "
    "value.converter.decimal.format=NUMERIC for the JSON converter of Kafka Connect"
)


class DecimalsAsBytes:
    """Looks at the rows of Kafka Connect's messages. For one thread at a time."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations

    def look(self, plan: Plan, message: object, row: object) -> None:
        """Add an observation for each field of `row` that is a decimal as bytes; `message` is what the row is in."""
        if type(message) is not dict or type(row) is not dict:
            return
        declared: set[str] | None = None
        for field, value in row.items():
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
