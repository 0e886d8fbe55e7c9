"""A preview for people: tables as wide as the terminal."""

from __future__ import annotations

import shutil
from fnmatch import fnmatchcase
from typing import Final, TextIO

from connector.mapping.time.times import format_time
from connector.terminal.tables import write_table
from connector.terminal.text import write_line
from connector.try_out.comparison import MappingComparison
from connector.try_out.comparison_text import FIRST, and_more, heading, write_comparison
from connector.try_out.frames import FrameSummary
from connector.try_out.in_clarify import InClarify
from connector.try_out.mapping import RuleAt
from connector.try_out.preview import Preview

_WORTH_SAYING: Final = 1.25
"""The report mentions alignment only if the frames become smaller by more than this factor."""
_TIME_WIDTH: Final = 27
_MORE_WIDTH: Final = 12
_CELL_WIDTH: Final = 8
_NAME_WIDTH: Final = 24


def write_report(
    preview: Preview,
    clarify: InClarify,
    comparison: MappingComparison | None,
    new_in_clarify: InClarify | None,
    out: TextIO,
    *,
    a_record: str,
    input_id: str | None = None,
    all_rows: bool = False,
) -> None:
    """Writes the whole preview. The most important part comes last, since a terminal shows the end.

    `a_record` is the word for the numbers of records: lines, or messages. `input_id` is a pattern (as in a shell) of
    the signals to show. With `all_rows`, tables are not cut. `new_in_clarify` says which new signals of the comparison
    Clarify has already.
    """
    for number, frame in enumerate(preview.packer.frames, 1):
        if frame.table is not None:
            _frame(number, len(preview.packer.frames), frame, out)
    _signals(preview, clarify, out, input_id, all_rows=all_rows)
    _rules(preview, out)
    _rejects(preview, out, a_record)
    _schema_trouble(preview, out, a_record)
    _warnings(preview, clarify, out)
    if comparison is not None:
        write_comparison(comparison, new_in_clarify or InClarify("not asked"), out, a_record)
    _summary(preview, clarify, out)


def _frame(number: int, of: int, frame: FrameSummary, out: TextIO) -> None:
    table = frame.table
    assert table is not None  # noqa: S101 - the caller has checked
    heading(f"Frame {number} of {of}: {_shape(frame)}", out)
    shown = _series_that_fit(table.inputs)
    more = frame.series - shown
    columns = ["time", *map(_end_of, table.inputs[:shown]), *([f"… {more} more"] if more else [])]
    blank: list[object] = ["…"] if more else []
    rows: list[list[object]] = [
        [format_time(time_us), *("null" if cell is None else cell for cell in cells[:shown]), *blank]
        for time_us, cells in zip(table.times_us, table.cells, strict=True)
    ]
    write_table(columns, rows, out)
    if frame.rows > len(rows):
        write_line(out, f"… {frame.rows - len(rows)} more rows")


def _series_that_fit(inputs: list[str]) -> int:
    room = shutil.get_terminal_size().columns - _TIME_WIDTH - _MORE_WIDTH
    fitting = 0
    for input_id in inputs:
        room -= max(len(_end_of(input_id)), _CELL_WIDTH) + 2
        if room < 0 and fitting:
            break
        fitting += 1
    return fitting


def _end_of(input_id: str) -> str:
    """Returns the end of a long input ID: most input IDs differ at the end."""
    return input_id if len(input_id) <= _NAME_WIDTH else "…" + input_id[1 - _NAME_WIDTH :]


