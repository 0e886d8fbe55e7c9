"""Figures and their goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    """A row for each goal whose figure was measured: `name`, `value`, `goal`, and whether the goal is `met`."""
    rows: list[dict[str, object]] = []
    for goal in goals:
        try:
            value = round(goal.value(measured), 3)
        except KeyError:
            continue
        met = value >= goal.bound if goal.at_least else value <= goal.bound
        rows.append({"name": goal.name, "value": value, "goal": f"{'≥' if goal.at_least else '≤'} {goal.bound:g}"})
        rows[-1]["met"] = met
    return rows


def lines(rows: Iterable[dict[str, object]]) -> list[str]:
    """The rows as a table."""
    return [
        f"{row['name']:66} {row['value']:>9,}  goal {row['goal']:6} {'met' if row['met'] else 'MISSED'}" for row in rows
    ]
