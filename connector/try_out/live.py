"""Listens to the sources of a configuration, beside a running connector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final

from connector.sources.section import SourceSection
from connector.sources.tap import Tap, TapError
from connector.try_out.capture import Taken

_POLL_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 30.0


def taps(sections: Sequence[SourceSection], *, from_beginning: bool) -> list[Tap]:
    """Returns a tap for each source that can be listened to. Raises `TapError` if there is no such source."""
    found = [tap for section in sections if (tap := section.tap(from_beginning=from_beginning)) is not None]
    if not found:
        raise TapError("there is no source that can be listened to, such as MQTT or Kafka; a file is read with --input")
    return found


def listen(
    listeners: Sequence[Tap],
    *,
    seconds: float | None,
    count: int | None,
    stop: threading.Event,
    ready: Callable[[], object] = lambda: None,
    tick: Callable[[float, int], object] = lambda _seconds, _records: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Taken]:
    """Yields the records of `seconds` after all sources are reached, at most `count` records, or until `stop`.

    `ready` is called when all sources are reached. `tick` is called at each round, with the seconds and the number of
    records so far. Raises `TapError` if a source cannot be reached or read.
    """
    number = 0
    with ExitStack() as opened:
        for tap in listeners:
            opened.callback(tap.close)
            tap.start()
        begun = clock()
        started: float | None = None
        while not stop.is_set():
            if started is None and all(tap.listening() for tap in listeners):
                started = clock()
                ready()
            if started is None and clock() - begun > _CONNECT_SECONDS:
                late = ", ".join(tap.name for tap in listeners if not tap.listening())
                raise TapError(f"no answer within {_CONNECT_SECONDS:g} s from {late}")
            elapsed = 0.0 if started is None else clock() - started
            tick(elapsed, number)
            if seconds is not None and elapsed >= seconds:
                return
            for tap in listeners:
                for record in tap.poll(_POLL_SECONDS / len(listeners)):
                    number += 1
                    yield Taken(number, tap.name, record)
                    if number == count:
                        tick(elapsed, number)
                        return
