"""Observations about payloads that a person should know: the mapping notices them, but cannot decide about them."""

from __future__ import annotations

from typing import Final, NamedTuple

_MOST: Final = 10_000
"""The most observations that are remembered; after that, no new observation is reported."""


class Observation(NamedTuple):
    """A fact that a person should look at, although data flows."""

    kind: str
    """One word, which is also the event in the log: `shared_topic`, `topic_without_rule` …"""
    source: str
    subject: str
    """The subject: a topic, or a topic and a field."""
    text: str
    """The observation and its effect, with an example, for people."""
    remedy: str
    """The action for the person."""


class Observations:
    """Collects observations. For one thread at a time."""

    def __init__(self) -> None:
        self.said: set[tuple[str, str, str]] = set()
        """(kind, source, subject) of each observation; the number is bounded."""
        self._new: list[Observation] = []

    def add(self, observation: Observation) -> bool:
        """Add an observation, unless its kind, source and subject were there before; returns whether it is new."""
        at = observation[:3]
        if at in self.said or len(self.said) >= _MOST:
            return False
        self.said.add(at)
        self._new.append(observation)
        return True

    def take(self) -> list[Observation]:
        """Returns the observations since the last call."""
        found, self._new = self._new, []
        return found
