"""Prints what came in and what became of it."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import click

from connector.config.read import load_config
from connector.runtime.ledger import as_table, read_ledger
from connector.terminal.text import say_json, say_text


@click.command()
@click.argument(
    "configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--all-members",
    is_flag=True,
    help="The configurations are those of all members of a consumer group: a gap between what they settled is a loss.",
)
def ledger(configs: tuple[Path, ...], as_json: bool, all_members: bool) -> None:
    """Print what came in and what became of it; exits with 1 if it does not balance.

    Several configurations, such as those of all replicas, are added up.
    """
    try:
        found = read_ledger(*map(load_config, configs), all_members=all_members)
    except sqlite3.Error as error:
        raise click.ClickException(f"the ledger cannot be read: {error}") from None
    if as_json:
        say_json(found.as_json())
    else:
        say_text(as_table(found))
    if not found.balanced:
        sys.exit(1)
