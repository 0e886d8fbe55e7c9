"""The level of a running connector's log: changed by a request, and back after a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog

from connector.observe.logs import level_number, set_log_level
from connector.runtime.requests import HandedOn, RequestFiles

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LogLevelRequest:
    """A request for another level."""

    level: str
    seconds: float | None = None
    """Time until the level of the start returns; None: until the connector ends."""


@dataclass(frozen=True, slots=True)
class LogLevelAnswer:
    """The level has changed."""

    usual: str
    """The level of the start, which returns."""
    silent: Sequence[int] = ()
    """The workers that did not answer."""


LogLevelFiles: TypeAlias = RequestFiles[LogLevelRequest, LogLevelAnswer]


def log_level_files(folder: Path, *, of_worker: bool = False) -> LogLevelFiles:
    """Returns the files of a state folder; those `of_worker` are between a worker and its supervisor."""
    kind = "log-level.worker" if of_worker else "log-level"
    return RequestFiles(folder, kind, LogLevelRequest, LogLevelAnswer)


class LogLevels:
    """The level of the log of this process."""

    def __init__(
        self,
        files: LogLevelFiles,
        level: str,
        handed_on: HandedOn[LogLevelRequest, LogLevelAnswer] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`level` is that of the start. A supervisor has `handed_on` for its workers. `clock` gives seconds."""
        files.clear()
        self._files = files
        self._usual = self._level = level
        self._handed_on = handed_on
        self._clock = clock
        self._until: float | None = None

    def look(self) -> None:
        """Take a request if there is one, and return to the level of the start when the time is over."""
        if (request := self._files.asked()) is not None:
            self._until = None if request.seconds is None else self._clock() + request.seconds
            self._change(request.level, seconds=request.seconds)
            if self._handed_on is None:
                self._files.tell(LogLevelAnswer(self._usual))
            else:
                self._handed_on.begin(request)
        elif self._until is not None and self._clock() >= self._until:
            self._until = None
            self._change(self._usual, seconds=None)
        if self._handed_on is not None and (answers := self._handed_on.answers()) is not None:
            silent = [worker for worker, answer in answers.items() if answer is None]
            self._files.tell(LogLevelAnswer(self._usual, silent))

    def _change(self, level: str, *, seconds: float | None) -> None:
        set_log_level(min(level, self._level, key=level_number))  # the line is in the log, if one of the levels has it
        back = {} if seconds is None else {"for_seconds": seconds, "then": self._usual}
        _log.info("log_level_changed", now=level, before=self._level, **back)
        set_log_level(level)
        self._level = level
