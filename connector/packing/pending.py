"""Pending columns: every sample that waits, 24 bytes each, by input ID."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from connector.packing.frame import Column, without
from connector.records import Mapped


class Pending:
    """The samples that wait. Not safe for threads by itself: the pipeline's lock is around it."""

    def __init__(self) -> None:
        self.columns: dict[str, Column] = {}
        self.waiting = 0
        """Samples in the columns."""

    def add(self, token: int, mapped: Sequence[Mapped], now: float) -> None:
        """Add the samples of these records; `token` leads back to the first, `token + 1` to the second."""
        columns = self.columns
        appends: dict[str, tuple[Callable[[int], None], Callable[[float], None], Callable[[int], None]]] = {}
        added = 0
        for result in mapped:
            samples = result.samples
            for input_id, time_us, value in samples:
                known = appends.get(input_id)
                if known is None:
                    column = columns.get(input_id)
                    if column is None:
                        column = columns[input_id] = Column(array("q"), array("d"), array("q"), now)
                    known = appends[input_id] = (column.times.append, column.values.append, column.tokens.append)
                add_time, add_value, add_token = known
                add_time(time_us)
                add_value(value)
                add_token(token)
            added += len(samples)
            token += 1
        self.waiting += added

    def oldest(self) -> float | None:
        """When the sample that has waited longest arrived, on the caller's clock; None if nothing waits."""
        return min((column.since for column in self.columns.values()), default=None)

    def take(self, plan: Mapping[str, int]) -> dict[str, Column]:
        """Take the first n samples of each input named by the plan out of the columns."""
        taken = {}
        for input_id, n in plan.items():
            column = self.columns[input_id]
            if n == len(column.times):
                taken[input_id] = self.columns.pop(input_id)
            else:
                taken[input_id] = column.head(n)
                self.columns[input_id] = column.tail(n)
            self.waiting -= n
        return taken

    def drop(self, lost: Callable[[int], bool]) -> Counter[int]:
        """Drop the samples whose token is `lost`; how many of each such token those were."""
        self.columns, dropped = without(self.columns, lost)
        self.waiting -= dropped.total()
        return dropped
