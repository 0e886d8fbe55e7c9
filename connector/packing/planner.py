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

from connector.packing.frame import ENVELOPE, Column, TimeTexts, encode_cells

Plan = dict[str, int]
"""Input ID → how many of its waiting samples go, from the oldest arrival on."""

_TRIES = 32
"""Groups that did not fit in a row before the frame counts as full."""


class _Group:
    """Inputs that have exactly the same waiting times. What is costly to know is found out when asked for."""

    __slots__ = ("_columns", "inputs", "since")

    def __init__(self, columns: Mapping[str, Column], first: str) -> None:
        self._columns = columns
        self.inputs = [first]
        self.since = columns[first].since

    def add(self, input_id: str) -> None:
        """Take another input with the same times in."""
        self.inputs.append(input_id)
        self.since = min(self.since, self._columns[input_id].since)

    def times(self) -> frozenset[int]:
        """Its distinct times."""
        return frozenset(self._columns[self.inputs[0]].times)

    def fixed_bytes(self) -> int:
        """Bytes of its keys and values, without the commas between the values and without nulls."""
        keys = sum(len(input_id) + len('"":[]') for input_id in self.inputs)
        return keys + sum(_digits(self._columns[input_id]) for input_id in self.inputs)


class _Size:
    """The exact size of the frame that is being filled."""

    def __init__(self) -> None:
        self._text = TimeTexts()
        self._rows: set[int] = set()
        self._time_bytes = 0
        self._series = 0
        self._values = 0
        self._fixed = ENVELOPE

    def take(self, group: _Group, max_bytes: int) -> bool:
        """Take the group in if the frame then has at most `max_bytes`; says whether it did."""
        times = group.times()
        new = times - self._rows
        rows = len(self._rows) + len(new)
        series = self._series + len(group.inputs)
        values = self._values + len(times) * len(group.inputs)
        # Commas: rows - 1 in the times (counted with them), rows - 1 in each series, series - 1 between.
        commas = series * (rows - 1) + series - 1 - 1
        nulls = 4 * (rows * series - values)
        if self._fixed + self._time_bytes + commas + nulls > max_bytes:
            return False  # without looking at the digits
        time_bytes = self._time_bytes + sum(len(self._text(time_us)) + 3 for time_us in sorted(new))
        fixed = self._fixed + group.fixed_bytes()
        if fixed + time_bytes + commas + nulls > max_bytes:
            return False
        self._rows |= new
        self._time_bytes, self._series, self._values, self._fixed = time_bytes, series, values, fixed
        return True


def plan_frame(columns: Mapping[str, Column], max_bytes: int) -> Plan:
    """The next frame's plan out of what waits: empty if nothing waits, never above `max_bytes`."""
    size = _Size()
    plan: Plan = {}
    refused = 0
    for group in _groups(columns):
        if size.take(group, max_bytes):
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
            by_times[identity] = _Group(columns, input_id)
        else:
            group.add(input_id)
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
        if _Size().take(group, max_bytes):
            low = middle
        else:
            high = middle - 1
    return low
