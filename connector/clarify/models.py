"""What is written to Clarify beside samples: the metadata of signals and items, and what `evaluate` computes.

Python names are snake_case, the API's are camelCase; both are accepted. Rules that the API documents are
checked here, so that a mistake is named before it travels. A broken rule is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from connector.clarify import iso8601
from connector.clarify.api_model import ApiModel
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
    """The key itself if it can be an input ID, else ValueError with the rule."""
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


def _duration(value: object) -> str | None:
    if value is None or isinstance(value, str | timedelta):
        return None if value is None else iso8601.duration(value)
    raise ValueError("must be ISO 8601 text such as PT5M, or a timedelta")


Duration = Annotated[str | timedelta | None, BeforeValidator(_duration)]
"""Kept as ISO 8601 text, or None if it is not set."""


class SignalInfo(ApiModel):
    """The metadata of a signal, all of it: saving resets every attribute that is not given here.

    `labels` are lists of texts by key, `enum_values` the texts of states 0 to 9999, `sample_interval` and
    `gap_detection` timedeltas or texts such as PT5M. Only `annotations` are merged into the stored ones, and left out
    if None. Source of the fields: docs api/1.1/types/views; of the limits: `limits`.

    >>> Signal(name="Mill", value_type="enum", enum_values={0: "off", 1: "on"}, labels={"site": ["Oslo"]})
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class Signal(SignalInfo):
    """The same, under the name that Clarify's own Python client has for it."""


class ItemInfo(SignalInfo):
    """The metadata of an item, all of it: publishing resets every attribute that is not given here."""

    visible: bool = False
    """Whether the whole organisation sees the item."""

    @classmethod
    def of_signal(cls, signal: ApiModel, *, visible: bool = False) -> Self:
        """An item with the metadata of a signal: a Signal, or the `attributes` of one that was selected."""
        return cls.model_validate({**signal.model_dump(exclude={"input"}), "visible": visible})

    def to_wire(self) -> dict[str, object]:
        """The complete save view, as publishSignals takes it."""
        return {**super().to_wire(), "visible": self.visible}


class Item(ItemInfo):
    """The same, under the name that Clarify's own Python client has for it."""


def _resource_id(value: str) -> str:
    return check_resource_id(value)


def check_resource_id(value: object) -> str:
    """The value itself if it can be the ID of a signal or an item, else ValueError with the rule."""
    if not isinstance(value, str) or not RESOURCE_ID.match(value):
        raise ArgumentError(f"{value!r} cannot be an ID: it has 20 characters out of a-v and 0-9")
    return value


def _alias(value: str) -> str:
    if not ALIAS.match(value):
        raise ValueError("must be a letter or _, then up to 27 letters, digits or _")
    return value


Alias = Annotated[str, AfterValidator(_alias)]
ResourceId = Annotated[str, AfterValidator(_resource_id)]
State = Annotated[int, Field(ge=0, le=ENUM_VALUE_MAX)]
Offset = Annotated[int, Field(ge=-OFFSET_MAX, le=OFFSET_MAX)]
TimeAggregation = Literal[
    "count", "min", "max", "sum", "avg", "first", "last", "state-seconds", "state-percent", "state-rate"
]
_OF_STATES: Final = ("state-seconds", "state-percent", "state-rate")


class _Aggregation(ApiModel):
    """What both kinds of aggregation have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State | None = None
    """Which state; the state aggregations need it."""
    lead: Offset | None = None
    """Show the value of so many buckets later."""
    lag: Offset | None = None
    """Show the value of so many buckets before."""
    alias: Alias
    """What formulas call it, and its key in the answer."""
    eng_unit: str | None = None
    """API 1.2 only."""

    def to_wire(self) -> dict[str, object]:
        """As evaluate takes it; what is not set is left out."""
        return self.model_dump(by_alias=True, exclude_none=True)


def _check_state(aggregation: str, state: int | None) -> None:
    if state is None and aggregation in _OF_STATES:
        raise ValueError(f"{aggregation} needs a state")


class ItemAggregation(_Aggregation):
    """One item in each bucket of a rollup, as one number. docs api/1.1/methods/clarify/evaluate"""

    id: ResourceId
    aggregation: TimeAggregation

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


class GroupAggregation(_Aggregation):
    """All items that a filter selects, as one number in each bucket. API 1.2 only."""

    filter: dict[str, Any]
    """A filter's query; a `Filter` is taken too."""
    time_aggregation: TimeAggregation
    group_aggregation: Literal["count", "min", "max", "sum", "avg"]

    @model_validator(mode="before")
    @classmethod
    def _filter_as_query(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if "query" in values:  # as it was before 1.2
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


class Calculation(ApiModel):
    """A formula over the aliases of aggregations and of earlier calculations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    formula: str = Field(min_length=1)
    alias: Alias
    eng_unit: str | None = None
    """API 1.2 only."""

    def to_wire(self) -> dict[str, object]:
        """As evaluate takes it; what is not set is left out."""
        return self.model_dump(by_alias=True, exclude_none=True)
