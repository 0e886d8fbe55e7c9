"""The metadata of signals and items, and the aggregations and calculations of `evaluate`.

Python's names are snake_case, the API's names are camelCase; both are accepted. The documented rules of the API are
checked before anything is sent. A broken rule raises a ValueError: pydantic's ValidationError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from connector.clarify import iso8601
from connector.clarify.api_model import ApiModel, Dumped
from connector.clarify.errors import ArgumentError
from connector.clarify.limits import (
    ALIAS,
    ANNOTATION_KEY,
    DESCRIPTION_LENGTH,
    ENG_UNIT_LENGTH,
    ENUM_TEXT_LENGTH,
    ENUM_VALUE_MAX,
    INPUT_ID,
    INPUT_ID_LENGTH,
    LABEL_KEY,
    NAME_LENGTH,
    OFFSET_MAX,
    RESOURCE_ID,
)
from connector.clarify.query import Filter

_ENUM_KEY: Final = re.compile(r"(0|[1-9][0-9]*)\Z")
_SHORT_KEY: Final = "must be 1 to 40 letters, digits, '-', '_' or '/'"


def check_input_id(key: object) -> str:
    """The key itself, if the key can be an input ID. Otherwise raises ArgumentError with the rule."""
    if not isinstance(key, str) or not INPUT_ID.match(key):
        raise ArgumentError(
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


def _duration(value: object) -> timedelta | None:
    if value is None or isinstance(value, str | timedelta):
        return None if value is None else iso8601.duration(value)
    raise ValueError("must be ISO 8601 text such as PT5M, or a timedelta")


class SourceType(StrEnum):
    """Where values come from."""

    measurement = "measurement"
    aggregation = "aggregation"
    prediction = "prediction"


class ValueType(StrEnum):
    """Numbers, or states."""

    numeric = "numeric"
    enum = "enum"


def _duration_on_wire(value: str | timedelta | None) -> str | None:
    return None if value is None else iso8601.duration_text(value)


Duration = Annotated[
    str | timedelta | None, BeforeValidator(_duration), PlainSerializer(_duration_on_wire, when_used="json")
]
"""A duration: given as ISO 8601 text too, read as a timedelta; None if the duration is not set."""


class SignalInfo(ApiModel):
    """The complete metadata of a signal. Saving resets every attribute that is not given.

    `labels` are lists of texts by key. `enum_values` are the texts of the states 0 to 9999. `sample_interval` and
    `gap_detection` are timedeltas; texts such as PT5M are accepted. Only `annotations` are merged with the stored
    annotations; None leaves the stored annotations unchanged. Fields may be changed; the rules are checked again.
    Source of the fields: docs api/1.1/types/views. Source of the limits: `limits`.

    >>> Signal(name="Mill", value_type="enum", enum_values={0: "off", 1: "on"}, labels={"site": ["Oslo"]})
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    name: str = Field(min_length=1, max_length=NAME_LENGTH)
    description: str = Field(default="", max_length=DESCRIPTION_LENGTH)
    labels: dict[Annotated[str, AfterValidator(_label_key)], list[str]] = Field(default_factory=dict)
    source_type: Annotated[
        Literal["measurement", "aggregation", "prediction"], AfterValidator(SourceType), Field(validate_default=True)
    ] = "measurement"
    value_type: Annotated[Literal["numeric", "enum"], AfterValidator(ValueType), Field(validate_default=True)] = (
        "numeric"
    )
    eng_unit: str = Field(default="", max_length=ENG_UNIT_LENGTH)
    enum_values: dict[
        Annotated[int, BeforeValidator(_enum_key)],
        Annotated[str, Field(min_length=1, max_length=ENUM_TEXT_LENGTH)],
    ] = Field(default_factory=dict)
    sample_interval: Duration = None
    gap_detection: Duration = None
    annotations: dict[Annotated[str, AfterValidator(_annotation_key)], str] | None = None

    def to_wire(self) -> dict[str, object]:
        """The complete metadata in the form for saveSignals."""
        view: dict[str, object] = {
            "name": self.name,
            "description": self.description,
            "labels": {key: list(values) for key, values in self.labels.items()},
            "sourceType": self.source_type,
            "valueType": self.value_type,
            "engUnit": self.eng_unit,
            "enumValues": {str(value): text for value, text in self.enum_values.items()},
            "sampleInterval": _duration_on_wire(self.sample_interval),
            "gapDetection": _duration_on_wire(self.gap_detection),
        }
        if self.annotations is not None:
            view["annotations"] = dict(self.annotations)
        return view


class Signal(SignalInfo):
    """`SignalInfo` under the name of Clarify's own Python client."""


