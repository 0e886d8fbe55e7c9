"""The planner: which waiting samples make the next frame.

A plan says for each input how many of its oldest-arrived samples go; its frame is at most `max_bytes` long,
to the byte, because sizes are computed from the encoded digits. All that waits goes if it fits. Otherwise
inputs with the same times go together (they cost no nulls among each other), the longest-waiting group
first, each with its whole backlog, as long as the frame holds them. A group too large for a frame of its
own is cut by time, and if a single row of it is too large, by series.

With R rows and C series: bytes = envelope + times + keys + digits + commas + 5 · (R · C - samples).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.packing.frame import ENVELOPE, Column, TimeTexts, encode_cells

Plan = dict[str, int]
"""Input ID → how many of its waiting samples go, from the oldest arrival on."""

_TRIES = 32
"""Groups that did not fit in a row before the frame counts as full."""


@dataclass(slots=True)
class _Group:
    """Inputs that have exactly the same waiting times."""

    inputs: list[str]
    times: frozenset[int]
    since: float
    key_bytes: int = 0
    digit_bytes: int = 0


class _Size:
    """The exact size of the frame that is being filled."""

    def __init__(self) -> None:
        self._text = TimeTexts()
        self._rows: set[int] = set()
        self._time_bytes = 0
        self._series = 0
        self._values = 0
        self._fixed = ENVELOPE

    def with_group(self, group: _Group) -> tuple[int, int]:
        """(bytes of the frame with this group in it, bytes of the times that it adds)."""
        new = group.times - self._rows
        added = sum(len(self._text(time_us)) + 3 for time_us in sorted(new))
        rows = len(self._rows) + len(new)
        series = self._series + len(group.inputs)
        values = self._values + len(group.times) * len(group.inputs)
        # Commas: rows - 1 in the times (counted in the 3 above), rows - 1 in each series, series - 1 between.
        commas = series * (rows - 1) + series - 1 - 1
        nulls = 4 * (rows * series - values)
        fixed = self._fixed + group.key_bytes + group.digit_bytes
        return fixed + self._time_bytes + added + commas + nulls, added

    def add(self, group: _Group, time_bytes: int) -> None:
        """Take the group in."""
        self._rows |= group.times
        self._time_bytes += time_bytes
        self._series += len(group.inputs)
        self._values += len(group.times) * len(group.inputs)
        self._fixed += group.key_bytes + group.digit_bytes


def plan_frame(columns: Mapping[str, Column], max_bytes: int) -> Plan:
    """The next frame's plan out of what waits: empty if nothing waits, never above `max_bytes`."""
    size = _Size()
    plan: Plan = {}
    refused = 0
    for group in _groups(columns):
        total, added = size.with_group(group)
        if total <= max_bytes:
            size.add(group, added)
            plan.update((input_id, len(columns[input_id].times)) for input_id in group.inputs)
            refused = 0
        elif not plan:
            return _cut(columns, group, max_bytes)
        else:
            refused += 1
            if refused == _TRIES:
                break
    return plan


def _groups(columns: Mapping[str, Column]) -> list[_Group]:
    by_times: dict[bytes, _Group] = {}
    for input_id, column in columns.items():
        identity = column.times.tobytes()
        group = by_times.get(identity)
        if group is None:
            group = by_times[identity] = _Group([], frozenset(column.times), column.since)
        group.inputs.append(input_id)
        group.since = min(group.since, column.since)
        group.key_bytes += len(input_id) + len('"":[]')
        group.digit_bytes += _digits(column)
    return sorted(by_times.values(), key=lambda group: group.since)


def _digits(column: Column) -> int:
    """Bytes of the column's values, without brackets and commas; of two at one time only the later counts."""
    values = column.values.tolist()
    if len(set(column.times)) < len(values):
        values = list(dict(zip(column.times, values, strict=True)).values())
    return len(encode_cells(values)) - 1 - len(values)


def _cut(columns: Mapping[str, Column], group: _Group, max_bytes: int) -> Plan:
    """The largest part of a group that fits into a frame by itself: fewer rows, then fewer series."""
    inputs = group.inputs
    while True:
        rows = _most_rows(columns, inputs, max_bytes)
        if rows or len(inputs) == 1:
            # A single sample always goes, whatever max_bytes says: the configuration keeps it large enough.
            return dict.fromkeys(inputs, max(rows, 1))
        inputs = inputs[: len(inputs) // 2]


def _most_rows(columns: Mapping[str, Column], inputs: list[str], max_bytes: int) -> int:
    low, high = 0, len(columns[inputs[0]].times)
    while low < high:
        middle = (low + high + 1) // 2
        heads = {input_id: columns[input_id].head(middle) for input_id in inputs}
        (group,) = _groups(heads)
        if _Size().with_group(group)[0] <= max_bytes:
            low = middle
        else:
            high = middle - 1
    return low
