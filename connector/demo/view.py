"""The screen of the demo: a reading, laid out for a terminal with a given number of columns and lines. No I/O.

Every section is a heading and rows of exactly one line each. So the height is known, and nothing wraps: text that does
not fit ends in an ellipsis. On a screen with at least 130 columns, frames and signals stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from connector.demo.observer import Reading
from connector.terminal.text import shown

WIDE: Final = 130
_FRAMES_WIDTH: Final = 61
_LEAST_LINES: Final = 8
"""The least lines for frames, dead letters and signals together; a lower screen leaves all three out."""
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEADING: Final = Style(bold=True, color="cyan")
_DIM: Final = Style(dim=True)
_GOOD: Final = Style(bold=True, color="green")
_BAD: Final = Style(bold=True, color="red")
_WARNING: Final = Style(color="yellow")
_OUTCOMES: Final = (
    ("received", "received"),
    ("inserted", "= inserted"),
    ("dead_lettered", "+ dead-lettered"),
    ("filtered", "+ filtered"),
    ("superseded", "+ superseded"),
    ("waiting", "+ waiting"),
)

Justify = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses and files of the running demo, for people who want to use them."""

    broker: str
    """Name and version of the broker."""
    broker_port: int
    protocol: str | None
    """The version of MQTT; None for Kafka."""
    hint: str
    """A command that publishes to the broker."""
    sandbox_url: str
    status_url: str
    folder: Path
    kept: bool
    config: Path


@dataclass(frozen=True, slots=True)
class DemoStage:
    """The stage of the demo: its name, the seconds since the start, and the running time if it is limited."""

    doing: str
    seconds: float
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int | None = None
    """In cells; None takes the rest of the line."""
    justify: Justify = "left"
    style: Style | str = ""


def render(reading: Reading, stage: DemoStage, places: Places, width: int, height: int) -> RenderableType:
    """The whole screen: at most `height` lines of at most `width` cells."""
    wide = width >= WIDE
    gap = [Text()] if height >= 30 else []
    top = [_headline(stage, places, width), _flow(reading, width), *gap, _ledger(reading, width), *gap]
    bottom = [*gap, *_places(places, reading.published, width)]
    used = 5 + len(bottom) + 2 * len(gap)
    left = height - used
    if left < 0:
        return Group(*top)  # a very low screen shows only the account
    arrange = _side_by_side if wide else _stacked
    middle = arrange(reading, width, left, len(gap)) if left >= _LEAST_LINES else []
    return Group(*top, *middle, *bottom)


