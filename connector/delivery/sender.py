"""The sender: sends one frame at a time to Clarify, until all values are inserted or set aside with a reason.

A frame must be divided if the server names bad series, if the frame is too large, or if it is bad without a name. Its
parts are sent in order, so that a later value of the same input and time is never sent before an earlier one. Values
that are not settled when the sender is aborted stay unsettled: their source delivers them again.

If the server names nothing, the sender searches for the bad value. It sends the first half of the bad piece. If this
half is good, the bad value is in the other half, which is halved at once, without sending it. If the first half is bad,
the other half is put aside; when the bad value is found, all parts that were put aside are sent as one piece. So one
bad value among n costs log2(n) requests to find it, one to make sure, and one for the rest. A value is given up only
after it failed alone.

While Clarify does not work for long, its circuit allows only a probe from time to time. A probe is small: it has the
first values of the waiting frame. After an answer, sending goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from connector.clarify.errors import ClarifyError, InvalidParams
from connector.clarify.results import InsertResult
from connector.delivery.circuit import LOOK_SECONDS, Circuit, Circuits, CircuitState, unforeseen
from connector.delivery.divided import Columns, joined, split_columns, values_in, without_named
from connector.delivery.pace import Pace
from connector.delivery.policy import Action, is_too_much, judge_frame
from connector.delivery.slots import Slots
from connector.packing.frame import Frame, build_frame
from connector.threads.watched import moves

_PROBE_VALUES: Final = 100
"""Values of a probe: a small request, even if each value has its own row and its own series."""

_log = structlog.get_logger(__name__)


class Inserter(Protocol):
    """The part of the Clarify client that the sender needs."""

    def insert_encoded(self, data_json: bytes) -> InsertResult:
        """Insert an encoded frame. Raises `ClarifyError`."""


class FrameOwner(Protocol):
    """The owner of a frame, to whom the sender reports its outcome."""

    def inserted(self, frame: Frame, seconds: float) -> None:
        """Record that Clarify has stored all values of the frame, after `seconds`."""

    def rejected(self, frame: Frame, reason: str) -> None:
        """Record that Clarify refuses all values of the frame."""

    def still_ours(self, frame: Frame) -> Frame | None:
        """Returns the frame without the samples of partitions that were given away; None if no sample is left."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the frame that is being delivered."""

    family: object
    """The same object for all pieces of one search: together, they were not too large for the server."""
    content: Frame | Columns
    """A frame if the piece is already encoded: most pieces are sent once and never divided."""
    is_other_half: bool = False
    """Whether the piece and the piece before it are the halves of a bad piece: if that half is good, this one is bad.
    """
    is_bad: bool = False
    """Whether the piece has a bad value; the sender concludes this without sending the piece."""

    @property
    def columns(self) -> Columns:
        return self.content.columns if isinstance(self.content, Frame) else self.content

    def as_frame(self) -> Frame:
        return self.content if isinstance(self.content, Frame) else build_frame(self.content)


@dataclass(slots=True)
class SenderStatus:
    """The counters of the sender, for metrics."""

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
        """Deliver a frame; returns False if the sender was aborted before the end.

        The caller has taken the slot for the first request.
        """
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
            if has_waited:  # perhaps for hours
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
            work[0] = replace(work[0], content=current)  # encoded only once, even if the piece is sent again
            error = self._send(current)
            if error is not None:
                has_waited = self._after_failure(work, error)
                continue
            work.popleft()
            if work and work[0].is_other_half:
                work[0] = replace(work[0], is_other_half=False, is_bad=True)
        return True

    def _wait_for_turn(self) -> bool:
        """Wait until the circuit allows a request, and for a slot; returns False if aborted."""
        while (left := self.circuit.left(self._clock())) > 0:
            moves()
            if not self._slots.pause(min(left, LOOK_SECONDS)):
                return False
        return self._slots.wait()

    def _send(self, frame: Frame) -> ClarifyError | None:
        """Send a frame, and report it if it is inserted; returns the error, or None if it is inserted."""
        started = self._clock()
        self.status.requests += 1
        self.status.bytes_sent += len(frame.body)
        try:
            self._client.insert_encoded(frame.body)
        except ClarifyError as error:
            self.status.failures += 1
            is_first = self.circuit.trouble is None  # the next failures already come after a back-off
            if self._pace is not None and is_first and is_too_much(error, self._clock() - started):
                self._pace.throttled(str(error))
            return error
        except Exception as error:  # noqa: BLE001 - after any error, the frame is kept and sent again
            self.status.failures += 1
            return unforeseen(error, "integration.insert")
        now = self._clock()
        if self.circuit.trouble is not None and not self.circuit.is_probe:  # else the circuit logs the answer
            _log.info("insert_works_again", after=self.circuit.trouble)
        self.circuit.answered(now)
        if self._pace is not None:
            self._pace.answered(now - started, len(frame.body))
        self._ledger.inserted(frame, now - started)
        return None

    def _after_failure(self, work: deque[_Piece], error: ClarifyError) -> bool:
        """Replace the first piece by the pieces to send now; returns True if the same piece is sent again later."""
        piece = work[0]
        frame = piece.as_frame()
        verdict = judge_frame(error, frame.columns.keys(), frame.rows)
        bad: Columns = {}
        good = piece.columns
        if verdict.named is not None:
            bad, good = without_named(piece.columns, verdict.named)
        size = values_in(piece.columns)
        action = verdict.action
        if action is Action.SET_ASIDE and not bad:  # the server names only cells without a value
            action = Action.HALVE
        if action is Action.HALVE and size == 1:
            if isinstance(error, InvalidParams):
                action, bad, good = Action.SET_ASIDE, piece.columns, {}
            else:  # a single value cannot be too large: the data is not the reason
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
        if status.state is CircuitState.CLOSED:  # else the circuit logs the failure
            _log.warning(
                "insert_failed",
                reason=str(error),
                attempt=status.failures,
                next_try_in_seconds=round(status.next_try_seconds, 1),
            )


def _search(work: deque[_Piece], size: int) -> None:
    """Halve the first piece, which has a bad value without a name; its first half is sent next.

    An earlier other half joins the rest: it is probably good, since the bad value is in the first piece.
    """
    piece = work.popleft()
    _put_back(work, {}, piece.family)
    first, second = split_columns(piece.columns, size // 2)
    work.appendleft(_Piece(piece.family, second, is_other_half=True))
    work.appendleft(_Piece(piece.family, first))


def _divide(work: deque[_Piece], size: int) -> None:
    """Divide the first piece, which is too large, into two pieces that are never joined again."""
    piece = work.popleft()
    if work and work[0].is_other_half:
        work[0] = replace(work[0], is_other_half=False)
    first, second = split_columns(piece.columns, size // 2)
    work.appendleft(_Piece(object(), second))
    work.appendleft(_Piece(object(), first))


def _cut_off(work: deque[_Piece], n: int) -> None:
    """Make the first piece small, with `n` values; the rest of it waits as another piece."""
    first, rest = split_columns(work[0].columns, n)
    if rest:
        piece = work.popleft()
        work.appendleft(_Piece(piece.family, rest))
        work.appendleft(_Piece(piece.family, first))


def _put_back(work: deque[_Piece], columns: Columns, family: object) -> None:
    """Join the columns and all remaining pieces of the family into one piece, which is probably good."""
    while work and work[0].family is family:
        columns = joined(columns, work.popleft().columns)
    if columns:
        work.appendleft(_Piece(family, columns))
