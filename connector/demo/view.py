"""The screen of the demo: a reading, laid out for a terminal with a given number of columns and lines. No I/O.

Every section is a heading and rows of exactly one line each. So the height is known, and nothing wraps: text that does
not fit ends in an ellipsis. On a screen with at least 130 columns, frames and signals stand side by side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from connector.demo.observer import Reading
from connector.terminal.screen import (
    DIM,
    GOOD,
    HEADING,
    OUTCOMES,
    WARNING,
    WIDE,
    Column,
    account,
    bars,
    byte_text,
    clock,
    ends,
    flow,
    number_text,
    rate_text,
    table,
    time_text,
)
from connector.terminal.text import shown

_FRAMES_WIDTH: Final = 61
_LEAST_LINES: Final = 8
"""The least lines for frames, dead letters and signals together; a lower screen leaves all three out."""


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
    return ends(left, Text(f"{places.broker}{protocol} ", style=DIM), width)


def _flow(reading: Reading, width: int) -> Text:
    if reading.problems:
        return ends(Text(" ▲ " + shown("; ".join(reading.problems)), style=WARNING), Text(), width)
    return flow(reading.rates, reading.history, reading.oldest_seconds, width)


def _ledger(reading: Reading, width: int) -> RenderableType:
    return account(asdict(reading.messages), asdict(reading.samples), reading.balanced, width)


def _frames(reading: Reading, width: int, lines: int) -> RenderableType:
    columns = [
        Column(f"FRAMES {reading.requests:,}, {reading.samples.inserted / max(1, reading.requests):,.0f} samples each"),
        Column("rows", 7, "right"),
        Column("× series", 9, "right"),  # noqa: RUF001 - the multiplication sign is meant
        Column("samples", 9, "right"),
        Column("density", 8, "right"),
        Column("bytes", 9, "right"),
        Column("time", 8, "right"),
    ]
    rows = [
        [
            f"{ago:.1f} s ago",
            f"{frame.rows:,}",
            f"{frame.series:,}",
            f"{frame.samples:,}",
            f"{frame.density:.1%}",
            byte_text(frame.bytes),
            f"{frame.seconds * 1000:,.0f} ms",
        ]
        for ago, frame in reading.frames[:lines]
    ]
    return table(columns, rows, lines, width)


def _letters(reading: Reading, width: int, lines: int) -> RenderableType:
    total = sum(reading.reasons.values())
    columns = [
        Column(f"DEAD LETTERS {total:,}", 20, style=WARNING),
        Column("topic", max(20, min(width // 3, 40))),
        Column("why"),
    ]
    rows = []
    for letter in reading.letters[:lines]:
        reject = letter.rejects[0]
        value = f"{reject.path} = {reject.value}: " if reject.path and reject.value is not None else ""
        rows.append([str(reject.reason), letter.topic, value + reject.message])
    return table(columns, rows, lines, width)


def _signals(reading: Reading, width: int, lines: int) -> RenderableType:
    trend = 12 if width < 90 else 22
    columns = [
        Column(f"SANDBOX {reading.signals:,} signals"),
        Column(f"{reading.samples_stored:,}", 12, "right"),
        Column("samples", 11),
        Column("", trend, style=GOOD),
        Column("measured at", 12, "right", DIM),
    ]
    rows = [
        [
            signal.name,
            number_text(signal.value),
            signal.state or signal.unit,
            bars(signal.trend, trend - 2),
            time_text(signal.time_us),
        ]
        for signal in reading.newest[:lines]
    ]
    return table(columns, rows, lines, width)


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
        text = Text().append(f" {name:<8}", style=HEADING).append(shown(content))
        texts.append(ends(text, Text(end, style=DIM), width))
    return texts


def progress_line(reading: Reading, stage: DemoStage) -> str:
    """The most important parts of the screen in one plain line, for an output without a terminal."""
    rates = reading.rates
    counts = ", ".join(f"{title.lstrip('=+ ')} {getattr(reading.messages, name):,}" for name, title in OUTCOMES)
    parts = [
        f"{clock(stage.seconds)} {stage.doing}",
        f"in {rate_text(rates.messages_in)} msg/s, {rate_text(rates.samples_in)} samples/s",
        f"out {rate_text(rates.samples_out)} samples/s",
        f"messages: {counts}",
        "balances" if reading.balanced else "DOES NOT BALANCE",
        *map(shown, reading.problems),
    ]
    return "; ".join(parts)
