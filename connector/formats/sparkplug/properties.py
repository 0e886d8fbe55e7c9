"""The properties of a metric, by the names that vendors use.

The specification names only `Quality`. The other names are the names that Ignition writes into births (`engUnit`,
`engLow`, `engHigh`, `documentation`, `tooltip`), and the names that other gateways use for the same properties. Case,
blanks and underscores do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import orjson

from connector.formats.sparkplug.datatypes import (
    SCALARS,
    BadValueError,
    PlainValue,
    decoded_text,
    scalar,
    type_of,
    untyped,
)
from connector.formats.sparkplug.messages import PropertySet, PropertyValue

_UNIT: Final = ("engunit", "engunits", "engineeringunit", "engineeringunits", "unit", "units", "uom", "eu")
_DESCRIPTION: Final = ("documentation", "description", "desc", "tooltip", "comment")
_DISPLAY_NAME: Final = ("displayname", "friendlyname", "label")
_LOW: Final = ("englow", "low", "min", "minimum", "rangelow", "lowlimit")
_HIGH: Final = ("enghigh", "high", "max", "maximum", "rangehigh", "highlimit")
_STATES: Final = ("enumvalues", "enumvalue", "enum", "states", "enumeration", "enumstrings")
_QUALITY: Final = "quality"
_MOST_STATES: Final = 1000
_TEXT_LENGTH: Final = 1000
_UNIT_LENGTH: Final = 255
_STATE_LENGTH: Final = 128
"""The most characters of each that Clarify accepts; longer texts are cut."""
_BETWEEN_STATES: Final = re.compile(r"[;,]")
_BEFORE_NAME: Final = re.compile(r"[:=]")

GOOD: Final = range(192, 256)
"""The quality codes of good values, as in OPC: 192 is plain good, 0 is bad, 500 is stale. No quality is good, too."""


class Properties:
    """The properties of one metric. If a property has several names, the first name that is present counts."""

    def __init__(self, properties: PropertySet) -> None:
        self._values: dict[str, PropertyValue] = {}
        for key, value in zip(properties.keys, properties.values, strict=False):
            self._values.setdefault(_plain(decoded_text(key)), value)

    @property
    def unit(self) -> str:
        """The engineering unit."""
        return self._text(_UNIT)[:_UNIT_LENGTH]

    @property
    def description(self) -> str:
        """The text that a person wrote about the metric."""
        return self._text(_DESCRIPTION)

    @property
    def display_name(self) -> str:
        """The name for people."""
        return self._text(_DISPLAY_NAME)

    @property
    def low(self) -> float | None:
        """The lower end of the metric's range; None if the birth has none."""
        return self._number(_LOW)

    @property
    def high(self) -> float | None:
        """The upper end of the metric's range; None if the birth has none."""
        return self._number(_HIGH)

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """(number, name) of each state of the metric.

        A birth declares states as a property set, as a JSON object, as a JSON list, or as `0=off, 1=on`.
        """
        for name in _STATES:
            value = self._values.get(name)
            if value is None:
                continue
            if value.WhichOneof("value") == "propertyset_value":
                nested = value.propertyset_value
                pairs = (
                    (decoded_text(key), _property(item)) for key, item in zip(nested.keys, nested.values, strict=False)
                )
                return _states(pairs)
            return _states(_declared(str(_property(value) or "")))
        return ()

    def _text(self, names: tuple[str, ...]) -> str:
        for name in names:
            if name in self._values:
                found = _property(self._values[name])
                if found not in (None, ""):
                    return str(found)[:_TEXT_LENGTH]
        return ""

    def _number(self, names: tuple[str, ...]) -> float | None:
        for name in names:
            if name in self._values:
                found = _property(self._values[name])
                if isinstance(found, int | float) and not isinstance(found, bool):
                    return float(found)
        return None


def quality_code(properties: PropertySet) -> int | None:
    """The quality code; None if there is none."""
    for key, value in zip(properties.keys, properties.values, strict=False):
        if len(key) == len(_QUALITY) and decoded_text(key).lower() == _QUALITY:
            found = _property(value)
            return int(found) if isinstance(found, int) else None
    return None


def is_good(quality: int | None) -> bool:
    """Whether a value of this quality is good. A value without a quality (None) is good."""
    return quality is None or quality in GOOD


def _plain(key: str) -> str:
    return key.replace(" ", "").replace("_", "").lower()


def _property(value: PropertyValue) -> PlainValue:
    """The value of a property; None if the property has no value, or a value that is not plain."""
    field = value.WhichOneof("value")
    if field is None or value.is_null:
        return None
    datatype = type_of(value.type) or untyped(field)
    try:
        if datatype in SCALARS:
            return scalar(datatype, value)
    except BadValueError:
        pass
    return getattr(value, field) if field in ("int_value", "long_value") else None


def _declared(said: str) -> Iterator[tuple[str, object]]:
    try:
        document = orjson.loads(said)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict):
        yield from document.items()
    elif isinstance(document, list):
        yield from ((str(number), name) for number, name in enumerate(document))
    else:
        for part in _BETWEEN_STATES.split(said, _MOST_STATES):
            number, *name = _BEFORE_NAME.split(part, 1)
            yield number.strip(), "".join(name).strip()


def _states(pairs: Iterator[tuple[str, object]]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for key, name in pairs:
        if len(found) >= _MOST_STATES:
            break
        if key.isascii() and key.isdigit() and len(key) <= 4 and name != "" and isinstance(name, str | int | float):
            found.setdefault(str(int(key)), str(name)[:_STATE_LENGTH])
    return tuple(found.items())
