"""Queries for resources, and the selections that answer the queries. Source: docs api/1.1/types/fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from connector.sandbox.filters import Predicate, compile_filter, known_field, sort_key
from connector.sandbox.method import Call
from connector.sandbox.problems import Problems
from connector.sandbox.resources import fields_of
from connector.sandbox.rpc import INVALID_PARAMS, RpcError
from connector.sandbox.store import ItemRow, SignalRow

RowT = TypeVar("RowT", SignalRow, ItemRow)

ITEMS: Final = ("item", "items")
"""The names of the items in `include` of the methods that read data. clarify-go's tests send the plural."""


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query for signals or items."""

    predicate: Predicate
    sort: tuple[tuple[str, bool], ...]
    """(field path, whether descending)."""
    limit: int
    skip: int
    total: bool

    def select(self, rows: Sequence[RowT]) -> tuple[list[RowT], int]:
        """One page of the matching rows, and the number of all matching rows (-1 unless the query asks for it)."""
        found = [(row, fields) for row in rows if self.predicate(fields := fields_of(row))]
        for path, descending in reversed(self.sort):
            found.sort(key=lambda pair: sort_key(pair[1], path), reverse=descending)
        page = [row for row, _ in found[self.skip : self.skip + self.limit]]
        return page, len(found) if self.total else -1


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    """The layout of an answer.

    `as_list`: resources as a list, not as an object by ID. `grouped`: included resources grouped by type. `hashes`:
    resources with the hashes of their content.
    """

    as_list: bool
    grouped: bool
    hashes: bool = True


def read_query(call: Call, *, default: int, most: int, name: str = "query", with_total: bool = True) -> Query:
    """Read the parameter `name`, which holds a query; every mistake is added to the problems of the call.

    `default` and `most` are the default and the largest limit. `with_total` says whether `total` is a known parameter.
    """
    given, problems = call.params.get(name), call.problems
    if given is None:
        given = {}
    if not isinstance(given, dict):
        problems.add(name, "must be an object")
        given = {}
    known = {"filter", "sort", "limit", "skip", "total"}
    if not with_total:
        known.remove("total")
    for field in given.keys() - known:
        problems.add(f"{name}.{field}", "unknown parameter")
    limit = _number(given.get("limit"), default, f"{name}.limit", problems)
    if limit > most and call.settings.limits == "reject":
        problems.add(f"{name}.limit", f"must be at most {most}")
    if limit < 0 or limit > most:  # a limit below zero asks for as many resources as possible
        limit = most
    skip = _number(given.get("skip"), 0, f"{name}.skip", problems)
    if skip < 0:
        problems.add(f"{name}.skip", "must not be negative")
    total = given.get("total")
    if total is not None and not isinstance(total, bool):
        problems.add(f"{name}.total", "must be true or false")
    predicate = compile_filter(given.get("filter"), f"{name}.filter", problems)
    return Query(predicate, _sort(given.get("sort"), f"{name}.sort", problems), limit, max(0, skip), total is True)


def _number(value: object, default: int, path: str, problems: Problems) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        problems.add(path, "must be an integer")
        return default
    return value


def _sort(value: object, path: str, problems: Problems) -> tuple[tuple[str, bool], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        problems.add(path, "must be an array of field paths")
        return ()
    keys = []
    for index, entry in enumerate(value):
        field = entry.removeprefix("-") if isinstance(entry, str) else ""
        if not known_field(field):
            problems.add(f"{path}.{index}", "unknown field")
        keys.append((field, isinstance(entry, str) and entry.startswith("-")))
    return tuple(keys)


def read_include(call: Call, offered: tuple[str, ...]) -> bool:
    """Read the parameter `include`; returns whether the call asks for related resources.

    `offered` are the known relationships.
    """
    given = call.params.get("include")
    if given is None:
        return False
    if not isinstance(given, list):
        call.problems.add("include", "must be an array of relationships")
        return False
    for index, entry in enumerate(given):
        if entry not in offered:
            offer = ", ".join(offered) or "none"
            call.problems.add(f"include.{index}", f"unknown relationship; there are: {offer}")
    return bool(given)


def read_format(call: Call, *, as_list: bool) -> AnswerLayout:
    """Read the parameter `format`; `as_list` is the default of `dataAsArray`."""
    given, problems = call.params.get("format"), call.problems
    if given is None:
        given = {}
    if not isinstance(given, dict):
        problems.add("format", "must be an object")
        given = {}
    flags = {"dataAsArray": as_list, "groupIncludedByType": False}
    if call.version.at_least("1.2alpha1"):
        flags |= {"includeResourceHashFields": True, "flattenResourceFields": False, "usePathErrors": False}
    for field, value in given.items():
        if field not in flags:
            problems.add(f"format.{field}", "unknown parameter")
        elif value is not None and not isinstance(value, bool):
            problems.add(f"format.{field}", "must be true or false")
        elif value is not None:
            flags[field] = value
    if flags.get("flattenResourceFields"):
        problems.add("format.flattenResourceFields", "not known to the sandbox: its layout is not documented")
    return AnswerLayout(
        flags["dataAsArray"], flags["groupIncludedByType"], flags.get("includeResourceHashFields", True)
    )


def refuse_if_wrong(call: Call) -> None:
    """Raise RpcError with INVALID_PARAMS if the call has any problem."""
    if call.problems:
        raise RpcError(INVALID_PARAMS, problems=call.problems)


def selection(
    call: Call,
    layout: AnswerLayout,
    data: object,
    included: Sequence[Mapping[str, object]] | None,
    *,
    total: int,
    of_data: bool = False,
) -> dict[str, object]:
    """The answer to a query: `data` without a change, the included resources, and the metadata.

    `included` is None if the call did not ask for related resources. `total` is the number of matching resources, or
    -1. `of_data` says that the answer has samples, not resources.
    """
    echo: dict[str, object] = {"dataAsArray": layout.as_list, "groupIncludedByType": layout.grouped}
    if call.settings.format_echo == "live":
        echo |= {"flattenResourceFields": False, "includeResourceHashFields": layout.hashes}
        if of_data:
            echo["usePathErrors"] = False
    answer: dict[str, object] = {"meta": {"total": total, "format": echo}, "data": data}
    if included is not None:
        shown = [without_hashes(resource, layout) for resource in included]
        answer["included"] = {"items": shown} if layout.grouped else shown
    return answer


def laid_out(resources: Sequence[Mapping[str, object]], layout: AnswerLayout) -> object:
    """The resources as a list, or as an object by ID."""
    shown = [without_hashes(resource, layout) for resource in resources]
    return shown if layout.as_list else {str(resource["id"]): resource for resource in shown}


def without_hashes(resource: Mapping[str, object], layout: AnswerLayout) -> Mapping[str, object]:
    """The resource, without its hashes if the layout leaves them out."""
    meta = resource["meta"]
    if layout.hashes or not isinstance(meta, dict):
        return resource
    return {**resource, "meta": {key: value for key, value in meta.items() if not key.endswith("Hash")}}