class ItemInfo(SignalInfo):
    """The complete metadata of an item. Publishing resets every attribute that is not given."""

    visible: bool = False
    """Whether the whole organisation sees the item."""

    @classmethod
    def of_signal(cls, signal: SignalInfo, *, visible: bool = False) -> Self:
        """An item with the metadata of a signal: a Signal, or the `attributes` of a selected signal."""
        known = {name: getattr(signal, name) for name in SignalInfo.model_fields}
        return cls.model_validate({**known, "visible": visible})

    def to_wire(self) -> dict[str, object]:
        """The complete metadata in the form for publishSignals."""
        return {**super().to_wire(), "visible": self.visible}


class Item(ItemInfo):
    """`ItemInfo` under the name of Clarify's own Python client."""


def _resource_id(value: str) -> str:
    return check_resource_id(value)


def check_resource_id(value: object) -> str:
    """The value itself, if the value can be an ID of a signal or item. Otherwise raises ArgumentError with the rule."""
    if not isinstance(value, str) or not RESOURCE_ID.match(value):
        raise ArgumentError(f"{value!r} cannot be an ID: an ID has 20 characters out of a-v and 0-9")
    return value


def _alias(value: str) -> str:
    if not ALIAS.match(value):
        raise ValueError("must be a letter or _, then up to 27 letters, digits or _")
    return value


Alias = Annotated[str, AfterValidator(_alias)]
ResourceId = Annotated[str, AfterValidator(_resource_id)]
EnumState = Annotated[int, Field(ge=0, le=ENUM_VALUE_MAX)]
Offset = Annotated[int, Field(ge=-OFFSET_MAX, le=OFFSET_MAX)]
TimeAggregation = Literal[
    "count", "min", "max", "sum", "avg", "first", "last", "state-seconds", "state-percent", "state-rate"
]
_OF_STATES: Final = ("state-seconds", "state-percent", "state-rate")


class _Evaluated(ApiModel):
    """A part of an evaluation. Fields that are not set are left out of every form of the part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_dump(self, **options: Any) -> Dumped:
        """The fields that are set, by the API's names, with the options of pydantic."""
        return super().model_dump(**{"exclude_none": True, **options})

    def model_dump_json(self, **options: Any) -> str:
        """The fields that are set as JSON text, by the API's names, with the options of pydantic."""
        return super().model_dump_json(**{"exclude_none": True, **options})

    def to_wire(self) -> Dumped:
        """The part in the form for evaluate."""
        return self.model_dump()


def _check_state(aggregation: str, state: int | None) -> None:
    if state is None and aggregation in _OF_STATES:
        raise ValueError(f"{aggregation} needs a state")


class ItemAggregation(_Evaluated):
    """One number for one item in each bucket of a rollup. docs api/1.1/methods/clarify/evaluate"""

    id: ResourceId
    aggregation: TimeAggregation
    state: EnumState | None = None
    """The state to aggregate. The state aggregations need a state."""
    lead: Offset | None = None
    """Show the value from this number of buckets later."""
    lag: Offset | None = None
    """Show the value from this number of buckets before."""
    alias: Alias
    """The name in formulas, and the key in the answer."""
    eng_unit: str | None = None
    """API 1.2 only."""

    @model_validator(mode="before")
    @classmethod
    def _name_of_version_1_2(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name in ("timeAggregation", "time_aggregation"):
                if name in values:
                    return {**{k: v for k, v in values.items() if k != name}, "aggregation": values[name]}
        return values

    @model_validator(mode="after")
    def _state_fits(self) -> Self:
        _check_state(self.aggregation, self.state)
        return self


class GroupAggregation(_Evaluated):
    """One number for all items of a filter in each bucket of a rollup. API 1.2 only. More: see ItemAggregation."""

    filter: dict[str, Any]
    """The query of a filter. A `Filter` is accepted too."""
    time_aggregation: TimeAggregation
    group_aggregation: Literal["count", "min", "max", "sum", "avg"]
    state: EnumState | None = None
    lead: Offset | None = None
    lag: Offset | None = None
    alias: Alias
    eng_unit: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _filter_as_query(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if "query" in values:  # the form before API 1.2
            if "filter" in values:
                raise ValueError("give filter or its old form query, not both")
            query = values["query"]
            values = {k: v for k, v in values.items() if k != "query"}
            values["filter"] = query.get("filter", {}) if isinstance(query, Mapping) else query
        given = values.get("filter")
        return {**values, "filter": given.to_query()} if isinstance(given, Filter) else values

    @model_validator(mode="after")
    def _state_fits(self) -> Self:
        _check_state(self.time_aggregation, self.state)
        return self


class Calculation(_Evaluated):
    """A formula over the aliases of aggregations and of earlier calculations."""

    formula: str = Field(min_length=1)
    alias: Alias
    eng_unit: str | None = None
    """API 1.2 only."""
