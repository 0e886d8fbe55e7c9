"""The names of the series of a data frame, and the charts of a data frame: one chart for each item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from connector.clarify import DataFrame, DataSelection, ItemResource

Points: TypeAlias = Sequence[tuple[int, float]]
"""(time in µs, value), sorted by time."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One item over time."""

    title: str
    lines: Mapping[str, Points]
    """Label → points; the label is empty if the chart has a single line."""
    band: tuple[Points, Points] | None = None
    """For a rollup: the least and the greatest values around the line."""
    levels: Mapping[int, str] = field(default_factory=dict)
    """For an item with states: value → text of the state. A value holds until the next value."""
    is_share: bool = False
    """Whether the values are the seconds spent in each state."""


def titled(selection: DataSelection) -> DataFrame:
    """Return the frame with names for IDs and texts for states; items with equal names also have their IDs."""
    titles = _titles(selection)
    items = _items(selection)
    series = {}
    for key, values in selection.data.columns.items():
        item, _, rest = key.partition("_")
        part = _state(items.get(item), rest)
        series[f"{titles.get(item, item)} {part}" if part else titles.get(item, item)] = values
    return DataFrame.from_us(selection.data.times_us, series)


def charts(selection: DataSelection, *, names: bool) -> list[Chart]:
    """Return one chart for each item.

    For a rollup, the chart has the average with the least and the greatest values, or the time in each state.
    """
    titles = _titles(selection) if names else {}
    items = _items(selection)
    parts: dict[str, dict[str, Points]] = {}
    for key, values in selection.data.columns.items():
        item, _, rest = key.partition("_")
        points = [(t, v) for t, v in zip(selection.data.times_us, values, strict=True) if v is not None]
        parts.setdefault(item, {})[rest] = points
    return [_chart(titles.get(item, item), items.get(item), found) for item, found in parts.items()]


def _chart(title: str, item: ItemResource | None, parts: Mapping[str, Points]) -> Chart:
    if item is not None and item.attributes.eng_unit:
        title = f"{title} ({item.attributes.eng_unit})"
    if "" in parts:
        is_enum = item is not None and item.attributes.value_type == "enum"
        states = {int(value): text for value, text in item.attributes.enum_values.items()} if item and is_enum else {}
        if is_enum:
            states |= {int(value): str(int(value)) for _, value in parts[""] if int(value) not in states}
        return Chart(title, {"": parts[""]}, levels=states)
    if "avg" in parts:
        band = (parts["min"], parts["max"]) if {"min", "max"} <= parts.keys() else None
        return Chart(title, {"avg": parts["avg"]}, band=band)
    times = sorted({time_us for points in parts.values() for time_us, _ in points})
    shares = {}
    for part, points in parts.items():  # a state without a value in a bucket took 0 s of the bucket
        spent = dict(points)
        shares[_state(item, part)] = [(time_us, spent.get(time_us, 0.0)) for time_us in times]
    return Chart(title, shares, is_share=True)


def _items(selection: DataSelection) -> dict[str, ItemResource]:
    return {one.id: one for one in (selection.included.items if selection.included else [])}


def _titles(selection: DataSelection) -> dict[str, str]:
    """Return a map from item ID to the item's name, with the ID behind the name if another item has the same name."""
    names = {item: one.attributes.name for item, one in _items(selection).items()}
    taken = Counter(names.values())
    return {item: name if taken[name] == 1 else f"{name} ({item})" for item, name in names.items()}


def _state(item: ItemResource | None, part: str) -> str:
    """Return the name of a part of a rollup; for an item with states, the text of the state."""
    return part if item is None else item.attributes.enum_values.get(part, part)