def _signals(
    preview: Preview, clarify: InClarify, out: TextIO, pattern: str | None = None, *, all_rows: bool = False
) -> None:
    if not preview.signals:
        return
    created = set(clarify.created)
    ordered = sorted(
        (item for item in preview.signals.items() if pattern is None or fnmatchcase(item[0], pattern)),
        key=lambda item: (item[0] not in created, item[0] not in clarify.changed, item[0]),
    )
    of = "" if pattern is None else f" of {len(preview.signals)}, like {pattern}"
    heading(f"Signals ({len(ordered)}{of})", out)
    rows = []
    for input_id, seen in ordered if all_rows else ordered[:FIRST]:
        metadata = preview.mapping.metadata.get(input_id)
        becomes = "?" if clarify.not_asked else "new" if input_id in created else "unchanged"
        if input_id in clarify.changed:
            becomes = "changed: " + ", ".join(change.attribute for change in clarify.changed[input_id])
        rows.append(
            [
                input_id,
                preview.mapping.identity(input_id),
                metadata.name if metadata else "",
                metadata.unit if metadata else "",
                metadata.value_type if metadata else "",
                seen.samples,
                seen.last_value,
                _rule(seen.rule),
                becomes,
            ]
        )
    columns = ["input", "identity", "name", "unit", "type", "samples", "last", "rule", "in Clarify"]
    write_table(columns, rows, out)
    if not all_rows:
        and_more(len(ordered), out)


def _rules(preview: Preview, out: TextIO) -> None:
    if not preview.mapping.rules:
        return
    heading(f"Rules of {preview.mapping.file}", out)
    rows: list[list[object]] = []
    for rule in [*preview.mapping.rules, None]:
        counted = preview.by_rule.get(rule.number if rule else 0)
        if counted is None and rule is None:
            continue
        counts = (
            [counted.messages, counted.samples, counted.rejects, counted.messages_left_out, counted.values_left_out]
            if counted
            else [0, 0, 0, 0, 0]
        )
        rows.append([rule and rule.number, rule and rule.line, rule.topic if rule else "(none)", *counts])
    columns = ["rule", "line", "topic", "messages", "samples", "rejects", "messages left out", "values left out"]
    write_table(columns, rows, out)


def _rejects(preview: Preview, out: TextIO, a_record: str) -> None:
    if not preview.rejects:
        return
    groups = sorted(preview.rejects.values(), key=lambda group: -group.count)
    heading(f"Rejects ({sum(group.count for group in groups) + preview.other_rejects}), by kind", out)
    for group in groups[:FIRST]:
        lines = ", ".join(map(str, group.lines)) + (", …" if group.count > len(group.lines) else "")
        where = f"value {group.path!r} of topic {group.topic!r}" if group.path else f"topic {group.topic!r}"
        value = f" (the value is {group.value})" if group.value is not None else ""
        write_line(out, f"  {group.count} × {group.reason}, {_rule_in_file(preview, group.rule)}: {where}{value}")  # noqa: RUF001
        write_line(out, f"      {group.message}")
        write_line(out, f"      {a_record} {lines}")
    and_more(len(groups), out)


def _schema_trouble(preview: Preview, out: TextIO, a_record: str) -> None:
    """Writes the messages without a schema. The messages have no fault, and so are no rejects."""
    if not preview.schema_trouble:
        return
    heading(f"Not mapped: the schema is not available now ({preview.messages['waiting_for_schema']} messages)", out)
    for why, trouble in preview.schema_trouble.items():
        lines = ", ".join(map(str, trouble.lines)) + (", …" if trouble.count > len(trouble.lines) else "")
        write_line(out, f"  {why}")
        write_line(out, f"      {a_record} {lines}")
    write_line(
        out,
        "  The connector would keep the messages and ask again; nothing is lost. To see the outcome, make the schema",
    )
    write_line(out, "  registry reachable: is the url right, does the registry run, may this machine ask the registry?")


def _warnings(preview: Preview, clarify: InClarify, out: TextIO) -> None:
    found = [f"{one.text}; {one.remedy}" for one in preview.notices()]
    found += [
        f"input {input_id!r}: {n} values are replaced by another value of the same time (superseded); add the "
        "field that distinguishes the values to input, or take a finer time"
        for input_id, n in preview.packer.overwritten.most_common()
    ]
    found += [str(collision) for collision in preview.mapping.collisions]
    found += [f"{name}: the metadata would not be saved: {why}" for name, why in clarify.invalid.items()]
    found += [
        f"{count} messages are of a source {name!r}, which the configuration does not have; the mapping took the "
        f"messages as messages of {preview.mapping.source_for(None)!r}"
        for name, count in preview.unknown_sources.items()
    ]
    if found:
        heading("Warnings", out)
        for line in found[:FIRST]:
            write_line(out, f"  {line}")
        and_more(len(found), out)


