"""New signals: which ones are let in, which ones are held, and which ones a person has approved.

`SignalGuard` decides; this file gives it a memory in the state file, and looks for approvals there.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

from connector.mapping.signals.signal_guard import GuardSettings, SignalGuard
from connector.records import Mapped, Part, SignalMetadata
from connector.state.state import SignalStatus, State

_LOOK_SECONDS: Final = 2.0
"""How often the state file is read for approvals."""

_MAX_DESCRIBED: Final = 100_000
"""Signals that are not let in and whose metadata is kept. Never more signals than this are held."""

_log = structlog.get_logger(__name__)


class NewSignalCounts(NamedTuple):
    """How many signals are let in and held, and how many samples were refused since the start."""

    let_in: int
    held: int
    refused_samples: int


class NewSignalGate:
    """Lets samples of new signals through, or rejects them. Safe for threads."""

    def __init__(self, settings: GuardSettings, state: State, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._unwritten: list[tuple[str, SignalStatus]] = []
        self._looked = clock()
        self._warned = False
        self._newly_in = False
        self._described: dict[str, SignalMetadata] = {}
        """Metadata of signals that are not let in (yet): to save it would create the signals in Clarify."""
        statuses = state.signal_statuses()
        held = [input_id for input_id, status in statuses.items() if status is SignalStatus.HELD]
        known = {input_id for input_id, status in statuses.items() if status is not SignalStatus.HELD}
        if not statuses:  # guarded for the first time: existing signals are let in
            known = set(state.claims())
            self._unwritten = [(input_id, SignalStatus.KNOWN) for input_id in known]
        self._guard = SignalGuard(settings, known, held)

    def admit(self, parts: list[Part]) -> list[Part]:
        """The parts, with rejects instead of the samples of signals that are not let in."""
        with self._lock:
            if self._clock() >= self._looked + _LOOK_SECONDS:
                self._look()
            checked: list[Part] = []
            for index, part in parts:
                if isinstance(part, Mapped):
                    checked.append((index, self._guard.check(part)))
                elif self._guard.lets_all_in(part.inputs):
                    checked.append((index, part))
                else:
                    checked += [(one, self._guard.check(mapped)) for one, mapped in part.one_by_one()]
            if self._guard.new_known or self._guard.new_held or self._unwritten:
                self._remember()
            return checked

    def described(self, signals: Iterable[tuple[str, SignalMetadata]]) -> list[tuple[str, SignalMetadata]]:
        """The subset of `signals` that is let in. The metadata of the others is kept until they are let in (see
        `take_described`)."""
        with self._lock:
            now = []
            for input_id, metadata in signals:
                if self._guard.lets_in(input_id):
                    now.append((input_id, metadata))
                else:
                    self._described[input_id] = metadata
            return now

    def take_described(self) -> list[tuple[str, SignalMetadata]]:
        """The metadata that was kept for signals that are let in by now. If more was kept than signals can be held, the
        metadata of signals that are not held is forgotten."""
        with self._lock:
            if not self._newly_in and len(self._described) <= _MAX_DESCRIBED:
                return []
            self._newly_in = False
            found = [(name, said) for name, said in self._described.items() if self._guard.lets_in(name)]
            for name, _ in found:
                del self._described[name]
            if len(self._described) > _MAX_DESCRIBED:
                self._described = {name: said for name, said in self._described.items() if self._guard.holds(name)}
            return found

    def counts(self) -> NewSignalCounts:
        """Numbers for the metrics."""
        return NewSignalCounts(self._guard.signals, self._guard.held, self._guard.refused)

    def _look(self) -> None:
        self._looked = self._clock()
        try:
            approved = self._state.take_approved()
        except sqlite3.Error as error:
            _log.error("approvals_not_read", reason=str(error), effect="trying again")
            return
        if approved:
            self._guard.approve(approved)
            self._newly_in = True
            _log.info("signals_approved", count=len(approved), remedy="replay what was held: dead-letters replay")

    def _remember(self) -> None:
        guard = self._guard
        self._newly_in = self._newly_in or bool(guard.new_known)
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
