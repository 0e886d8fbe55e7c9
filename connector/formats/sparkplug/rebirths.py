"""When a node is asked to send its births again: with patience, ever more seldom, and never many nodes at once.

A rebirth costs the node, the broker and all who listen. So a node is asked only after a while, in which its births may
come by themselves; then again after pauses that double up to an hour, and shorter only after it has been in order
for as long as its last pause. Wants of records that have waited for long are not counted: what came since tells more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.formats.sparkplug.schema import PayloadMessage
from connector.formats.sparkplug.topic import command_topic

REBIRTH: Final = "Node Control/Rebirth"
_BOOLEAN: Final = 11


class Command(NamedTuple):
    """A message to be published, QoS 0, not retained."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RebirthPace:
    """How patient, in seconds."""

    patience: float = 5.0
    """From the first want to the request."""
    pause: float = 60.0
    """From one request to the next of the same node, at first."""
    longest_pause: float = 3600.0
    between: float = 0.1
    """Between the requests of all nodes."""
    stale: float = 60.0
    """Wants of records that arrived longer ago than this do not count."""
    most: int = 10_000
    """Nodes that are thought of."""


@dataclass(slots=True)
class _Want:
    since: float | None
    """None while nothing is wanted."""
    not_before: float = 0.0
    pause: float = 0.0


class Rebirths:
    """What is wanted of which node. Pure: times in seconds come as arguments, of any clock that does not go back."""

    def __init__(self, pace: RebirthPace | None = None) -> None:
        self._pace = pace or RebirthPace()
        self._nodes: dict[tuple[str, str], _Want] = {}
        self._next = 0.0
        self.asked = 0
        """Requests so far."""

    def want(self, group: str, node: str, now: float, age: float) -> None:
        """This node's births are needed; the record that tells arrived `age` seconds ago."""
        if age > self._pace.stale:
            return
        known = self._nodes.get((group, node))
        if known is None:
            if len(self._nodes) >= self._pace.most:
                return
            self._nodes[group, node] = _Want(now)
        elif known.since is None:
            known.since = now

    def born(self, group: str, node: str, now: float) -> None:
        """It has sent its births: nothing is wanted any more."""
        known = self._nodes.get((group, node))
        if known is not None:
            known.since = None
            if now - known.not_before >= known.pause:
                del self._nodes[group, node]

    def due(self, now: float) -> list[tuple[str, str]]:
        """(group, node) of those to be asked now; they count as asked."""
        pace = self._pace
        found = []
        for key, known in self._nodes.items():
            if known.since is None or now < self._next:
                continue
            if now - known.since >= pace.patience and now >= known.not_before:
                if known.pause and now - known.not_before >= known.pause:
                    known.pause = 0.0  # it was in order for long
                known.pause = min(pace.longest_pause, known.pause * 2) if known.pause else pace.pause
                known.not_before = now + known.pause
                self.asked += 1
                self._next = now + pace.between
                found.append(key)
        return found


def request(group: str, node: str, time_ms: int) -> Command:
    """The command that asks a node for its births."""
    payload = PayloadMessage(timestamp=time_ms)
    payload.metrics.add(name=REBIRTH, timestamp=time_ms, datatype=_BOOLEAN, boolean_value=True)
    return Command(command_topic(group, node), payload.SerializeToString())
