"""Filters for Clarify's queries. Source: docs api/1.1beta1/methods/filter-syntax.

    from connector.clarify.query import Filter, In, Regex

    pumps = Filter(fields={"labels.type": In(value=["pump"])})
    named = Filter(fields={"name": Regex(value="^P-")})
    (pumps & named).to_query()
    # {'$and': [{'labels.type': {'$in': ['pump']}}, {'name': {'$regex': '^P-'}}]}

These fields are known to work: `id`, `name`, `input`, `valueType`, `labels.<key>`, `annotations.<key>`, `createdAt`.
A wrong filter raises `FilterError`, which is an ArgumentError and a ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeAlias

from connector.clarify import iso8601
from connector.clarify.errors import ArgumentError

Scalar: TypeAlias = str | int | float | bool | None
"""A value that a field can be compared with. A datetime becomes ISO 8601 text."""


class FilterError(ArgumentError):
    """A wrong filter. The text names the operator or the field, and the values that are allowed."""


class Operators(StrEnum):
    """The names of operators in a query. Equality has no name."""

    NE = "$ne"
    REGEX = "$regex"
    IN = "$in"
    NIN = "$nin"
    LT = "$lt"
    LTE = "$lte"
    GT = "$gt"
    GTE = "$gte"


@dataclass(frozen=True, init=False)
class Comparison:
    """A field compared with a value; use a subclass."""

    value: Scalar | tuple[Scalar, ...]
    operator: ClassVar[Operators | None] = None
    _takes_list: ClassVar[bool] = False

    def __init__(self, value: Scalar | datetime | Sequence[Scalar] | Set[Scalar]) -> None:
        """Raises FilterError if the operator takes a list and `value` is no list, or the other way round."""
        name = type(self).__name__
        if self._takes_list:
            if isinstance(value, str | bytes | bytearray) or not isinstance(value, Sequence | Set):
                raise FilterError(f"{name} takes a list of values, not {value!r}")
            checked: Scalar | tuple[Scalar, ...] = tuple(_scalar(name, entry) for entry in value)
        else:
            checked = _scalar(name, value)
        object.__setattr__(self, "value", checked)

    def to_query(self) -> object:
        """The right-hand side of a field in a query."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return value if self.operator is None else {self.operator.value: value}


def _scalar(name: str, value: object) -> Scalar:
    if isinstance(value, datetime):
        return iso8601.text(iso8601.microseconds(value))
    if value is None or isinstance(value, str | int | float):
        return value
    raise FilterError(f"{name} takes a text, a number, a boolean, a time or None, not {value!r}")


class Equal(Comparison):
    """The field is this value. For a list field, such as a label, any element is this value."""


class NotEqual(Comparison):
    """The field is not this value."""

    operator = Operators.NE


class Regex(Comparison):
    """The regular expression matches a part of the field. With ^ and $, the expression matches the whole field."""

    operator = Operators.REGEX

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise FilterError(f"Regex takes a text, not {value!r}")
        super().__init__(value)


class In(Comparison):
    """The field is one of these values."""

    operator = Operators.IN
    _takes_list = True


class NotIn(Comparison):
    """The field is none of these values."""

    operator = Operators.NIN
    _takes_list = True


class Less(Comparison):
    """The field is less than this value."""

    operator = Operators.LT


class LessOrEqual(Comparison):
    """The field is at most this value."""

    operator = Operators.LTE


class Greater(Comparison):
    """The field is greater than this value."""

    operator = Operators.GT


class GreaterOrEqual(Comparison):
    """The field is at least this value."""

    operator = Operators.GTE


_BY_OPERATOR: Final[Mapping[object, type[Comparison]]] = {
    kind.operator: kind for kind in (Equal, NotEqual, Regex, In, NotIn, Less, LessOrEqual, Greater, GreaterOrEqual)
}


