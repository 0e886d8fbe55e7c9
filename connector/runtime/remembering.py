"""Facts that the mapping finds out: remembered, saved in Clarify, or reported, before a sample that depends on them
leaves."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict

import structlog

from connector.delivery.load import PackingAccount
from connector.formats.sparkplug.nodes import TimelineChange
from connector.mapping.observations import Observation
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.sparkplug import NodeEvent, lost_by_node
from connector.mapping.time.clock_skew import Skew, zone_hours
from connector.metadata.items import ItemPublisher
from connector.metadata.new_signals import NewSignalGate
from connector.metadata.signals import SignalSaver
from connector.pipeline.discoveries import Overwritten
from connector.pipeline.notices import Notices
from connector.records import Part, SignalMetadata
from connector.runtime.rebirths import RebirthRequester
from connector.runtime.state_dir import PACKING_NOTE, SHARED_TOPICS_NOTE
from connector.state.state import State
from connector.threads.watched import moves

_RETRY_SECONDS = 1.0
_SAME_CLOCK_SECONDS = 10.0
_MOST_OVERWRITTEN = 1_000

_log = structlog.get_logger(__name__)


class Remembering:
    """The `Discoveries` of a connector.

    A fact without which later data would be misread (an input ID's owner, the number of a state, births, finished
    windows) is written before the method returns; while the disk refuses the write, the caller waits. Other facts are
    logged.
    """

    def __init__(
        self,
        state: State,
        signals: SignalSaver,
        items: ItemPublisher,
        rebirths: RebirthRequester,
        new_signals: NewSignalGate | None,
        abort: threading.Event,
        notices: Notices,
        our_clock: Callable[[], float | None],
    ) -> None:
        """`new_signals` is None where every new signal is let in. `abort` ends the waiting for the disk.
        `our_clock` says how far our clock is ahead of Clarify's, in seconds, if that is known."""
        self._state = state
        self._signals = signals
        self._items = items
        self._rebirths = rebirths
        self._new_signals = new_signals
        self._abort = abort
        self._notices = notices
        self._our_clock = our_clock
        self._overwritten: defaultdict[str, Overwritten] = defaultdict(lambda: Overwritten("", 0))

    # -- written before the method returns --------------------------------------------------------

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        """Write which origin owns which input ID. Without that, another origin could get the same ID later."""
        self._write(lambda: self._state.add_claims(claims), "input_ids_not_remembered", "intake waits")

    def learned(self, states: list[tuple[str, str, int]]) -> None:
        """Write the number of each new state (input ID, state, number). Without that, a number that was sent already
        could stand for another state later."""
        for input_id, text, number in states:
            _log.info("state_learned", input=input_id, state=text, number=number)
        self._write(lambda: self._state.add_learned_states(states), "states_not_remembered", "intake waits")

    def births(self, source: str, said: list[TimelineChange]) -> None:
        """Write the births of Sparkplug nodes and devices (None: the births are to be forgotten). Without them, later
        data of these nodes cannot be read."""
        self._write(lambda: self._state.keep_births(source, said), "births_not_remembered", "intake waits")

    def windows_done(self, done: Mapping[str, int]) -> None:
        """Write up to which time (µs) the windows of each input are inserted. Without that, a window could be inserted
        again with a part of its values."""
        self._write(lambda: self._state.add_windows_done(done), "windows_not_remembered", "nothing is committed")

    def shared(self, topics: Collection[SharedTopic]) -> None:
        """Write which topics several things share. Without that, some of their values would pass after a restart,
        though `signals.on_identity` holds them."""
        text = json.dumps([asdict(topic) for topic in topics])
        self._write(
            lambda: self._state.add_note(SHARED_TOPICS_NOTE, time.time(), text), "topics_not_remembered", "intake waits"
        )

    def _write(self, write: Callable[[], None], event: str, effect: str) -> None:
        while True:
            moves()
            try:
                write()
            except sqlite3.Error as error:
                _log.error(event, reason=str(error), effect=f"{effect}; trying again")
                if self._abort.wait(_RETRY_SECONDS):
                    raise
            else:
                return

    # -- saved in Clarify -------------------------------------------------------------------------

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        """Have the metadata of these signals saved, and the signals published. Both create a signal in Clarify, so
        signals that are held are left out until they are approved."""
        if self._new_signals is not None:
            signals = self._new_signals.described(signals)
        self._want(signals)

    def admit(self, parts: list[Part]) -> list[Part]:
        """Replace samples of new signals that are held or refused by rejects. Only where new signals are
        guarded."""
        assert self._new_signals is not None  # noqa: S101 - asked only where new signals are guarded
        checked = self._new_signals.admit(parts)
        self._want(self._new_signals.take_described())
        return checked

    def _want(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        if signals:
            self._signals.want(signals)
            self._items.want(signals)

    # -- reported ---------------------------------------------------------------------------------

    def noted(self, notes: list[NodeEvent]) -> None:
        """Report the losses of Sparkplug nodes, and ask nodes for the births that are missing."""
        self._rebirths.note(notes)
        for (source, group, node), lost in lost_by_node(notes).items():
            _log.warning(
                "sparkplug_messages_lost",
                source=source,
                node=f"{group}/{node}",
                messages=lost,
                effect="they did not reach us: Sparkplug is published with QoS 0",
            )

    def observed(self, observations: list[Observation]) -> None:
        """Make notices of these."""
        self._notices.observed(observations)

    def collided(self, collisions: list[Collision]) -> None:
        """Report origins that wanted an input ID which another origin owns."""
        for collision in collisions:
            _log.warning("input_id_collision", detail=str(collision))

    def renamed(self, renames: list[Rename]) -> None:
        """Report signals that got another ID because the mapping was changed."""
        for rename in renames:
            _log.warning("signal_renamed", detail=str(rename))

    def clocks_off(self, skews: list[Skew]) -> None:
        """Report devices whose clocks are wrong."""
        ours = self._our_clock()
        for skew in skews:
            if ours is not None and abs(skew.lag_us / 1e6 - ours) < _SAME_CLOCK_SECONDS:
                continue  # it is our clock, which has a notice of its own
            hours = zone_hours(skew.lag_us)
            remedy = "set the device's clock; or set time: arrival or time.correct_clock in its rule"
            if hours is not None:
                remedy = (
                    f"it is off by {abs(hours):g} h, as local times without a zone are: set zone in time of its rule, "
                    f"such as time: {{field: ..., zone: Europe/Oslo}}; or {remedy}"
                )
            _log.warning(
                "clock_off",
                source=skew.source,
                device=skew.device,
                seconds=round(-skew.lag_us / 1e6, 1),
                effect=f"its times are {'behind' if skew.lag_us > 0 else 'ahead'}, or it sends what it has stored",
                remedy=remedy,
            )
            if hours is not None:
                self._notices.say(
                    "clock_off_by_hours",
                    skew.source,
                    skew.device,
                    f"times of {skew.device!r} are {abs(hours):g} h {'behind' if hours > 0 else 'ahead'}",
                    remedy,
                )

    def overwritten(self, inputs: Mapping[str, Overwritten]) -> None:
        """Add to the account of replaced values, where the command `ledger` finds it. While the disk refuses the write,
        the account waits in memory, for a bounded number of inputs."""
        for input_id, (topic, values) in inputs.items():
            if input_id in self._overwritten or len(self._overwritten) < _MOST_OVERWRITTEN:
                self._overwritten[input_id] = Overwritten(topic, self._overwritten[input_id].values + values)
        try:
            self._state.add_overwritten(
                [(input_id, *overwritten) for input_id, overwritten in self._overwritten.items()], time.time()
            )
        except sqlite3.Error as error:
            _log.debug("overwritten_not_noted", reason=str(error))
        else:
            self._overwritten.clear()

    def packed(self, account: PackingAccount) -> None:
        """Leave the account of packing where the command `ledger` finds it, which reads files only."""
        try:
            self._state.add_note(PACKING_NOTE, time.time(), json.dumps(asdict(account)))
        except sqlite3.Error as error:
            _log.debug("packing_not_noted", reason=str(error))
