"""Requests to a running connector: a file in its state_dir, and a file with the answer.

No port is open for a request, so nobody can ask over a network. A user who may write the connector's state may ask it.
Both files are JSON, for their owner alone, and are removed at the start. An answer has the ID of its request: nobody
takes the answer to an earlier request, or to another person, for his own.

With `workers`, the supervisor takes the request, and hands it on to the workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import structlog

from connector.state.files import open_private

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Request = TypeVar("Request", bound=DataclassInstance)
    Answer = TypeVar("Answer", bound=DataclassInstance)
else:
    Request, Answer = TypeVar("Request"), TypeVar("Answer")

_PATIENCE_SECONDS: Final = 5.0
"""Longest time for the answers of the workers."""

_log = structlog.get_logger(__name__)


class RequestFiles(Generic[Request, Answer]):
    """The requests of one kind to the connector of one state folder, and the answers: for both sides."""

    def __init__(self, folder: Path, kind: str, request: type[Request], answer: type[Answer]) -> None:
        """`kind` is the beginning of the files' names; requests and answers are dataclasses of plain values."""
        self._kinds = request, answer
        self._request = folder / f"{kind}.request"
        self._answer = folder / f"{kind}.answer"
        self._lock = folder / "lock"
        self._id: str | None = None
        """The ID of the request that was asked or taken last."""

    def clear(self) -> None:
        """Remove the files of earlier requests."""
        for path in (self._request, self._answer):
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

    def ask(self, request: Request) -> None:
        """Ask the connector that runs with this folder. Raises OSError."""
        self.clear()
        self._id = secrets.token_hex(8)
        _put(self._request, {"id": self._id, **asdict(request)})

    def asked(self) -> Request | None:
        """Returns the request that came since the last call; None if there is none or if the request is unreadable."""
        try:
            content = self._request.read_text(encoding="utf-8")
            self._request.unlink()
        except OSError:
            return None
        try:
            fields: dict[str, Any] = dict(json.loads(content))
            self._id = fields.pop("id", None)
            return self._kinds[0](**fields)
        except (TypeError, ValueError) as error:
            _log.error("request_unreadable", file=str(self._request), reason=str(error))
            return None

    def tell(self, answer: Answer) -> None:
        """Answer the request that was taken last; if the disk refuses the write, the asker gets no answer."""
        with contextlib.suppress(OSError):
            _put(self._answer, {"id": self._id, **asdict(answer)})

    def told(self) -> Answer | None:
        """Returns the newest answer to our request; None if there is none or if the file is unreadable."""
        try:
            fields: dict[str, Any] = dict(json.loads(self._answer.read_text(encoding="utf-8")))
            return self._kinds[1](**fields) if fields.pop("id", None) == self._id else None
        except (OSError, TypeError, ValueError):
            return None


class HandedOn(Generic[Request, Answer]):
    """Requests that the supervisor hands on to its workers: one at a time."""

    def __init__(
        self, workers: Mapping[int, RequestFiles[Request, Answer]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`workers` has the files of each worker; `clock` gives seconds."""
        self._workers = workers
        self._clock = clock
        self._due: float | None = None

    def begin(self, request: Request) -> None:
        """Ask all workers. A worker whose folder cannot be written gives no answer."""
        self._due = self._clock() + _PATIENCE_SECONDS
        for files in self._workers.values():
            with contextlib.suppress(OSError):
                files.ask(request)

    def answers(self) -> dict[int, Answer | None] | None:
        """Returns worker → answer, once, when all have answered or after 5 s, when some answers may be None.

        Returns None before that, and while nothing is asked.
        """
        if self._due is None:
            return None
        found = {worker: files.told() for worker, files in self._workers.items()}
        if None in found.values() and self._clock() < self._due:
            return None
        self._due = None
        return found


def _put(path: Path, content: dict[str, object]) -> None:
    """Write a file whole or not at all, for its owner alone. Raises OSError."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(open_private(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
        json.dump(content, file)
    new.replace(path)