def _summary(preview: Preview, clarify: InClarify, out: TextIO) -> None:
    messages, frames = preview.messages, preview.packer.frames
    heading("Summary", out)
    write_line(
        out,
        f"  messages   {messages['received']}: {messages['mapped']} mapped, {messages['rejected']} rejected, "
        f"{messages['left_out']} left out"
        + (f", {messages['waiting_for_schema']} wait for a schema" if preview.schema_trouble else ""),
    )
    span = ""
    if preview.first_us is not None and preview.last_us is not None:
        span = f", from {format_time(preview.first_us)} to {format_time(preview.last_us)}"
    write_line(out, f"  samples    {preview.samples}{span}; {preview.values_left_out} values left out")
    if preview.values_in_windows or preview.late_for_windows:
        late = f"; left out, since too late: {preview.late_for_windows}" if preview.late_for_windows else ""
        write_line(
            out,
            f"  windows    {preview.values_in_windows} values went into {preview.windows_closed} windows, "
            f"one sample for each window (thin){late}",
        )
    if frames:
        total = sum(frame.bytes for frame in frames)
        cells = sum(frame.rows * frame.series for frame in frames)
        nulls = cells - sum(frame.samples for frame in frames)
        write_line(
            out,
            f"  frames     {len(frames)}, {_bytes(total)}, {nulls / cells:.1%} nulls, "
            f"{total / max(1, preview.samples):.1f} bytes a sample",
        )
        write_line(
            out,
            f"  requests   {len(frames)} for all samples at once, {preview.pace.requests} in the order of arrival "
            "(delivery.max_delay)",
        )
        _alignment(preview, total, out)
    write_line(out, f"  signals    {len(preview.signals)}{_becomes(clarify)}")
    if not messages["received"]:
        write_line(out, "  nothing came: are the topics right? Listen for longer, or use --from-beginning for Kafka")


def _alignment(preview: Preview, unaligned: int, out: TextIO) -> None:
    """Writes the saving of times cut to whole seconds, if the saving is worth a line."""
    frames = preview.aligned.frames
    total = sum(frame.bytes for frame in frames)
    if total * _WORTH_SAYING < unaligned:
        replaced = sum(frame.superseded for frame in frames)
        write_line(
            out,
            f"             with times aligned to whole seconds {len(frames)}, {_bytes(total)}, at the cost of "
            f"{replaced} values that others of the same second replace",
        )


def _becomes(clarify: InClarify) -> str:
    if clarify.not_asked is not None:
        return f"; not compared with Clarify: {clarify.not_asked}"
    return (
        f": {len(clarify.created)} would be created, {len(clarify.changed)} changed, {clarify.unchanged} stay "
        f"unchanged (at {clarify.asked})"
    )


def _shape(frame: FrameSummary) -> str:
    replaced = f", {frame.superseded} values replaced by a later value of the same time" if frame.superseded else ""
    return (
        f"{frame.rows} rows of {frame.series} series, {frame.samples} samples, {_bytes(frame.bytes)}, "
        f"{frame.null_share:.1%} nulls{replaced}"
    )


def _bytes(size: int) -> str:
    return f"{size} bytes" if size < 10_000 else f"{size / 1000:.1f} kB" if size < 10**7 else f"{size / 1e6:.1f} MB"


def _rule(rule: RuleAt | None) -> object:
    return rule.number if rule else None


def _rule_in_file(preview: Preview, rule: RuleAt | None) -> str:
    if rule is None:
        return "no rule"
    return f"rule {rule.number} ({preview.mapping.file.name}:{rule.line})"
