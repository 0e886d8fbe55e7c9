"""New signals: stores the signals that are let in, held, or approved by a person.

`SignalGuard` decides about signals. This file stores the decisions in the state file, and reads approvals from it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import structlog

from connector.mapping.signals.signal_guard import GuardSettings, SignalGuard
from connector.records import Mapped, Part, SignalMetadata
from connector.state.state import SignalStatus, State

_LOOK_SECONDS: Final = 2.0
"""Seconds between two searches for approvals in the state file."""

_MAX_DESCRIBED: Final = 100_000
"""The most signals that are not let in and whose metadata is kept. Never more signals than this are held."""

_log = structlog.get_logger(__name__)


class NewSignalCounts(NamedTuple):
    """The numbers of signals that are let in and held, by integration, and of samples refused since the start."""

    let_in: Mapping[str, int]
    held: Mapping[str, int]
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
        """Metadata of signals that are not let in (yet): saving this metadata would create the signals in Clarify."""
        statuses = state.signal_statuses()
        held = [input_id for input_id, status in statuses.items() if status is SignalStatus.HELD]
        known = {input_id for input_id, status in statuses.items() if status is not SignalStatus.HELD}
        if not statuses:  # guarded for the first time: existing signals are let in
            known = set(state.claims())
            self._unwritten = [(input_id, SignalStatus.KNOWN) for input_id in known]
        self._guard = SignalGuard(settings, known, held)

    def use(self, settings: GuardSettings) -> None:
        """Decide about new signals by these settings from now on."""
        with self._lock:
            self._guard.settings = settings

    def admit(self, parts: list[Part]) -> list[Part]:
        """Returns the parts, with rejects in place of samples whose signals are not let in."""
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
        """Returns the subset of `signals` that is let in.

        The metadata of the other signals is kept until they are let in (see `take_described`).
        """
        with self._lock:
            now = []
            for input_id, metadata in signals:
                if self._guard.lets_in(input_id):
                    now.append((input_id, metadata))
                else:
                    self._described[input_id] = metadata
            return now

    def take_described(self) -> list[tuple[str, SignalMetadata]]:
        """Returns the kept metadata of signals that are let in now.

        If metadata of too many signals was kept, the metadata of signals that are not held is forgotten.
        """
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
        """Returns the numbers for the metrics."""
        return NewSignalCounts(self._guard.signals(), self._guard.held(), self._guard.refused)

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
            _log.info("signals_approved", count=len(approved), remedy="replay the held samples: dead-letters replay")

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
