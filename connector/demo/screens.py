"""The output of a running demo: a live screen on a terminal, or else plain lines on standard error."""

from __future__ import annotations

import sys
import time
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live

from connector.demo.observer import Reading
from connector.demo.view import DemoStage, Places, progress_line, render
from connector.terminal.text import say

_LINE_SECONDS: Final = 2.0


class Screen(Protocol):
    """A context manager that shows readings."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, reading: Reading, stage: DemoStage, places: Places) -> None:
        """Show a reading; the demo calls this some times a second."""


def choose_screen() -> Screen:
    """The live screen if standard output is a terminal that can show it, or else plain lines."""
    console = Console()
    if sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console)
    return ProgressLines()


class LiveScreen:
    """A screen that fills the terminal, and that `show` draws anew in the present size of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, reading: Reading, stage: DemoStage, places: Places) -> None:
        """Draw the screen anew."""
        size = self._console.size
        self._live.update(render(reading, stage, places, size.width, size.height), refresh=True)


class ProgressLines:
    """A plain line every two seconds, and a line whenever a new stage of the demo begins."""

    def __init__(self) -> None:
        self._next = 0.0
        self._doing: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, reading: Reading, stage: DemoStage, places: Places) -> None:
        """Print a line if two seconds are over or a new stage has begun."""
        now = time.monotonic()
        if self._doing is None:
            say(
                f"broker {places.broker} at 127.0.0.1:{places.broker_port}, sandbox {places.sandbox_url}, "
                f"status {places.status_url}\nwhile this runs: clarify-connector ledger {places.config}",
                err=True,
            )
        if now >= self._next or stage.doing != self._doing:
            self._next = now + _LINE_SECONDS
            self._doing = stage.doing
            say(progress_line(reading, stage), err=True)
