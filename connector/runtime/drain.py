"""Draining a running connector: the request, the answer, and the drain itself.

The request is a file in state_dir, and so is the answer. No port is open for a drain, so nobody can ask over a network.
A user who may write the connector's state may drain the connector. A drain works even if no pages are served.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from connector.sources.source import LeavingSource, UnsureSource

if TYPE_CHECKING:
    from connector.runtime.connector import Connector

_LOOK_SECONDS: Final = 0.2
_REQUEST: Final = "drain.request"
_PROGRESS: Final = "drain.progress"

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


class DrainFiles:
    """The request and the answer in one state folder."""

    def __init__(self, folder: Path) -> None:
        self._request = folder / _REQUEST
        self._progress = folder / _PROGRESS
        self._lock = folder / "lock"

    def clear(self) -> None:
        """Remove the files of an earlier drain."""
        for path in (self._request, self._progress):
            with contextlib.suppress(OSError):  # a file that stays is overwritten later
                path.unlink(missing_ok=True)

    def running(self) -> bool:
        """Returns whether a running connector holds the lock of this folder."""
        try:
            with self._lock.open(encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def ask(self, request: DrainRequest) -> None:
        """Ask the connector that runs with this folder. Raises OSError."""
        self.clear()
        _put(self._request, asdict(request))

    def asked(self) -> DrainRequest | None:
        """Returns the request that came since the last call; None if there is none or if the request is unreadable."""
        try:
            content = self._request.read_text(encoding="utf-8")
            self._request.unlink()
        except OSError:
            return None
        try:
            return DrainRequest(**json.loads(content))
        except (TypeError, ValueError) as error:
            _log.error("drain_request_unreadable", file=str(self._request), reason=str(error))
            return None

    def tell(self, progress: DrainProgress) -> None:
        """Write the progress for the asker; if the disk refuses the write, the drain continues without an answer."""
        with contextlib.suppress(OSError):
            _put(self._progress, asdict(progress))

    def told(self) -> DrainProgress | None:
        """Returns the newest progress; None if there is none or if the file is unreadable."""
        try:
            return DrainProgress(**json.loads(self._progress.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):
            return None


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


def _put(path: Path, content: dict[str, object]) -> None:
    """Write a file whole or not at all. Raises OSError."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)
