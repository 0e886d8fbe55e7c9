"""Plots: in the terminal with braille dots, or as a PNG file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from connector.commands.clarify.charts import Chart, Points
from connector.terminal.text import shown

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, by row and column."""
_BLANK: Final = 0x2800
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_IN_PICTURE: Final = 100
"""Most charts of one picture: programs do not show pictures with more."""
_INCHES: Final = 2.6
"""Height of one chart of a picture."""


def draw(charts: Sequence[Chart], width: int, height: int = 8) -> str:
    """Return the text of one chart for each line, one below the other, at most `width` characters wide."""
    drawn = []
    for chart in charts:
        for label, points in chart.lines.items():
            title = f"{chart.title} {label}" if label else chart.title
            title += ", seconds" if chart.is_share else ""
            drawn.append(_chart(title, _held(points) if chart.levels else points, width, height))
    return "\n".join(drawn)


def _chart(title: str, points: Points, width: int, height: int) -> str:
    if not points:
        return f"{shown(title)}: no values\n"
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
    lines = [shown(title)[:width]]
    for row, cells in enumerate(grid):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin - 1}} │" + "".join(chr(_BLANK + cell) for cell in cells).rstrip("\u2800"))
    start, end = _shown(first), _shown(last)
    lines.append(" " * margin + "└" + "─" * columns)
    lines.append(" " * (margin + 1) + start + end.rjust(max(0, columns - len(start))))
    return "\n".join(lines) + "\n"


def _held(points: Points) -> Points:
    """Return the points with corners between the points: each value holds until the next value."""
    held = list(points[:1])
    for time_us, value in points[1:]:
        held += [(time_us, held[-1][1]), (time_us, value)]
    return held


def _line(before: tuple[int, int] | None, now: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots from one point to the next point."""
    if before is None:
        return [now]
    steps = max(abs(now[0] - before[0]), abs(now[1] - before[1]), 1)
    return [
        (before[0] + (now[0] - before[0]) * step // steps, before[1] + (now[1] - before[1]) * step // steps)
        for step in range(steps + 1)
    ]


def _shown(time_us: int) -> str:
    return f"{_moment(time_us):%Y-%m-%d %H:%M:%SZ}"


def _moment(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)


def write_png(charts: Sequence[Chart], path: Path) -> None:
    """Write all charts into one picture, one below the other, with the same time axis.

    Raises ImportError if matplotlib is missing, ValueError for too many charts, and OSError.
    """
    try:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - an optional package
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise ImportError("a PNG needs matplotlib: in a checkout of the connector, run pip install '.[plot]'") from None
    if len(charts) > _MOST_IN_PICTURE:
        raise ValueError(f"a picture has room for {_MOST_IN_PICTURE} items, not {len(charts)}: choose with --filter")
    rows = max(1, len(charts))
    figure = Figure(figsize=(12, 0.6 + _INCHES * rows), layout="constrained")
    panels: list[Any] = list(figure.subplots(rows, sharex=True, squeeze=False)[:, 0])
    for chart, axes in zip(charts, panels, strict=False):
        _panel(chart, axes)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panels[-1].set_xlabel("UTC")
    figure.savefig(path, format="png", dpi=120)


def _panel(chart: Chart, axes: Any) -> None:
    axes.set_title(chart.title, loc="left", fontsize="medium")
    axes.grid(visible=True, alpha=0.3)
    if chart.is_share:
        _panel_of_shares(chart, axes)
        return
    (points,) = chart.lines.values()
    style = {"drawstyle": "steps-post"} if chart.levels else {}
    label = next(iter(chart.lines)) or None
    axes.plot(*_xy(points), linewidth=1, marker=".", markersize=3, label=label, **style)
    if chart.band is not None:
        times, low = _xy(chart.band[0])
        axes.fill_between(times, low, _xy(chart.band[1])[1], alpha=0.2, linewidth=0, label="min to max")
        axes.legend(loc="best", fontsize="small")
    if chart.levels:
        axes.set_yticks(list(chart.levels), list(chart.levels.values()))


def _panel_of_shares(chart: Chart, axes: Any) -> None:
    """Draw the seconds in each state as a stack."""
    columns = [_xy(points) for points in chart.lines.values()]
    if columns:
        heights = [column[1] for column in columns]
        axes.stackplot(columns[0][0], *heights, labels=list(chart.lines), step="post", alpha=0.7)
        axes.legend(loc="best", fontsize="small")
    axes.set_ylabel("seconds", fontsize="small")


def _xy(points: Points) -> tuple[list[datetime], list[float]]:
    return [_moment(time_us) for time_us, _ in points], [value for _, value in points]
