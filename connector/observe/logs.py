"""Logs on the standard error: a line of JSON for each event, for programs; or text for people.

A text that is longer than a screen is wide goes on in lines that begin with two spaces.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

from connector.terminal.text import shown

LINES_A_MINUTE: Final = 60
"""Most lines of one event in a minute: an event of a topic, signal or device may happen a million times."""
LONGEST_VALUE: Final = 2_000
"""Most characters of one value in a line: publishers choose topics and keys."""
_WINDOW: Final = 60.0
_COLUMNS: Final = 120
_MARK: Final = "\0"
_NOT_FIELDS: Final = frozenset({"event", "level", "timestamp", "exc_info", "exception", "stack", "stack_info"})
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
_BREAK: Final = re.compile(rf" ((?:{_STYLE.pattern})*){_MARK}")
_TRACEBACKS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Local variables are left out, as they may hold tokens, passwords and data of devices."""


class Bounded:
    """Drops and counts lines of an event above `LINES_A_MINUTE` in a minute; cuts values above `LONGEST_VALUE`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, list[float]] = {}
        """Event → [begin of the minute, lines written in the minute, lines left out since the last written line]."""

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
    """Escape control characters: a topic or an answer of a server must not forge a line or control a terminal.

    Each field gets the mark at which `_fitted` may break the line.
    """
    one_line: MutableMapping[str, Any] = {}
    for key, value in event.items():
        name = key if key in _NOT_FIELDS else _MARK + key
        one_line[name] = shown(value) if isinstance(value, str) else value
    return one_line


def _fitted(_logger: object, _method: str, text: Any) -> str:
    """Break a rendered line before fields, so that its parts fit `_COLUMNS` where they can."""
    line, *fields = _BREAK.sub(rf"{_MARK}\1", text).split(_MARK)
    lines, width = [line], _width(line)
    for field in fields:
        if width + 1 + _width(field) <= _COLUMNS:
            lines[-1] += f" {field}"
            width += 1 + _width(field)
        else:
            lines.append(f"  {field}")
            width = 2 + _width(field)
    return "\n".join(lines)


def _width(text: str) -> int:
    """Returns the columns of the first line of a text on a terminal."""
    return len(_STYLE.sub("", text.partition("\n")[0]))


def _traceback(out: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Write a traceback without local variables, indented, as a message must not look like a line of the log."""
    text = "".join(traceback.format_exception(*error)).rstrip()
    out.write("".join(f"\n  {shown(line)}" for line in text.split("\n")))


class _Output:
    """The output of the log. A line that cannot be written is left out.

    A closed terminal, a pipe without a reader, or a full disk must not end the thread that writes the line.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with suppress(OSError):
            (self._stream or sys.stderr).flush()


def configure_logs(
    level: str,
    form: str,
    stream: TextIO | None = None,
    *,
    worker: int | None = None,
    also: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Set up logging for the whole process.

    `level` is a name such as `info`; `form` is `text` or `json`. With `worker`, each line has the number of the worker,
    as several workers may write to one stream. `also` gets each event that becomes a line, within the same bounds.
    """
    out = stream or sys.stderr
    rendering: list[structlog.typing.Processor]
    if form == "json":
        rendering = [structlog.processors.ExceptionRenderer(_TRACEBACKS), structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=out.isatty(),
            exception_formatter=_traceback,  # other formatters show local variables
            pad_event_to=0,
        )
        rendering = [_one_line, console, _fitted]
    whose: list[structlog.typing.Processor] = []
    if worker is not None:

        def add_worker(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            event.setdefault("worker", worker)
            return event

        whose = [add_worker]
    others: list[structlog.typing.Processor] = []
    if also is not None:

        def pass_on(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            also(event)
            return event

        others = [pass_on]
    structlog.configure(
        processors=[
            *whose,
            structlog.contextvars.merge_contextvars,
            Bounded(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *others,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level_number(level)),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _Output(stream))),
        cache_logger_on_first_use=False,
    )


def set_log_level(level: str) -> None:
    """Set the least level of the whole process, after `configure_logs`; from now on, for all lines of all threads."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level_number(level)))


def level_number(level: str) -> int:
    """Returns the number of a level's name such as `info`; a more important level has a greater number."""
    return logging.getLevelNamesMapping()[level.upper()]
