"""A tap: listens beside the connector, for people who want to see what comes.

It takes nothing away from anybody and leaves nothing behind: no session at the broker, no position of a group, no
journal. What comes while nobody listens is not its business.
"""

from __future__ import annotations

from typing import Protocol

from connector import ConnectorError
from connector.records import Record


class TapError(ConnectorError):
    """The tap cannot listen, or not any longer; the text says why and what to do."""


class Tap(Protocol):
    """One source, listened to. Used by one thread."""

    name: str

    def start(self) -> None:
        """Begin to listen; must not wait for the network."""

    def poll(self, timeout: float) -> list[Record]:
        """What came, waiting at most `timeout` seconds for the first of it. Raises `TapError`."""

    def listening(self) -> bool:
        """Whether it has reached the broker: what is published from now on comes."""

    def close(self) -> None:
        """Stop."""
