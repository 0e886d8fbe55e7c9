"""A connector put together from its configuration: the only place, beside the command line, that knows all parts."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final, TextIO

import structlog

from connector import __version__
from connector.clarify import Api, Credentials, Timeouts
from connector.config import Config, FileSection, KafkaSection, MqttSection, SourceSection
from connector.delivery.dead_letters import DeadLetterStore
from connector.delivery.items import Publisher
from connector.delivery.load import PackingAccount
from connector.delivery.pace import effective_share
from connector.delivery.signals import SignalSaver
from connector.delivery.slots import Slots
from connector.loss_watch import LossWatch
from connector.mapping.input_ids import Collision, Origin
from connector.mapping.mapper import Mapper
from connector.new_signals import NewSignals
from connector.packing.planner import plan_frame
from connector.pipeline import Limits, Pipeline
from connector.records import SignalMetadata
from connector.sources.journal import DiskJournal, MemoryJournal
from connector.sources.log_file import LogFile
from connector.sources.mqtt import MqttSource
from connector.sources.source import Source
from connector.state import State

_FINISH_SECONDS: Final = 5.0
"""For publishing what the last frames brought into being: after an import there may be no next start."""
_CLOSE_SECONDS: Final = 5.0
PACKING_NOTE: Final = "packing"
"""How the ledger finds what was said of packing."""
WORKER_FOLDERS: Final = "worker-*"
"""Where, in state_dir, the second and further workers keep their state."""

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The connector cannot start; the text says what to do."""


def log_file_path(config: Config, source: str) -> Path:
    """Where a source keeps its journal and ledger."""
    return config.state_dir / f"{source}.sqlite"


def build_mapper(config: Config, claims: dict[str, Origin]) -> Mapper:
    """The mapper that the configuration describes."""
    return Mapper(
        config.rules(),
        claims=claims,
        sources={source.name for source in config.sources},
        unmatched=config.mapping.unmatched,
        bounds=config.time_bounds(),
        max_payload_bytes=config.mapping.max_payload,
        max_values=config.mapping.max_values,
        without_retained={
            source.name for source in config.sources if isinstance(source, MqttSection) and source.retained == "never"
        },
    )


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
        make_source: Callable[[SourceSection, LogFile], Source] | None = None,
        state_file: Path | None = None,
    ) -> None:
        """Open all files; no network yet. Raises `StartError` or `CredentialsError`, and then leaves nothing open.
        `sources_in_all` counts also those that only another worker runs. A backfill makes other sources of the same
        sections, and shares the `state_file` of the live connector."""
        sources_in_all = sources_in_all or len(config.sources)
        credentials = Credentials.load(config.clarify.credentials, allow_insecure=config.clarify.allow_insecure)
        self._config = config
        self._abort = threading.Event()
        self._unremembered: list[tuple[str, Origin]] = []
        with ExitStack() as opened, ExitStack() as opened_sources:
            opened.callback(_lock(config.state_dir).close)
            self.client = Api(
                credentials,
                timeout=Timeouts(read=config.clarify.timeout, write=config.clarify.timeout),
                verify=config.clarify.ca_file,
                user_agent=f"clarify-connector/{__version__}",
            )
            opened.callback(self.client.close)
            self.state = State(state_file or config.state_dir / "state.sqlite")
            opened.callback(self.state.close)
            letters = config.state_dir / "dead-letters.sqlite"
            self.dead_letters = DeadLetterStore(letters, config.dead_letters.max_bytes)
            opened.callback(self.dead_letters.close)
            delivery = config.delivery
            self.signals = SignalSaver(
                self.client, self.state, Slots(delivery.metadata_requests_per_second, self._abort)
            )
            self.items = Publisher(
                self.client,
                self.state,
                Slots(delivery.metadata_requests_per_second, self._abort),
                lambda input_id: not self.signals.is_waiting(input_id),
            )
            sources = []
            for section in config.sources:
                sources.append((make_source or _source)(section, open_log_file(config, section.name)))
                opened_sources.callback(sources[-1].close, _CLOSE_SECONDS)
            guard = config.signals.guard()
            self.new_signals = NewSignals(guard, self.state) if guard.active else None
            self.pipeline = Pipeline(
                sources,
                build_mapper(config, self.state.claims()),
                self.client,
                plan_frame,
                self.dead_letters,
                self,
                Limits(delivery.max_delay, delivery.max_frame_bytes, delivery.max_waiting_samples),
                delivery.requests_per_second,
                admit=None if self.new_signals is None else self.new_signals.admit,
                share=lambda shares: effective_share(
                    delivery.share, [*shares, *[0.0] * (sources_in_all - len(shares))]
                ),
            )
            self.losses = LossWatch(sources, config.observe.loss_warning)
            opened_sources.pop_all()  # from here on the pipeline closes them
            self._opened = opened.pop_all()

    def start(self) -> None:
        """Start all threads."""
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
            self.items.finish(min(_FINISH_SECONDS, self._config.delivery.flush_timeout))
        self.close()
        return drained

    def close(self) -> None:
        """Stop at once and release everything."""
        self.losses.close(_CLOSE_SECONDS)
        self.pipeline.abort()
        self.pipeline.close(_CLOSE_SECONDS)
        self._abort.set()
        self.signals.close(_CLOSE_SECONDS)
        self.items.close(_CLOSE_SECONDS)
        self._opened.close()

    def problems(self) -> list[str]:
        """Why the connector is not ready; empty if it is."""
        return self.pipeline.problems() + self.losses.problems()

    # -- what the mapping discovers ---------------------------------------------------------------

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        """Remember who owns which input ID; where that cannot be written, with the next one."""
        self._unremembered += claims
        try:
            self.state.add_claims(self._unremembered)
        except sqlite3.Error as error:
            _log.error("input_ids_not_remembered", reason=str(error), effect="trying again with the next new signal")
        else:
            self._unremembered = []

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

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        """Have metadata saved, and signals published."""
        self.signals.want(signals)
        self.items.want(signals)


def open_log_file(config: Config, source: str) -> LogFile:
    """A source's journal and ledger. Raises `StartError`."""
    path = log_file_path(config, source)
    try:
        return LogFile.open(path)
    except (OSError, sqlite3.Error) as error:
        raise StartError(f"the journal {path} cannot be opened: {error}; is the disk full or read-only?") from None


def _source(section: SourceSection, file: LogFile) -> Source:
    if isinstance(section, KafkaSection):
        from connector.sources.kafka import KafkaSource  # noqa: PLC0415 - librdkafka is loaded where it is needed

        return KafkaSource(section, file)
    if isinstance(section, FileSection):
        from connector.sources.file import FileSource  # noqa: PLC0415 - as above

        return FileSource(section, file)
    journal: DiskJournal | MemoryJournal
    if section.journal.storage == "disk":
        journal = DiskJournal(section.name, file, section.journal.max_bytes)
    else:
        journal = MemoryJournal(section.name, file, section.journal.max_bytes)
    return MqttSource(section, file, journal)


def _lock(folder: Path) -> TextIO:
    """Only one connector may use a state_dir: two would send and settle the same messages."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise StartError(
            f"state_dir {folder} cannot be written ({error.strerror}); the journal needs a folder that can be, "
            "best on a volume"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StartError(
            f"state_dir {folder} is in use by another connector; stop it, or give this one a state_dir of its own"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
