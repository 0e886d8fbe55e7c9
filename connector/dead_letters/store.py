"""The promises of a store of dead letters: `add` for the connector, and reading for the commands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from connector import ConnectorError
from connector.dead_letters.letter import DeadLetter


class DeadLettersError(ConnectorError):
    """The letters could not be written or read. Another attempt may succeed."""


class DeadLettersFullError(DeadLettersError):
    """The store is full, and `when_full` is `stop`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a store is. A field is None if only the broker of the store knows the number."""

    kept: int | None = None
    """The number of letters in the store."""
    bytes: int | None = None
    max_bytes: int | None = None
    discarded: int = 0
    """The number of letters that were ever discarded because the store was full."""


class DeadLetterStore(Protocol):
    """A place that keeps letters. Safe for threads."""

    @property
    def address(self) -> str:
        """Where the letters are kept, for people; never with a secret."""

    def start(self) -> None:
        """Begin to connect, if the store has a connection. Must not wait for the network."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep the letters. They are durable when the call returns, and not earlier.

        A letter that is added again does not count as a second one for readers. Raises `DeadLettersError`: then the
        store may have kept none, some or all of the letters.
        """

    def usage(self) -> Usage:
        """How full the store is. Raises `DeadLettersError`."""

    def problems(self) -> list[str]:
        """Reasons why the store may not take letters now, for people; empty while the store takes letters.

        Letters that were discarded are no such reason: `usage` counts them.
        """

    def close(self) -> None:
        """Release everything. The letters of every `add` that returned are durable already."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A note among the letters: the letter with this key was replayed or dropped."""

    key: str


Told = Callable[[int, int], None]
"""Reports the progress of a long reading: (done, total), in a unit of the store's choice."""


class ReadableStore(DeadLetterStore, Protocol):
    """A store whose letters can be read."""

    def read(self, told: Told) -> Iterator[DeadLetter | Gone]:
        """All letters, in about the order in which they were written.

        A letter may come twice: the last copy counts. A `Gone` takes back a letter that came before. Letters that are
        written during the reading may be included. `told` is called with the progress. Raises `DeadLettersError`.
        """

    def forget(self, keys: Collection[str]) -> None:
        """Remove the letters with these keys: no reader finds them after the call. Raises `DeadLettersError`."""
