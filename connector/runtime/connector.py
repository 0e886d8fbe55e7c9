"""A connector put together from its configuration: the only place, beside the command line, that knows all parts."""

from __future__ import annotations

import gc
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from connector import __version__
from connector.clarify import Api, Credentials, Timeouts
from connector.config.model import Config, SourceSection
from connector.dead_letters.opening import open_writer
from connector.dead_letters.writer import DeadLetterWriter
from connector.delivery.circuit import Circuits
from connector.delivery.guarded import GuardedClient
from connector.delivery.load import PackingAccount
from connector.delivery.pace import effective_share
from connector.delivery.slots import Slots
from connector.formats.sparkplug.host import Owner
from connector.ledger.source_file import SourceFile
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.sparkplug import Noted, added_up
from connector.mapping.time.clock_skew import Skew
from connector.metadata.book import Book, Kind
from connector.metadata.items import Publisher
from connector.metadata.new_signals import NewSignals
from connector.metadata.reconciler import Pace
from connector.metadata.saving_turn import SavingTurn
from connector.metadata.signals import SignalSaver
from connector.packing.planner import plan_frame
from connector.pipeline.pipeline import Limits, Pipeline
from connector.records import Part, SignalMetadata
from connector.runtime.assembly import build_mapper, mapping_hash, message_bytes, open_source
from connector.runtime.loss_watch import LossWatch
from connector.runtime.rebirths import RebirthRequester
from connector.runtime.state_dir import (
    PACKING_NOTE,
    lock_state_dir,
    open_log_file,
)
from connector.sources.mqtt.source import MqttSource
from connector.sources.source import Source
from connector.state.state import State

_FINISH_SECONDS: Final = 5.0
"""For publishing what the last frames brought into being: after an import there may be no next start."""
_CLOSE_SECONDS: Final = 5.0
_INSERT: Final = "integration.insert"

_log = structlog.get_logger(__name__)


