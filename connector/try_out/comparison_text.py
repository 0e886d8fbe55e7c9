"""A comparison of two mappings for people: samples side by side, dead letters, cost, and what to copy."""

from __future__ import annotations

from typing import Final, TextIO

from connector.mapping.time.times import format_time
from connector.records import Sample
from connector.terminal.tables import write_table
from connector.terminal.text import write_line
from connector.try_out.comparison import MappingComparison
from connector.try_out.differences import Differences
from connector.try_out.in_clarify import InClarify

FIRST: Final = 20
"""The number of rows that a long table shows; --json has all rows."""


def write_comparison(comparison: MappingComparison, clarify: InClarify, out: TextIO, a_record: str) -> None:
    """Writes what the other mapping changes; `clarify` says which of its new signals are there already.

    `a_record` is the word for the numbers of records: lines, or messages.
    """
    heading(f"With {comparison.other} instead", out)
    write_line(
        out,
        f"  {comparison.kept} signals go on; {len(comparison.created)} would be new, {len(comparison.orphaned)} would "
        f"get no more data; {comparison.samples[1]} samples instead of {comparison.samples[0]}",
    )
    before, after = comparison.requests
    write_line(
        out,
        f"  {after} requests instead of {before} in the order of arrival; {comparison.frame_bytes[1]} bytes instead of "
        f"{comparison.frame_bytes[0]}",
    )
    _cost(comparison, clarify, out)
    if comparison.renamed:
        write_line(out, "  renamed: each new name is a new, billable signal, and the old signal ends")
        write_table(
            ["  input now", "input then"], [[f"  {r.before}", r.after] for r in comparison.renamed[:FIRST]], out
        )
        and_more(len(comparison.renamed), out)
    moved = {found.after for found in comparison.renamed} | {found.before for found in comparison.renamed}
    for title, inputs in (("new", comparison.created), ("no more data", comparison.orphaned)):
        others = [input_id for input_id in inputs if input_id not in moved]
        if others:
            write_line(out, f"  {title}:")
            for input_id in others[:FIRST]:
                write_line(out, f"    {input_id}")
            and_more(len(others), out)
    _samples(comparison.differences, out, a_record)
    _rejects(comparison.differences, out, a_record)
    _to_copy(comparison, out)


def _cost(comparison: MappingComparison, clarify: InClarify, out: TextIO) -> None:
    new = len(comparison.created)
    if new:
        there = f"Clarify was not asked which are there already: {clarify.not_asked}"
        if clarify.not_asked is None:
            there = f"{new - len(clarify.created)} of them are in Clarify already, {len(clarify.created)} are not"
        items = f"; {comparison.published} would be published as items" if comparison.published else ""
        write_line(out, f"  cost: each new signal is billed; {there}{items}")
    for integration, room in comparison.room.items():
        of = f" of integration {integration}" if integration else ""
        if room < 0:
            write_line(out, f"  {-room} signals{of} are above signals.max: they would be held as dead letters")


def _samples(differences: Differences, out: TextIO, a_record: str) -> None:
    changes = sorted(differences.samples.values(), key=lambda change: -change.count)
    if not changes:
        return
    heading(
        f"Samples that change, before and after ({differences.unchanged} stay as they are; "
        f"{differences.messages} messages have changes)",
        out,
    )
    rows = [
        [change.kind.value, change.count, change.line, *_three(change.before), *_three(change.after, change.before)]
        for change in changes[:FIRST]
    ]
    columns = ["change", "samples", a_record, "input", "time", "value", "→ input", "→ time", "→ value"]
    write_table(columns, rows, out)
    and_more(len(changes), out)
    if differences.further:
        write_line(out, f"  … and {differences.further} changes of further kinds")


def _three(sample: Sample | None, before: Sample | None = None) -> list[object]:
    """The cells of a sample; a cell that is the same as `before` has the same sign as in a list of repeated entries."""
    if sample is None:
        return ["(none)", "", None]
    cells: list[object] = [sample[0], format_time(sample[1]), sample[2]]
    if before is None:
        return cells
    return [
        "same" if place < 2 and cell == old else cell
        for place, (cell, old) in enumerate(zip(cells, _three(before), strict=True))
    ]


def _rejects(differences: Differences, out: TextIO, a_record: str) -> None:
    for appears, title in ((True, "Dead letters that would appear"), (False, "Dead letters that would vanish")):
        found = [change for change in differences.rejects.values() if change.appears is appears]
        if not found:
            continue
        heading(f"{title} ({sum(change.count for change in found)}), by kind", out)
        for change in sorted(found, key=lambda one: -one.count)[:FIRST]:
            reject = change.reject
            where = f"value {reject.path!r} of topic {change.topic!r}" if reject.path else f"topic {change.topic!r}"
            write_line(out, f"  {change.count} × {reject.reason}: {where}, {a_record} {change.line}")  # noqa: RUF001
            write_line(out, f"      {reject.message}")
        and_more(len(found), out)


def _to_copy(comparison: MappingComparison, out: TextIO) -> None:
    """Writes the rules and tests as they stand in a file, so that they can be copied."""
    if comparison.rules:
        heading(f"Rules of {comparison.other} to copy", out)
        for _, text in comparison.rules:
            for line in text.splitlines():
                write_line(out, line)
    if comparison.tests:
        heading(f"Tests to copy: they pass with {comparison.other}, in a file NAME-tests.yaml beside it", out)
        write_line(out, "tests:")
        for text in comparison.tests:
            for line in text.splitlines():
                write_line(out, line)


def heading(text: str, out: TextIO) -> None:
    """Writes a title after an empty line."""
    write_line(out, "")
    write_line(out, text)


def and_more(count: int, out: TextIO) -> None:
    """Writes how many of `count` rows are not shown, if there are any."""
    if count > FIRST:
        write_line(out, f"  … {count - FIRST} more; --json has all")
