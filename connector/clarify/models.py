"""What is written to Clarify: the metadata of a signal, and data frames.

Python names are snake_case, the API's are camelCase; both are accepted. Rules that the API documents are
checked here, so that a mistake is named before it travels. A broken rule is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite, isnan
from numbers import Integral, Real
from typing import Annotated, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from connector.clarify import iso8601
from connector.clarify.iso8601 import Instant
from connector.clarify.limits import (
    ANNOTATION_KEY,
    DESCRIPTION_LENGTH,
    ENG_UNIT_LENGTH,
    ENUM_TEXT_LENGTH,
    ENUM_VALUE_MAX,
    INPUT_ID,
    INPUT_ID_LENGTH,
    LABEL_KEY,
    NAME_LENGTH,
)

_INT_MIN: Final = -(2**63)  # integers beyond 64 bits travel as the nearest float64
_INT_MAX: Final = 2**64 - 1
_ENUM_KEY: Final = re.compile(r"(0|[1-9][0-9]*)\Z")
_SHORT_KEY: Final = "must be 1 to 40 letters, digits, '-', '_' or '/'"


def check_input_id(key: object) -> str:
    """The key itself if it can be an input ID, else ValueError with the rule."""
    if not isinstance(key, str) or not INPUT_ID.match(key):
        raise ValueError(
            f"{key!r} cannot be an input ID: 1 to {INPUT_ID_LENGTH} letters, digits or any of - _ : . # + /"
        )
    return key


def _label_key(key: str) -> str:
    if not LABEL_KEY.match(key):
        raise ValueError(f"label key {_SHORT_KEY}")
    return key


def _annotation_key(key: str) -> str:
    if not ANNOTATION_KEY.match(key):
        raise ValueError(f"annotation key {_SHORT_KEY}")
    return key


def _enum_key(key: object) -> int:
    if isinstance(key, str) and _ENUM_KEY.match(key):
        key = int(key) if len(key) <= len(str(ENUM_VALUE_MAX)) else -1
    if type(key) is not int or not 0 <= key <= ENUM_VALUE_MAX:
        raise ValueError(f"enum value must be an integer from 0 to {ENUM_VALUE_MAX}")
    return key


def _duration(value: object) -> str | None:
    if value is None or isinstance(value, str | timedelta):
        return None if value is None else iso8601.duration(value)
    raise ValueError("must be ISO 8601 text such as PT5M, or a timedelta")


Duration = Annotated[str | timedelta | None, BeforeValidator(_duration)]
"""Kept as ISO 8601 text, or None if it is not set."""


class SignalInfo(BaseModel):
    """The metadata of a signal, all of it: saving resets every attribute that is not given here.

    Only `annotations` are merged into the stored ones, and left out if None.
    Source of the fields: docs api/1.1/types/views; of the limits: `limits`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    name: str = Field(min_length=1, max_length=NAME_LENGTH)
    description: str = Field(default="", max_length=DESCRIPTION_LENGTH)
    labels: dict[Annotated[str, AfterValidator(_label_key)], list[str]] = Field(default_factory=dict)
    source_type: Literal["measurement", "aggregation", "prediction"] = "measurement"
    value_type: Literal["numeric", "enum"] = "numeric"
    eng_unit: str = Field(default="", max_length=ENG_UNIT_LENGTH)
    enum_values: dict[
        Annotated[int, BeforeValidator(_enum_key)],
        Annotated[str, Field(min_length=1, max_length=ENUM_TEXT_LENGTH)],
    ] = Field(default_factory=dict)
    sample_interval: Duration = None
    gap_detection: Duration = None
    annotations: dict[Annotated[str, AfterValidator(_annotation_key)], str] | None = None

    def to_wire(self) -> dict[str, object]:
        """The complete save view, as saveSignals takes it."""
        view: dict[str, object] = {
            "name": self.name,
            "description": self.description,
            "labels": {key: list(values) for key, values in self.labels.items()},
            "sourceType": self.source_type,
            "valueType": self.value_type,
            "engUnit": self.eng_unit,
            "enumValues": {str(value): text for value, text in self.enum_values.items()},
            "sampleInterval": self.sample_interval,
            "gapDetection": self.gap_detection,
        }
        if self.annotations is not None:
            view["annotations"] = dict(self.annotations)
        return view


