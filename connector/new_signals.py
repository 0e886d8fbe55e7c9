"""The guard with its memory: what is let in, what is held, and what a person has approved meanwhile."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from connector.mapping.signal_guard import GuardSettings, SignalGuard
from connector.records import Mapped, Part, SignalMetadata
from connector.state import SignalStatus, State

_LOOK_SECONDS: Final = 2.0
"""How often it is looked whether somebody has approved signals."""

_UNDESCRIBED: Final = 100_000
"""Signals that are not let in, whose metadata is remembered; of others it comes with a record after a restart."""

_log = structlog.get_logger(__name__)


class NewSignals:
    """Lets samples through, or not. Safe for threads."""

    def __init__(self, settings: GuardSettings, state: State, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._undescribed: dict[str, SignalMetadata] = {}
        self._grown = False
        self._unwritten: list[tuple[str, SignalStatus]] = []
        self._looked = clock()
        self._warned = False
        statuses = state.signal_statuses()
        held = [input_id for input_id, status in statuses.items() if status is SignalStatus.HELD]
        known = {input_id for input_id, status in statuses.items() if status is not SignalStatus.HELD}
        if not statuses:  # guarded for the first time: what there is has been let in
            known = set(state.claims())
            self._unwritten = [(input_id, SignalStatus.KNOWN) for input_id in known]
        self._guard = SignalGuard(settings, known, held)

    def admit(self, parts: list[Part]) -> list[Part]:
        """The same without samples of signals that are not let in: those are rejects."""
        with self._lock:
            if self._clock() >= self._looked + _LOOK_SECONDS:
                self._look()
            checked: list[Part] = []
            for index, part in parts:
                if isinstance(part, Mapped):
                    checked.append((index, self._guard.check(part)))
                elif self._guard.lets_in(part.inputs):
                    checked.append((index, part))
                else:
                    checked += [(one, self._guard.check(mapped)) for one, mapped in part.one_by_one()]
            self._grown = self._grown or bool(self._guard.new_known)
            if self._guard.new_known or self._guard.new_held or self._unwritten:
                self._remember()
            return checked

    def hold_back(self, signals: Iterable[tuple[str, SignalMetadata]]) -> list[tuple[str, SignalMetadata]]:
        """Those of these that are let in. The rest is kept until it is: saving its metadata would make a signal."""
        with self._lock:
            let_in = []
            for input_id, metadata in signals:
                if self._guard.lets_in((input_id,)):
                    let_in.append((input_id, metadata))
                elif input_id in self._undescribed or len(self._undescribed) < _UNDESCRIBED:
                    self._undescribed[input_id] = metadata
            return let_in

    def take_described(self) -> list[tuple[str, SignalMetadata]]:
        """What was held back of signals that have been let in since."""
        with self._lock:
            if not self._grown:
                return []
            self._grown = False
            found = [input_id for input_id in self._undescribed if self._guard.lets_in((input_id,))]
            return [(input_id, self._undescribed.pop(input_id)) for input_id in found]

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        return {
            "signals_let_in": self._guard.signals,
            "signals_held": self._guard.held,
            "samples_not_let_in": self._guard.refused,
        }

    def _look(self) -> None:
        self._looked = self._clock()
        try:
            approved = self._state.take_approved()
        except sqlite3.Error as error:
            _log.error("approvals_not_read", reason=str(error), effect="trying again")
            return
        if approved:
            self._guard.approve(approved)
            self._grown = True
            _log.info("signals_approved", count=len(approved), remedy="replay what was held: dead-letters replay")

    def _remember(self) -> None:
        guard = self._guard
        new_held, guard.new_held = guard.new_held, []
        self._unwritten += [(input_id, SignalStatus.KNOWN) for input_id in guard.new_known]
        self._unwritten += [(input_id, SignalStatus.HELD) for input_id in new_held]
        guard.new_known = []
        if new_held and not self._warned:
            self._warned = True
            _log.warning(
                "new_signals_held",
                examples=new_held[:5],
                effect="their samples are kept as dead letters",
                remedy="see clarify-connector new-signals",
            )
        try:
            self._state.add_signal_statuses(self._unwritten)
        except sqlite3.Error as error:
            _log.error("signals_not_remembered", reason=str(error), effect="trying again with the next new signal")
        else:
            self._unwritten = []
