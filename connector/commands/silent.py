"""The command `silent`: lists the watched signals that are silent, and since when."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import click

from connector.commands.configuration import CONFIG
from connector.commands.integration import INTEGRATION, integration_in
from connector.config.read import load_config
from connector.records import of_integration
from connector.runtime.silence import SilentSignal, signal_as_json
from connector.runtime.state_dir import SILENT_NOTE, state_files
from connector.sources.loss import readable_duration
from connector.state.state import read_note
from connector.terminal.tables import write_table
from connector.terminal.text import say, say_json


@click.command("silent")
@CONFIG
@INTEGRATION
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def silent(config: Path, integration: str | None, as_json: bool) -> None:
    """List the signals that are silent for longer than expect_every of their rule.

    The signal that is silent for longest comes first. A running connector renews the list within ten seconds; after a
    stop, the command shows the last list.
    """
    loaded = load_config(config)
    only = integration_in(loaded, integration)
    found: list[SilentSignal] = []
    more = 0
    try:
        for file in state_files(loaded.state_dir):
            if note := read_note(file, SILENT_NOTE):
                said = json.loads(note.text)
                found += [SilentSignal(*one) for one in said["signals"]]
                more += said["more"]
    except sqlite3.Error as error:
        raise click.ClickException(f"the state in {loaded.state_dir} cannot be read: {error}") from None
    found = sorted(
        (one for one in found if only is None or of_integration(one.input)[0] == only), key=lambda one: one.since
    )
    shown = [signal_as_json(one, loaded.clarify.name) for one in found]
    if as_json:
        say_json(shown)
        return
    if not loaded.mapping.expects_signals:
        say("No rule has expect_every, so no signal is watched.")
    elif not shown:
        say("No watched signal is silent.")
    else:
        columns = ["since", "input", "source", "rule", "expect_every"]
        if len(loaded.clarify.names) > 1:
            columns.insert(1, "integration")
        rows = [{**one, "expect_every": readable_duration(float(str(one["expect_every"])))} for one in shown]
        write_table(columns, [[row[column] for column in columns] for row in rows], sys.stdout)
    if more:
        say(f"{more} more signals are silent; the page /silent of the running connector has all of them")
