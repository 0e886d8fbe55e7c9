"""The command `record`: writes real traffic to a capture file."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import click

from connector.commands.try_out.options import CONFIG, duration_option, errors_for_people, from_sources
from connector.config.read import load_config
from connector.sources.file.lines import capture_line
from connector.sources.tap import TapError
from connector.state.files import open_output
from connector.terminal.paths import UserPath
from connector.terminal.text import harmless_json, say
from connector.try_out.capture import STDIN


@click.command()
@CONFIG
@click.argument("file", type=UserPath(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--for", "seconds", metavar="DURATION", callback=duration_option, help="Listen for this long, such as 30s."
)
@click.option("--count", type=click.IntRange(1), help="Stop after this number of messages.")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only this source. Can be repeated.  [all]")
@click.option("--from-beginning", is_flag=True, help="For Kafka: read all stored records instead of only new records.")
@click.option("--append", is_flag=True, help="Add to FILE if it exists.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def record(
    config: Path,
    file: Path,
    seconds: float | None,
    count: int | None,
    names: tuple[str, ...],
    from_beginning: bool,
    append: bool,
    force: bool,
) -> None:
    """Record messages of the sources of CONFIG in FILE.

    A running connector is not disturbed. For MQTT, the command uses a separate session that ends with the command.
    Kafka is read without a consumer group. FILE has one message in each line, as JSON; - is the standard output.
    `preview`, `test`, `init` and the file source can read FILE. FILE has the data of devices in clear text, so only the
    owner of FILE may read FILE.
    """
    if seconds is None and count is None:
        raise click.UsageError("choose an end: --for 30s, --count 1000, or both")
    if append and force:
        raise click.UsageError("use --append or --force, not both")
    if not append and not force and file != STDIN and file.exists():
        raise click.ClickException(f"{file} exists; use --append to add to the file, or --force to replace the file")
    with errors_for_people():
        loaded = load_config(file=config)
        sections = [section for section in loaded.sources if not names or section.name in names]
        known = {section.name for section in loaded.sources}
        if unknown := set(names) - known:
            raise click.UsageError(f"there is no source {min(unknown)!r}; known sources: {', '.join(sorted(known))}")
        written: Counter[str] = Counter()
        out: BinaryIO | None = None
        try:
            for taken in from_sources(sections, seconds=seconds, count=count, from_beginning=from_beginning):
                out = out or _opened(file, append=append)  # without a message, the file stays unchanged
                source = taken.source or ""
                line = capture_line(source, taken.record)
                out.write(
                    harmless_json(line.decode()).encode() if file == STDIN else line
                )  # the standard output may be a terminal
                written[source] += 1
        except TapError as error:
            kept = f"; {written.total()} messages are in {file}" if written else ""
            raise click.ClickException(f"{error}{kept}") from None
        finally:
            if out is not None:
                out.flush()
                if file != STDIN:
                    out.close()
    if not written:
        raise click.ClickException(
            "no message came, and nothing was written: are the topics right? Listen for longer, or use "
            "--from-beginning for all stored records of Kafka"
        )
    listed = ", ".join(f"{number} of {name}" for name, number in sorted(written.items()))
    say(f"{file}: {written.total()} messages" + (f" ({listed})" if len(sections) > 1 and listed else ""), err=True)


def _opened(file: Path, *, append: bool) -> BinaryIO:
    if file == STDIN:
        return sys.stdout.buffer
    return os.fdopen(open_output(file, os.O_APPEND if append else os.O_TRUNC), "wb")
