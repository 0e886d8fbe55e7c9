"""Plots: in the terminal with braille dots, or as a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, by row and column."""
_BLANK: Final = 0x2800
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Series = Mapping[str, Sequence[tuple[int, float]]]
"""Title → (time in µs, value), sorted by time."""


def draw(series: Series, width: int, height: int = 8) -> str:
    """Each series as a chart of its own, below one another, at most `width` characters wide."""
    return "\n".join(_chart(title, points, width, height) for title, points in series.items())


def _chart(title: str, points: Sequence[tuple[int, float]], width: int, height: int) -> str:
    if not points:
        return f"{title}: no values\n"
    first, last = points[0][0], points[-1][0]
    low, high = min(value for _, value in points), max(value for _, value in points)
    labels = (f"{high:g}", f"{low:g}")
    margin = max(map(len, labels)) + 1
    columns = max(10, width - margin - 1)
    grid = [[0] * columns for _ in range(height)]
    before: tuple[int, int] | None = None
    for time_us, value in points:
        x = round((time_us - first) / (last - first) * (columns * 2 - 1)) if last > first else 0
        y = round((high - value) / (high - low) * (height * 4 - 1)) if high > low else height * 2
        for at, up in _line(before, (x, y)):
            grid[up // 4][at // 2] |= _DOTS[up % 4][at % 2]
        before = (x, y)
    lines = [title[:width]]
    for row, cells in enumerate(grid):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin - 1}} │" + "".join(chr(_BLANK + cell) for cell in cells).rstrip("\u2800"))
    start, end = _shown(first), _shown(last)
    lines.append(" " * margin + "└" + "─" * columns)
    lines.append(" " * (margin + 1) + start + end.rjust(max(0, columns - len(start))))
    return "\n".join(lines) + "\n"


def _line(before: tuple[int, int] | None, now: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one point to the next."""
    if before is None:
        return [now]
    steps = max(abs(now[0] - before[0]), abs(now[1] - before[1]), 1)
    return [
        (before[0] + (now[0] - before[0]) * step // steps, before[1] + (now[1] - before[1]) * step // steps)
        for step in range(steps + 1)
    ]


def _shown(time_us: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=time_us):%Y-%m-%d %H:%M:%SZ}"


def write_png(series: Series, path: Path) -> None:
    """All series in one picture. ImportError says how to get what it takes."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package
    except ImportError:
        raise ImportError("a PNG needs matplotlib: pip install 'clarify-connector[plot]'") from None
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots()
    for title, points in series.items():
        times: list[Any] = [_EPOCH + timedelta(microseconds=time_us) for time_us, _ in points]
        axes.plot(times, [value for _, value in points], label=title, linewidth=1, marker=".", markersize=2)
    axes.grid(visible=True, alpha=0.3)
    axes.set_xlabel("UTC")
    if series:
        axes.legend(loc="best", fontsize="small")
    figure.autofmt_xdate()
    figure.savefig(path, format="png", dpi=120)
