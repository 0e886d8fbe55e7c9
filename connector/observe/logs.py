"""Logs: one line an event, as text for people or JSON for machines, on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

from connector.terminal.text import shown

LINES_A_MINUTE: Final = 60
"""Of one event: what happens for each topic, signal or device may happen a million times."""
LONGEST_VALUE: Final = 2_000
"""Characters of one value in a line: topics and keys are the publishers' to choose."""
_WINDOW: Final = 60.0
_TRACEBACKS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Without local variables, among which are tokens, passwords and what devices sent."""


class Bounded:
    """Leaves out what is one line too many of an event in a minute, and says how many were; cuts what is very long."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, list[float]] = {}
        """Event → when its minute began, lines written in it, lines left out since the last that was written."""

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        name = str(event.get("event"))
        now = self._clock()
        with self._lock:  # events are named in the code, so there are not many
            window = self._windows.setdefault(name, [now, 0, 0])
            if now - window[0] >= _WINDOW:
                window[0], window[1] = now, 0
            if window[1] >= LINES_A_MINUTE:
                window[2] += 1
                raise structlog.DropEvent
            window[1] += 1
            last = window[1] == LINES_A_MINUTE
            left_out, window[2] = window[2], 0
        for key, value in event.items():
            if isinstance(value, str) and len(value) > LONGEST_VALUE:
                event[key] = f"{value[:LONGEST_VALUE]}… ({len(value)} characters)"
        if left_out:
            event["lines_left_out"] = int(left_out)
        if last:
            event["more"] = "further lines of this event are left out for a minute, and counted"
        return event


def _one_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A topic, or the answer of a server, must not forge a line of the log, or give orders to a terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = shown(value)
    return event


def _traceback(out: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Without local variables, and indented: a message in the traceback must not look like a line of the log."""
    text = "".join(traceback.format_exception(*error)).rstrip()
    out.write("".join(f"\n  {shown(line)}" for line in text.split("\n")))


class _Output:
    """Where lines go. One that cannot be written (the terminal is closed, whoever read the pipe is gone, the disk is
    full) is left out: it must not end the thread that has something to say."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with suppress(OSError):
            (self._stream or sys.stderr).flush()


def configure_logs(level: str, form: str, stream: TextIO | None = None, *, worker: int | None = None) -> None:
    """Set up logging for the whole process. `level` is a name such as `info`; `form` is `text` or `json`. Where
    several workers write into one stream, each line says which of them it is from."""
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
        errors: list[structlog.typing.Processor] = [structlog.processors.ExceptionRenderer(_TRACEBACKS)]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(),
            exception_formatter=_traceback,  # others show local variables
            pad_event_to=0,
        )
        errors = [_one_line]
    whose: list[structlog.typing.Processor] = []
    if worker is not None:

        def add_worker(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            event.setdefault("worker", worker)
            return event

        whose = [add_worker]
    structlog.configure(
        processors=[
            *whose,
            Bounded(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *errors,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _Output(stream))),
        cache_logger_on_first_use=False,
    )
