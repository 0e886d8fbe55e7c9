"""Observations: what the mapping notices about payloads and cannot decide, each said once to a person."""

from __future__ import annotations

from typing import Final, NamedTuple

_MOST: Final = 10_000
"""Observations that are remembered as said; beyond, nothing new is said."""


class Observation(NamedTuple):
    """Something a person should look at although data flows."""

    kind: str
    """One word, also the event in the log: `shared_topic`, `topic_without_rule` …"""
    source: str
    subject: str
    """What it is about: a topic, or a topic and a field."""
    text: str
    """What was seen and what follows, with an example."""
    remedy: str
    """What to do."""


class Observations:
    """Collects observations. For one thread at a time."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str, str]] = set()
        self._new: list[Observation] = []

    def add(self, observation: Observation) -> bool:
        """Take an observation, unless there was one of this kind, source and subject. Returns whether it was new."""
        at = observation[:3]
        if at in self._said or len(self._said) >= _MOST:
            return False
        self._said.add(at)
        self._new.append(observation)
        return True

    def take(self) -> list[Observation]:
        """The observations since the last call."""
        found, self._new = self._new, []
        return found
