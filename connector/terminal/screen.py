"""A screen of a given number of columns and lines: rows of exactly one line each, and text for numbers.

A section is a heading and its rows. So its height is known, and nothing wraps: text that does not fit ends in an
ellipsis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.style import Style
from rich.table import Table
from rich.text import Text

from connector.terminal.rates import Rates
from connector.terminal.text import shown

WIDE: Final = 130
"""From this number of columns on, a screen has room for more."""
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
HEADING: Final = Style(bold=True, color="cyan")
DIM: Final = Style(dim=True)
GOOD: Final = Style(bold=True, color="green")
BAD: Final = Style(bold=True, color="red")
WARNING: Final = Style(color="yellow")
OUTCOMES: Final = (
    ("received", "received"),
    ("inserted", "= inserted"),
    ("dead_lettered", "+ dead-lettered"),
    ("filtered", "+ filtered"),
    ("superseded", "+ superseded"),
    ("waiting", "+ waiting"),
)
"""(name in an account, title) of the number that came in, and of each outcome."""

Justify = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    width: int | None = None
    """In cells; None takes the rest of the line."""
    justify: Justify = "left"
    style: Style | str = ""


class LiveScreen:
    """A screen that fills the terminal, and that `draw` draws anew in the present size of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self, render: Callable[[int, int], RenderableType]) -> None:
        """Draw what `render` returns for a number of columns and lines."""
        size = self._console.size
        self._live.update(render(size.width, size.height), refresh=True)


def live_console() -> Console | None:
    """Return the console of standard output; None if it is no terminal that can show a screen."""
    console = Console()
    return console if sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal else None


def flow(rates: Rates, history: Sequence[Rates], oldest_seconds: float, width: int) -> Text:
    """One line: what comes in, what goes out, and the age of the oldest waiting sample."""
    line = Text().append(" in ", style=DIM)
    line.append(f"{rate_text(rates.messages_in)} msg/s, {rate_text(rates.samples_in)} samples/s")
    line.append("  out ", style=DIM)
    line.append(f"{rate_text(rates.samples_out)} samples/s, {rate_text(rates.frames)} frames/s")
    line.append("  oldest ", style=DIM)
    line.append(f"{oldest_seconds:.1f} s")
    if width >= WIDE and len(history) > 1:
        trend = Text().append("in ", style=DIM)
        trend.append(bars([r.samples_in for r in history], 16), style=GOOD)
        trend.append(" out ", style=DIM)
        trend.append(bars([r.samples_out for r in history], 16), style=GOOD)
        trend.append(" ")
        return ends(line, trend, width)
    return ends(line, Text(), width)


def account(messages: Mapping[str, int], samples: Mapping[str, int], balanced: bool, width: int) -> RenderableType:
    """The account in three lines, with the numbers of each name in `OUTCOMES`."""
    wide = width >= WIDE
    widths = [len(title) + (4 if wide else 1) for _, title in OUTCOMES]
    columns = [Column("LEDGER " + ("✓" if balanced else "✗"), 9)]
    columns += [Column(title, size, "right") for (_, title), size in zip(OUTCOMES, widths, strict=True)]
    rows = []
    for name, found in (("messages", messages), ("samples", samples)):
        numbers = [found.get(outcome, 0) for outcome, _ in OUTCOMES]
        rows.append([name, *(_fitting(number, size) for number, size in zip(numbers, widths, strict=True))])
    if wide:
        columns.append(Column("", style=GOOD if balanced else BAD))
        rows[0].append("")
        rows[1].append("  balances" if balanced else "  DOES NOT BALANCE")
    return table(columns, rows, 2, width if wide else min(width, 9 + sum(widths)))


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], lines: int, width: int) -> Table:
    """A table with a heading and exactly `lines` rows of one line each, `width` cells wide."""
    made = Table(box=None, padding=0, pad_edge=False, width=width, header_style=HEADING, show_edge=False)
    fixed = sum(column.width for column in columns if column.width is not None)
    for column in columns:
        made.add_column(
            _cell(column.title),
            width=max(1, width - fixed) if column.width is None else column.width,
            justify=column.justify,
            style=column.style,
            no_wrap=True,
            overflow="ellipsis",
        )
    used = 0
    for row in rows:
        made.add_row(*map(_cell, row))
        used += 1
    for _ in range(lines - used):
        made.add_row(*("" for _ in columns))
    return made


def _cell(text: str) -> Text:
    """The text of a cell, after one space, which separates the cell from its neighbour or from the edge."""
    return Text(f" {shown(text)}" if text else "", overflow="ellipsis", no_wrap=True)


def ends(left: Text, right: Text, width: int) -> Text:
    """One line with `left` at its begin and `right` at its end; `left` is cut if they do not both fit."""
    left.truncate(max(0, width - right.cell_len - 1), overflow="ellipsis")
    line = left.copy()
    line.append(" " * max(0, width - left.cell_len - right.cell_len))
    line.append(right)
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def clock(seconds: float) -> str:
    """The time as minutes and seconds, such as `2:05`."""
    minutes, left = divmod(int(seconds), 60)
    return f"{minutes}:{left:02d}"


def _fitting(n: int, width: int) -> str:
    """The number in fewer than `width` characters: with commas, or without commas, or in millions or billions."""
    for text in (f"{n:,}", str(n), f"{n / 1e6:.1f}M"):
        if len(text) < width:
            return text
    return f"{n / 1e9:.0f}G"


def rate_text(value: float) -> str:
    """The number of a rate, with a decimal below ten."""
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def number_text(value: float) -> str:
    """A value with three decimals at most."""
    if abs(value) >= 1e9 or (value and abs(value) < 1e-3):
        return f"{value:.3e}"
    text = f"{value:,.3f}"
    return text.rstrip("0").rstrip(".")


def byte_text(n: int) -> str:
    """A size with its unit."""
    return f"{n:,} B" if n < 10_000 else f"{n / 1000:,.1f} kB" if n < 1_000_000 else f"{n / 1e6:,.2f} MB"


def time_text(time_us: int) -> str:
    """The time of day, in UTC, of µs since the epoch."""
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).strftime("%H:%M:%S.%f")[:-5]
    except OverflowError:
        return "?"


def bars(values: Sequence[float], width: int) -> str:
    """The last `width` values as small bars, scaled from the smallest to the largest of these values."""
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = high - low
    if not span:
        return _BLOCKS[0] * len(shown)
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int((value - low) / span * len(_BLOCKS)))] for value in shown)
