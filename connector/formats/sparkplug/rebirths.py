"""Rebirth requests ask a node to send its births again: patiently, more and more seldom, and one at a time.

A rebirth costs time at the node, at the broker and at every subscriber. So a node is asked only after some seconds, in
which its births may come without a request. It is asked again after pauses that double, up to an hour. The pause is
short again after the node was in order for as long as its last pause. A record that has waited for long causes no
request: newer records show the present state of the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.formats.sparkplug.topic import command_topic

REBIRTH: Final = "Node Control/Rebirth"
_BOOLEAN: Final = 11


class Command(NamedTuple):
    """A message to be published with QoS 0, not retained."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RebirthPace:
    """How often nodes are asked. All times are in seconds."""

    patience: float = 5.0
    """The time from the first need of a birth to the request."""
    pause: float = 60.0
    """The time from the first request to a node to its second request; doubled after each further request."""
    longest_pause: float = 3600.0
    between: float = 0.1
    """The least time between two requests, to any nodes."""
    stale: float = 60.0
    """Records that arrived longer ago than this cause no request."""
    most: int = 10_000
    """The most nodes whose needs are remembered; needs of further nodes are ignored."""


@dataclass(slots=True)
class _Need:
    """The need of one node's births, and its last request."""

    since: float | None
    """The time at which the need arose; None if the births have come."""
    not_before: float = 0.0
    """The end of the pause after the last request."""
    pause: float = 0.0
    """The length of this pause; 0 before the first request."""


class Rebirths:
    """The needs of all nodes of one source. No I/O.

    The times are arguments, in seconds of a clock that never goes back.
    """

    def __init__(self, pace: RebirthPace | None = None) -> None:
        self._pace = pace or RebirthPace()
        self._nodes: dict[tuple[str, str], _Need] = {}
        self._next = 0.0
        self.asked = 0
        """The number of requests since the start."""

    def want(self, group: str, node: str, now: float, age: float) -> None:
        """Note that the births of this node are needed; the record that needs them arrived `age` seconds ago."""
        if age > self._pace.stale:
            return
        known = self._nodes.get((group, node))
        if known is None:
            if len(self._nodes) >= self._pace.most:
                return
            self._nodes[group, node] = _Need(now)
        elif known.since is None:
            known.since = now

    def born(self, group: str, node: str, now: float) -> None:
        """Note that this node has sent its births: they are not needed any more."""
        known = self._nodes.get((group, node))
        if known is not None:
            known.since = None
            if now - known.not_before >= known.pause:
                del self._nodes[group, node]

    def due(self, now: float) -> list[tuple[str, str]]:
        """(group, node) of the nodes to be asked now. They count as asked."""
        pace = self._pace
        found = []
        for key, known in self._nodes.items():
            if known.since is None or now < self._next:
                continue
            if now - known.since >= pace.patience and now >= known.not_before:
                if known.pause and now - known.not_before >= known.pause:
                    known.pause = 0.0  # the node was in order for long
                known.pause = min(pace.longest_pause, known.pause * 2) if known.pause else pace.pause
                known.not_before = now + known.pause
                self.asked += 1
                self._next = now + pace.between
                found.append(key)
        return found


def rebirth_command(group: str, node: str, time_ms: int) -> Command:
    """The command that asks a node for its births."""
    from connector.formats.sparkplug.schema import PayloadMessage  # noqa: PLC0415 - the library of Protobuf

    payload = PayloadMessage(timestamp=time_ms)
    payload.metrics.add(name=REBIRTH, timestamp=time_ms, datatype=_BOOLEAN, boolean_value=True)
    return Command(command_topic(group, node), payload.SerializeToString())
