"""A tap: listens to a source outside the connector, for people who want to see its messages.

A tap takes no message away from another client, and leaves nothing behind: no session at the broker, no position of a
group, no journal. A tap promises nothing about messages that come while it does not listen.
"""

from __future__ import annotations

from typing import Protocol

from connector import ConnectorError
from connector.records import Record


class TapError(ConnectorError):
    """The tap cannot listen, or cannot go on listening; the text has the reason and the remedy."""


class Tap(Protocol):
    """A listener to one source. For one thread."""

    name: str

    def start(self) -> None:
        """Begin to listen; must not wait for the network."""

    def poll(self, timeout: float) -> list[Record]:
        """Returns the records that came; waits at most `timeout` seconds for the first one. Raises `TapError`."""

    def listening(self) -> bool:
        """Whether the tap has reached the broker, so that it gets every message from now on."""

    def close(self) -> None:
        """Stop listening, and close the connection."""
