"""The command `preview`: shows the result of a mapping for real messages, before any data is sent."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

import click

from connector.commands.integration import INTEGRATION, integration_in
from connector.commands.try_out.options import CONFIG, duration_option, errors_for_people, from_capture, from_sources
from connector.terminal.paths import UserPath
from connector.terminal.tables import write_json
from connector.try_out.comparison import Comparing
from connector.try_out.in_clarify import InClarify, compare_with_clarify
from connector.try_out.mapping import TriedMapping
from connector.try_out.preview import new_preview
from connector.try_out.report import as_json
from connector.try_out.report_text import write_report

_SERIES: Final = 50
"""Of a frame that is shown."""


@click.command()
@CONFIG
@click.option(
    "--input",
    "input_",
    metavar="FILE",
    type=UserPath(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="Read a capture of `record`; - is the standard input.",
)
@click.option("--topic", help="Topic of all lines of FILE, if each line is only a payload.")
@click.option(
    "--live", metavar="DURATION", callback=duration_option, help="Listen to the sources for this long, such as 30s."
)
@click.option("--count", type=click.IntRange(1), help="Stop after this number of messages.")
@click.option(
    "--from-beginning", is_flag=True, help="With --live: read all stored records of Kafka instead of only new records."
)
@click.option(
    "--compare",
    "other",
    metavar="OTHER.yaml",
    type=UserPath(path_type=Path, dir_okay=False),
    help="Compare with this configuration, message by message: samples, dead letters and signals that would change, "
    "what new signals cost, and the rules and tests to copy.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object instead of tables.")
@click.option(
    "--frames", default=2, show_default=True, type=click.IntRange(0), help="Number of frames to show as tables."
)
@click.option(
    "--rows", default=8, show_default=True, type=click.IntRange(1), help="Number of rows to show of each frame."
)
@click.option(
    "--input-id", "input_id", metavar="PATTERN", help="Only signals whose input ID matches; * and ? as in a shell."
)
@INTEGRATION
@click.option("--all", "all_rows", is_flag=True, help="Show all signals, not only the first.")
@click.option("--no-clarify", is_flag=True, help="Do not ask Clarify for the existing signals.")
def preview(
    config: Path,
    input_: Path | None,
    topic: str | None,
    live: float | None,
    count: int | None,
    from_beginning: bool,
    other: Path | None,
    as_json_: bool,
    frames: int,
    rows: int,
    input_id: str | None,
    integration: str | None,
    all_rows: bool,
    no_clarify: bool,
) -> None:
    """Show the result of a mapping for real messages.

    The result is data frames, signals and rejects. The command sends no data. The messages come from a capture
    (--input), or directly from the sources (--live). A running connector is not disturbed. Credentials are optional:
    with credentials, and if Clarify answers, the command also shows which signals would be created or changed.
    """
    if (input_ is None) == (live is None):
        raise click.UsageError("choose the messages: --input FILE, or --live 30s")
    if topic is not None and input_ is None:
        raise click.UsageError("--topic needs --input")
    if from_beginning and live is None:
        raise click.UsageError("--from-beginning needs --live")
    with errors_for_people():
        mapping = TriedMapping.load(config, without_secrets=live is None)
        new = partial(new_preview, only=integration_in(mapping.config, integration))
        found = new(mapping, frames=frames, rows=rows, series=_SERIES)
        comparing = None
        if other is not None:
            comparing = Comparing(found, new(TriedMapping.load(other), frames=0, rows=0, series=0))
        take = found.take if comparing is None else comparing.take
        if input_ is not None:
            records = from_capture(input_, topic)
        else:
            records = from_sources(mapping.config.sources, seconds=live, count=count, from_beginning=from_beginning)
        for number, taken in enumerate(records, 1):
            take(taken)
            if number == count:
                break
        found.finish()
        comparison = None if comparing is None else comparing.finish()
    clarify = then_in_clarify = InClarify("--no-clarify")
    if not no_clarify:
        clarify = compare_with_clarify(mapping.config, list(found.signals), mapping.metadata)
        if comparing is not None and comparison is not None:
            then = comparing.other.mapping
            then_in_clarify = compare_with_clarify(then.config, comparison.created, then.metadata)
    if as_json_:
        write_json(as_json(found, clarify, comparison, then_in_clarify), sys.stdout)
    else:
        write_report(
            found,
            clarify,
            comparison,
            then_in_clarify,
            sys.stdout,
            a_record="message" if input_ is None else "line",
            input_id=input_id,
            all_rows=all_rows,
        )
