"""Draining a running connector: the request, the answer, and the drain itself. A drain needs no served pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from connector.runtime.requests import RequestFiles
from connector.sources.source import LeavingSource, UnsureSource

if TYPE_CHECKING:
    from connector.runtime.connector import Connector

_LOOK_SECONDS: Final = 0.2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """A request to drain."""

    within: float
    """Longest duration in seconds; unsent messages then wait for the next start."""
    end_session: bool
    """Whether to give up also the subscriptions that no other client shares."""


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """The progress of a drain."""

    stage: str
    """The present step, for people."""
    waiting: int
    """Number of messages that are not settled yet."""
    done: bool = False
    """Whether the connector has stopped."""
    drained: bool = False
    """Whether no message was left behind."""
    unsure: Sequence[str] = ()
    """What could not be known, for people."""


DrainFiles: TypeAlias = RequestFiles[DrainRequest, DrainProgress]


def drain_files(folder: Path) -> DrainFiles:
    """Returns the files of a state folder, for requests to drain and their progress."""
    return RequestFiles(folder, "drain", DrainRequest, DrainProgress)


def drain(
    connector: Connector,
    request: DrainRequest,
    tell: Callable[[DrainProgress], None],
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Leave the brokers, receive the last messages, send all waiting samples, and stop.

    Returns whether no message was left behind. If `stopping` returns True, the drain ends early: the usual stop then
    has `flush_timeout` for the rest.
    """
    until = time.monotonic() + request.within
    pipeline = connector.pipeline
    leaving = [source for source in pipeline.status.sources() if isinstance(source, LeavingSource)]
    _log.info("draining", within_seconds=request.within, end_session=request.end_session)
    for source in leaving:
        source.leave(end_session=request.end_session)

    def still_time() -> bool:
        return time.monotonic() < until and not stopping()

    left, what = False, None
    while still_time() and not pipeline.stopped.wait(_LOOK_SECONDS):
        connector.supervision.look()
        what = next((what for source in leaving if (what := source.leaving())), None)
        left = what is None
        if left:
            break
        tell(DrainProgress(str(what), waiting(connector)))
    unsure = [f"not left: {what}"] if what is not None else []
    unsure += [f"{one.name}: {text}" for one in leaving if isinstance(one, UnsureSource) for text in one.unsure()]
    for text in unsure:
        _log.warning("drain_unsure", detail=text)
    pipeline.drain()
    while still_time() and not pipeline.stopped.wait(_LOOK_SECONDS):
        connector.supervision.look()
        tell(DrainProgress("sending what waits", waiting(connector)))
    drained = left and pipeline.stopped.is_set() and not pipeline.failure
    remaining = waiting(connector)
    drained = connector.stop(at_once=not stopping()) and drained
    tell(DrainProgress("stopped", remaining, done=True, drained=drained, unsure=unsure))
    _log.info("drained", complete=drained, messages_left=remaining)
    return drained


def waiting(connector: Connector) -> int:
    """Returns the number of messages that are not settled: messages in memory, and unread messages in journals."""
    unread = sum(source.unread() for source in connector.pipeline.status.sources())
    return connector.pipeline.status.waiting()[0] + unread
