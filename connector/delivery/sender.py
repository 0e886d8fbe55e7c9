"""The sender: one frame at a time to Clarify, until all of it is inserted or set aside with a reason.

A frame that must be divided (bad series named by the server, too large, or bad without a name) becomes
smaller frames that are worked off in order, so that a later value of the same input and time never travels
before an earlier one. What is not settled when the sender is aborted stays unsettled: its source delivers it
again.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from connector.clarify import ClarifyError, InsertResult, Retryable
from connector.delivery.pace import Pace
from connector.delivery.policy import HOLD_DELAY, Action, Verdict, judge
from connector.delivery.slots import Slots
from connector.packing.frame import Frame, build_frame

_TOO_MUCH: Final = frozenset((408, 429, 503, 504, -32015))
"""Answers by which a server may say that there is too much to do."""
_PATIENT_SECONDS: Final = 1.0
"""No answer after longer than this is a time-out, ours or the server's; before, the connection broke."""

_log = structlog.get_logger(__name__)


class Inserter(Protocol):
    """What the sender needs of the Clarify client."""

    def insert_encoded(self, data_json: bytes) -> InsertResult:
        """Insert an encoded frame; raises `ClarifyError`."""


class Ledger(Protocol):
    """Where the sender reports what became of a frame."""

    def inserted(self, frame: Frame, seconds: float) -> None:
        """Clarify has all of it."""

    def rejected(self, frame: Frame, reason: str) -> None:
        """Clarify named all of it as bad."""

    def still_ours(self, frame: Frame) -> Frame | None:
        """The frame without what was given away since it was made; None if nothing is left."""


@dataclass(slots=True)
class SenderStatus:
    """What the sender is doing, for metrics and readiness."""

    requests: int = 0
    failures: int = 0
    bytes_sent: int = 0
    trouble: str | None = None
    held: bool = False
    """Clarify refuses us: a person must act."""


class Sender:
    """Delivers frames. For one thread."""

    def __init__(
        self,
        client: Inserter,
        slots: Slots,
        ledger: Ledger,
        *,
        pace: Pace | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._slots = slots
        self._ledger = ledger
        self._pace = pace
        self._chance = chance
        self._clock = clock
        self.status = SenderStatus()

    def deliver(self, frame: Frame) -> bool:
        """Deliver this frame in the slot that the caller has taken; False if aborted before its end."""
        work = deque([frame])
        attempt = 0
        have_slot = True
        while work:
            if not have_slot and not self._slots.wait():
                return False
            have_slot = False
            if attempt:  # it has waited, for hours perhaps
                left = self._ledger.still_ours(work[0])
                if left is None:
                    work.popleft()
                    continue
                work[0] = left
            current = work[0]
            started = self._clock()
            self.status.requests += 1
            self.status.bytes_sent += len(current.body)
            try:
                self._client.insert_encoded(current.body)
            except ClarifyError as error:
                attempt += 1
                self.status.failures += 1
                if self._pace is not None and _too_much(error, self._clock() - started):
                    self._pace.throttled(str(error))
                pieces = self._after_failure(current, error, attempt)
                if pieces is None:
                    return False
                if pieces != [current]:
                    attempt = 0
                work.popleft()
                work.extendleft(reversed(pieces))
            else:
                attempt = 0
                self._recovered()
                work.popleft()
                seconds = self._clock() - started
                if self._pace is not None:
                    self._pace.answered(seconds, len(current.body))
                self._ledger.inserted(current, seconds)
        return True

    def _after_failure(self, frame: Frame, error: ClarifyError, attempt: int) -> list[Frame] | None:
        """What is to be sent instead of this frame; None if aborted."""
        verdict = judge(error, attempt, frame.columns.keys(), "data.series", self._chance)
        if verdict.action is Action.HALVE and frame.samples + frame.superseded.total() == 1:
            if error.code is not None and error.code < 0:
                self._set_aside(frame, set(frame.columns), error)
                return []
            verdict = Verdict(Action.HOLD, HOLD_DELAY)  # a single sample cannot be too large: it is not the data
        action = verdict.action
        if action is Action.SET_ASIDE:
            return self._set_aside(frame, verdict.guilty, error)
        if action is Action.HALVE:
            _log.warning("frame_halved", bytes=len(frame.body), series=len(frame.columns), reason=str(error))
            return _halves(frame)
        delay = max(verdict.delay, 1.0)
        self.status.trouble = str(error)
        self.status.held = action is Action.HOLD
        if self.status.held:
            _log.error(
                "insert_not_allowed", reason=str(error), effect="the data is kept", next_try_in_seconds=round(delay, 1)
            )
        else:
            _log.warning("insert_failed", reason=str(error), attempt=attempt, next_try_in_seconds=round(delay, 1))
        return [frame] if self._slots.pause(delay) else None

    def _set_aside(self, frame: Frame, guilty: frozenset[str] | set[str], error: ClarifyError) -> list[Frame]:
        _log.error("insert_rejected", inputs=sorted(guilty)[:20], count=len(guilty), reason=str(error))
        bad = {input_id: column for input_id, column in frame.columns.items() if input_id in guilty}
        good = {input_id: column for input_id, column in frame.columns.items() if input_id not in guilty}
        self._ledger.rejected(build_frame(bad), str(error))
        return [build_frame(good)] if good else []

    def _recovered(self) -> None:
        if self.status.trouble is not None:
            _log.info("insert_works_again", after=self.status.trouble)
            self.status.trouble = None
            self.status.held = False


def _too_much(error: ClarifyError, seconds: float) -> bool:
    """Whether the request failed because there were too many. Clarify does not document how it says so."""
    return isinstance(error, Retryable) and (
        error.code in _TOO_MUCH
        or error.retry_after is not None
        or (error.outcome_unknown and error.code is None and seconds > _PATIENT_SECONDS)
    )


def _halves(frame: Frame) -> list[Frame]:
    """The frame in two: by series, or, of a single series, by time of arrival."""
    columns = list(frame.columns.items())
    if len(columns) > 1:
        middle = len(columns) // 2
        return [build_frame(dict(columns[:middle])), build_frame(dict(columns[middle:]))]
    ((input_id, column),) = columns
    middle = len(column.times) // 2
    return [build_frame({input_id: column.head(middle)}), build_frame({input_id: column.tail(middle)})]
