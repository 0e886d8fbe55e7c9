"""The output of `top`: a reading as a screen of a given size, and as one block of text. No I/O but `write_text`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Group, RenderableType
from rich.style import Style
from rich.text import Text

from connector.commands.live.reading import IntegrationState, SourceState, TopReading
from connector.dead_letters.remedies import remedy
from connector.sources.loss import readable_duration
from connector.terminal.screen import (
    BAD,
    DIM,
    GOOD,
    OUTCOMES,
    WARNING,
    Column,
    account,
    ends,
    flow,
    rate_text,
    table,
)
from connector.terminal.tables import write_table
from connector.terminal.text import shown, write_line

_SOURCE_COLUMNS = (
    Column("SOURCES"),
    Column("msg/s", 9, "right"),
    Column("received", 13, "right"),
    Column("waiting", 11, "right"),
    Column("dead", 9, "right"),
    Column("lag", 10, "right"),
    Column("loss in", 14, "right"),
)
_INTEGRATION_COLUMNS = (
    Column("INTEGRATIONS"),
    Column("out/s", 9, "right"),
    Column("requests/s", 12, "right"),
    Column("waiting", 11, "right"),
    Column("density", 9, "right"),
    Column("forecast", 40),
)


def render(reading: TopReading, listen: str, trouble: str, width: int, height: int) -> RenderableType:
    """The whole screen: at most `height` lines of at most `width` cells. `trouble` says why the reading is old."""
    left = Text().append(" clarify-connector top ", style=Style(bold=True, reverse=True)).append(f"  {shown(listen)}  ")
    left.append(*(("ready", GOOD) if reading.ready else ("not ready", BAD)))
    top: list[RenderableType] = [
        ends(left, Text("q: end ", style=DIM), width),
        flow(reading.rates, reading.history, reading.oldest_seconds, width),
        account(reading.messages, reading.samples, reading.balanced, width),
    ]
    used = 5
    bad = [f" ▲ {text}" for text in _troubles(reading, trouble)]
    lines = [ends(Text(shown(text), style=WARNING), Text(), width) for text in bad]
    notices = [
        ends(Text(shown(text), style=style), Text(), width)
        for notice in reading.notices
        for text, style in ((f" • {_notice(notice)}", ""), (f"   → {notice.get('remedy')}", DIM))
    ]
    tables: list[RenderableType] = []
    for columns, rows in (
        (_SOURCE_COLUMNS, [_source_row(one) for one in reading.sources]),
        (_INTEGRATION_COLUMNS, [_integration_row(one) for one in reading.integrations]),
        (
            (Column(_letters_title(reading), 34, style=WARNING), Column("", 12, "right"), Column("what to do")),
            [[reason, f"{n:,}", remedy(reason)] for reason, n in reading.dead_letters.items()],
        ),
    ):
        room = height - used - len(lines) - 2
        if not rows or room < 1:
            continue
        tables += [Text(), table(columns, rows[:room], min(room, len(rows)), width)]
        used += 2 + min(room, len(rows))
    room = max(0, height - used - len(lines))
    return Group(*[*top, *lines[: max(0, height - 5)], *tables, *notices[:room]][: max(1, height)])


def write_text(reading: TopReading, listen: str, out: TextIO) -> None:
    """Write the reading as one block of text, with every notice in full."""
    rates = reading.rates
    write_line(out, f"{listen}: {'ready' if reading.ready else 'not ready'}")
    for text in _troubles(reading, ""):
        write_line(out, f"  ▲ {text}")
    write_line(
        out,
        f"in {rate_text(rates.messages_in)} msg/s, {rate_text(rates.samples_in)} samples/s; out "
        f"{rate_text(rates.samples_out)} samples/s, {rate_text(rates.frames)} frames/s; oldest "
        f"{reading.oldest_seconds:.1f} s",
    )
    write_line(out, "")
    rows = [
        [name, *(found.get(outcome, 0) for outcome, _ in OUTCOMES)]
        for name, found in (("messages", reading.messages), ("samples", reading.samples))
    ]
    write_table(
        ["ledger" if reading.balanced else "ledger: DOES NOT BALANCE", *(title for _, title in OUTCOMES)], rows, out
    )
    for columns, found in (
        (_SOURCE_COLUMNS, [_source_row(one) for one in reading.sources]),
        (_INTEGRATION_COLUMNS, [_integration_row(one) for one in reading.integrations]),
    ):
        write_line(out, "")
        write_table([column.title.lower() for column in columns], found, out)
    if reading.dead_letters:
        write_line(out, "")
        write_line(out, _letters_title(reading).lower())
        for reason, n in reading.dead_letters.items():
            write_line(out, f"  {n} × {reason}: {remedy(reason)}")  # noqa: RUF001 - the multiplication sign is meant
    if reading.notices:
        write_line(out, "")
        write_line(out, f"notices {len(reading.notices)}")
        for notice in reading.notices:
            write_line(out, f"  • {_notice(notice)}")
            write_line(out, f"    → {notice.get('remedy')}")


def _troubles(reading: TopReading, trouble: str) -> Iterator[str]:
    if trouble:
        yield trouble
    yield from reading.problems
    if reading.ledger_trouble:
        yield f"no ledger: {reading.ledger_trouble}"
    for one in reading.integrations:
        if one.sustainable is False:
            yield f"{one.name}: more samples come in than can be sent; align times or thin values (docs/packing.md)"


def _notice(notice: Mapping[str, Any]) -> str:
    worker = f"worker {notice['worker']}: " if "worker" in notice else ""
    source = f"{notice['source']}: " if notice.get("source") else ""
    return f"{worker}{source}{notice.get('text')}"


def _letters_title(reading: TopReading) -> str:
    kept = "" if reading.dead_letters_kept is None else f", {reading.dead_letters_kept:,.0f} kept"
    return f"DEAD LETTERS {sum(reading.dead_letters.values()):,}{kept}"


def _source_row(one: SourceState) -> Sequence[str]:
    return [
        one.name,
        _known(one.messages_per_second),
        f"{one.messages.get('received', 0):,}",
        f"{one.messages.get('waiting', 0):,}",
        f"{one.messages.get('dead_lettered', 0):,}",
        "" if one.lag is None else f"{one.lag:,.0f}",
        "none in sight"
        if one.loss_seconds is None
        else f"{readable_duration(round(one.loss_seconds))} ({one.loss_cause})",
    ]


def _integration_row(one: IntegrationState) -> Sequence[str]:
    allowed = "" if one.allowed_requests_per_second is None else f"/{one.allowed_requests_per_second:.1f}"
    return [
        one.name,
        _known(one.samples_per_second),
        f"{_known(one.requests_per_second)}{allowed}",
        "" if one.waiting_samples is None else f"{one.waiting_samples:,.0f}",
        "" if one.density is None else f"{one.density:.1%}",
        _forecast(one),
    ]


def _forecast(one: IntegrationState) -> str:
    if one.held:
        return "held: Clarify refuses inserts"
    if one.backlog_seconds is None or one.capacity is None:
        return "after the first frame"
    if one.sustainable is False:
        return f"TOO MUCH: at most {one.capacity:,.0f} samples/s"
    return f"all sent in {one.backlog_seconds:,.0f} s; {one.capacity:,.0f} samples/s fit"


def _known(rate: float | None) -> str:
    return "?" if rate is None else rate_text(rate)
