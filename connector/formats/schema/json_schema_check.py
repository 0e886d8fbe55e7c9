"""Checks a document against a JSON Schema, and never takes longer than `MOST_SECONDS` for one document.

A registry's schema is a program: references can double the work with each level, a pattern can need more time than the
universe has, and some keywords of the library compare each value with each other value. So each keyword looks at the
CPU time that is left.

Patterns are matched by the library `regex`. The `re` of Python cannot be stopped. A library with linear time (RE2)
knows no look-ahead, which schemas of the field use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from time import thread_time
from typing import Any, Final

import attrs
import regex
from jsonschema import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.jsonschema import DRAFT7, specification_with

from connector.formats.format import PayloadError
from connector.formats.schema.schemas import RegisteredSchema
from connector.records import Reason

MOST_SECONDS: Final = 2.0
"""The CPU time for one document, in seconds. A correct document of 4 MiB needs a fraction of this time."""
_MOST_COMPARISONS: Final = 50_000_000
"""The most comparisons of one `unevaluatedItems` or `unevaluatedProperties`, for which the library has no index."""

_LARGEST_PATTERN: Final = 5_000
"""The most characters of a pattern, with each counted group written out."""
_DEEPEST_PATTERN: Final = 10
"""The most groups of a pattern inside one another: each may double the time to compile it."""
_PARTS: Final = re.compile(r"\\.|\[\]?(?:\\.|[^\]\\])*+\]|\)((?:\{\d+(?:,\d*)?\})?)|.", re.DOTALL)
"""The parts of a pattern: a character, a set, the begin of a group, the end of a group with its count."""

_Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class BoundedValidator:
    """One schema. For one thread at a time."""

    def __init__(self, make: Callable[[_Budget], Any]) -> None:
        self._budget = _Budget()
        self._validator = make(self._budget)

    def check(self, document: object) -> None:
        """Raise `PayloadError` if the document does not follow the schema, or if the check takes too long."""
        self._budget.start()
        error = _first_error(self._validator, document)
        if error is not None:
            raise PayloadError(Reason.SCHEMA_VIOLATED, f"{error.json_path}: {error.message[:300]}")


def bounded_validator(found: RegisteredSchema) -> BoundedValidator:
    """The validator of a schema. Raises `PayloadError` if the schema cannot be used."""
    try:
        registry: Registry[Any] = Registry()
        contents = [json.loads(found.text)]
        for reference in found.references:
            content = json.loads(reference.text)
            contents.append(content)
            dialect = content.get("$schema") if isinstance(content, dict) else None
            specification = specification_with(dialect, default=DRAFT7) if dialect else DRAFT7
            registry = registry.with_resource(reference.name, specification.create_resource(content))
        schema = contents[0]
        kind = validator_for(schema)
        keys = _keys(contents)
    except (ValueError, RecursionError) as error:
        raise _unusable(str(error)) from None
    if {"patternProperties", "unevaluatedProperties"}.issubset(keys):
        # The library matches these patterns itself, without any bound.
        raise _unusable("it has patternProperties and unevaluatedProperties; the check knows only one of the two")
    meta = kind.META_SCHEMA
    wrong = BoundedValidator(lambda budget: _bounded(validator_for(meta), budget, len(_keys(meta)))(meta))
    try:
        wrong.check(schema)
    except PayloadError as error:
        raise _unusable(str(error)) from None
    return BoundedValidator(lambda budget: _bounded(kind, budget, len(keys))(schema, registry=registry))


def _first_error(validator: Any, document: object) -> ValidationError | None:
    try:
        return next(iter(validator.iter_errors(document)), None)
    except PayloadError:
        raise
    except RecursionError:
        raise PayloadError(Reason.NESTED_TOO_DEEPLY, "objects or arrays are nested too deeply") from None
    except Exception as problem:  # noqa: BLE001 - a reference without a target is found only during the check
        raise _unusable(str(problem)) from None


def _unusable(why: str) -> PayloadError:
    return PayloadError(Reason.SCHEMA_UNUSABLE, f"the JSON Schema cannot be used: {why[:300]}")


def _too_expensive() -> PayloadError:
    return PayloadError(
        Reason.TOO_EXPENSIVE,
        f"the check against the JSON Schema takes more than {MOST_SECONDS:g} s of CPU time; with check: false in the "
        "rule the document is not checked",
    )


class _Budget:
    """The CPU time that the check of one document has left."""

    def __init__(self) -> None:
        self._end = 0.0
        self._patterns: dict[str, Any] = {}

    def start(self) -> None:
        """Begin a document."""
        self._end = thread_time() + MOST_SECONDS

    def look(self) -> float:
        """The time left, in seconds. Raises `PayloadError` if there is none."""
        left = self._end - thread_time()
        if left <= 0:
            raise _too_expensive()
        return left

    def search(self, pattern: str, text: str) -> bool:
        """Whether the pattern is found in the text. Raises `PayloadError` if the search takes too long."""
        compiled = self._patterns.get(pattern)
        if compiled is None:
            _check_pattern(pattern)
            compiled = self._patterns[pattern] = regex.compile(pattern)
        try:
            return compiled.search(text, timeout=self.look()) is not None
        except TimeoutError:
            raise _too_expensive() from None


def _check_pattern(pattern: str) -> None:
    """Raise `PayloadError` for a pattern that takes seconds to compile: a counted group is written out that often."""
    sizes = [0]
    for part in _PARTS.finditer(pattern):
        if part[0] == "(":
            sizes.append(0)
        elif part[1] is not None and len(sizes) > 1:
            counts = [int(count) for count in re.findall(r"\d{1,9}", part[1])]
            inside = sizes.pop()
            sizes[-1] += (inside + 1) * max([1, *counts])
        else:
            sizes[-1] += 1
        if max(sizes[-2:]) > _LARGEST_PATTERN or len(sizes) > _DEEPEST_PATTERN:
            raise _unusable(f"the pattern {pattern[:40]!r}… is too large or too deeply nested")


def _bounded(kind: Any, budget: _Budget, keywords: int) -> Any:
    """The kind of validator, with keywords that spend the budget. `keywords` is the number of keys in the schema."""
    known: dict[str, _Keyword] = dict(kind.VALIDATORS)
    if "pattern" in known:
        known["pattern"] = _pattern(budget)
    if "patternProperties" in known:
        known["patternProperties"] = _pattern_properties(budget)
        known["additionalProperties"] = _additional_properties(budget, known["additionalProperties"])
    if "uniqueItems" in known:
        known["uniqueItems"] = _unique_items
    if "anyOf" in known:
        known["anyOf"], known["oneOf"] = _any_of, _one_of
    for name in ("unevaluatedItems", "unevaluatedProperties"):
        if name in known:
            known[name] = _unevaluated(known[name], keywords)
    bounded = extend(kind, {name: _spending(keyword, budget) for name, keyword in known.items()})
    # The library's own method takes another class, without these keywords, for a part of a schema that has `$schema`.
    bounded.evolve = attrs.evolve
    return bounded


def _spending(keyword: _Keyword, budget: _Budget) -> _Keyword:
    def spend(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        budget.look()
        for error in keyword(validator, value, instance, schema) or ():
            budget.look()  # the text of each error may hold the whole document
            yield error

    return spend


def _pattern(budget: _Budget) -> _Keyword:
    def check(validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "string") and not budget.search(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    return check


def _pattern_properties(budget: _Budget) -> _Keyword:
    def check(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "object"):
            for pattern, schema in patterns.items():
                for key, value in instance.items():
                    if budget.search(pattern, key):
                        yield from validator.descend(value, schema, path=key, schema_path=pattern)

    return check


def _additional_properties(budget: _Budget, additional: _Keyword) -> _Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        patterns = schema.get("patternProperties", {})
        if patterns and validator.is_type(instance, "object"):
            schema = {"properties": schema.get("properties", {})}
            instance = {
                key: inner
                for key, inner in instance.items()
                if key in schema["properties"] or not any(budget.search(pattern, key) for pattern in patterns)
            }
        yield from additional(validator, value, instance, schema) or ()

    return check


def _unevaluated(keyword: _Keyword, keywords: int) -> _Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, list | dict) and len(instance) ** 2 * keywords > _MOST_COMPARISONS:
            raise _too_expensive()
        yield from keyword(validator, value, instance, schema) or ()

    return check


def _unique_items(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # The text is compared, since hashes of numbers and tuples are the same in each process: who knows them can make
    # a set of such values slow.
    if wanted and validator.is_type(instance, "array") and len({repr(_plain(one)) for one in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _plain(value: object) -> object:
    """The value in a form whose text is the same for equal values only: `1.0` is `1`, the order of keys is nothing."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return [(key, _plain(value[key])) for key in sorted(value)], "object"
    return value


def _any_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not any(_is_valid(validator, instance, schema) for schema in schemas):
        yield ValidationError(f"{instance!r} is not valid under any of the given schemas")


def _one_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    valid = sum(_is_valid(validator, instance, schema) for schema in schemas)
    if valid != 1:
        some = "any" if valid == 0 else f"{valid} instead of one"
        yield ValidationError(f"{instance!r} is not valid under {some} of the given schemas")


def _is_valid(validator: Any, instance: object, schema: Any) -> bool:
    """The answer at the first error: the library would write all errors down, each with the whole instance."""
    return schema if isinstance(schema, bool) else next(validator.descend(instance, schema), None) is None


def _keys(content: object) -> list[str]:
    """The keys of all objects in a schema."""
    found: list[str] = []
    left = [content]
    for value in left:  # which grows
        if isinstance(value, dict):
            found += value
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found
