"""The command `top`: the state of a running connector, on a screen that is drawn anew, or as one block of text."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click

from connector.commands.configuration import CONFIG
from connector.commands.live.pages import NoPageError, RunningPages
from connector.commands.live.reading import TopReader
from connector.commands.live.view import render, write_text
from connector.commands.try_out.options import interrupted_by
from connector.terminal.screen import LiveScreen, live_console
from connector.terminal.tables import write_json

_TURN_SECONDS: Final = 1.0
"""The time between two readings. The connector makes its metrics at most this often."""
_FOR_RATES_SECONDS: Final = 2.0
_LONGEST_SECONDS: Final = 20.0
"""The longest wait for a second page of metrics: the connector keeps one for longer, if it takes long to make."""
_KEY_SECONDS: Final = 0.1


@click.command()
@CONFIG
@click.option("--once", is_flag=True, help="Print the state once, as text, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the state once, as a JSON object, and end.")
def top(config: Path, once: bool, as_json: bool) -> None:
    """Show the state of the running connector of CONFIG, on a screen.

    The screen has what comes in, waits and goes out, for each source and each integration; what is wrong, and what to
    do; dead letters; how full the frames are, and whether the load fits. The key q ends the command. Where there is no
    terminal, the state is printed once; the rates are those of some seconds. The exit status is 0 also if something is
    wrong: `health` judges.
    """
    pages = RunningPages(config)
    reader = TopReader(pages)
    reading = reader.read()
    console = None if once or as_json else live_console()
    stop = threading.Event()
    with interrupted_by(stop):
        if console is None:
            until = time.monotonic() + _LONGEST_SECONDS
            while reader.pages < 2 and not stop.is_set() and time.monotonic() < until:
                stop.wait(_FOR_RATES_SECONDS)
                reading = reader.read()
            if as_json:
                write_json(reading.as_json(), sys.stdout)
            else:
                write_text(reading, pages.listen, sys.stdout)
            return
        trouble = ""
        with LiveScreen(console) as screen, _keys():
            while not stop.is_set():
                screen.draw(partial(render, reading, pages.listen, trouble))
                if _asked_to_end(stop):
                    return
                try:
                    reading, trouble = reader.read(), ""
                except NoPageError as error:
                    trouble = str(error)


@contextmanager
def _keys() -> Iterator[None]:
    """Give each key at once, and do not show it."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _asked_to_end(stop: threading.Event) -> bool:
    """Wait until the next reading, and return whether the user has pressed q."""
    until = time.monotonic() + _TURN_SECONDS
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            stop.wait(left)
        elif select.select([sys.stdin], [], [], min(left, _KEY_SECONDS))[0] and _key() in ("q", "Q", ""):
            return True
    return False


def _key() -> str:
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace")
