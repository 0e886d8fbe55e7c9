"""The command `publish`: by a filter, or by the plan of a configuration."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from connector.clarify import Client, Item, NotAllowed, SignalInfo, SignalResource, query
from connector.clarify.limits import PUBLISHED_SIGNALS
from connector.commands.clarify.connection import clarify_client, connection_options
from connector.commands.clarify.filters import Chosen, both, matches_all, read_filter, with_filters
from connector.terminal.paths import UserPath
from connector.terminal.progress import bar, watched
from connector.terminal.tables import write_table
from connector.terminal.text import say

_BRACES: Final = re.compile(r"\{(?:name|input)\}")
_ONLY_WITH_PLAN: Final = {
    "applies": "--apply",
    "reviewed": "--as-planned",
    "capture": "--input",
    "as_json": "--json",
}
_NOT_WITH_PLAN: Final = {
    "visible": "--visible or --hidden",
    "name": "--name",
    "labels": "--label",
    "create_only": "--create-only",
    "ca_file": "--ca-file",
    "api_version": "--api-version",
    "allow_insecure": "--allow-insecure",
}


class PublishCommand(click.Command):
    """A command whose mistakes in the arguments have the exit status 1 with --plan: 2 says that changes are pending."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """As click's."""
        with _status_of_mistakes(any(arg == "--plan" or arg.startswith("--plan=") for arg in args)):
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        with _status_of_mistakes(ctx.params.get("plan") is not None):
            return super().invoke(ctx)


@contextmanager
def _status_of_mistakes(is_plan: bool) -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if is_plan:
            error.exit_code = 1  # type: ignore[misc]
        raise


@click.command(cls=PublishCommand)
@click.pass_context
@connection_options
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
@click.option(
    "--plan",
    metavar="CONFIG",
    type=UserPath(path_type=Path, dir_okay=False),
    help="Show what would become of the items that this configuration publishes; nothing is changed.",
)
@click.option("--apply", "applies", is_flag=True, help="With --plan: carry the plan out.")
@click.option(
    "--as-planned",
    "reviewed",
    metavar="FILE",
    type=UserPath(path_type=Path, dir_okay=False),
    help="With --plan --apply: only if the plan is still the one in FILE, which --plan --json has written.",
)
@click.option(
    "--input",
    "capture",
    metavar="FILE",
    type=UserPath(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="With --plan: also the signals of the messages in this capture of `record`; - is the standard input.",
)
@click.option("--json", "as_json", is_flag=True, help="With --plan: print one JSON object instead of a table.")
def publish(ctx: click.Context, conditions: Sequence[str], raw: str | None, everything: bool, ids: Sequence[str],
            visible: bool | None, name: str, labels: Sequence[str], create_only: bool, dry_run: bool,
            plan: Path | None, applies: bool, reviewed: Path | None, capture: Path | None, as_json: bool,
            credentials: str | None, **connection: Any) -> None:  # fmt: skip
    """Publish signals as items, with the signals' metadata.

    An existing item is overwritten, except with --create-only.

    With --plan, the rules of a configuration say what is published, and the command shows each item that is new,
    changed, or left alone because a person has edited it. The command compares as the running connector does, and
    changes nothing without --apply. The credentials are those of the configuration, unless --credentials names others.
    The exit status with --plan: 0 if there is nothing to do, 2 if changes are pending, 1 after an error, or if the plan
    does not know what some signals need.
    """
    _check_together(ctx, plan, applies)
    chosen = read_filter(conditions, raw)
    if ids:
        chosen = both(chosen, query.Filter(fields={"id": query.In(value=list(ids))}))
    if plan is not None:
        from connector.commands.clarify.publish_plan import (  # noqa: PLC0415 - loads the mapping
            PlanRequest,
            publish_plan,
        )

        given = credentials if _is_given(ctx, "credentials") else None
        ctx.exit(
            publish_plan(
                PlanRequest(plan, given, chosen, ids, capture, applies, reviewed, as_json, connection["integration"])
            )
        )
    if matches_all(chosen) and not everything:
        raise click.UsageError("choose signals with --filter, --query, --signal or --all")
    more = _labels(labels)
    with clarify_client(credentials, **connection) as client:
        _publish(client, chosen, ids, visible, name, more, create_only=create_only, dry_run=dry_run)


def _check_together(ctx: click.Context, plan: Path | None, applies: bool) -> None:
    """Raise click.UsageError for options that do not go together."""
    for option, flag in _ONLY_WITH_PLAN.items():
        if plan is None and _is_given(ctx, option):
            raise click.UsageError(f"{flag} needs --plan CONFIG")
    for option, flag in _NOT_WITH_PLAN.items():
        if plan is not None and _is_given(ctx, option):
            raise click.UsageError(f"{flag} is not for --plan: the configuration says it")
    if plan is not None and _is_given(ctx, "dry_run"):
        raise click.UsageError("--plan changes nothing without --apply: leave out --dry-run")
    if _is_given(ctx, "reviewed") and not applies:
        raise click.UsageError("--as-planned needs --apply")


def _is_given(ctx: click.Context, option: str) -> bool:
    return ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _publish(client: Client, chosen: Chosen, ids: Sequence[str], visible: bool | None, name: str,
             more: Mapping[str, list[str]], *, create_only: bool, dry_run: bool) -> None:  # fmt: skip
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


def _labels(given: Sequence[str]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise click.UsageError(f"--label {text!r} is not KEY=VALUE")
        labels.setdefault(key, []).append(value)
    return labels
