"""The command `new-signals`: lists and approves held signals."""

from __future__ import annotations

import sqlite3
from fnmatch import fnmatchcase
from pathlib import Path

import click

from connector.commands.configuration import CONFIG
from connector.commands.integration import INTEGRATION, integration_in
from connector.config.read import load_config
from connector.records import at_integration, of_integration
from connector.runtime.state_dir import state_files
from connector.state.state import approve, read_held
from connector.terminal.text import say, say_json


@click.command("new-signals")
@CONFIG
@click.option(
    "--approve",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Approve signals with this input ID, which may contain *. Can be repeated.",
)
@INTEGRATION
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of lines.")
def new_signals(config: Path, patterns: tuple[str, ...], integration: str | None, as_json: bool) -> None:
    """List or approve held signals.

    A held signal is a new signal that waits for approval (signals.on_new, signals.max). A running connector accepts an
    approved signal within seconds. Earlier samples of the signal are dead letters: replay these letters with
    `dead-letters replay`. The input ID of a further integration has its name in front: plant-a|temperature. With
    --integration plant-a, PATTERN is without this name.
    """
    loaded = load_config(config)
    folder, only = loaded.state_dir, integration_in(loaded, integration)
    if only is not None:
        patterns = tuple(at_integration(only, pattern) for pattern in patterns)
    try:
        held = {
            file: [one for one in read_held(file) if only is None or of_integration(one)[0] == only]
            for file in state_files(folder)
        }
        if not patterns:
            inputs = sorted({input_id for found in held.values() for input_id in found})
            _say(inputs, inputs or ["No signal is held."], as_json=as_json)
            return
        wanted = {
            file: [input_id for input_id in found if any(fnmatchcase(input_id, pattern) for pattern in patterns)]
            for file, found in held.items()
        }
        for file, inputs in wanted.items():
            approve(file, inputs)
    except sqlite3.Error as error:
        raise click.ClickException(f"the state in {folder} cannot be used: {error}") from None
    approved = sorted({input_id for inputs in wanted.values() for input_id in inputs})
    if not approved:
        raise click.ClickException(
            f"no held signal matches {' or '.join(patterns)}; without --approve, the command lists all"
        )
    _say(approved, [f"approved {input_id}" for input_id in approved], as_json=as_json)


def _say(inputs: list[str], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        say_json(inputs)
        return
    for line in lines:
        say(line)