def _stacked(reading: Reading, width: int, lines: int, gap: int) -> list[RenderableType]:
    rows = max(0, lines - 3 - 2 * gap)
    frames = min(max(2, rows * 3 // 11), 12)
    letters = (rows - frames + 1) // 2
    blank = [Text()] * gap
    return [
        _frames(reading, width, frames),
        *blank,
        _letters(reading, width, letters),
        *blank,
        _signals(reading, width, rows - frames - letters),
    ]


def _side_by_side(reading: Reading, width: int, lines: int, gap: int) -> list[RenderableType]:
    rows = max(0, lines - 2 - gap)
    letters = rows // 2
    left = _FRAMES_WIDTH
    right = width - 2 - left
    both = Table.grid(padding=0)
    both.add_column(width=left)
    both.add_column(width=2)
    both.add_column(width=right)
    both.add_row(_frames(reading, left, rows - letters), "", _signals(reading, right, rows - letters))
    return [both, *[Text()] * gap, _letters(reading, width, letters)]


# -- the sections, from top to bottom --------------------------------------------------------------


def _headline(stage: DemoStage, places: Places, width: int) -> Text:
    limit = f" of {clock(stage.limit)}" if stage.limit is not None else ""
    left = Text().append(" clarify-connector demo ", style=Style(bold=True, reverse=True))
    left.append(f"  {stage.doing} {clock(stage.seconds)}{limit}", style=Style(bold=True))
    protocol = f", MQTT {places.protocol}" if places.protocol and width >= WIDE else ""
    return _ends(left, Text(f"{places.broker}{protocol} ", style=_DIM), width)


def _flow(reading: Reading, width: int) -> Text:
    if reading.problems:
        return _ends(Text(" ▲ " + shown("; ".join(reading.problems)), style=_WARNING), Text(), width)
    rates = reading.rates
    line = Text().append(" in ", style=_DIM)
    line.append(f"{_rate(rates.messages_in)} msg/s, {_rate(rates.samples_in)} samples/s")
    line.append("  out ", style=_DIM)
    line.append(f"{_rate(rates.samples_out)} samples/s, {_rate(rates.frames)} frames/s")
    line.append("  oldest ", style=_DIM)
    line.append(f"{reading.oldest_seconds:.1f} s")
    if width >= WIDE and len(reading.history) > 1:
        trend = Text().append("in ", style=_DIM)
        trend.append(_trend([r.samples_in for r in reading.history], 16), style=_GOOD)
        trend.append(" out ", style=_DIM)
        trend.append(_trend([r.samples_out for r in reading.history], 16), style=_GOOD)
        trend.append(" ")
        return _ends(line, trend, width)
    return _ends(line, Text(), width)


def _ledger(reading: Reading, width: int) -> RenderableType:
    wide = width >= WIDE
    widths = [len(title) + (4 if wide else 1) for _, title in _OUTCOMES]
    columns = [_Column("LEDGER " + ("✓" if reading.balanced else "✗"), 9)]
    columns += [_Column(title, size, "right") for (_, title), size in zip(_OUTCOMES, widths, strict=True)]
    rows = []
    for name, account in (("messages", reading.messages), ("samples", reading.samples)):
        numbers = [getattr(account, outcome) for outcome, _ in _OUTCOMES]
        rows.append([name, *(_fitting(number, size) for number, size in zip(numbers, widths, strict=True))])
    if wide:
        columns.append(_Column("", style=_GOOD if reading.balanced else _BAD))
        rows[0].append("")
        rows[1].append("  balances" if reading.balanced else "  DOES NOT BALANCE")
    return _table(columns, rows, 2, width if wide else min(width, 9 + sum(widths)))


def _frames(reading: Reading, width: int, lines: int) -> RenderableType:
    columns = [
        _Column(
            f"FRAMES {reading.requests:,}, {reading.samples.inserted / max(1, reading.requests):,.0f} samples each"
        ),
        _Column("rows", 7, "right"),
        _Column("× series", 9, "right"),  # noqa: RUF001 - the multiplication sign is meant
        _Column("samples", 9, "right"),
        _Column("density", 8, "right"),
        _Column("bytes", 9, "right"),
        _Column("time", 8, "right"),
    ]
    rows = [
        [
            f"{ago:.1f} s ago",
            f"{frame.rows:,}",
            f"{frame.series:,}",
            f"{frame.samples:,}",
            f"{frame.density:.1%}",
            _bytes(frame.bytes),
            f"{frame.seconds * 1000:,.0f} ms",
        ]
        for ago, frame in reading.frames[:lines]
    ]
    return _table(columns, rows, lines, width)


def _letters(reading: Reading, width: int, lines: int) -> RenderableType:
    total = sum(reading.reasons.values())
    columns = [
        _Column(f"DEAD LETTERS {total:,}", 20, style=_WARNING),
        _Column("topic", max(20, min(width // 3, 40))),
        _Column("why"),
    ]
    rows = []
    for letter in reading.letters[:lines]:
        reject = letter.rejects[0]
        value = f"{reject.path} = {reject.value}: " if reject.path and reject.value is not None else ""
        rows.append([str(reject.reason), letter.topic, value + reject.message])
    return _table(columns, rows, lines, width)


def _signals(reading: Reading, width: int, lines: int) -> RenderableType:
    trend = 12 if width < 90 else 22
    columns = [
        _Column(f"SANDBOX {reading.signals:,} signals"),
        _Column(f"{reading.samples_stored:,}", 12, "right"),
        _Column("samples", 11),
        _Column("", trend, style=_GOOD),
        _Column("measured at", 12, "right", _DIM),
    ]
    rows = [
        [
            signal.name,
            _number(signal.value),
            signal.state or signal.unit,
            _trend(signal.trend, trend - 2),
            _time(signal.time_us),
        ]
        for signal in reading.newest[:lines]
    ]
    return _table(columns, rows, lines, width)


def _places(places: Places, published: int, width: int) -> list[Text]:
    kept = "" if places.kept else " (removed at the end)"
    plant = f"the machines have published {published:,} messages " if width >= WIDE else ""
    lines = [
        ("publish", places.hint, plant),
        ("look at", f"sandbox {places.sandbox_url.removesuffix('v1/')}  connector {places.status_url}", ""),
        ("ledger", f"clarify-connector ledger {places.config}", ""),
        ("state", f"{places.folder}{kept}", "Ctrl-C: drain and stop "),
    ]
    texts = []
    for name, content, end in lines:
        text = Text().append(f" {name:<8}", style=_HEADING).append(shown(content))
        texts.append(_ends(text, Text(end, style=_DIM), width))
    return texts


# -- details --------------------------------------------------------------------------------------


def _table(columns: Sequence[_Column], rows: Iterable[Sequence[str]], lines: int, width: int) -> Table:
    """A table with a heading and exactly `lines` rows of one line each, `width` cells wide."""
    table = Table(box=None, padding=0, pad_edge=False, width=width, header_style=_HEADING, show_edge=False)
    fixed = sum(column.width for column in columns if column.width is not None)
    for column in columns:
        table.add_column(
            _cell(column.title),
            width=max(1, width - fixed) if column.width is None else column.width,
            justify=column.justify,
            style=column.style,
            no_wrap=True,
            overflow="ellipsis",
        )
    used = 0
    for row in rows:
        table.add_row(*map(_cell, row))
        used += 1
    for _ in range(lines - used):
        table.add_row(*("" for _ in columns))
    return table


def _cell(text: str) -> Text:
    """The text of a cell, after one space, which separates the cell from its neighbour or from the edge."""
    return Text(f" {shown(text)}" if text else "", overflow="ellipsis", no_wrap=True)


def _ends(left: Text, right: Text, width: int) -> Text:
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


def _rate(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def _number(value: float) -> str:
    if abs(value) >= 1e9 or (value and abs(value) < 1e-3):
        return f"{value:.3e}"
    text = f"{value:,.3f}"
    return text.rstrip("0").rstrip(".")


def _bytes(n: int) -> str:
    return f"{n:,} B" if n < 10_000 else f"{n / 1000:,.1f} kB" if n < 1_000_000 else f"{n / 1e6:,.2f} MB"


def _time(time_us: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).strftime("%H:%M:%S.%f")[:-5]
    except OverflowError:
        return "?"


def _trend(values: Sequence[float], width: int) -> str:
    """The last `width` values as small bars, scaled from the smallest to the largest of these values."""
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = high - low
    if not span:
        return _BLOCKS[0] * len(shown)
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int((value - low) / span * len(_BLOCKS)))] for value in shown)


def progress_line(reading: Reading, stage: DemoStage) -> str:
    """The most important parts of the screen in one plain line, for an output without a terminal."""
    rates = reading.rates
    counts = ", ".join(f"{title.lstrip('=+ ')} {getattr(reading.messages, name):,}" for name, title in _OUTCOMES)
    parts = [
        f"{clock(stage.seconds)} {stage.doing}",
        f"in {_rate(rates.messages_in)} msg/s, {_rate(rates.samples_in)} samples/s",
        f"out {_rate(rates.samples_out)} samples/s",
        f"messages: {counts}",
        "balances" if reading.balanced else "DOES NOT BALANCE",
        *map(shown, reading.problems),
    ]
    return "; ".join(parts)
