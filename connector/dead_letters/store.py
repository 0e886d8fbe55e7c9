"""What the connector needs of a place that keeps dead letters, and what the commands need of one that can be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from connector import ConnectorError
from connector.dead_letters.letter import DeadLetter


class DeadLettersError(ConnectorError):
    """The letters could not be written, or read; trying again may help."""


class DeadLettersFullError(DeadLettersError):
    """There is no room, and the policy is to stop."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a store is; None where only its broker knows."""

    kept: int | None = None
    """Letters in it."""
    bytes: int | None = None
    max_bytes: int | None = None
    discarded: int = 0
    """Letters that had to go because of the bound, ever."""


class DeadLetterStore(Protocol):
    """Keeps letters. Safe for threads."""

    @property
    def address(self) -> str:
        """Where it is, for people; never with a secret."""

    def start(self) -> None:
        """Begin to connect, where there is something to connect to. Must not wait for the network."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these letters: they are durable when this returns, and only then.

        The same letter again is not a second one for whoever reads. Raises `DeadLettersError`, after which none,
        some or all of them may have been kept.
        """

    def usage(self) -> Usage:
        """How full it is."""

    def problems(self) -> list[str]:
        """What a person should look at; empty if all is well."""

    def close(self) -> None:
        """Release everything; what `add` returned for is durable already."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The letter with this key, read before, was replayed or dropped."""

    key: str


Told = Callable[[int, int], None]
"""(done, of so many): how far a long reading is."""


class ReadableStore(DeadLetterStore, Protocol):
    """A store that can be read again."""

    def read(self, told: Told) -> Iterator[DeadLetter | Gone]:
        """All letters, in about the order in which they were written; some may come twice, the last one counts, and
        some may be gone again later. Letters written while it runs may be among them. Raises `DeadLettersError`."""

    def forget(self, keys: Collection[str]) -> None:
        """Letters with these keys need not be kept any longer; they are gone for every reader when this returns.
        Raises `DeadLettersError`."""
