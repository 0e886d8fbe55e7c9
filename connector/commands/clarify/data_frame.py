"""The command `data-frame`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TextIO
from zoneinfo import ZoneInfo

import click

from connector.clarify import Client, DataFrame, iso8601, query
from connector.commands.clarify.charts import Chart, charts, titled
from connector.commands.clarify.connection import reaches_clarify
from connector.commands.clarify.filters import both, read_filter, read_limit, with_filters
from connector.commands.clarify.plot import draw, write_png
from connector.commands.clarify.times import ZoneParameter, read_moment_option
from connector.settings import at_home
from connector.terminal.paths import UserPath
from connector.terminal.progress import watched
from connector.terminal.tables import write_csv, write_json, write_table
from connector.terminal.text import say, say_text

_ON_TERMINAL: Final = "-"


@click.command("data-frame")
@reaches_clarify
@with_filters
@click.option("--item", "ids", multiple=True, metavar="ID", help="Only the item with this ID. Can be repeated.")
@click.option(
    "--from",
    "start",
    metavar="TIME",
    default="-7d",
    show_default=True,
    help="First time: ISO 8601, or -7d for 7 days ago.",
)
@click.option(
    "--to", "end", metavar="TIME", default="now", show_default=True, help="End of the time range, itself excluded."
)
@click.option("--rollup", metavar="DURATION", help="Aggregate into buckets: PT5M, P1D, P1M … or window.")
@click.option(
    "--time-zone", type=ZoneParameter(), default="UTC", show_default=True, help="Time zone of the buckets of a rollup."
)
@click.option("--last", type=click.IntRange(1), help="Greatest number of values of each series: the newest values.")
@click.option("--limit", "-n", default="50", show_default=True, help="Greatest number of items, or all.")
@click.option(
    "--names/--ids", default=True, show_default=True, help="Title of a column: the name or the ID of the item."
)
@click.option("--format", "layout", type=click.Choice(("table", "csv", "json")), default="table", show_default=True)
@click.option(
    "--output",
    type=UserPath(path_type=Path, dir_okay=False),
    help="Write to this file instead of the standard output.",
)
@click.option(
    "--plot",
    is_flag=False,
    flag_value=_ON_TERMINAL,
    metavar="[FILE.png]",
    help="Draw a chart in the terminal, or write a PNG file.",
)
def data_frame(client: Client, conditions: Sequence[str], raw: str | None, ids: Sequence[str], start: str, end: str,
               rollup: str | None, time_zone: ZoneInfo, last: int | None, limit: str, names: bool, layout: str,
               output: Path | None, plot: str | None) -> None:  # fmt: skip
    """Show the data of items as a table, CSV, JSON or a chart."""
    chosen = read_filter(conditions, raw)
    if ids:
        named = query.Filter(fields={"id": query.In(value=list(ids))})
        chosen = both(chosen, named)
    if plot not in (None, _ON_TERMINAL) and not plot.lower().endswith(".png"):
        raise click.UsageError(f"--plot {plot!r}: a picture is a PNG file, so the name must end in .png")
    with watched("Reading", "requests") as progress:
        selection = (
            client.data_frame(
                chosen,
                limit=read_limit(limit),
                gte=read_moment_option(start, "--from"),
                lt=read_moment_option(end, "--to"),
                rollup=rollup,
                timeZone=time_zone.key,
                last=last or -1,
                include=["item"],
                progress=progress,
            )
            .raise_for_error()
            .result
        )
    assert selection is not None  # noqa: S101 - there was no error
    frame = titled(selection) if names else selection.data
    if not frame.columns:
        say("no item matches", err=True)
    if plot is not None:
        if frame.columns:
            _plot(charts(selection, names=names), plot, output)
        return
    with ExitStack() as opened:
        out: TextIO = opened.enter_context(output.open("w", encoding="utf-8")) if output else sys.stdout
        _write(frame, layout, out)


def _write(frame: DataFrame, layout: str, out: TextIO) -> None:
    if layout == "json":
        write_json(frame.to_wire(), out)
        return
    times = iso8601.texts(frame.times_us)
    rows = [list(row) for row in zip(times, *frame.columns.values(), strict=True)]
    (write_table if layout == "table" else write_csv)(["time", *frame.columns], rows, out)


def _plot(charts: Sequence[Chart], where: str, output: Path | None) -> None:
    if where != _ON_TERMINAL:
        write_png(charts, at_home(where))
        say(f"{where} written", err=True)
        return
    text = draw(charts, min(shutil.get_terminal_size().columns, 120))
    if output is not None:
        output.write_text(text, encoding="utf-8")
    else:
        say_text(text, end="")
