"""The commands `signals`, `items` and `publish`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import click

from connector.clarify import Client, Item, ItemResource, NotAllowed, SignalInfo, SignalResource, query
from connector.clarify.limits import PUBLISHED_SIGNALS
from connector.commands.clarify.connection import reaches_clarify
from connector.commands.clarify.filters import both, matches_all, read_filter, read_limit, with_filters
from connector.terminal.progress import bar, watched
from connector.terminal.tables import FORMATS, write_csv, write_json, write_table
from connector.terminal.text import say

_SIGNAL_COLUMNS: Final = ("input", "name", "unit", "type", "labels", "id", "item")
_BRACES: Final = re.compile(r"\{(?:name|input)\}")
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


@click.command()
@reaches_clarify
@with_filters
@click.option("--all", "everything", is_flag=True, help="Publish all signals of the integration.")
@click.option("--signal", "ids", multiple=True, metavar="ID", help="Publish the signal with this ID. Can be repeated.")
@click.option(
    "--visible/--hidden",
    default=None,
    help="Show or hide the items in the organisation.  [default: existing items unchanged, new items visible]",
)
@click.option("--name", default="{name}", show_default=True, help="Name of the items; {name} and {input} are replaced.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Add this label to the items. Can be repeated."
)
@click.option("--create-only", is_flag=True, help="Create items, but do not change existing items.")
@click.option("--dry-run", is_flag=True, help="Show the items that would be published, and publish nothing.")
def publish(client: Client, conditions: Sequence[str], raw: str | None, everything: bool, ids: Sequence[str],
            visible: bool | None, name: str, labels: Sequence[str], create_only: bool,
            dry_run: bool) -> None:  # fmt: skip
    """Publish signals as items, with the signals' metadata.

    An existing item is overwritten, except with --create-only.
    """
    chosen = read_filter(conditions, raw)
    if ids:
        chosen = both(chosen, query.Filter(fields={"id": query.In(value=list(ids))}))
    if matches_all(chosen) and not everything:
        raise click.UsageError("choose signals with --filter, --query, --signal or --all")
    more = _labels(labels)
    with watched("Reading", "signals") as progress:
        found = list(client.iter_signals(chosen, progress=progress))
    if missing := set(ids) - {one.id for one in found}:
        raise click.ClickException(f"no signal with this ID matches the filter: {', '.join(sorted(missing))}")
    hidden = _hidden(client, found) if visible is None else frozenset[str]()
    wanted = {
        one.id: _item(one, name, more, visible=one.item not in hidden if visible is None else visible) for one in found
    }
    if dry_run:
        rows = [(one.attributes.input, wanted[one.id].name, one.item or "(new)") for one in found]
        write_table(("input", "name", "item"), rows, sys.stdout)
        return
    created = updated = done = 0
    left = iter(wanted.items())
    with bar("Publishing", len(wanted)) as published:
        while part := dict(islice(left, PUBLISHED_SIGNALS)):
            response = client.publish_signals(part, create_only=create_only)
            if response.result is None:
                say(f"{done} of {len(wanted)} signals were published before this:", err=True)
            result = response.raise_for_error().result
            assert result is not None  # noqa: S101 - there was no error
            created += sum(state.created for state in result.items_by_signal.values())
            updated += sum(state.updated for state in result.items_by_signal.values())
            done += len(part)
            published.update(len(part))
    unchanged = len(wanted) - created - updated
    say(f"{created} items created, {updated} updated, {unchanged} unchanged", err=True)


def _hidden(client: Client, signals: Sequence[SignalResource]) -> frozenset[str]:
    """Return the hidden items of the signals: publishing a signal again must not make a hidden item visible."""
    items = [one.item for one in signals if one.item is not None]
    hidden = set()
    for first in range(0, len(items), PUBLISHED_SIGNALS):
        some = query.Filter(fields={"id": query.In(value=items[first : first + PUBLISHED_SIGNALS])})
        try:
            hidden |= {item.id for item in client.iter_items(some) if not item.attributes.visible}
        except NotAllowed as error:
            raise click.ClickException(
                f"{error}; the command cannot tell which items are hidden: use --visible or --hidden"
            ) from None
    return frozenset(hidden)


def _item(signal: SignalResource, name: str, labels: Mapping[str, list[str]], *, visible: bool) -> Item:
    attributes = signal.attributes
    if set("{}") & set(_BRACES.sub("", name)):
        raise click.UsageError(f"--name {name!r} may have {{name}} and {{input}}, nothing else in braces")
    known = {"{name}": attributes.name, "{input}": attributes.input}
    fields = {field: getattr(attributes, field) for field in SignalInfo.model_fields} | {
        "name": _BRACES.sub(lambda found: known[found[0]], name),
        "labels": {**attributes.labels, **labels},
        "visible": visible,
    }
    return Item.model_validate(fields)


def _say_if_cut(found: int, most: int | None) -> None:
    if found and found == most:
        say(f"{found} are shown, the number of --limit; --limit all shows all", err=True)


def _labels(given: Sequence[str]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise click.UsageError(f"--label {text!r} is not KEY=VALUE")
        labels.setdefault(key, []).append(value)
    return labels


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
