"""What the mapping sees for the first time, and who is told of it: before any sample of it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from connector.delivery.load import PackingAccount
from connector.formats.sparkplug.nodes import TimelineChange
from connector.mapping.mapper import Mapper
from connector.mapping.observations import Observation
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.sparkplug import NodeEvent
from connector.mapping.time.clock_skew import Skew
from connector.records import SignalMetadata


class Overwritten(NamedTuple):
    """Values of one input that other values of the same time replaced."""

    topic: str
    """Of the newest of them."""
    values: int


class Discoveries(Protocol):
    """Told of what the mapping saw for the first time, before any sample of it leaves."""

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        """These input IDs were given to these origins. Durable when it returns: else they could be given to others."""

    def collided(self, collisions: list[Collision]) -> None:
        """These origins wanted an ID that another one has."""

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        """These signals should have this metadata."""

    def packed(self, account: PackingAccount) -> None:
        """How well frames are filled and whether the load fits: told every now and then, and at the end."""

    def overwritten(self, inputs: Mapping[str, Overwritten]) -> None:
        """Values of these inputs were replaced by others of the same time since the last call: told like `packed`."""

    def learned(self, states: list[tuple[str, str, int]]) -> None:
        """These inputs have these states by these numbers, for ever. Durable when it returns."""

    def renamed(self, renames: list[Rename]) -> None:
        """These origins had another ID in an earlier run."""

    def clocks_off(self, skews: list[Skew]) -> None:
        """The clocks of these devices are wrong."""

    def births(self, source: str, said: list[TimelineChange]) -> None:
        """What Sparkplug's nodes and devices have said (None: to be forgotten): without it, what they send later cannot
        be read. Durable when it returns."""

    def noted(self, notes: list[NodeEvent]) -> None:
        """Losses of Sparkplug's nodes, births that are needed, births that came."""

    def observed(self, observations: list[Observation]) -> None:
        """A person should look at these."""

    def shared(self, topics: Collection[SharedTopic]) -> None:
        """These topics are shared by several things: all that were found. Durable when it returns, since their values
        may be held."""

    def windows_done(self, done: Mapping[str, int]) -> None:
        """The windows of these inputs are inserted up to this time in µs. Durable when it returns."""


class Announcer:
    """Tells what a mapper has found. Safe for threads, of which each maps with the same mapper under `mapping_lock`."""

    def __init__(
        self, mapper: Mapper, mapping_lock: threading.Lock, discoveries: Discoveries, clock: Callable[[], float]
    ) -> None:
        self._mapper = mapper
        self._mapping_lock = mapping_lock
        self._discoveries = discoveries
        self._clock = clock
        self._announcing = threading.Lock()

    def announce(self) -> None:
        """Before any sample of the chunk leaves. One at a time, so that what another intake has found and this one has
        used is remembered, too, when this returns; without the mapping, which others look at meanwhile."""
        mapper, discoveries = self._mapper, self._discoveries
        with self._announcing:
            with self._mapping_lock:
                states, mapper.states.new = mapper.states.new, []
                renames, mapper.ids.renames = mapper.ids.renames, []
                claims, mapper.ids.new_claims = mapper.ids.new_claims, []
                collisions, mapper.ids.collisions = mapper.ids.collisions, []
                signals = mapper.take_discovered()
                skews = mapper.clocks_off(self._clock())
                observations = mapper.observations.take()
                shared = list(mapper.shared_topics.topics.values()) if mapper.shared_topics.grew else []
                mapper.shared_topics.grew = False
            if states:
                discoveries.learned(states)
            if renames:
                discoveries.renamed(renames)
            if skews:
                discoveries.clocks_off(skews)
            if shared:
                discoveries.shared(shared)
            if observations:
                discoveries.observed(observations)
            if claims:
                discoveries.claimed(claims)
            if collisions:
                discoveries.collided(collisions)
            if signals:
                discoveries.discovered(signals)

    def keep_births(self, source: str) -> None:
        """Before anything of the chunk can be committed."""
        with self._mapping_lock:
            said = self._mapper.sparkplug.take_changes(source)
            notes, self._mapper.sparkplug.node_events = self._mapper.sparkplug.node_events, []
        if said:
            self._discoveries.births(source, said)
        if notes:
            self._discoveries.noted(notes)
