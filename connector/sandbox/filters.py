"""Filters over resources: a query's filter → a predicate. Source: docs api/1.1beta1/methods/filter-syntax.

The undocumented rules follow MongoDB, since its syntax is the model. A comparison with a list field (a label) is true
if any of its elements matches; $ne and $nin are true if all of its elements differ. A missing field is null. $lt, $lte,
$gt and $gte compare only values of one kind. A regular expression may match anywhere in the text, in Python's dialect.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from connector.sandbox.problems import Problems

Fields = Mapping[str, object]
"""Field path → value; `known_field` says which paths there are."""
Predicate = Callable[[Fields], bool]

_PLAIN: Final = frozenset(
    ("id", "name", "description", "input", "sourceType", "valueType", "engUnit", "sampleInterval", "gapDetection")
) | {"visible", "createdAt", "updatedAt"}
_NESTED: Final = ("labels.", "annotations.", "enumValues.")
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$lt": operator.lt,
    "$lte": operator.le,
    "$gt": operator.gt,
    "$gte": operator.ge,
}
_EQUAL: Final = ""
"""Equality has no operator: the filter gives the value itself in place of an operator."""
_LONGEST_REGEX: Final = 1000
_DEEPEST: Final = 32


def known_field(path: str) -> bool:
    """Whether resources can be filtered and sorted by the field `path`."""
    return path in _PLAIN or any(path.startswith(start) and len(path) > len(start) for start in _NESTED)


def compile_filter(query: object, path: str, problems: Problems, depth: int = 0) -> Predicate:
    """The predicate of a filter; every mistake is added to `problems`.

    After a mistake, the predicate has no meaning. `path` is the place of the filter in the parameters.
    """
    if query is None:
        query = {}
    if not isinstance(query, dict) or depth > _DEEPEST:
        problems.add(path, "must be an object" if depth <= _DEEPEST else "nested too deeply")
        return _everything
    parts: list[Predicate] = []
    for name, condition in query.items():
        where = f"{path}.{name}"
        if name in ("$and", "$or"):
            parts.append(_join(name, condition, where, problems, depth))
        elif not known_field(name):
            problems.add(where, "unknown field")
        else:
            parts.append(_field(name, condition, where, problems))
    return lambda fields: all(part(fields) for part in parts)


def _everything(_: Fields) -> bool:
    return True


def _join(name: str, condition: object, path: str, problems: Problems, depth: int) -> Predicate:
    if not isinstance(condition, list):
        problems.add(path, "must be an array of filters")
        return _everything
    parts = [compile_filter(entry, f"{path}.{i}", problems, depth + 1) for i, entry in enumerate(condition)]
    if name == "$and":
        return lambda fields: all(part(fields) for part in parts)
    return lambda fields: any(part(fields) for part in parts)


def _field(name: str, condition: object, path: str, problems: Problems) -> Predicate:
    if not isinstance(condition, dict):
        condition = {_EQUAL: condition}
    elif not condition:
        problems.add(path, "must name an operator")
    tests = [_test(name, op, value, f"{path}.{op}" if op else path, problems) for op, value in condition.items()]
    return lambda fields: all(test(fields.get(name)) for test in tests)


def _test(name: str, op: str, value: object, path: str, problems: Problems) -> Callable[[object], bool]:  # noqa: PLR0911 - one return for each operator
    is_time = name in ("createdAt", "updatedAt")
    if op in ("$in", "$nin"):
        if not isinstance(value, list) or not all(map(_is_scalar, value)):
            problems.add(path, "must be an array of strings, numbers, booleans and nulls")
            return lambda _: False
        among = [_comparable(entry, is_time=is_time) for entry in value]
        if op == "$in":
            return lambda actual: any(_equal(element, one) for element in _elements(actual, is_time) for one in among)
        return lambda actual: not any(_equal(element, one) for element in _elements(actual, is_time) for one in among)
    if not _is_scalar(value):
        problems.add(path, "must be a string, a number, a boolean or null")
        return lambda _: False
    wanted = _comparable(value, is_time=is_time)
    if op == _EQUAL:
        return lambda actual: any(_equal(element, wanted) for element in _elements(actual, is_time))
    if op == "$ne":
        return lambda actual: not any(_equal(element, wanted) for element in _elements(actual, is_time))
    if op == "$regex":
        return _regex(value, path, problems)
    if op in _ORDERS:
        compare = _ORDERS[op]
        return lambda actual: any(
            _same_kind(element, wanted) and compare(element, wanted) for element in _elements(actual, is_time)
        )
    problems.add(path, "unknown operator")
    return lambda _: False


def _regex(value: object, path: str, problems: Problems) -> Callable[[object], bool]:
    if not isinstance(value, str) or len(value) > _LONGEST_REGEX:
        problems.add(path, f"must be a string of at most {_LONGEST_REGEX} characters")
        return lambda _: False
    try:
        search = re.compile(value).search
    except re.error as error:
        problems.add(path, f"not a regular expression: {error}")
        return lambda _: False
    return lambda actual: any(
        isinstance(element, str) and search(element) is not None for element in _elements(actual, is_time=False)
    )


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _elements(actual: object, is_time: bool) -> list[object]:
    found = actual if isinstance(actual, list) else [actual]
    return [_comparable(element, is_time=is_time) for element in found]


def _comparable(value: object, *, is_time: bool) -> object:
    """The value; a time becomes a number, so that 06:00:00Z and 08:00:00+02:00 are equal."""
    if is_time and isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return value
    return value


def _equal(one: object, other: object) -> bool:
    return _same_kind(one, other) and one == other


def _same_kind(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return type(one) is type(other)
    return isinstance(one, str) == isinstance(other, str)


def sort_key(fields: Fields, path: str) -> tuple[int, object]:
    """The key for sorting resources by a field: a missing field comes first, then booleans, numbers and texts.

    The key of a list is the key of its smallest element.
    """
    value = fields.get(path)
    if isinstance(value, list):
        value = min(value, default=None)
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    return (2, value) if isinstance(value, int | float) else (3, str(value))
