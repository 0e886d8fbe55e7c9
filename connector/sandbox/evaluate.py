"""`clarify.evaluate`: aggregates of items and groups in the buckets of a rollup, and formulas over them.

Source: docs api/1.1/methods/clarify/evaluate. Assumptions where this page is silent: `lag: n` shows the value n buckets
before, and `lead: n` the value n buckets after. A bucket in which no series has a value is not in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.sandbox.data_query import DataQuery, read_data_query
from connector.sandbox.filters import compile_filter
from connector.sandbox.formula import VARIABLES, Formula, FormulaError, parse
from connector.sandbox.method import RESOURCE_ID, Call, Done
from connector.sandbox.queries import ITEMS, read_format, read_include, refuse_if_wrong, selection
from connector.sandbox.resources import fields_of, item_resource
from connector.sandbox.rollups import Rollup, numeric, state_rate, states
from connector.sandbox.series import gap_us
from connector.sandbox.store import ItemRow

_ALIAS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,27}")
_NUMERIC: Final = ("count", "min", "max", "sum", "avg", "first", "last")
_OF_STATES: Final = ("state-seconds", "state-percent", "state-rate")
_OLD_PREFIX: Final = "state-histogram-"
_MOST_ITEMS: Final = 50
_MOST_CALCULATIONS: Final = 100
_MOST_OFFSET: Final = 1000
_MOST_BUCKETS: Final = 200_000
_LONGEST_GAP: Final = 40 * 86_400_000_000

FrameOf = Callable[[dict[str, Mapping[int, float]], int], dict[str, object]]
Values = list[float | None]
"""One entry for each bucket."""


@dataclass(frozen=True, slots=True)
class _Aggregation:
    """One series to compute: its items, the aggregation in time, and the aggregation over a group of items.

    `kind` is the aggregation in time. `state` is the state that an aggregation of states counts.
    """

    alias: str
    items: tuple[ItemRow, ...]
    kind: str
    state: int
    shift: int
    """The series shows the value of so many buckets later; below zero, of buckets before."""
    together: str | None = None
    """The aggregation over the items of a group; None for a single item."""


@dataclass(frozen=True, slots=True)
class _Buckets:
    """The buckets of the window, with as many buckets before and after the window as the shifts need."""

    edges: tuple[tuple[int, int], ...]
    """(start, end) of each bucket, in µs."""
    first: int
    end: int
    """The buckets from index `first` to before index `end` are the buckets of the window."""


def evaluate(call: Call, frame_of: FrameOf) -> Done:
    """`clarify.evaluate`: the series of items, groups and calculations; `frame_of` makes their frame as JSON.

    Raises RpcError for wrong parameters, and RollupError if the states fill too many buckets.
    """
    data = read_data_query(call, data_frame=False)
    if data.rollup is None and not call.problems:
        call.problems.add("data.rollup", "must be set")
    include = read_include(call, ITEMS)
    layout = read_format(call, as_list=False)
    aliases: set[str] = set()
    stored = call.store.items()
    items = _read_items(call, stored, aliases)
    groups = _read_groups(call, stored, aliases)
    item_aliases = {wanted.alias for wanted in items}
    formulas = _read_calculations(call, aliases, item_aliases)
    refuse_if_wrong(call)
    assert data.rollup is not None  # noqa: S101 - refused above
    buckets = _buckets(call, data, data.rollup, [wanted.shift for wanted in (*items, *groups)])
    values: dict[str, Values] = {}
    for wanted in (*items, *groups):
        values[wanted.alias] = _computed(call, wanted, data.rollup, buckets)
    inside = buckets.edges[buckets.first : buckets.end]
    starts = [start / 1e6 for start, _ in inside]
    seconds = [(end - start) / 1e6 for start, end in inside]
    gaps = {wanted.alias: gap_us(wanted.items[0]) or _LONGEST_GAP for wanted in items}
    for alias, formula in formulas:

        def filled(name: str) -> Sequence[float | None]:
            return _gap_filled(values[name], inside, gaps[name])

        values[alias] = formula.evaluate(
            values, len(inside), time_seconds=starts, bucket_seconds=seconds, gapfill=filled
        )
    series: dict[str, Mapping[int, float]] = {
        alias: {start: value for (start, _), value in zip(inside, found, strict=True) if value is not None}
        for alias, found in values.items()
        if data.wants(alias)
    }
    used = {row.id: row for wanted in (*items, *groups) for row in wanted.items}
    included = [item_resource(row) for row in used.values()] if include else None
    frame = frame_of(series, data.last)
    shown = [frame] if layout.as_list else frame
    return Done(selection(call, layout, shown, included, total=-1, of_data=True))


# -- reading the parameters -----------------------------------------------------------------------


def _entries(call: Call, name: str, fields: frozenset[str], most: int | None) -> list[tuple[str, dict[str, object]]]:
    """(path, entry) of each object in the parameter `name`, a list of at most `most` objects with these fields."""
    given = call.params.get(name)
    if given is None:
        return []
    if not isinstance(given, list):
        call.problems.add(name, "must be an array")
        return []
    if most is not None and len(given) > most:
        call.problems.add(name, f"must have at most {most} entries")
    found = []
    for index, entry in enumerate(given):
        path = f"{name}.{index}"
        if not isinstance(entry, dict):
            call.problems.add(path, "must be an object")
            continue
        for field in entry.keys() - fields:
            call.problems.add(f"{path}.{field}", "unknown parameter")
        found.append((path, entry))
    return found


def _read_items(call: Call, stored: Mapping[str, ItemRow], aliases: set[str]) -> list[_Aggregation]:
    fields = {"id", "aggregation", "state", "lead", "lag", "alias"}
    if call.version.at_least("1.2alpha1"):
        fields |= {"timeAggregation", "engUnit"}
    found = []
    for path, entry in _entries(call, "items", frozenset(fields), None):
        item = entry.get("id")
        if not isinstance(item, str) or not RESOURCE_ID.fullmatch(item):
            call.problems.add(f"{path}.id", "not a valid item ID")
        elif item not in stored:
            call.problems.add(f"{path}.id", "no such item")
        rows = (stored[item],) if isinstance(item, str) and item in stored else ()
        kind = entry.get("timeAggregation", entry.get("aggregation"))
        found.append(_aggregation(call, path, entry, kind, rows, aliases))
    if len({row.id for wanted in found for row in wanted.items}) > _MOST_ITEMS:
        call.problems.add("items", f"at most {_MOST_ITEMS} different items")
    return found


def _read_groups(call: Call, stored: Mapping[str, ItemRow], aliases: set[str]) -> list[_Aggregation]:
    fields = {"filter", "query", "timeAggregation", "groupAggregation", "state", "lead", "lag", "alias", "engUnit"}
    found = []
    for path, entry in _entries(call, "groups", frozenset(fields), None):
        query = entry.get("filter")
        if "query" in entry:  # the parameter of versions before 1.2
            inner = entry["query"]
            query = inner.get("filter") if isinstance(inner, dict) else inner
        predicate = compile_filter(query, f"{path}.filter", call.problems)
        rows = tuple(row for row in stored.values() if predicate(fields_of(row)))
        together = entry.get("groupAggregation")
        if together not in ("count", "min", "max", "sum", "avg"):
            call.problems.add(f"{path}.groupAggregation", "must be one of count, min, max, sum, avg")
        wanted = _aggregation(call, path, entry, entry.get("timeAggregation"), rows, aliases)
        found.append(_Aggregation(wanted.alias, rows, wanted.kind, wanted.state, wanted.shift, together=str(together)))
    return found


def _aggregation(
    call: Call, path: str, entry: Mapping[str, object], kind: object, rows: tuple[ItemRow, ...], aliases: set[str]
) -> _Aggregation:
    problems = call.problems
    if isinstance(kind, str) and kind.startswith(_OLD_PREFIX):
        kind = "state-" + kind.removeprefix(_OLD_PREFIX)
    if kind not in (*_NUMERIC, *_OF_STATES):
        problems.add(f"{path}.aggregation", f"must be one of {', '.join((*_NUMERIC, *_OF_STATES))}")
    state = _integer(call, entry.get("state"), f"{path}.state", 0, 9999)
    if kind in _OF_STATES and state is None:
        problems.add(f"{path}.state", "missing required parameter")
    lead = _integer(call, entry.get("lead"), f"{path}.lead", -_MOST_OFFSET, _MOST_OFFSET) or 0
    lag = _integer(call, entry.get("lag"), f"{path}.lag", -_MOST_OFFSET, _MOST_OFFSET) or 0
    alias = _read_alias(call, entry, path, aliases)
    return _Aggregation(alias, rows, str(kind), state or 0, lead - lag)


def _integer(call: Call, value: object, path: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        call.problems.add(path, f"must be an integer from {least} to {most}")
        return None
    return value


def _read_alias(call: Call, entry: Mapping[str, object], path: str, aliases: set[str]) -> str:
    alias = entry.get("alias")
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
        call.problems.add(f"{path}.alias", "must be a letter or _, then up to 27 letters, digits or _")
    elif alias in VARIABLES:
        call.problems.add(f"{path}.alias", "is a name that every formula knows")
    elif alias in aliases:
        call.problems.add(f"{path}.alias", "is used twice")
    aliases.add(str(alias))
    return str(alias)


def _read_calculations(call: Call, aliases: set[str], item_aliases: set[str]) -> list[tuple[str, Formula]]:
    fields = {"formula", "alias"} | ({"engUnit"} if call.version.at_least("1.2alpha1") else set())
    found = []
    for path, entry in _entries(call, "calculations", frozenset(fields), _MOST_CALCULATIONS):
        known = set(aliases)  # a formula may use only the aliases before it
        alias = _read_alias(call, entry, path, aliases)
        text = entry.get("formula")
        if not isinstance(text, str):
            call.problems.add(f"{path}.formula", "must be a string")
            continue
        try:
            formula = parse(text)
        except FormulaError as error:
            call.problems.add(f"{path}.formula", str(error))
            continue
        for name in sorted(formula.names - known):
            call.problems.add(f"{path}.formula", f"unknown name {name!r}")
        for name in sorted(formula.gap_filled - item_aliases):
            call.problems.add(f"{path}.formula", f"gapfill takes the alias of an item, which {name!r} is not")
        found.append((alias, formula))
    return found


# -- computing ------------------------------------------------------------------------------------


def _buckets(call: Call, data: DataQuery, rollup: Rollup, shifts: Sequence[int]) -> _Buckets:
    if not rollup.is_window and (data.end_us - data.first_us) // rollup.shortest_us > _MOST_BUCKETS:
        call.problems.add("data.rollup", f"more than {_MOST_BUCKETS} buckets")
        refuse_if_wrong(call)
    inside = list(rollup.buckets(data.first_us, data.end_us))
    if rollup.is_window or not inside:
        return _Buckets(tuple(inside), 0, len(inside))
    before, after = max(0, -min(shifts, default=0)), max(0, max(shifts, default=0))
    while before > 0:
        start = rollup.start_of(inside[0][0] - 1)
        inside.insert(0, (start, inside[0][0]))
        before -= 1
    skipped = max(0, -min(shifts, default=0))
    count = len(inside) - skipped
    while after > 0:
        start = inside[-1][1]
        inside.append(next(iter(rollup.buckets(start, start + 1))))
        after -= 1
    return _Buckets(tuple(inside), skipped, skipped + count)


def _computed(call: Call, wanted: _Aggregation, rollup: Rollup, buckets: _Buckets) -> Values:
    """The values of one aggregation, one for each bucket of the window."""
    if wanted.together is None:
        return _of_item(call, wanted.items[0], wanted, rollup, buckets)
    columns = [_of_item(call, row, wanted, rollup, buckets) for row in wanted.items]
    together = []
    for index in range(buckets.end - buckets.first):
        there = [value for column in columns if (value := column[index]) is not None]
        together.append(_together(wanted.together, there))
    return together


def _together(kind: str, values: list[float]) -> float | None:
    if not values:
        return None
    if kind == "count":
        return float(len(values))
    if kind == "min":
        return min(values)
    if kind == "max":
        return max(values)
    return sum(values) if kind == "sum" else sum(values) / len(values)


def _of_item(call: Call, row: ItemRow, wanted: _Aggregation, rollup: Rollup, buckets: _Buckets) -> Values:
    if not buckets.edges:
        return []
    first, end = buckets.edges[0][0], buckets.edges[-1][1]
    stored_by = call.now - call.settings.read_delay
    samples = call.store.item_samples(row.id, first, end, stored_by)
    if wanted.kind in _NUMERIC:
        found: Mapping[int, float] = numeric(samples, rollup, first, end)[wanted.kind]
    else:
        before = call.store.item_neighbour(row.id, first, stored_by, before=True)
        held = [*filter(None, [before]), *samples]
        if wanted.kind == "state-rate":
            found = state_rate(held, rollup, first, end, wanted.state)
        else:
            found = states(held, rollup, first, end, gap_us=gap_us(row)).get(wanted.state, {})
            if wanted.kind == "state-percent":
                lengths = {start: (stop - start) / 1e6 for start, stop in buckets.edges}
                found = {start: 100 * seconds / lengths[start] for start, seconds in found.items()}
    values = [found.get(start) for start, _ in buckets.edges]
    shown = range(buckets.first + wanted.shift, buckets.end + wanted.shift)
    return [values[index] if 0 <= index < len(values) else None for index in shown]


def _gap_filled(values: Values, edges: Sequence[tuple[int, int]], gap: int) -> Values:
    """The values, with each missing value replaced by the last value before it.

    A value is used for at most `gap` µs after the start of its bucket.
    """
    filled: Values = []
    last: tuple[int, float] | None = None
    for (start, _), value in zip(edges, values, strict=True):
        if value is not None:
            last = (start, value)
        filled.append(last[1] if last is not None and start - last[0] <= gap else None)
    return filled
