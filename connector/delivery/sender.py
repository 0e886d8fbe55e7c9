"""The sender: one frame at a time to Clarify, until all of it is inserted or set aside with a reason.

A frame that must be divided (bad series named by the server, too large, or bad without a name) becomes
smaller frames that are worked off in order, so that a later value of the same input and time never travels
before an earlier one. What is not settled when the sender is aborted stays unsettled: its source delivers it
again.

A bad value without a name is searched for: of a piece that is bad, the first half is sent. If it is good the bad
value is in the other half, which is then not sent, but halved itself; if it is bad, the other half is laid aside
with the rest, which is sent as one piece when the value is found. So one bad value among n costs log2(n) requests
to find, one to make sure of it, and one for the rest. A value is given up only after it failed alone.

When Clarify has not worked for long, its circuit lets through a request now and then, to find out. That is a small
one: the first values of what waits, and with the answer all goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from connector.clarify import ClarifyError, InsertResult, InvalidParams
from connector.delivery.circuit import LOOK_SECONDS, Circuit, Circuits, CircuitState, unforeseen
from connector.delivery.divided import Columns, joined, split_columns, values_in, without_named
from connector.delivery.pace import Pace
from connector.delivery.policy import EXCHANGE_SECONDS, Action, is_too_much, judge_frame
from connector.delivery.slots import Slots
from connector.packing.frame import Frame, build_frame
from connector.threads.watched import moves

_PROBE_VALUES: Final = 100
"""Few enough for a small request even where each has a row and a series to itself."""

_log = structlog.get_logger(__name__)


class Inserter(Protocol):
    """What the sender needs of the Clarify client."""

    def insert_encoded(self, data_json: bytes) -> InsertResult:
        """Insert an encoded frame; raises `ClarifyError`."""


class FrameOwner(Protocol):
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
    """What the sender has done, for metrics."""

    requests: int = 0
    failures: int = 0
    bytes_sent: int = 0


class Sender:
    """Delivers frames. For one thread."""

    def __init__(
        self,
        client: Inserter,
        slots: Slots,
        ledger: FrameOwner,
        *,
        pace: Pace | None = None,
        circuit: Circuit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._slots = slots
        self._ledger = ledger
        self._pace = pace
        self._clock = clock
        self.circuit = circuit or Circuits().of("insert", first=True)
        self.status = SenderStatus()

    def deliver(self, frame: Frame) -> bool:
        """Deliver this frame in the slot that the caller has taken; False if aborted before its end."""
        work = deque([_Piece(object(), frame)])
        has_turn = True
        has_waited = False
        while work:
            if work[0].is_bad and (size := values_in(work[0].columns)) > 1:
                _search(work, size)
                continue
            if not has_turn and not self._wait_for_turn():
                return False
            has_turn = False
            if has_waited:  # for hours, perhaps
                left = self._ledger.still_ours(work[0].as_frame())
                if left is None:
                    work.popleft()
                    continue
                work[0] = replace(work[0], content=left)
            if not self.circuit.begin(self._clock()):
                has_waited = True
                continue
            if self.circuit.is_probe:
                _cut_off(work, _PROBE_VALUES)
            current = work[0].as_frame()
            work[0] = replace(work[0], content=current)  # encoded once, however often it is sent
            error = self._send(current)
            if error is not None:
                has_waited = self._after_failure(work, error)
                continue
            work.popleft()
            if work and work[0].is_other_half:
                work[0] = replace(work[0], is_other_half=False, is_bad=True)
        return True

    def _wait_for_turn(self) -> bool:
        """Wait until the circuit lets us through, and for a slot; False if aborted."""
        while (left := self.circuit.left(self._clock())) > 0:
            moves()
            if not self._slots.pause(min(left, LOOK_SECONDS)):
                return False
        return self._slots.wait()

    def _send(self, frame: Frame) -> ClarifyError | None:
        """Send this, and report it if it is inserted; else why it is not."""
        started = self._clock()
        self.status.requests += 1
        self.status.bytes_sent += len(frame.body)
        moves(EXCHANGE_SECONDS)
        try:
            self._client.insert_encoded(frame.body)
        except ClarifyError as error:
            self.status.failures += 1
            is_first = self.circuit.trouble is None  # those after it were backed off from already
            if self._pace is not None and is_first and is_too_much(error, self._clock() - started):
                self._pace.throttled(str(error))
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the frame is kept and sent again
            self.status.failures += 1
            return unforeseen(error, "integration.insert")
        now = self._clock()
        if self.circuit.trouble is not None and not self.circuit.is_probe:  # else the circuit speaks
            _log.info("insert_works_again", after=self.circuit.trouble)
        self.circuit.answered(now)
        if self._pace is not None:
            self._pace.answered(now - started, len(frame.body))
        self._ledger.inserted(frame, now - started)
        return None

    def _after_failure(self, work: deque[_Piece], error: ClarifyError) -> bool:
        """Put what is to be sent instead of the first piece in its place; True if that is the same again, later."""
        piece = work[0]
        frame = piece.as_frame()
        verdict = judge_frame(error, frame.columns.keys(), frame.rows)
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
                action = Action.HOLD
        if action in (Action.RETRY, Action.HOLD):
            self._failed(error, held=action is Action.HOLD)
            return True
        self.circuit.answered(self._clock())
        if action is Action.SET_ASIDE:
            _log.error("insert_rejected", inputs=sorted(bad)[:20], values=values_in(bad), reason=str(error))
            self._ledger.rejected(build_frame(bad), str(error))
            work.popleft()
            _put_back(work, good, piece.family)
        else:
            _log.warning("frame_halved", bytes=len(frame.body), values=size, reason=str(error))
            if isinstance(error, InvalidParams):
                _search(work, size)
            else:
                _divide(work, size)
        return False

    def _failed(self, error: ClarifyError, *, held: bool) -> None:
        now = self._clock()
        self.circuit.failed(error, now, held=held)
        status = self.circuit.status(now)
        if status.state is CircuitState.CLOSED:  # else the circuit speaks
            _log.warning(
                "insert_failed",
                reason=str(error),
                attempt=status.failures,
                next_try_in_seconds=round(status.next_try_seconds, 1),
            )


def _search(work: deque[_Piece], size: int) -> None:
    """The first piece holds something bad that was not named: send its first half by itself. What waited as the other
    half of it is probably good, since the bad value is in this one."""
    piece = work.popleft()
    _put_back(work, {}, piece.family)
    first, second = split_columns(piece.columns, size // 2)
    work.appendleft(_Piece(piece.family, second, is_other_half=True))
    work.appendleft(_Piece(piece.family, first))


def _divide(work: deque[_Piece], size: int) -> None:
    """The first piece is too large: two of them, which are never joined again."""
    piece = work.popleft()
    if work and work[0].is_other_half:
        work[0] = replace(work[0], is_other_half=False)
    first, second = split_columns(piece.columns, size // 2)
    work.appendleft(_Piece(object(), second))
    work.appendleft(_Piece(object(), first))


def _cut_off(work: deque[_Piece], n: int) -> None:
    """The first piece is to be small: the rest of it waits as a piece of its own."""
    first, rest = split_columns(work[0].columns, n)
    if rest:
        piece = work.popleft()
        work.appendleft(_Piece(piece.family, rest))
        work.appendleft(_Piece(piece.family, first))


def _put_back(work: deque[_Piece], columns: Columns, family: object) -> None:
    """Something bad was found: all that is left of the family, which is probably good, is one piece again."""
    while work and work[0].family is family:
        columns = joined(columns, work.popleft().columns)
    if columns:
        work.appendleft(_Piece(family, columns))
