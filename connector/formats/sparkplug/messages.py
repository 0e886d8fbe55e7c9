"""What a Sparkplug B payload consists of, as types: these need no Protobuf library, which only a payload loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ScalarValue(Protocol):
    """A message with the oneof `value`: a metric, a property, a parameter, or a cell of a data set."""

    int_value: int
    long_value: int
    float_value: float
    double_value: float
    boolean_value: bool
    string_value: str

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's name
        """The name of the field that is set."""


class PropertyValue(ScalarValue, Protocol):
    """The value of a property."""

    type: int
    is_null: bool
    propertyset_value: PropertySet
    propertysets_value: PropertySetList


class PropertySet(Protocol):
    """Properties: the n-th value belongs to the n-th key."""

    keys: Sequence[str]
    values: Sequence[PropertyValue]


class PropertySetList(Protocol):
    """A list of sets of properties."""

    propertyset: Sequence[PropertySet]


class MetaData(Protocol):
    """The metadata of a metric beside its properties."""

    description: str


class DataSetRow(Protocol):
    """A row of a data set."""

    elements: Sequence[ScalarValue]


class DataSet(Protocol):
    """A value that is a table."""

    num_of_columns: int
    columns: Sequence[str]
    types: Sequence[int]
    rows: Sequence[DataSetRow]


class TemplateValue(Protocol):
    """A value that is a structure: the definition of a template, or an instance."""

    metrics: Sequence[Metric]
    parameters: Sequence[ScalarValue]
    template_ref: str
    is_definition: bool


class Metric(ScalarValue, Protocol):
    """One value with its name, type, time and properties."""

    name: str
    alias: int
    timestamp: int
    """The time in ms since the epoch; 0 if none is set."""
    datatype: int
    is_historical: bool
    is_transient: bool
    is_null: bool
    metadata: MetaData
    properties: PropertySet
    bytes_value: bytes
    dataset_value: DataSet
    template_value: TemplateValue

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        """Whether the field is set."""


class Payload(Protocol):
    """The payload of every message but STATE."""

    timestamp: int
    """The time in ms since the epoch; 0 if none is set."""
    metrics: Sequence[Metric]
    seq: int
    uuid: str
    body: bytes

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        """Whether the field is set."""
