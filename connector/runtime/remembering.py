"""Facts that the mapping discovers: remembered, saved in Clarify, or reported, before a dependent sample is sent."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Protocol

import structlog

from connector.delivery.load import PackingAccount
from connector.formats.sparkplug.nodes import TimelineChange
from connector.ledger.delays import Freshness
from connector.mapping.observations import Observation
from connector.mapping.signals.descriptions import Described
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.sparkplug import NodeEvent, lost_by_node
from connector.mapping.time.clock_skew import Skew, zone_hours
from connector.metadata.items import ItemPublisher
from connector.metadata.new_signals import NewSignalGate
from connector.metadata.signals import SignalSaver
from connector.pipeline.discoveries import Overwritten
from connector.pipeline.notices import Notices
from connector.records import Part, SignalMetadata, of_integration
from connector.runtime.rebirths import RebirthRequester
from connector.runtime.state_dir import DISCARDED_NOTE, FRESHNESS_NOTE, SHARED_TOPICS_NOTE, packing_note
from connector.state.state import State
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import moves

_RETRY_SECONDS = 1.0
_SAME_CLOCK_SECONDS = 10.0
_MOST_OVERWRITTEN = 1_000
_RENAMES_SHOWN = 3
_RENAMES_WAIT_SECONDS = 2.0
_RENAMES_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class MetadataSavers(Protocol):
    """What saves the metadata of one integration."""

    @property
    def signals(self) -> SignalSaver:
        """The saver of signals' metadata."""

    @property
    def items(self) -> ItemPublisher:
        """The publisher of items."""


