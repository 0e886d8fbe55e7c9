"""The command `doctor`: connects, changes nothing, and says what is wrong and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from connector.brokers.findings import Examination, Level
from connector.commands.configuration import CONFIG
from connector.commands.doctor.run import Row, counts, examine
from connector.config.model import Config
from connector.config.read import ConfigError, load_config
from connector.terminal.tables import write_json
from connector.terminal.text import say

SECONDS = 3.0
"""The longest wait for one answer."""
_NO_CONFIGURATION: Final = 2


@click.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Write all findings as JSON.")
@click.option("--all", "everything", is_flag=True, help="Also list what is well.")
def doctor(config: Path, as_json: bool, everything: bool) -> None:
    """Find out what is wrong: connect to everything that CONFIG names, and change nothing.

    The command can run beside the connector of CONFIG: it joins no group, and takes no message away. Each finding has
    a level: `wrong` does not work or loses data, `advice` works now. The exit status is 0 if nothing is wrong, 1 if
    something is, and 2 if CONFIG cannot be read.
    """
    try:
        loaded = load_config(config)
    except ConfigError as error:
        for line in getattr(error, "lines", [str(error)]):
            say(f"Error: {line}", err=True)
        sys.exit(_NO_CONFIGURATION)
    rows = examine(loaded, asked_for(loaded))
    if as_json:
        write_json([_document(row) for row in rows], sys.stdout)
    else:
        _say(rows, everything=everything)
    sys.exit(1 if counts(rows)["wrong"] else 0)


def asked_for(config: Config, *, short: bool = False) -> Examination:
    """What the looks need to know of a configuration."""
    return Examination(SECONDS, short, config.mapping.max_payload)


def _say(rows: list[Row], *, everything: bool) -> None:
    shown = [row for row in rows if everything or row.finding.level is not Level.OK]
    cells = [("LEVEL", "ABOUT", "WHAT"), *((row.finding.level.value, row.about, row.finding.subject) for row in shown)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    if shown:
        say(_line(cells[0], widths, "FINDING, AND WHAT TO DO"))
    for row, words in zip(shown, cells[1:], strict=True):
        say(_line(words, widths, row.finding.text))
        if row.finding.remedy:
            say(_line(("", "", ""), widths, f"→ {row.finding.remedy}"))
    count, more = counts(rows), "" if everything else " (--all lists them)"
    say(f"{count['wrong']} wrong, {count['advice']} advice, {count['ok']} ok{more}")


def _line(words: tuple[str, str, str], widths: list[int], text: str) -> str:
    return "  ".join([*(word.ljust(width) for word, width in zip(words, widths, strict=True)), text])


def _document(row: Row) -> dict[str, str]:
    found = row.finding
    return {
        "level": found.level.value,
        "about": row.about,
        "what": found.subject,
        "finding": found.text,
        "remedy": found.remedy,
    }