def _comparison(path: str, given: object) -> Comparison:
    """The comparison of a field: itself, a bare value, {"operator": "$ne", "value": 1}, or {"$ne": 1}."""
    if isinstance(given, Comparison):
        return given
    if not isinstance(given, Mapping):
        return Equal(given)  # type: ignore[arg-type]  # checked there
    if "value" in given and given.keys() <= {"operator", "value"}:
        operator, value = given.get("operator"), given.get("value")
    else:
        operator, value = next(iter(given.items())) if len(given) == 1 else (given, None)
    kind = _BY_OPERATOR.get(operator) if isinstance(operator, str | None) else None
    if kind is None:
        raise FilterError(
            f'{path!r} has no comparison {given!r}: give NotEqual(value="x") or {{"$ne": "x"}}, for example'
        )
    return kind(value)


@dataclass(frozen=True, init=False)
class Filter:
    """A condition on resources. Filters are joined with `&` (and) and `|` (or).

    `fields` maps field paths to comparisons; a bare value means equality. Several fields must all hold. Comparisons and
    filters may be dicts: `Filter(fields={"name": {"$ne": "x"}})`. An empty filter matches everything.
    """

    fields: Mapping[str, Comparison]
    and_list: tuple[Filter, ...]
    or_list: tuple[Filter, ...]

    def __init__(
        self,
        fields: Mapping[str, Comparison | Scalar | Mapping[str, Any]] | None = None,
        *,
        and_list: Sequence[Filter | Mapping[str, Any]] | None = None,
        or_list: Sequence[Filter | Mapping[str, Any]] | None = None,
    ) -> None:
        if sum((bool(fields), bool(and_list), bool(or_list))) > 1:
            raise FilterError("a filter has only one of fields, and_list and or_list: join filters with & and |")
        checked: dict[str, Comparison] = {}
        for path, comparison in (fields or {}).items():
            if not path or path.startswith("$"):
                raise FilterError(f"{path!r} is no field: give a field such as name, input or labels.<key>")
            checked[path] = _comparison(path, comparison)
        object.__setattr__(self, "fields", checked)
        for name, filters in (("and_list", and_list), ("or_list", or_list)):
            object.__setattr__(self, name, tuple(map(_filter, filters or ())))

    def __and__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        parts = (*self._parts("and_list"), *other._parts("and_list"))
        return Filter(and_list=parts) if len(parts) > 1 else (parts[0] if parts else Filter())

    def __or__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        if self._matches_all or other._matches_all:
            return Filter()
        return Filter(or_list=(*self._parts("or_list"), *other._parts("or_list")))

    @property
    def _matches_all(self) -> bool:
        return not (self.fields or self.and_list or self.or_list)

    def _parts(self, kind: str) -> tuple[Filter, ...]:
        """The parts that this filter adds to a larger filter of the same kind. Chains of one operator stay flat."""
        parts: tuple[Filter, ...] = getattr(self, kind)
        return parts or (() if self._matches_all else (self,))

    def to_query(self) -> dict[str, object]:
        """The filter in the API's form."""
        if self.and_list:
            return {"$and": [part.to_query() for part in self.and_list]}
        if self.or_list:
            return {"$or": [part.to_query() for part in self.or_list]}
        return {path: comparison.to_query() for path, comparison in self.fields.items()}


def _filter(given: object) -> Filter:
    if isinstance(given, Mapping) and given.keys() <= {"fields", "and_list", "or_list"}:
        return Filter(**given)
    if not isinstance(given, Filter):
        raise FilterError(f"{given!r} is no Filter")
    return given


@dataclass(frozen=True)
class DataFilter:
    """A window of time from `gte` (inclusive) to `lt` (exclusive), and the series to return.

    `gte` and `lt` are times like the times of a `DataFrame`; None means no bound. Without `series`, all series are
    returned.
    """

    gte: iso8601.Instant | None = None
    lt: iso8601.Instant | None = None
    series: Sequence[str] = field(default=())

    def to_query(self) -> dict[str, object]:
        """The filter in the API's form. Raises ArgumentError for a bound that is no time."""
        times = {
            name: iso8601.text(iso8601.read(bound))
            for name, bound in (("$gte", self.gte), ("$lt", self.lt))
            if bound is not None
        }
        query: dict[str, object] = {"times": times}
        if self.series:
            query["series"] = {"$in": list(self.series)}
        return query