Value = float | int | None
"""One cell of a data frame; None is "no value here"."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class DataFrame:
    """Times and series: each series has one value, or None, for each of the times.

    `times` are microseconds since 1970, in the order given. `series` maps input IDs to values: finite numbers
    or None. Integers stay as they are, but Clarify computes with float64, exact up to 2**53.
    """

    times: tuple[int, ...]
    series: Mapping[str, tuple[Value, ...]]

    def __init__(self, times: Iterable[Instant], series: Mapping[str, Iterable[Value]]) -> None:
        """Takes times as Instant says, and numbers: True and False become 1 and 0, NaN becomes None.

        ValueError names the series and the index of what cannot be sent: infinities, text, wrong lengths.
        """
        if isinstance(times, str | bytes):
            raise ValueError("times must be a list of times, not a text")  # noqa: TRY004
        checked_times = tuple(_time(index, instant) for index, instant in enumerate(times))
        checked = {check_input_id(key): _values(key, values) for key, values in series.items()}
        for key, values in checked.items():
            if len(values) != len(checked_times):
                raise ValueError(
                    f"series {key!r} has {len(values)} values for {len(checked_times)} times: "
                    "it needs one, or None, for each"
                )
        object.__setattr__(self, "times", checked_times)
        object.__setattr__(self, "series", checked)

    @classmethod
    def from_dict(cls, frame: Mapping[str, object]) -> DataFrame:
        """A frame from {"times": [...], "series": {"<input ID>": [...]}}, as the API writes it."""
        unknown = set(frame) - {"times", "series"}
        times, series = frame.get("times"), frame.get("series")
        if unknown or not isinstance(times, Iterable) or not isinstance(series, Mapping):
            raise ValueError('a data frame is {"times": [...], "series": {"<input ID>": [...], ...}}')
        return cls(times, series)

    def to_wire_bytes(self) -> bytes:
        """The frame as the API takes it: JSON with times in UTC, in their shortest exact form."""
        return orjson.dumps({"times": [iso8601.text(t) for t in self.times], "series": self.series})

    def __repr__(self) -> str:
        return f"DataFrame({len(self.times)} times, {len(self.series)} series)"


def _time(index: int, instant: Instant) -> int:
    try:
        return iso8601.microseconds(instant)
    except ValueError as error:
        raise ValueError(f"times[{index}]: {error}") from None


def _values(key: str, values: Iterable[Value]) -> tuple[Value, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValueError(f"series {key!r} must be a list of numbers and None")  # noqa: TRY004
    cells: list[Value] = []
    for index, value in enumerate(values):
        # The usual cases first: a frame can hold hundreds of thousands of cells.
        if value is None or (type(value) is float and isfinite(value)):
            cells.append(value)
            continue
        try:
            cells.append(_number(value))
        except ValueError as error:
            raise ValueError(f"series {key!r}, value {index}: {error}") from None
    return tuple(cells)


def _number(value: object) -> float | int | None:
    """Any kind of real number as a float, int or None that JSON can hold."""
    if isinstance(value, Integral):  # bool is one
        whole = int(value)
        if _INT_MIN <= whole <= _INT_MAX:
            return whole
        value = _nearest_float(whole)
    if not isinstance(value, Real):
        raise ValueError(f"{value!r} is no number: give a float, int, bool or None")  # noqa: TRY004
    number = float(value)
    if isnan(number):
        return None
    if not isfinite(number):
        raise ValueError(f"{number} cannot be stored: leave it out, or give None")
    return number


def _nearest_float(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return inf if whole > 0 else -inf
