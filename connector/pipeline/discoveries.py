"""Discoveries of the mapping: facts that are announced before a sample that depends on them is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from connector.delivery.load import PackingAccount
from connector.formats.sparkplug.nodes import TimelineChange
from connector.mapping.mapper import Mapper
from connector.mapping.observations import Observation
from connector.mapping.signals.descriptions import Described
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.sparkplug import NodeEvent
from connector.mapping.time.clock_skew import Skew
from connector.records import SignalMetadata


class Overwritten(NamedTuple):
    """The values of one input that later values of the same time replaced."""

    topic: str
    """The topic of the newest replacement."""
    values: int
    """Number of replaced values."""


class Discoveries(Protocol):
    """Receives each discovery of the mapping before a sample that depends on the discovery is sent."""

    def claimed(self, claims: list[tuple[str, Origin]]) -> None:
        """Keep the owners of new input IDs, so that no other origin gets these IDs; durable when the call returns."""

    def collided(self, collisions: list[Collision]) -> None:
        """Report origins that wanted an input ID of another origin."""

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None:
        """Save this metadata for these signals (input ID, metadata)."""

    def described(self, descriptions: list[Described]) -> None:
        """Keep what messages say about signals; durable when the call returns, as they may not come again."""

    def packed(self, account: PackingAccount) -> None:
        """Keep the packing account; called from time to time, and at the end."""

    def overwritten(self, inputs: Mapping[str, Overwritten]) -> None:
        """Add the values that were replaced since the last call, by input ID; called together with `packed`."""

    def learned(self, states: list[tuple[str, str, int]]) -> None:
        """Keep the number of each new state (input ID, state, number) for ever; durable when the call returns."""

    def renamed(self, renames: list[Rename]) -> None:
        """Report origins that had another input ID in an earlier run."""

    def clocks_off(self, skews: list[Skew]) -> None:
        """Report devices with wrong clocks."""

    def births(self, source: str, said: list[TimelineChange]) -> None:
        """Keep the births of Sparkplug nodes and devices (None: forget the births); durable when the call returns.

        Without the births, later data of these nodes and devices cannot be read.
        """

    def noted(self, notes: list[NodeEvent]) -> None:
        """Handle the events of Sparkplug nodes: losses, births that are needed, births that came."""

    def observed(self, observations: list[Observation]) -> None:
        """Show these observations to a person."""

    def shared(self, topics: Collection[SharedTopic]) -> None:
        """Keep the topics that several things share; `topics` has all of them, not only new ones.

        Durable when the call returns, because the values of these topics may be held.
        """

    def windows_done(self, done: Mapping[str, int]) -> None:
        """Keep, by input ID, the time in µs up to which windows are inserted; durable when the call returns."""


class Announcer:
    """Passes the discoveries of a mapper on. Safe for threads, which all map under `mapping_lock`."""

    mapper: Mapper
    """The mapper in use. Set only by a thread that holds `announcing` and `mapping_lock`."""

    def __init__(
        self, mapper: Mapper, mapping_lock: threading.Lock, discoveries: Discoveries, clock: Callable[[], float]
    ) -> None:
        self.mapper = mapper
        self._mapping_lock = mapping_lock
        self._discoveries = discoveries
        self._clock = clock
        self.announcing = threading.Lock()
        """Held while discoveries are announced: what was taken from the mapper is then on its way."""

    def announce(self) -> None:
        """Announce all new discoveries; called before a sample of the mapped chunk is sent.

        Only one thread announces at a time. So a discovery of another intake, on which this chunk depends, has been
        announced, too, when the call returns. Other threads may map meanwhile.
        """
        discoveries = self._discoveries
        with self.announcing:
            with self._mapping_lock:
                mapper = self.mapper
                states, mapper.states.new = mapper.states.new, []
                renames, mapper.ids.renames = mapper.ids.renames, []
                claims, mapper.ids.new_claims = mapper.ids.new_claims, []
                collisions, mapper.ids.collisions = mapper.ids.collisions, []
                described = mapper.take_descriptions()
                signals = mapper.take_discovered()
                skews = mapper.clocks_off(self._clock())
                observations = mapper.take_observations()
                shared = list(mapper.shared_topics.topics.values()) if mapper.shared_topics.grew else []
                mapper.shared_topics.grew = False
            if described:
                discoveries.described(described)
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
        """Announce births and node events of a source; called before a record of the mapped chunk can be committed."""
        with self._mapping_lock:
            sparkplug = self.mapper.sparkplug
            said = sparkplug.take_changes(source)
            notes, sparkplug.node_events = sparkplug.node_events, []
        if said:
            self._discoveries.births(source, said)
        if notes:
            self._discoveries.noted(notes)
