"""Stand-ins for what a pipeline tells: a store of dead letters in a list, and the notes of what mapping discovered."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.store import DeadLettersError
from connector.delivery.load import PackingAccount
from connector.formats.sparkplug.nodes import TimelineChange
from connector.formats.sparkplug.topic import Owner
from connector.mapping.observations import Observation
from connector.mapping.signals.descriptions import Described
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.sparkplug import NodeEvent
from connector.mapping.time.clock_skew import Skew
from connector.pipeline.discoveries import Overwritten
from connector.records import SignalMetadata

SECONDS = 20.0


class Letters:
    """A dead-letter store in a list, which may fail."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.failures = 0
        self.calls = 0

    def add(self, letters: Sequence[DeadLetter]) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise DeadLettersError("disk full")
        self.letters += letters


class Notes:
    """What the mapping discovered."""

    def __init__(self) -> None:
        self.claims: dict[str, Origin] = {}
        self.collisions: list[Collision] = []
        self.signals: dict[str, SignalMetadata] = {}
        self.states: list[tuple[str, str, int]] = []
        self.renames: list[Rename] = []
        self.skews: list[Skew] = []
        self.windows: dict[str, int] = {}
        self.descriptions: list[Described] = []
        self.nodes: dict[Owner, bytes | None] = {}
        self.sparkplug: list[NodeEvent] = []
        self.failure: BaseException | None = None
        self.packing: PackingAccount | None = None
        self.births_failure: Exception | None = None
        self.disk = threading.Event()
        """Whether states can be written now."""
        self.disk.set()

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        if self.failure:
            raise self.failure
        self.claims.update(claims)

    def collided(self, collisions: list[Collision]) -> None:
        self.collisions += collisions

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        self.signals.update(signals)

    def packed(self, account: PackingAccount) -> None:
        self.packing = account

    def learned(self, states: list[tuple[str, str, int]]) -> None:
        assert self.disk.wait(SECONDS)
        self.states += states

    def renamed(self, renames: list[Rename]) -> None:
        self.renames += renames

    def births(self, source: str, said: list[TimelineChange]) -> None:
        if self.births_failure:
            raise self.births_failure
        self.nodes.update(said)

    def described(self, descriptions: list[Described]) -> None:
        self.descriptions += descriptions

    def noted(self, notes: list[NodeEvent]) -> None:
        self.sparkplug += notes

    def clocks_off(self, skews: list[Skew]) -> None:
        self.skews += skews

    def overwritten(self, inputs: Mapping[str, Overwritten]) -> None:
        pass

    def shared(self, topics: Collection[SharedTopic]) -> None:
        pass

    def observed(self, observations: list[Observation]) -> None:
        pass

    def windows_done(self, done: Mapping[str, int]) -> None:
        self.windows.update(done)