def calm_collector() -> None:
    """Let the garbage collector look for cycles seldom: a batch of records makes ten thousand objects, and none of
    them is part of a cycle. With Python's own thresholds that takes a third of the intake's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class Connector:
    """Everything that one configuration needs, from start to stop."""

    def __init__(
        self,
        config: Config,
        *,
        sources_in_all: int | None = None,
        make_source: Callable[[SourceSection, SourceFile], Source] | None = None,
        state_file: Path | None = None,
        dead_letters: DeadLetterWriter | None = None,
    ) -> None:
        """Open all files; no network yet. Raises `StartError` or `CredentialsError`, and then leaves nothing open.
        `sources_in_all` counts also those that only another worker runs. A backfill makes other sources of the same
        sections, and shares the `state_file` of the live connector; a replay has a writer of `dead_letters` of its
        own."""
        sources_in_all = sources_in_all or len(config.sources)
        credentials = Credentials.load(config.clarify.credentials, allow_insecure=config.clarify.allow_insecure)
        self._config = config
        self._abort = threading.Event()
        with ExitStack() as opened, ExitStack() as opened_sources:
            opened.callback(lock_state_dir(config.state_dir).close)
            self.client = Api(
                credentials,
                timeout=Timeouts(read=config.clarify.timeout, write=config.clarify.timeout),
                verify=config.clarify.ca_file,
                user_agent=f"clarify-connector/{__version__}",
            )
            opened.callback(self.client.close)
            state_file = state_file or config.state_dir / "state.sqlite"
            self.state = State(state_file)
            opened.callback(self.state.close)
            self.dead_letters = dead_letters or open_writer(config.dead_letters, config.state_dir, mapping_hash(config))
            if dead_letters is None:  # else it stays open for whoever gave it
                opened.callback(self.dead_letters.close)
            delivery = config.delivery
            self.circuits = Circuits()
            turn = SavingTurn(state_file)
            opened.callback(turn.close)
            pace = Pace(delivery.metadata_interval, time.time())
            self.signals = SignalSaver(
                self._guarded(),
                Book(self.state, Kind.SIGNAL, self.client.integration),
                Slots(delivery.metadata_requests_per_second, self._abort),
                pace,
                may_save=turn,
            )
            self.items = Publisher(
                self._guarded(),
                Book(self.state, Kind.ITEM, self.client.integration),
                Slots(delivery.metadata_requests_per_second, self._abort),
                pace,
                self.signals.outbox.waiting_among,
                may_save=turn,
            )
            make = make_source or partial(open_source, message_bytes=message_bytes(config))
            sources = []
            for section in config.sources:
                sources.append(make(section, open_log_file(config, section.name)))
                opened_sources.callback(sources[-1].close, _CLOSE_SECONDS)
            guard = config.signals.guard()
            self.new_signals = NewSignals(guard, self.state) if guard.active else None
            self.rebirths = RebirthRequester({s.name: s.publish for s in sources if isinstance(s, MqttSource)})
            mapper = build_mapper(config, self.state.claims(), self.state.learned_states(), self.state.births())
            for source, owner, why in mapper.sparkplug.unreadable:
                _log.error(
                    "births_unreadable",
                    source=source,
                    node="/".join(filter(None, owner)),
                    reason=why,
                    effect="its data cannot be read before it sends its births again",
                )
            self.pipeline = Pipeline(
                sources,
                mapper,
                self.client,
                plan_frame,
                self.dead_letters,
                self,
                Limits(delivery.max_delay, delivery.max_frame_bytes, delivery.max_waiting_samples),
                delivery.requests_per_second,
                admit=None if self.new_signals is None else self._admit,
                windows_done=self.state.windows_done(),
                circuit=self.circuits.of(_INSERT, first=True),
                share=lambda shares: effective_share(
                    delivery.share, [*shares, *[0.0] * (sources_in_all - len(shares))]
                ),
            )
            self.losses = LossWatch(sources, config.observe.loss_warning)
            opened_sources.pop_all()  # from here on the pipeline closes them
            self._opened = opened.pop_all()

    def _guarded(self) -> GuardedClient:
        return GuardedClient(self.client, self.circuits, self._abort)

    def start(self) -> None:
        """Start all threads."""
        self.dead_letters.store.start()
        self.signals.start()
        self.items.start()
        self.pipeline.start()
        self.losses.start()

    def stop(self, *, at_once: bool = False) -> bool:
        """Drain within `flush_timeout` (`at_once`: there was time for that already), then close everything. True if
        nothing was left behind."""
        self.pipeline.drain()
        drained = self.pipeline.stopped.wait(0 if at_once else self._config.delivery.flush_timeout)
        if not drained:
            records, samples = self.pipeline.waiting()
            _log.warning(
                "flush_timed_out",
                after_seconds=self._config.delivery.flush_timeout,
                messages_in_memory=records,
                samples_in_memory=samples,
                effect="they are kept where they came from and sent after the next start",
            )
        else:
            until = time.monotonic() + min(_FINISH_SECONDS, self._config.delivery.flush_timeout)
            self.signals.finish(until - time.monotonic())
            self.items.finish(until - time.monotonic())
        self.close()
        return drained

    def close(self) -> None:
        """Stop at once and release everything."""
        self.losses.close(_CLOSE_SECONDS)
        self.pipeline.abort()
        self.pipeline.close(_CLOSE_SECONDS)
        self._abort.set()
        self.rebirths.close(_CLOSE_SECONDS)
        self.signals.close(_CLOSE_SECONDS)
        self.items.close(_CLOSE_SECONDS)
        self._opened.close()

    def problems(self) -> list[str]:
        """Why the connector is not ready; empty if it is."""
        return self.pipeline.problems() + self.dead_letters.problems() + self.losses.problems()

    def notices(self) -> list[str]:
        """What a person should look at although the data flows; empty if nothing."""
        found = []
        for what, outbox in (
            ("metadata of signals", self.signals.outbox),
            ("publishing of signals", self.items.outbox),
        ):
            failed = outbox.counts().failed
            if failed:
                found.append(f"{what}: {failed} failed; see clarify-connector metadata CONFIG --failed")
            if outbox.trouble:
                found.append(f"{what}: {outbox.trouble}")
        return found

    # -- what the mapping discovers ---------------------------------------------------------------

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        """Remember who owns which input ID, and go on trying until that is written: else another one could get it."""
        self._until_written(lambda: self.state.add_claims(claims), "input_ids_not_remembered", "intake waits")

    def collided(self, collisions: list[Collision]) -> None:
        """Report collisions."""
        for collision in collisions:
            _log.warning("input_id_collision", detail=str(collision))

    def packed(self, account: PackingAccount) -> None:
        """Leave a note for the ledger, which reads files."""
        try:
            self.state.add_note(PACKING_NOTE, time.time(), json.dumps(asdict(account)))
        except sqlite3.Error as error:
            _log.debug("packing_not_noted", reason=str(error))

    def learned(self, states: list[tuple[str, str, int]]) -> None:
        """Remember the states of enum signals, and go on trying until that is written: else a number that was sent
        could come to mean another state."""
        for input_id, text, number in states:
            _log.info("state_learned", input=input_id, state=text, number=number)
        self._until_written(lambda: self.state.add_learned_states(states), "states_not_remembered", "intake waits")

    def births(self, source: str, said: list[tuple[Owner, bytes | None]]) -> None:
        """Remember them, and go on trying until that is written: else what follows could not be read."""
        self._until_written(lambda: self.state.keep_births(source, said), "births_not_remembered", "intake waits")

    def noted(self, notes: list[Noted]) -> None:
        """Report losses and births that are needed, and have nodes asked for them."""
        self.rebirths.note(notes)
        for (source, group, node), lost in added_up(notes).items():
            _log.warning(
                "sparkplug_messages_lost",
                source=source,
                node=f"{group}/{node}",
                messages=lost,
                effect="they did not reach us: Sparkplug is published with QoS 0",
            )

    def renamed(self, renames: list[Rename]) -> None:
        """Report signals that a change of the mapping gave another ID."""
        for rename in renames:
            _log.warning("signal_renamed", detail=str(rename))

    def windows_done(self, done: Mapping[str, int]) -> None:
        """Remember them, and go on trying until that is written: else a window could be inserted a second time with
        a part of its values."""
        self._until_written(lambda: self.state.add_windows_done(done), "windows_not_remembered", "nothing is committed")

    def _until_written(self, write: Callable[[], None], event: str, effect: str) -> None:
        while True:
            try:
                write()
            except sqlite3.Error as error:
                _log.error(event, reason=str(error), effect=f"{effect}; trying again")
                if self._abort.wait(1.0):
                    raise
            else:
                return

    def clocks_off(self, skews: list[Skew]) -> None:
        """Report clocks that are wrong."""
        for skew in skews:
            _log.warning(
                "clock_off",
                source=skew.source,
                device=skew.device,
                seconds=round(-skew.lag_us / 1e6, 1),
                effect=f"its times are {'behind' if skew.lag_us > 0 else 'ahead'}, or it sends what it has stored",
                remedy="set the device's clock; or set time: arrival or time.correct_clock in its rule",
            )

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        """Have metadata saved, and signals published: both bring a signal into being, so only of those let in."""
        if self.new_signals is not None:
            signals = self.new_signals.described(signals)
        self._want(signals)

    def _admit(self, parts: list[Part]) -> list[Part]:
        """What of these is let in."""
        assert self.new_signals is not None  # noqa: S101 - asked only where new signals are guarded
        checked = self.new_signals.admit(parts)
        self._want(self.new_signals.take_described())
        return checked

    def _want(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        if signals:
            self.signals.want(signals)
            self.items.want(signals)
