"""The command `ledger`: prints the number of messages that came in, and their outcomes."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import click

from connector.commands.integration import INTEGRATION, integration_in
from connector.config.read import load_config
from connector.runtime.ledger import as_table, read_ledger
from connector.terminal.paths import UserPath
from connector.terminal.text import say_json, say_text


@click.command()
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=UserPath(path_type=Path, dir_okay=False))
@INTEGRATION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option(
    "--all-members",
    is_flag=True,
    help="The configurations are all members of a consumer group: a gap between the settled offsets is a loss.",
)
def ledger(configs: tuple[Path, ...], integration: str | None, as_json: bool, all_members: bool) -> None:
    """Print the numbers of messages, by outcome.

    The ledger counts every message that came in, and the outcome: inserted, dead-lettered, filtered, superseded or
    waiting. With several configurations, such as all replicas, the numbers are added. The exit status is 1 if the
    ledger does not balance.
    """
    loaded = list(map(load_config, configs))
    for config in loaded:
        integration_in(config, integration)
    try:
        found = read_ledger(*loaded, all_members=all_members)
    except sqlite3.Error as error:
        raise click.ClickException(f"the ledger cannot be read: {error}") from None
    if integration is not None:
        found.only(integration, default=loaded[0].clarify.name)
    if as_json:
        say_json(found.as_json())
    else:
        say_text(as_table(found))
    if not found.balanced:
        sys.exit(1)
