"""The command `drain`: asks the running connector to hand over its work and to end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click

from connector.config.read import load_config
from connector.runtime.drain import DrainFiles, DrainProgress, DrainRequest, drain_files
from connector.runtime.workers import worker_folder
from connector.terminal.paths import UserPath
from connector.terminal.text import say, say_text, shown

_LOOK_SECONDS: Final = 0.2
_CLOSE_SECONDS: Final = 45.0
"""Seconds after the drain itself, for publishing new metadata and for closing files and sessions."""


@click.command()
@click.argument("config", type=UserPath(path_type=Path, dir_okay=False))
@click.option("--within", default=60.0, show_default=True, metavar="SECONDS", help="Time limit of the drain.")
@click.option(
    "--end-session",
    is_flag=True,
    help="Also end MQTT sessions that are not shared: for a connector that will not start again. Without this option, "
    "the broker keeps new messages for the connector.",
)
def drain(config: Path, within: float, end_session: bool) -> None:
    """Let the running connector hand over its work, and end.

    The connector leaves its shared subscriptions and consumer groups, sends all data, and ends. The exit status is 0 if
    all messages are handed over, and 1 if the time was over. In both cases the connector has ended. Messages that are
    left wait in the journal for the next start.
    """
    loaded = load_config(config)
    unasked = {worker: drain_files(worker_folder(loaded.state_dir, worker)) for worker in range(1, loaded.workers + 1)}
    ends: list[DrainProgress | None] = []
    while running := {worker: files for worker, files in unasked.items() if files.running()}:
        for worker, files in running.items():
            del unasked[worker]
            _ask(files, DrainRequest(within, end_session), loaded.state_dir)
        ends += [_follow(files, within) for files in running.values()]  # a worker that had died may be back by now
    if not ends:
        raise click.ClickException(f"no connector runs with state_dir {loaded.state_dir}")
    for note in dict.fromkeys(note for end in ends if end is not None for note in end.unsure):
        say_text(f"note: {shown(note)}")
    left = sum(end.waiting for end in ends if end is not None and not end.drained)
    if any(end is None for end in ends):
        raise click.ClickException("the connector ended without an answer; see the connector's log")
    if not all(end is not None and end.drained for end in ends):
        raise click.ClickException(
            f"{left} messages are not handed over, and wait for the next start; see the connector's log"
        )
    if unasked:
        raise click.ClickException(
            f"worker {', '.join(map(str, unasked))} did not run and was not drained; all other workers are drained. If "
            "the worker was just starting, run the command again"
        )
    say("drained: all messages are handed over")


def _ask(files: DrainFiles, request: DrainRequest, state_dir: Path) -> None:
    try:
        files.ask(request)
    except OSError as error:
        raise click.ClickException(
            f"the request cannot be written to {state_dir} ({error.strerror}); SIGTERM stops the connector, too: the "
            "connector then keeps waiting messages for the next start"
        ) from None


def _follow(files: DrainFiles, within: float) -> DrainProgress | None:
    """Show the progress of a drain until the connector has ended; return the last progress, None if there is none."""
    until = time.monotonic() + within + _CLOSE_SECONDS
    stage, most = "", 0
    last: DrainProgress | None = None
    with click.progressbar(length=1, label="messages", file=sys.stderr, show_pos=True) as bar:
        while time.monotonic() < until:
            running = files.running()
            last = files.told() or last
            if last is not None:
                if last.stage != stage:
                    stage = last.stage
                    say_text(f"\n{shown(stage)}" if sys.stderr.isatty() else shown(stage), err=True)
                most = max(most, last.waiting)
                bar.length = max(1, most)
                bar.update(max(0, most - last.waiting - bar.pos))
            if not running:
                return last if last is not None and last.done else None
            time.sleep(_LOOK_SECONDS)
    return last if last is not None and last.done else None
