"""The plan of `publish --plan`, as a table, in sentences, and in JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.metadata.item_plan import LineStatus, PlanLine
from connector.terminal.tables import write_table
from connector.terminal.text import say

_MOST_SAID: Final = 50
"""The most lines about things that are not as planned; JSON has all."""


def line_as_json(line: PlanLine) -> dict[str, object]:
    """Returns the line for programs; `told` and `--as-planned` read the same form."""
    return {
        "input": line.input_id,
        "status": str(line.status),
        "reason": line.reason or None,
        "signal": line.signal,
        "item": line.item,
        "changes": {name: {"before": before, "after": after} for name, (before, after) in line.changes.items()},
    }


def write_lines(lines: Sequence[PlanLine]) -> None:
    """Write the lines as a table, without those that are unchanged."""
    rows = [
        (line.status.replace("_", " "), line.input_id, line.item or "", _change(line))
        for line in lines
        if line.status is not LineStatus.UNCHANGED
    ]
    if rows:
        write_table(("status", "input", "item", "change"), rows, sys.stdout)


def _change(line: PlanLine) -> str:
    is_new = line.item is None
    said = [line.reason] if line.reason else []
    for name, (before, after) in line.changes.items():
        then = json.dumps(after, ensure_ascii=False)
        said.append(f"{name} {then}" if is_new else f"{name} {json.dumps(before, ensure_ascii=False)} → {then}")
    return "; ".join(said)


def told(line: Mapping[str, Any] | None) -> str:
    """Returns what a line in JSON says, for a sentence; None stands for no line."""
    if line is None:
        return "nothing"
    said = [line["status"].replace("_", " "), line.get("reason") or ""]
    said += [
        f"{name} {json.dumps(one['after'], ensure_ascii=False)}" for name, one in (line.get("changes") or {}).items()
    ]
    return ", ".join(filter(None, said))


def counts_of(lines: Sequence[PlanLine]) -> dict[LineStatus, int]:
    """Returns the number of lines with each status."""
    counted = Counter(line.status for line in lines)
    return {status: counted[status] for status in LineStatus}


def say_some(texts: Sequence[str]) -> None:
    """Say the texts on the standard error, and how many more there are above a bound."""
    for text in texts[:_MOST_SAID]:
        say(text, err=True)
    if len(texts) > _MOST_SAID:
        say(f"… and {len(texts) - _MOST_SAID} more", err=True)
