"""Figures and their goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

Measured = TypeVar("Measured")


class Goal(NamedTuple, Generic[Measured]):
    """A figure and its bound."""

    name: str
    bound: float
    value: Callable[[Measured], float]
    """Raises KeyError where the figure was not measured."""
    at_least: bool = False
    """Whether the bound is the least; otherwise it is the most."""


def compared(goals: Iterable[Goal[Measured]], measured: Measured) -> list[dict[str, object]]:
    """A row for each goal: `name`, `value`, `goal`, and whether the goal is `met`. `value` and `met` are None where the
    figure was not measured."""
    rows: list[dict[str, object]] = []
    for goal in goals:
        value = met = None
        with suppress(KeyError):
            value = round(goal.value(measured), 3)
            met = value >= goal.bound if goal.at_least else value <= goal.bound
        bound = f"{'≥' if goal.at_least else '≤'} {goal.bound:g}"
        rows.append({"name": goal.name, "value": value, "goal": bound, "met": met})
    return rows


def lines(rows: Iterable[dict[str, object]]) -> list[str]:
    """The rows as a table; in the last line, what was not measured."""
    table: list[str] = []
    missing: list[str] = []
    for row in rows:
        if row["value"] is None:
            missing.append(str(row["name"]))
        else:
            said = "met" if row["met"] else "MISSED"
            table.append(f"{row['name']:66} {row['value']:>9,}  goal {row['goal']:6} {said}")
    return [*table, f"not measured: {'; '.join(missing)}"] if missing else table
