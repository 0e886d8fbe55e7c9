"""The content of a birth: the metrics of a node or device, each with its type, its alias and its properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec

from connector.formats.sparkplug.datatypes import DataType, decoded_text, reader_of, type_of, untyped
from connector.formats.sparkplug.messages import Metric
from connector.formats.sparkplug.properties import Properties

CONTROL: Final = ("Node Control/", "Device Control/")
"""The beginnings of the names of metrics that are commands and no measurements."""
BD_SEQ: Final = "bdSeq"
"""The metric that ties a death to its birth."""

_NUMBER_FIELDS: Final = {
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.INT8: "int_value",
    DataType.INT16: "int_value",
    DataType.INT32: "int_value",
    DataType.INT64: "long_value",
    DataType.UINT8: "int_value",
    DataType.UINT16: "int_value",
    DataType.UINT32: "int_value",
    DataType.UINT64: "long_value",
    DataType.DATE_TIME: "long_value",
}


LONGEST_PATH: Final = 1000
"""The most characters of a path: a metric's name with the names of the templates around it."""
_NO_MEMBERS: Final[Mapping[str, MetricBirth]] = MappingProxyType({})
_Definitions: TypeAlias = Mapping[str, Mapping[str, "MetricBirth"]]
"""Name of a template → path of a member below it → definition of the member."""


class TooManyMetricsError(Exception):
    """A birth has more metrics than may be remembered."""


class MetricBirth(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """The definition of a metric, or of a member of a template, in a birth."""

    path: str
    """The metric's name; for a member, the names from the outermost template on, with slashes between."""
    datatype: int = 0
    alias: int | None = None
    transient: bool = False
    """Whether the birth says that a historian should not store the metric."""
    unit: str = ""
    description: str = ""
    display_name: str = ""
    low: float | None = None
    high: float | None = None
    states: tuple[tuple[str, str], ...] = ()


class KnownMetric:
    """A metric of a birth, prepared for reading its values."""

    __slots__ = ("birth", "convert", "datatype", "field", "get", "left_out")

    def __init__(self, birth: MetricBirth) -> None:
        self.birth = birth
        self.datatype = type_of(birth.datatype)
        self.left_out = birth.transient or is_control(birth.path)
        self.field: str | None = None
        self.get: Callable[[Any], Any] | None = None
        """Reads the number of a metric; None if the metric is not a plain number, or is left out."""
        self.convert: Callable[[int], int] | None = None
        """Converts the integer that was sent to its number; None if the integer is the number."""
        if self.datatype in _NUMBER_FIELDS and not self.left_out:
            self.read_from(_NUMBER_FIELDS[self.datatype])

    def read_from(self, field: str) -> None:
        """Read numbers from this field of a metric: devices use different fields for an integer."""
        assert self.datatype is not None  # noqa: S101 - asked only for numbers
        self.field = field
        self.get = attrgetter(field)
        self.convert = reader_of(self.datatype, field)


class MetricTable:
    """The metrics of one birth, by path and by alias. Never changes."""

    def __init__(self, births: Iterable[MetricBirth], definitions: dict[str, list[MetricBirth]] | None = None) -> None:
        self.metrics = {birth.path: KnownMetric(birth) for birth in births}
        self.aliases: dict[int | None, KnownMetric] = {
            known.birth.alias: known for known in self.metrics.values() if known.birth.alias is not None
        }
        self.definitions = definitions or {}
        """Name of a template → its members, with paths that begin below the template."""

    def __len__(self) -> int:
        return len(self.metrics) + sum(map(len, self.definitions.values()))

    def births(self) -> list[MetricBirth]:
        """All metrics, in the order of the birth."""
        return [known.birth for known in self.metrics.values()]

    def same_as(self, other: MetricTable) -> bool:
        """Whether both tables have the same metrics and the same definitions."""
        return self.births() == other.births() and self.definitions == other.definitions


def is_control(path: str) -> bool:
    """Whether the metric with this path serves the protocol and is no measurement."""
    return path == BD_SEQ or path.startswith(CONTROL)


def read_births(
    metrics: Iterable[Metric], definitions: dict[str, list[MetricBirth]], limit: int
) -> tuple[list[MetricBirth], dict[str, list[MetricBirth]]]:
    """(the metrics of a birth message, the templates that the message defines).

    `definitions` are the templates known before. Raises `TooManyMetricsError` for more than `limit` metrics and members
    of definitions.
    """
    found: list[MetricBirth] = []
    defined: dict[str, list[MetricBirth]] = {}
    instances: list[Metric] = []
    for metric in metrics:
        if metric.WhichOneof("value") == "template_value" and metric.template_value.is_definition:
            members: list[MetricBirth] = []
            _members(metric, "", {}, members, limit)
            defined[decoded_text(metric.name)] = members
            limit -= len(members)
        else:
            instances.append(metric)
    known = {name: {birth.path: birth for birth in said} for name, said in {**definitions, **defined}.items()}
    for metric in instances:
        if metric.name:
            _birth(metric, decoded_text(metric.name), None, known, found, limit)
    return found, defined


def _birth(
    metric: Metric,
    path: str,
    from_definition: MetricBirth | None,
    definitions: _Definitions,
    found: list[MetricBirth],
    limit: int,
) -> None:
    if len(path) > LONGEST_PATH:
        return  # the values of such a metric are rejected
    if len(found) >= limit:
        raise TooManyMetricsError
    field = metric.WhichOneof("value")
    datatype = metric.datatype or (from_definition.datatype if from_definition else 0)
    if not datatype and field is not None:
        datatype = untyped(field) or 0
    said = _said(metric, path, datatype)
    found.append(said if from_definition is None else _with_defaults(said, from_definition))
    if field == "template_value":
        _members(metric, path + "/", definitions, found, limit)


def _members(metric: Metric, prefix: str, definitions: _Definitions, found: list[MetricBirth], limit: int) -> None:
    template = metric.template_value
    defined = definitions.get(decoded_text(template.template_ref), _NO_MEMBERS)
    for member in template.metrics:
        if member.name:
            name = decoded_text(member.name)
            _birth(member, prefix + name, defined.get(name), definitions, found, limit)


def _said(metric: Metric, path: str, datatype: int) -> MetricBirth:
    alias = metric.alias if metric.HasField("alias") else None
    description = decoded_text(metric.metadata.description) if metric.HasField("metadata") else ""
    if not metric.HasField("properties"):
        return MetricBirth(path, datatype, alias, metric.is_transient, description=description)
    properties = Properties(metric.properties)
    return MetricBirth(
        path,
        datatype,
        alias,
        metric.is_transient,
        properties.unit,
        properties.description or description,
        properties.display_name,
        properties.low,
        properties.high,
        properties.states,
    )


def _with_defaults(said: MetricBirth, defined: MetricBirth) -> MetricBirth:
    return msgspec.structs.replace(
        said,
        unit=said.unit or defined.unit,
        description=said.description or defined.description,
        display_name=said.display_name or defined.display_name,
        low=said.low if said.low is not None else defined.low,
        high=said.high if said.high is not None else defined.high,
        states=said.states or defined.states,
    )
