"""What tests of metadata stand on: a thread that saves, and its clock."""

from __future__ import annotations

import threading
from typing import Final

from connector.metadata.items import ItemPublisher
from connector.metadata.signals import SignalSaver
from tests.scripted import Clock

SECONDS: Final = 20.0
"""How long a test waits for the thread."""
WALL: Final = 1_800_000_000.0
"""When the tests begin."""


class Desk:
    """A thread that saves metadata, which ends with the test, and its clock."""

    def __init__(self, thread: SignalSaver | ItemPublisher, abort: threading.Event, wall: Clock) -> None:
        self._thread = thread
        self.abort = abort
        self.wall = wall

    def later(self, seconds: float) -> None:
        self.wall.now += seconds
        self._thread.outbox.want({})  # it looks

    def close(self) -> None:
        self.abort.set()
        self._thread.close(SECONDS)
