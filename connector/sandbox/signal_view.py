"""Reads the metadata of a signal in a request: a complete set of attributes, and annotations to merge.

Source of the fields and defaults: docs.clarify.io/api/1.1/types/views. Source of the limits: the vendor's own clients,
since the readable documentation has no limits. Some clients send an empty string for "the default", and null for the
default of maps and durations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.sandbox.problems import Problems

_META_KEY = re.compile(r"[A-Za-z0-9_/-]{1,128}")
_ENUM_KEY = re.compile(r"0|[1-9][0-9]{0,3}")
_FIXED_DURATION = re.compile(
    r"-?P(?=[0-9T])(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+(?:\.[0-9]+)?)S)?)?"
)
_BAD_META_KEY = "the key must be 1 to 128 characters of A-Z a-z 0-9 - _ /"


@dataclass(frozen=True, slots=True)
class SignalView:
    """The metadata of one signal or item in a save: all attributes, and annotations to merge."""

    attributes: Mapping[str, object]
    annotations: Mapping[str, str]


class _Reader:
    """Reads the fields of one view; each public method returns the value of a field.

    For a wrong value, the method adds a problem and leaves the value out, or returns the default.
    """

    def __init__(self, path: str, problems: Problems) -> None:
        self._path = path
        self._problems = problems

    def _refuse(self, name: str, message: str) -> None:
        self._problems.add(f"{self._path}.{name}", message)

    def text(self, name: str, value: object, default: str, longest: int) -> str:
        if not isinstance(value, str):
            self._refuse(name, "must be a string")
        elif len(value) > longest:
            self._refuse(name, f"longer than {longest} characters")
        else:
            return value or default
        return default

    def choice(self, name: str, value: object, choices: tuple[str, ...]) -> str:
        if value in ("", *choices):
            return str(value) or choices[0]
        self._refuse(name, f"must be one of {', '.join(choices)}")
        return choices[0]

    def duration(self, name: str, value: object) -> str | None:
        if value is None or value == "":
            return None
        found = _FIXED_DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            return _shortest(found)
        self._refuse(name, "must be null or a fixed duration such as PT1H30M")
        return None

    def _entries(self, name: str, value: object) -> list[tuple[str, object]]:
        if value is None:
            return []
        if isinstance(value, dict):
            return list(value.items())
        self._refuse(name, "must be an object")
        return []

    def labels(self, name: str, value: object) -> dict[str, list[str]]:
        labels: dict[str, list[str]] = {}
        for key, entry in self._entries(name, value):
            if not _META_KEY.fullmatch(key):
                self._refuse(f"{name}.{key}", _BAD_META_KEY)
            if isinstance(entry, list) and all(isinstance(text, str) for text in entry):
                labels[key] = sorted(set(entry))
            else:
                self._refuse(f"{name}.{key}", "must be an array of strings")
        return labels

    def enum_values(self, name: str, value: object) -> dict[str, str]:
        values: dict[str, str] = {}
        for key, entry in self._entries(name, value):
            if not _ENUM_KEY.fullmatch(key):
                self._refuse(f"{name}.{key}", "the key must be an integer from 0 to 9999")
            if isinstance(entry, str) and 1 <= len(entry) <= 128:
                values[key] = entry
            else:
                self._refuse(f"{name}.{key}", "must be a string of 1 to 128 characters")
        return values

    def annotations(self, name: str, value: object) -> dict[str, str]:
        annotations: dict[str, str] = {}
        for key, entry in self._entries(name, value):
            if not _META_KEY.fullmatch(key):
                self._refuse(f"{name}.{key}", _BAD_META_KEY)
            if isinstance(entry, str):
                annotations[key] = entry
            else:
                self._refuse(f"{name}.{key}", "must be a string")
        return annotations


def _shortest(duration: re.Match[str]) -> str | None:
    """The duration in the form of answers, without the parts that are zero; None if all parts are zero."""
    parts = {name: float(text or 0) for name, text in duration.groupdict().items()}
    date = "".join(f"{parts[name]:.0f}{unit}" for name, unit in (("weeks", "W"), ("days", "D")) if parts[name])
    time = "".join(f"{parts[name]:.0f}{unit}" for name, unit in (("hours", "H"), ("minutes", "M")) if parts[name])
    if parts["seconds"]:
        time += f"{parts['seconds']:.6f}".rstrip("0").rstrip(".") + "S"
    sign = "-" if duration[0].startswith("-") else ""
    return f"{sign}P{date}" + (f"T{time}" if time else "") if date or time else None


_FIELDS: Mapping[str, Callable[[_Reader, str, object, str], object]] = {
    "name": lambda read, field, value, key: read.text(field, value, key, 128),
    "description": lambda read, field, value, _: read.text(field, value, "", 1000),
    "labels": lambda read, field, value, _: read.labels(field, value),
    "sourceType": lambda read, field, value, _: read.choice(field, value, ("measurement", "aggregation", "prediction")),
    "valueType": lambda read, field, value, _: read.choice(field, value, ("numeric", "enum")),
    "engUnit": lambda read, field, value, _: read.text(field, value, "", 255),
    "enumValues": lambda read, field, value, _: read.enum_values(field, value),
    "sampleInterval": lambda read, field, value, _: read.duration(field, value),
    "gapDetection": lambda read, field, value, _: read.duration(field, value),
}
_ALIASES = {"type": "valueType"}


def default_attributes(key: str) -> dict[str, object]:
    """The attributes of a signal without any saved metadata; its name is its input key."""
    return {
        "name": key,
        "description": "",
        "labels": {},
        "sourceType": "measurement",
        "valueType": "numeric",
        "engUnit": "",
        "enumValues": {},
        "sampleInterval": None,
        "gapDetection": None,
    }


def read_item_view(name: str, value: object, path: str, problems: Problems) -> SignalView:
    """Read the view of an item; every mistake is added to `problems`.

    A left-out field has its default, as in `read_signal_view`. The default of the name is `name`.
    """
    fields: object = value
    visible: object = False
    if isinstance(value, dict):
        visible = value.get("visible")
        fields = {field: entry for field, entry in value.items() if field != "visible"}
    view = read_signal_view(name, fields, path, problems)
    if visible is None:
        visible = False
    if not isinstance(visible, bool):
        problems.add(f"{path}.visible", "must be true or false")
    return SignalView({**view.attributes, "visible": visible is True}, view.annotations)


def read_signal_view(key: str, value: object, path: str, problems: Problems) -> SignalView:
    """Read the view of the signal with input `key`; every mistake is added to `problems`.

    A left-out field has its default. `path` is the place of the view in the parameters.
    """
    attributes = default_attributes(key)
    annotations: dict[str, str] = {}
    if not isinstance(value, dict):
        problems.add(path, "must be an object")
        return SignalView(attributes, annotations)
    reader = _Reader(path, problems)
    fields: dict[str, object] = value
    for given, entry in fields.items():
        name = _ALIASES.get(given, given)
        if name == "annotations":
            annotations = reader.annotations(name, entry)
        elif name not in _FIELDS:
            problems.add(f"{path}.{given}", "unknown field")
        elif given != name and name in fields:
            problems.add(f"{path}.{given}", f"given twice: it is another name of {name}")
        else:
            attributes[name] = _FIELDS[name](reader, given, entry, key)
    return SignalView(attributes, annotations)
