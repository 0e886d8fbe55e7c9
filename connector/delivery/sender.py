"""The sender: one frame at a time to Clarify, until all of it is inserted or set aside with a reason.

A frame that must be divided (bad series named by the server, too large, or bad without a name) becomes
smaller frames that are worked off in order, so that a later value of the same input and time never travels
before an earlier one. What is not settled when the sender is aborted stays unsettled: its source delivers it
again.

A bad value without a name is searched for: of a piece that is bad, the first half is sent. If it is good the bad
value is in the other half, which is then not sent, but halved itself; if it is bad, the other half is laid aside
with the rest, which is sent as one piece when the value is found. So one bad value among n costs log2(n) requests
to find, one to make sure of it, and one for the rest. A value is given up only after it failed alone.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from connector.clarify import ClarifyError, InsertResult, InvalidParams, Retryable
from connector.delivery.pace import Pace
from connector.delivery.pieces import Columns, cut, joined, values_in, without_named
from connector.delivery.policy import HOLD_DELAY, Action, Verdict, judge_frame
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


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the frame that is being delivered."""

    family: object
    """The same for all pieces of one search: these were no larger than the server takes when they were one."""
    content: Frame | Columns
    """A frame where it is encoded already: most are sent once, and never taken apart."""
    is_other_half: bool = False
    """The piece before it was cut from something bad: if that one is good, this one is bad."""
    is_bad: bool = False
    """Something in it is bad, as far as is known without having sent it."""

    @property
    def columns(self) -> Columns:
        return self.content.columns if isinstance(self.content, Frame) else self.content

    def as_frame(self) -> Frame:
        return self.content if isinstance(self.content, Frame) else build_frame(self.content)


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
        work = deque([_Piece(object(), frame)])
        attempt = 0
        have_slot = True
        while work:
            if work[0].is_bad and (size := values_in(work[0].columns)) > 1:
                _search(work, size)
                continue
            if not have_slot and not self._slots.wait():
                return False
            have_slot = False
            if attempt:  # it has waited, for hours perhaps
                left = self._ledger.still_ours(work[0].as_frame())
                if left is None:
                    work.popleft()
                    attempt = 0
                    continue
                work[0] = replace(work[0], content=left)
            current = work[0].as_frame()
            work[0] = replace(work[0], content=current)  # encoded once, however often it is sent
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
                before = work[0]
                if not self._after_failure(work, error, attempt):
                    return False
                if not work or work[0] is not before:
                    attempt = 0
            else:
                attempt = 0
                self._recovered()
                work.popleft()
                if work and work[0].is_other_half:
                    work[0] = replace(work[0], is_other_half=False, is_bad=True)
                seconds = self._clock() - started
                if self._pace is not None:
                    self._pace.answered(seconds, len(current.body))
                self._ledger.inserted(current, seconds)
        return True

    def _after_failure(self, work: deque[_Piece], error: ClarifyError, attempt: int) -> bool:
        """Put what is to be sent instead of the first piece in its place; False if aborted."""
        piece = work[0]
        frame = piece.as_frame()
        verdict = judge_frame(error, attempt, frame.columns.keys(), frame.rows, self._chance)
        bad: Columns = {}
        good = piece.columns
        if verdict.named is not None:
            bad, good = without_named(piece.columns, verdict.named)
        size = values_in(piece.columns)
        action = verdict.action
        if action is Action.SET_ASIDE and not bad:  # it names cells without a value
            action = Action.HALVE
        if action is Action.HALVE and size == 1:
            if isinstance(error, InvalidParams):
                action, bad, good = Action.SET_ASIDE, piece.columns, {}
            else:  # a single value cannot be too large: it is not the data
                verdict = Verdict(Action.HOLD, HOLD_DELAY)
                action = Action.HOLD
        if action is Action.SET_ASIDE:
            _log.error("insert_rejected", inputs=sorted(bad)[:20], values=values_in(bad), reason=str(error))
            self._ledger.rejected(build_frame(bad), str(error))
            work.popleft()
            _put_back(work, good, piece.family)
            return True
        if action is Action.HALVE:
            _log.warning("frame_halved", bytes=len(frame.body), values=size, reason=str(error))
            if isinstance(error, InvalidParams):
                _search(work, size)
            else:
                _divide(work, size)
            return True
        delay = max(verdict.delay, 1.0)
        self.status.trouble = str(error)
        self.status.held = action is Action.HOLD
        if self.status.held:
            _log.error(
                "insert_not_allowed", reason=str(error), effect="the data is kept", next_try_in_seconds=round(delay, 1)
            )
        else:
            _log.warning("insert_failed", reason=str(error), attempt=attempt, next_try_in_seconds=round(delay, 1))
        return self._slots.pause(delay)

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


def _search(work: deque[_Piece], size: int) -> None:
    """The first piece holds something bad that was not named: send its first half by itself. What waited as the other
    half of it is probably good, since the bad value is in this one."""
    piece = work.popleft()
    _put_back(work, {}, piece.family)
    first, second = cut(piece.columns, size // 2)
    work.appendleft(_Piece(piece.family, second, is_other_half=True))
    work.appendleft(_Piece(piece.family, first))


def _divide(work: deque[_Piece], size: int) -> None:
    """The first piece is too large: two of them, which are never joined again."""
    piece = work.popleft()
    if work and work[0].is_other_half:
        work[0] = replace(work[0], is_other_half=False)
    first, second = cut(piece.columns, size // 2)
    work.appendleft(_Piece(object(), second))
    work.appendleft(_Piece(object(), first))


def _put_back(work: deque[_Piece], columns: Columns, family: object) -> None:
    """Something bad was found: all that is left of the family, which is probably good, is one piece again."""
    while work and work[0].family is family:
        columns = joined(columns, work.popleft().columns)
    if columns:
        work.appendleft(_Piece(family, columns))
