"""The output of a running demo: a live screen on a terminal, or else plain lines on standard error."""

from __future__ import annotations

import time
from typing import Final, Protocol, Self

from connector.demo.observer import Reading
from connector.demo.view import DemoStage, Places, progress_line, render
from connector.terminal.screen import LiveScreen, live_console
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
    console = live_console()
    return ProgressLines() if console is None else DemoScreen(console)


class DemoScreen(LiveScreen):
    """A screen that fills the terminal."""

    def show(self, reading: Reading, stage: DemoStage, places: Places) -> None:
        """Draw the screen anew."""
        self.draw(lambda width, height: render(reading, stage, places, width, height))


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
                f"status {places.status_url}",
                err=True,
            )
            say(f"while this runs: clarify-connector ledger {places.config}", err=True)
        if now >= self._next or stage.doing != self._doing:
            self._next = now + _LINE_SECONDS
            self._doing = stage.doing
            say(progress_line(reading, stage), err=True)
