"""Logs: one line an event, as text for people or JSON for machines, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog


def configure_logs(level: str, form: str, stream: TextIO | None = None, *, worker: int | None = None) -> None:
    """Set up logging for the whole process. `level` is a name such as `info`; `form` is `text` or `json`. Where
    several workers write into one stream, each line says which of them it is from."""
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
        errors: list[structlog.typing.Processor] = [structlog.processors.dict_tracebacks]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
        errors = []
    whose: list[structlog.typing.Processor] = []
    if worker is not None:

        def add_worker(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            event.setdefault("worker", worker)
            return event

        whose = [add_worker]
    structlog.configure(
        processors=[
            *whose,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *errors,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