class Remembering:
    """The `Discoveries` of a connector.

    A fact without which later data would be misread (an input ID's owner, the number of a state, births, finished
    windows) is written before the method returns; while the disk refuses the write, the caller waits. Other facts are
    logged.
    """

    def __init__(
        self,
        state: State,
        savers: Mapping[str, MetadataSavers],
        rebirths: RebirthRequester,
        new_signals: NewSignalGate | None,
        abort: threading.Event,
        notices: Notices,
        our_clock: Callable[[], float | None],
        discarded: int = 0,
    ) -> None:
        """`savers` has those of each integration. `new_signals` is None if every new signal is let in.

        `abort` ends the waiting for the disk. `our_clock` returns the seconds by which this machine's clock is ahead of
        Clarify's clock, or None if that is unknown. `discarded` is the number of dead letters in the state file that
        were ever discarded.
        """
        self._state = state
        self._savers = savers
        self._rebirths = rebirths
        self._new_signals = new_signals
        self._abort = abort
        self._notices = notices
        self._our_clock = our_clock
        self._renaming = threading.Lock()
        self._renamed = 0
        """Number of signals with another ID that were not reported yet."""
        self._renames: list[Rename] = []
        """The first of them."""
        self._renamed_since = 0.0
        self._renames_told = -math.inf
        self._fresh: Mapping[str, Freshness] = {}
        """The accounts of freshness in the state file."""
        self._packed: dict[str, PackingAccount] = {}
        """Integration → the packing account in the state file."""
        self._discarded = self._discarded_before = self._discarded_noted = discarded
        self._overwritten: defaultdict[str, Overwritten] = defaultdict(lambda: Overwritten("", 0))

    # -- written before the method returns --------------------------------------------------------

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        """Write the owner (origin) of each new input ID. Without the owner, another origin could get the ID later."""
        self._write(lambda: self._state.add_claims(claims), "input_ids_not_remembered", "intake waits")

    def learned(self, states: list[tuple[str, str, int]]) -> None:
        """Write the number of each new state (input ID, state, number).

        Without this entry, a number that was sent already could stand for another state later.
        """
        for input_id, text, number in states:
            _log.info("state_learned", input=input_id, state=text, number=number)
        self._write(lambda: self._state.add_learned_states(states), "states_not_remembered", "intake waits")

    def described(self, descriptions: list[Described]) -> None:
        """Write what messages say about signals. A broker may not send these messages again."""
        self._write(lambda: self._state.add_descriptions(descriptions), "descriptions_not_remembered", "intake waits")

    def births(self, source: str, said: list[TimelineChange]) -> None:
        """Write the births of Sparkplug nodes and devices (None: forget the births).

        Without the births, later data of these nodes and devices cannot be read.
        """
        self._write(lambda: self._state.keep_births(source, said), "births_not_remembered", "intake waits")

    def windows_done(self, done: Mapping[str, int]) -> None:
        """Write, for each input, the time in µs up to which windows are inserted.

        Without this time, a window could be inserted again with a part of its values.
        """
        self._write(lambda: self._state.add_windows_done(done), "windows_not_remembered", "nothing is committed")

    def shared(self, topics: Collection[SharedTopic]) -> None:
        """Write the topics that several things share.

        Without this entry, some values of these topics would pass after a restart, though `signals.on_identity` holds
        the values.
        """
        text = json.dumps([asdict(topic) for topic in topics])
        self._write(
            lambda: self._state.add_note(SHARED_TOPICS_NOTE, time.time(), text), "topics_not_remembered", "intake waits"
        )

    def _write(self, write: Callable[[], None], event: str, effect: str) -> None:
        failing = RepeatedFailure(event, event.replace("_not_", "_"))
        while True:
            moves()
            try:
                write()
            except sqlite3.Error as error:
                failing.failed(str(error), effect=f"{effect}; trying again")
                if self._abort.wait(_RETRY_SECONDS):
                    raise
            else:
                failing.works()
                return

    # -- saved in Clarify -------------------------------------------------------------------------

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        """Ask for these signals' metadata to be saved, and for the signals to be published as items.

        Both steps create a signal in Clarify. So held signals are left out until a person approves them.
        """
        if self._new_signals is not None:
            signals = self._new_signals.described(signals)
        self._want(signals)

    def admit(self, parts: list[Part]) -> list[Part]:
        """Returns the parts with a reject in the place of each sample of a new signal that is held or refused.

        May be called only if new signals are guarded.
        """
        assert self._new_signals is not None  # noqa: S101 - asked only where new signals are guarded
        checked = self._new_signals.admit(parts)
        self._want(self._new_signals.take_described())
        return checked

    def _want(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        by_integration: defaultdict[str, list[tuple[str, SignalMetadata]]] = defaultdict(list)
        for written, metadata in signals:
            integration, input_id = of_integration(written)
            by_integration[integration].append((input_id, metadata))
        for integration, wanted in by_integration.items():
            savers = self._savers[integration]
            savers.signals.want(wanted)
            savers.items.want(wanted)

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
                effect="the messages did not reach the connector: Sparkplug is published with QoS 0",
            )

    def observed(self, observations: list[Observation]) -> None:
        """Add a notice for each observation."""
        self._notices.observed(observations)

    def collided(self, collisions: list[Collision]) -> None:
        """Report origins that wanted an input ID which another origin owns."""
        for collision in collisions:
            _log.warning("input_id_collision", detail=str(collision))

    def renamed(self, renames: list[Rename]) -> None:
        """Note signals that got another ID because the mapping was changed; `tell_renamed` reports them."""
        with self._renaming:
            self._renamed += len(renames)
            self._renames += renames[: _RENAMES_SHOWN - len(self._renames)]
            self._renamed_since = self._renamed_since or time.monotonic()

    def tell_renamed(self, *, at_once: bool = False) -> None:
        """Report the signals with another ID, all together: a changed rule gives thousands of signals another ID.

        A report waits for 2 s, so that it has most of them, and comes at most once a minute.
        """
        now = time.monotonic()
        with self._renaming:
            due = max(self._renamed_since + _RENAMES_WAIT_SECONDS, self._renames_told + _RENAMES_SECONDS)
            if not self._renamed or (now < due and not at_once):
                return
            count, examples = self._renamed, self._renames
            self._renamed, self._renames, self._renamed_since, self._renames_told = 0, [], 0.0, now
        _log.warning(
            "signal_renamed",
            count=count,
            examples=[str(rename) for rename in examples],
            effect="new signals, which are billed, without the history of the old ones",
            remedy="if you did not intend this, let the mapping give the old input IDs again",
        )

    def clocks_off(self, skews: list[Skew]) -> None:
        """Report devices whose clocks are wrong."""
        ours = self._our_clock()
        for skew in skews:
            if ours is not None and abs(skew.lag_us / 1e6 - ours) < _SAME_CLOCK_SECONDS:
                continue  # the clock of this machine is wrong, and has its own notice
            hours = zone_hours(skew.lag_us)
            remedy = "set the device's clock; or set time: arrival or time.correct_clock in its rule"
            if hours is not None:
                remedy = (
                    f"the clock is off by {abs(hours):g} h, as with local times without a zone: set zone in time of "
                    f"its rule, such as time: {{field: ..., zone: Europe/Oslo}}; or {remedy}"
                )
            _log.warning(
                "clock_off",
                source=skew.source,
                device=skew.device,
                seconds=round(-skew.lag_us / 1e6, 1),
                effect=f"its times are {'behind' if skew.lag_us > 0 else 'ahead'}, or the device sends stored values",
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
        """Add to the account of replaced values in the state file, which the command `ledger` reads.

        While the disk refuses the write, the account waits in memory, for a bounded number of inputs.
        """
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

    def kept_fresh(self, accounts: Mapping[str, Freshness]) -> None:
        """Write the accounts of freshness to the state file if they have changed, for the command `ledger` and the next
        start."""
        if accounts == self._fresh:
            return
        text = json.dumps({source: asdict(account) for source, account in accounts.items()})
        try:
            self._state.add_note(FRESHNESS_NOTE, time.time(), text)
        except sqlite3.Error as error:
            _log.debug("freshness_not_noted", reason=str(error))
        else:
            self._fresh = accounts

    def packed(self, account: PackingAccount) -> None:
        """Write the packing account to the state file if it has changed: the command `ledger` reads only files."""
        if account == self._packed.get(account.integration):
            return
        try:
            self._state.add_note(packing_note(account.integration), time.time(), json.dumps(asdict(account)))
        except sqlite3.Error as error:
            _log.debug("packing_not_noted", reason=str(error))
        else:
            self._packed[account.integration] = account

    def discarded(self, ever: int) -> None:
        """Report that dead letters were discarded, and write their number for the command `ledger`.

        `ever` is the number of all that were ever discarded. The notice counts those since the start.
        """
        if ever < self._discarded:  # a person has moved the store away
            self._discarded = self._discarded_before = self._discarded_noted = 0
        if ever > self._discarded:
            self._notices.say(
                "dead_letters_discarded",
                "",
                "",
                f"{ever - self._discarded_before} dead letters were discarded since the start, because their store was "
                "full: their messages are lost",
                "mend what sends them: clarify-connector dead-letters list CONFIG --summary names the main reason; or "
                "raise the bound of dead_letters",
                times=ever - self._discarded,
                logged=False,
            )
            self._discarded = ever
        if ever > self._discarded_noted:
            try:
                self._state.add_note(DISCARDED_NOTE, time.time(), str(ever))
            except sqlite3.Error as error:
                _log.debug("discarded_not_noted", reason=str(error))
            else:
                self._discarded_noted = ever
