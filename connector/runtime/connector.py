"""A connector put together from its configuration: only this module and the command line know all parts."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final

import structlog

from connector.config.model import Config
from connector.dead_letters.store import DeadLettersError
from connector.dead_letters.writer import DeadLetterWriter
from connector.delivery.pace import effective_share
from connector.mapping.mapper import Mapper
from connector.mapping.rules.rules import Rule
from connector.mapping.sparkplug import SPARKPLUG_HELP
from connector.metadata.new_signals import NewSignalGate
from connector.metadata.outbox import Outbox
from connector.metadata.saving_turn import SavingTurn
from connector.packing.planner import plan_frame
from connector.pipeline.delays import Delays
from connector.pipeline.notices import Notice, Notices
from connector.pipeline.pipeline import Pipeline
from connector.pipeline.traces import Tracer
from connector.runtime.assembly import (
    MakeSource,
    ReadMapping,
    open_dead_letters,
    open_sources,
    open_state,
    shared_topics,
)
from connector.runtime.carrying import Carrying
from connector.runtime.client import open_clients
from connector.runtime.integrations import IntegrationParts
from connector.runtime.ledger import read_discarded, read_freshness
from connector.runtime.loss_watch import LossWatch
from connector.runtime.rebirths import Publish, RebirthRequester
from connector.runtime.remembering import Remembering
from connector.runtime.silence import Silence
from connector.runtime.state_dir import SILENT_NOTE, lock_state_dir
from connector.runtime.supervision import Supervision
from connector.runtime.tag_lists import TagWatch
from connector.sources.source import PublishingSource, Source
from connector.state.state import SignalStatus, read_note
from connector.threads.watched import Threaded, WatchedThread

_FINISH_SECONDS: Final = 5.0
"""Longest time at the stop for saving metadata of the last frames; after an import there may be no next start."""
_CLOSE_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


def publishers(sources: Iterable[Source]) -> dict[str, Publish]:
    """Returns name of a source → its `publish`, for the sources whose brokers take messages."""
    return {source.name: source.publish for source in sources if isinstance(source, PublishingSource)}


def _objectives(config: Config) -> dict[str, float]:
    """Returns name of a source → its objective of freshness, in seconds; only sources with an objective."""
    return {one.name: one.freshness for one in config.sources if one.freshness}


def calm_collector() -> None:
    """Make the garbage collector search for cycles less often.

    A batch of records makes ten thousand objects, and no object is part of a cycle. With Python's own thresholds, the
    search takes a third of the intake's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def give_memory_back() -> None:
    """Return to the system what the start needed only for a moment: 1 MB, where Python uses glibc."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


class Connector:
    """All parts that one configuration needs, from start to stop."""

    def __init__(
        self,
        config: Config,
        *,
        sources_in_all: int | None = None,
        make_source: MakeSource | None = None,
        state_file: Path | None = None,
        dead_letters: DeadLetterWriter | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Open all files; uses no network yet. If opening fails, raises `ConnectorError` and leaves no file open.

        `sources_in_all` is the number of sources in the whole configuration, if this worker runs only some sources.
        A backfill and a replay give `make_source`, which makes another source of a section. Both also share the
        `state_file` of the live connector. A replay gives and closes its own writer of `dead_letters`. `tracer` is told
        of each delivery of a frame.
        """
        self.config = config
        """The configuration in use."""
        self._tracer = tracer
        self.before_close: Callable[[], None] = lambda: None
        """Called at the stop, when all is sent and the parts are still open."""
        self.state_dir = config.state_dir
        """The folder with everything that the connector keeps on disk."""
        self._abort = threading.Event()
        self.reloading: WatchedThread | None = None
        """The thread that reloads the configuration; None before the first reload."""
        self.present = Notices()
        """The notices, for the parts that say them."""
        self.metric_help = dict(SPARKPLUG_HELP)
        """Name of a gauge of a source or of its Sparkplug nodes → help text for the metrics page."""
        self.silence = None
        """The watched signals; None if no rule has `expect_every`."""
        if config.mapping.expects_signals and make_source is None:
            self.silence = Silence(self.present, lambda text: self.state.add_note(SILENT_NOTE, time.time(), text))
        self.carrying = Carrying(
            () if make_source else config.sources,
            self.present,
            judges_rules=config.workers == 1,
            our_clock=lambda: self.client.clock_offset,
            clock_warning=config.mapping.clock_warning,
            silence=self.silence,
            looked=lambda: None if make_source else self._looked(),
        )
        with ExitStack() as opened, ExitStack() as opened_sources:
            opened.callback(lock_state_dir(config.state_dir).close)
            clients = open_clients(config, opened)
            self.client = clients[""]
            state_file = state_file or config.state_dir / "state.sqlite"
            self.state = opened.enter_context(closing(open_state(state_file)))
            turn = opened.enter_context(closing(SavingTurn(state_file)))
            self.dead_letters = dead_letters or opened.enter_context(closing(open_dead_letters(config)))
            self.integrations = {
                name: IntegrationParts(
                    name,
                    client,
                    config.delivery.of(config.clarify.integrations.get(name)),
                    self.state,
                    turn,
                    self._abort,
                )
                for name, client in clients.items()
            }
            """Name → the parts of the integration; the name of the one of `clarify` itself is empty."""
            guard = config.signals.guard()
            self.new_signals = NewSignalGate(guard, self.state) if guard.active else None
            sources = open_sources(config, make_source, opened_sources)
            self.rebirths = RebirthRequester(publishers(sources))
            self.remembering = Remembering(
                self.state,
                self.integrations,
                self.rebirths,
                self.new_signals,
                self._abort,
                self.present,
                lambda: self.client.clock_offset,
                read_discarded(state_file),
            )
            self.sources_in_all = sources_in_all
            """The number of sources in the whole configuration; None: it is that of the sources here."""
            self._help_with(config)
            delays = Delays({} if make_source else _objectives(config), read_freshness(state_file))
            self.pipeline = self._pipeline(sources, state_file, delays)
            if self.silence is not None:
                self._watch_signals(self.silence, state_file)
            self.losses = LossWatch(sources, config.observe.loss_warning)
            self.tags = TagWatch(
                self.mapper.tag_lists,
                self.pipeline.mapping.between_records,
                self.present,
                self.mapper.use_tags,
                judges_rows=config.workers == 1 and make_source is None,
            )
            self.supervision = Supervision(self._threads)
            opened_sources.pop_all()  # from here on the pipeline closes the sources
            self._opened = opened.pop_all()

    @property
    def mapper(self) -> Mapper:
        """The mapper in use."""
        return self.pipeline.mapping.mapper

    def _pipeline(self, sources: list[Source], state_file: Path, delays: Delays) -> Pipeline:
        delivery = self.config.delivery
        state = self.state
        self.mapping = ReadMapping(self.config)
        mapper = self.mapping.mapper(state.claims(), state.learned_states(), state.births(), state.descriptions())
        mapper.shared_topics.topics.update({(one.source, one.topic): one for one in shared_topics(state_file)})
        for source, owner, why in mapper.sparkplug.unreadable:
            _log.error(
                "births_unreadable",
                source=source,
                node="/".join(filter(None, owner)),
                reason=why,
                effect="data of the node cannot be read before the node sends its births again",
            )
        return Pipeline(
            sources,
            mapper,
            [parts.for_pipeline() for parts in self.integrations.values()],
            plan_frame,
            self.dead_letters,
            self.remembering,
            admit=None if self.new_signals is None else self.remembering.admit,
            windows_done=self.state.windows_done(),
            default=self.config.clarify.name,
            share=lambda shares: effective_share(delivery.share, self._with_those_elsewhere(shares)),
            notices=self.present,
            saw=self.carrying.saw,
            tracer=self._tracer,
            saw_signals=None if self.silence is None else self.silence.saw,
            forgot=None if self.silence is None else self.silence.forget,
            delays=delays,
        )

    def _with_those_elsewhere(self, shares: Sequence[float]) -> Sequence[float]:
        """Returns the shares of the sources here, and 0 for each source that only other workers run."""
        return [*shares, *[0.0] * ((self.sources_in_all or 0) - len(shares))]

    def _help_with(self, config: Config) -> None:
        for section in config.sources:
            self.metric_help.update(section.metric_help)

    def use_sources(self, config: Config) -> None:
        """Look after the sources that are there now, by the sections and settings of this configuration."""
        sources = self.pipeline.status.sources()
        self._help_with(config)
        self.rebirths.use(publishers(sources))
        self.carrying.use(config.sources, sources, config.mapping.clock_warning)
        self.pipeline.delays.use(_objectives(config))
        self.losses.watch(sources, config.observe.loss_warning)
        self.losses.start()

    def _watch_signals(self, silence: Silence, state_file: Path) -> None:
        """Watch the signals of earlier runs from now on, and new ones from their first sample on."""
        note = read_note(state_file, SILENT_NOTE)
        silence.begin(self.mapper.rules, note.text if note else "")
        for found in self._expected(self.mapper):
            silence.recall(*found)
        self.mapper.watch_signals(silence.expect, silence.left_out)

    def watch_signals_of(self, mapper: Mapper) -> None:
        """Watch the signals of a mapper that takes the place of the one before, and maps nothing yet."""
        if self.silence is not None:
            self.silence.renew(mapper.rules, self._expected(mapper))
            mapper.watch_signals(self.silence.expect, self.silence.left_out)

    def _expected(self, mapper: Mapper) -> Iterator[tuple[str, str, Rule]]:
        """Yields (input ID, source, rule) for each signal of earlier times that a rule of the mapper expects."""
        held = {one for one, status in self.state.signal_statuses().items() if status is SignalStatus.HELD}
        return mapper.expected({one: origin for one, origin in self.state.claims().items() if one not in held})

    def _threads(self) -> Iterator[WatchedThread]:
        """Yields the threads that must work as long as the connector runs."""
        yield from self.pipeline.threads()
        for parts in self.integrations.values():
            yield from parts.threads
        yield from (self.losses.thread, self.carrying.thread, self.tags.thread)
        if self.rebirths.thread is not None:
            yield self.rebirths.thread
        if self.reloading is not None:
            yield self.reloading
        if isinstance(self.dead_letters.store, Threaded):
            yield from self.dead_letters.store.threads()

    def start(self) -> None:
        """Start all threads."""
        self.dead_letters.store.start()
        for parts in self.integrations.values():
            parts.start()
        self.pipeline.start()
        self.losses.start()
        self.tags.start()
        self.carrying.start(self.pipeline.status.sources(), self.mapper, self.pipeline.status)

    def _looked(self) -> None:
        """Every few seconds: note what the command `ledger` and the next start read."""
        self.remembering.kept_fresh(self.pipeline.delays.accounts())
        self.pipeline.tell_packing_now_and_then()
        with suppress(DeadLettersError):  # `problems` says so at the next letter
            self.remembering.discarded(self.dead_letters.usage().discarded)

    def stop(self, *, at_once: bool = False) -> bool:
        """Drain within `flush_timeout`, then close all parts; returns True if no message was left behind.

        `at_once` means not to wait, because the caller has waited already.
        """
        self.supervision.pause()
        self.pipeline.drain()
        drained = self.pipeline.stopped.wait(0 if at_once else self.config.delivery.flush_timeout)
        if not drained:
            records, samples = self.pipeline.status.waiting()
            _log.warning(
                "flush_timed_out",
                after_seconds=self.config.delivery.flush_timeout,
                messages_in_memory=records,
                samples_in_memory=samples,
                effect="the messages stay with their sources, and are sent after the next start",
            )
        else:
            until = time.monotonic() + min(_FINISH_SECONDS, self.config.delivery.flush_timeout)
            for parts in self.integrations.values():
                parts.finish(until)
        self.before_close()
        self.close()
        return drained

    def close(self) -> None:
        """Stop at once, and release all files and threads."""
        self.losses.close(_CLOSE_SECONDS)
        self.tags.close(_CLOSE_SECONDS)
        self.carrying.close(_CLOSE_SECONDS)
        self.pipeline.abort()
        self.pipeline.close(_CLOSE_SECONDS)
        self._abort.set()
        self.remembering.tell_renamed(at_once=True)
        self.rebirths.close(_CLOSE_SECONDS)
        for parts in self.integrations.values():
            parts.close(_CLOSE_SECONDS)
        self._opened.close()

    def problems(self) -> list[str]:
        """Returns the reasons why the connector is not ready, for people; empty if the connector is ready."""
        return (
            self.pipeline.status.problems()
            + self.dead_letters.problems()
            + self.losses.problems()
            + self.supervision.problems()
        )

    def notices(self) -> list[Notice]:
        """Returns the present notices, for a person to look at although data flows; empty if there are none."""
        self._look_at_metadata()
        return self.present.shown()

    def notice_counts(self) -> Mapping[str, int]:
        """Returns kind → number of present notices of this kind, for the metrics."""
        self._look_at_metadata()
        return self.present.counts()

    def _look_at_metadata(self) -> None:
        for what, outbox in self._outboxes():
            failed, trouble = outbox.counts().failed, outbox.trouble
            see = "see clarify-connector metadata CONFIG --failed"
            for kind, text, remedy in (
                ("metadata_failed", failed and f"{what}: {failed} failed", see),
                ("metadata_waits", trouble and f"{what}: {trouble}", "nothing is lost; saving is tried again"),
            ):
                if text:
                    self.present.say(kind, "", what, text, remedy, times=0, logged=False)
                else:
                    self.present.over(kind, "", what)

    def _outboxes(self) -> Iterator[tuple[str, Outbox]]:
        """Yields the outboxes of metadata, each with its name for people."""
        for name, parts in self.integrations.items():
            of = f" in {self.pipeline.status.shown(name)}" if len(self.integrations) > 1 else ""
            yield f"metadata of signals{of}", parts.signals.outbox
            yield f"publishing of signals{of}", parts.items.outbox
