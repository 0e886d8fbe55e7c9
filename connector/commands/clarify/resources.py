"""The commands `signals` and `items`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from connector.clarify import Client, ItemResource, SignalResource
from connector.commands.clarify.connection import reaches_clarify
from connector.commands.clarify.filters import read_filter, read_limit, with_filters
from connector.terminal.progress import watched
from connector.terminal.tables import FORMATS, write_csv, write_json, write_table
from connector.terminal.text import say

_SIGNAL_COLUMNS: Final = ("input", "name", "unit", "type", "labels", "id", "item")
_ITEM_COLUMNS: Final = ("name", "unit", "type", "labels", "visible", "id")


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--format", "layout", type=click.Choice(FORMATS), default="table", show_default=True),
        click.option(
            "--skip", type=click.IntRange(0), default=0, help="Number of resources to leave out at the beginning."
        ),
        click.option("--limit", "-n", default="100", show_default=True, help="Greatest number to show, or all."),
        click.option(
            "--sort", multiple=True, metavar="FIELD", help="Sort by this field; -FIELD sorts in descending order."
        ),
    ):
        command = option(command)
    return with_filters(command)


@click.command()
@reaches_clarify
@_selection
def signals(client: Client, conditions: Sequence[str], raw: str | None, sort: Sequence[str], limit: str, skip: int,
            layout: str) -> None:  # fmt: skip
    """Show the signals of the integration, with published items."""
    chosen, most = read_filter(conditions, raw), read_limit(limit)
    with watched("Reading", "signals") as progress:
        found = list(client.iter_signals(chosen, sort, skip=skip, limit=most, progress=progress))
    _say_if_cut(len(found), most)
    _write(_SIGNAL_COLUMNS, [_signal_row(one) for one in found], found, layout)


@click.command()
@reaches_clarify
@_selection
def items(client: Client, conditions: Sequence[str], raw: str | None, sort: Sequence[str], limit: str, skip: int,
          layout: str) -> None:  # fmt: skip
    """Show the items that the integration can read."""
    chosen, most = read_filter(conditions, raw), read_limit(limit)
    with watched("Reading", "items") as progress:
        found = list(client.iter_items(chosen, sort, skip=skip, limit=most, progress=progress))
    _say_if_cut(len(found), most)
    _write(_ITEM_COLUMNS, [_item_row(one) for one in found], found, layout)


def _say_if_cut(found: int, most: int | None) -> None:
    if found and found == most:
        say(f"{found} are shown, the number of --limit; --limit all shows all", err=True)


def _signal_row(signal: SignalResource) -> tuple[object, ...]:
    it = signal.attributes
    return it.input, it.name, it.eng_unit, it.value_type, _joined(it.labels), signal.id, signal.item


def _item_row(item: ItemResource) -> tuple[object, ...]:
    it = item.attributes
    return it.name, it.eng_unit, it.value_type, _joined(it.labels), "yes" if it.visible else "no", item.id


def _joined(labels: Mapping[str, list[str]]) -> str:
    return " ".join(f"{key}={','.join(values)}" for key, values in labels.items())


def _write(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    found: Sequence[SignalResource | ItemResource],
    layout: str,
) -> None:
    if layout == "table":
        write_table(columns, rows, sys.stdout)
    elif layout == "csv":
        write_csv(columns, rows, sys.stdout)
    else:
        resources = [one.model_dump(mode="json", by_alias=True) for one in found]
        write_json(resources, sys.stdout, lines=layout == "ndjson")
