"""The command `reload`: lets the running connector use its changed configuration file, and shows what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from connector.commands.configuration import CONFIG
from connector.config.read import load_state_dir
from connector.runtime.reload import ReloadRefusedError
from connector.runtime.reloads import ReloadFiles, ReloadRequest, reload_files
from connector.runtime.state_dir import WORKER_FOLDERS
from connector.terminal.text import say_text, shown

_LOOK_SECONDS: Final = 0.1
_START_SECONDS: Final = 15.0
"""Longest time until a connector takes the request; a reload may take longer."""


@click.command()
@CONFIG
def reload(config: Path) -> None:
    """Let the running connector use the changed CONFIG.

    The connector checks the file first. If the file has a mistake, or a change that needs a restart, the connector uses
    nothing of it, and the exit status is 1.
    """
    folder = load_state_dir(config)

    def running() -> bool:
        return any(reload_files(one).running() for one in (folder, *folder.glob(WORKER_FOLDERS)))

    if not running():
        raise click.ClickException(f"no connector runs with state_dir {folder}")
    files = reload_files(folder)
    try:
        files.ask(ReloadRequest())
    except OSError as error:
        raise click.ClickException(
            f"the request cannot be written to {folder} ({error.strerror}); run the command as the connector's user, "
            "or send SIGHUP to the connector"
        ) from None
    done, lines = _answer(files, running)
    if not done:
        raise ReloadRefusedError(*map(shown, lines), "the configuration in use stays, as a whole")
    for line in lines:
        say_text(shown(line))


def _answer(files: ReloadFiles, running: Callable[[], bool]) -> tuple[bool, list[str]]:
    until = time.monotonic() + _START_SECONDS
    while (answer := files.told()) is None:
        if files.waits() and time.monotonic() > until:
            raise click.ClickException(
                f"the connector did not take the request within {_START_SECONDS:g} s; if it is just starting, stopping "
                "or reloading, run the command again; else see its log"
            )
        if not running():
            raise click.ClickException("the connector ended without an answer; see its log")
        time.sleep(_LOOK_SECONDS)
    return answer.done, list(answer.lines)
