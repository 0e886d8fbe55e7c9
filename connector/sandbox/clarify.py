"""The `clarify` namespace: selecting items, and reading their data. evaluate.py has `clarify.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Final

from connector.sandbox.data_query import DataQuery, read_data_query
from connector.sandbox.evaluate import evaluate
from connector.sandbox.frames import time_text
from connector.sandbox.method import Call, Done, Method, Parameter
from connector.sandbox.problems import Problems
from connector.sandbox.queries import ITEMS, laid_out, read_format, read_include, read_query, refuse_if_wrong, selection
from connector.sandbox.resources import item_resource
from connector.sandbox.rollups import numeric, states
from connector.sandbox.series import gap_us, item_samples
from connector.sandbox.store import ItemRow

_NEW: Final = "1.2alpha1"
_BEFORE: Final = "1.1beta1"
_MOST_ITEMS: Final = 1000
_DEFAULT_ITEMS: Final = 20
_MOST_SERIES: Final = 50
_DEFAULT_SERIES: Final = 10
_ROLLED_UP: Final = ("count", "min", "max", "sum", "avg")
_FORMAT: Final = Parameter("format")
_INTEGRATION: Final = Parameter("integration")
"""The documentation has this parameter in its examples, but in no table of parameters."""

_NAMES_BEFORE: Final = {
    "data.filter.times.$gte": "data.notBefore",
    "data.filter.times.$lt": "data.before",
    "data.filter.times": "data",
    "valueType": "type",
}
"""The names of today → the names of 1.1beta1."""

Series = dict[str, Mapping[int, float]]
"""Series key → time in µs → value."""


def select_items(call: Call) -> Done:
    """`clarify.selectItems`: the selected items of the organisation."""
    if call.params.keys() & {"items", "data"}:
        return _items_and_data(call)
    query = read_query(call, default=_DEFAULT_ITEMS, most=_MOST_ITEMS)
    read_include(call, ())
    layout = read_format(call, as_list=True)
    refuse_if_wrong(call)
    rows, total = query.select(list(call.store.items().values()))
    return Done(selection(call, layout, laid_out([item_resource(row) for row in rows], layout), None, total=total))


def _items_and_data(call: Call) -> Done:
    """`clarify.selectItems` of 1.1beta1: items and their data in one answer.

    Sources: Clarify's JavaScript client, and mock answers of PyClarify 0.3. Assumed: `items` is a map by ID. What was
    not included is null.
    """
    for name in call.params.keys() & {"query", "include", "format"}:
        call.problems.add(name, "not together with items and data")
    with_items, items = _read_part(call, "items", {"filter", "limit", "skip"})
    with_data, data = _read_part(call, "data", {"notBefore", "before", "rollup"})
    most = _MOST_SERIES if with_data else _MOST_ITEMS
    query = read_query(replace(call, params={"items": items}), default=_DEFAULT_SERIES, most=most, name="items")
    times = {"$gte": data.get("notBefore"), "$lt": data.get("before")}
    as_now = {"data": {"filter": {"times": times}, "rollup": data.get("rollup")}}
    found = Problems()
    data_query = read_data_query(replace(call, params=as_now, problems=found), data_frame=True)
    for path, messages in found.messages.items():
        for message in messages:
            call.problems.add(_NAMES_BEFORE.get(path, path), message)
    refuse_if_wrong(call)
    rows, _ = query.select(list(call.store.items().values()))
    series: Series = {}
    for row in rows if with_data else ():
        series |= _series_of(call, row, data_query)
    shown = {row.id: _item_before(row) for row in rows}
    return Done({"items": shown if with_items else None, "data": frame_of(series, -1) if with_data else None})


def _read_part(call: Call, name: str, fields: Set[str]) -> tuple[bool, Mapping[str, object]]:
    """(`include` of a part of the parameters of 1.1beta1, its other fields)."""
    given = call.params.get(name) or {}
    if not isinstance(given, dict):
        call.problems.add(name, "must be an object")
        return False, {}
    for field in given.keys() - fields - {"include"}:
        call.problems.add(f"{name}.{field}", "unknown parameter")
    include = given.get("include")
    if include not in (None, True, False):
        call.problems.add(f"{name}.include", "must be true or false")
    return include is True, {field: given[field] for field in fields & given.keys()}


def _item_before(row: ItemRow) -> dict[str, object]:
    """The view of an item in 1.1beta1."""
    attributes = {_NAMES_BEFORE.get(name, name): value for name, value in row.attributes.items()}
    return {**attributes, "annotations": dict(row.annotations)}


def data_frame(call: Call) -> Done:
    """`clarify.dataFrame`: the data of the selected items, as stored or rolled up."""
    # 1.2beta1 refused query.total here; 1.1.2 and 1.2.0 took it.
    with_total = call.version.selector != "1.2beta1"
    query = read_query(call, default=_DEFAULT_SERIES, most=_MOST_SERIES, with_total=with_total)
    data = read_data_query(call, data_frame=True)
    include = read_include(call, ITEMS)
    layout = read_format(call, as_list=False)
    refuse_if_wrong(call)
    rows, total = query.select(list(call.store.items().values()))
    series: Series = {}
    for row in rows:
        series |= _series_of(call, row, data)
    wanted = {key: values for key, values in series.items() if data.wants(key)}
    frame = frame_of(wanted, data.last)
    included = [item_resource(row) for row in rows] if include else None
    shown = [frame] if layout.as_list else frame
    return Done(selection(call, layout, shown, included, total=total, of_data=True))


def _series_of(call: Call, row: ItemRow, data: DataQuery) -> Series:
    samples = item_samples(call, row, data)
    if data.rollup is None:
        return {row.id: dict(samples)}
    if row.attributes["valueType"] == "enum":
        before = call.store.item_neighbour(row.id, data.first_us, call.now - call.settings.read_delay, before=True)
        held = [*([before] if before is not None else []), *samples]
        spent = states(held, data.rollup, data.first_us, data.end_us, gap_us=gap_us(row))
        return {f"{row.id}_{state}": seconds for state, seconds in spent.items()}
    rolled_up = numeric(samples, data.rollup, data.first_us, data.end_us)
    return {f"{row.id}_{name}": rolled_up[name] for name in _ROLLED_UP}


def frame_of(series: Series, last: int) -> dict[str, object]:
    """The data frame of these series as JSON, with sorted times; null where a series has no value.

    With `last` above 0, the frame has only the last `last` values of each series.
    """
    if last > 0:
        series = {key: {time: values[time] for time in sorted(values)[-last:]} for key, values in series.items()}
    times = sorted({time for values in series.values() for time in values})
    return {
        "times": list(map(time_text, times)),
        "series": {key: [values.get(time) for time in times] for key, values in series.items()},
    }


METHODS = (
    Method(
        name="clarify.selectItems",
        nickname="select_items",
        aliases=(("clarify.items.select", _NEW),),
        function=select_items,
        parameters=(
            Parameter("query"),
            Parameter("include"),
            _FORMAT,
            _INTEGRATION,
            Parameter("items", only=_BEFORE),
            Parameter("data", only=_BEFORE),
        ),
        rate=10.0,
    ),
    Method(
        name="clarify.dataFrame",
        nickname="data_frame",
        function=data_frame,
        parameters=(Parameter("query"), Parameter("data"), Parameter("include"), _FORMAT, _INTEGRATION),
    ),
    Method(
        name="clarify.evaluate",
        nickname="evaluate",
        function=lambda call: evaluate(call, frame_of),
        parameters=(
            Parameter("items"),
            Parameter("calculations"),
            Parameter("data", required=True),
            Parameter("include"),
            _FORMAT,
            Parameter("groups", since=_NEW),
            _INTEGRATION,
        ),
    ),
)
